package functions

import (
	"encoding/binary"
	"math/bits"
)

// KeyGroup is the unit of sharding: every key belongs to one, by its hash alone. Their number is a power of two,
// fixed when a job is created.
type KeyGroup uint16

const (
	// DefaultKeyGroups lets a job grow to 128 tasks; a group of 1/128 of the state is small enough to move alone.
	DefaultKeyGroups = 128
	// MaxKeyGroups is Flink's upper bound of the maximum parallelism.
	MaxKeyGroups = 1 << 15
)

// GroupOf is the key group of a key with this Hash, among groups (a power of two).
func GroupOf(hash uint64, groups int) KeyGroup { return KeyGroup(hash & uint64(groups-1)) }

// Owner is the task, of tasks, that owns a key group, of groups: contiguous ranges as in Flink's KeyGroupRangeAssignment.
func Owner(group KeyGroup, groups, tasks int) int { return int(group) * tasks / groups }

// Range is the half-open range [from, to) of key groups that a task owns; it is the inverse of Owner.
func Range(task, groups, tasks int) (from, to int) {
	return (task*groups + tasks - 1) / tasks, ((task+1)*groups + tasks - 1) / tasks
}

const (
	prime1 = 0x9E3779B185EBCA87
	prime2 = 0xC2B2AE3D27D4EB4F
	prime3 = 0x165667B19E3779F9
	prime4 = 0x85EBCA77C2B2AE63
	prime5 = 0x27D4EB2F165667C5
)

// Hash is XXH64 with seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). It decides the key group
// of a key, so it never changes; testdata/hash.json holds vectors for other languages.
func Hash(key []byte) uint64 {
	n := len(key)
	var h uint64
	if n >= 32 {
		v1, v2, v3, v4 := uint64(prime1), uint64(prime2), uint64(0), uint64(0)
		v1 += prime2
		v4 -= prime1
		for len(key) >= 32 {
			v1 = round(v1, binary.LittleEndian.Uint64(key))
			v2 = round(v2, binary.LittleEndian.Uint64(key[8:]))
			v3 = round(v3, binary.LittleEndian.Uint64(key[16:]))
			v4 = round(v4, binary.LittleEndian.Uint64(key[24:]))
			key = key[32:]
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		h = merge(merge(merge(merge(h, v1), v2), v3), v4)
	} else {
		h = prime5
	}
	h += uint64(n)
	for ; len(key) >= 8; key = key[8:] {
		h ^= round(0, binary.LittleEndian.Uint64(key))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(key) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(key)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		key = key[4:]
	}
	for _, c := range key {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}

func round(acc, lane uint64) uint64 { return bits.RotateLeft64(acc+lane*prime2, 31) * prime1 }

func merge(h, v uint64) uint64 { return (h^round(0, v))*prime1 + prime4 }
