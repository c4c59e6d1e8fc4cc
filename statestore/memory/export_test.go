package memory

import "math"

// RestartMarks brings every table to where marks start again at the next epoch, as after 4 GiB of deltas.
func (b *Backend) RestartMarks() {
	for _, t := range b.tables {
		if t != nil {
			t.base = math.MaxUint32 - 64
		}
	}
}

// Reseeded counts the tables that hash with a seed of their own.
func (b *Backend) Reseeded() (n int) {
	for _, t := range b.tables {
		if t != nil && t.seed != nil {
			n++
		}
	}
	return n
}
