//go:build planted

package planted

import "sync/atomic"

// Built says whether bugs can be planted in this build.
const Built = true

var present atomic.Uint32

// Plant makes a bug the one that is there; None takes it out.
func Plant(b Bug) { present.Store(uint32(b)) }

// Is says whether the bug is planted.
func Is(b Bug) bool { return present.Load() == uint32(b) }

// Limit is a limit of the platform: so tight in this build that short runs reach it.
func Limit(_, tight int) int { return tight }
