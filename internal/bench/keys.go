package main

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
)

const (
	// zipfExponent is a skew as word counts and page views have it: with a million keys the first takes an eighth of the load.
	zipfExponent = 1.1
	// hotPart is how many of ten records go to the hot key.
	hotPart = 9
)

// Every source of keys gives the same ones in every run.

// uniform draws from n keys.
func uniform(n int64) func() []byte {
	random := rand.NewPCG(1, 2)
	return func() []byte {
		k, _ := bits.Mul64(random.Uint64(), uint64(n))
		return name(k)
	}
}

// zipf draws from n keys, the lower ones more often.
func zipf(n int64) func() []byte {
	random := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), zipfExponent, 1, uint64(n-1))
	return func() []byte { return name(random.Uint64()) }
}

// same gives one key.
func same() []byte { return name(0) }

// hot gives key 0 hotPart times of ten, and else one of the n-1 others.
func hot(n int64) func() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	return func() []byte {
		if random.IntN(10) < hotPart {
			return same()
		}
		return name(1 + random.Uint64N(uint64(n-1)))
	}
}

// sequence gives every key once, in order, with so many digits.
func sequence(digits int) func() []byte {
	next := -1
	return func() []byte {
		next++
		return fmt.Appendf(nil, "k%0*d", digits, next)
	}
}

func name(k uint64) []byte { return fmt.Appendf(nil, "k%08d", k) }
