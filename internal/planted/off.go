//go:build !planted

package planted

// Built says whether bugs can be planted in this build.
const Built = false

// Is says whether the bug is planted: never in this build.
func Is(Bug) bool { return false }

// Limit is a limit of the platform: the normal one in this build.
func Limit(normal, _ int) int { return normal }
