package kafkaio

import (
	"encoding/binary"
	"hash/fnv"
)

// keyPartition is the partition of a key as Java clients choose it: murmur2, sign bit cleared, modulo partitions.
func keyPartition(key []byte, partitions int) int32 {
	return int32((murmur2(key) & 0x7fffffff) % uint32(partitions))
}

// lanePartition is the partition of an outbox's records without key: one for all of them, so that batches are large,
// another for the next outbox, so that partitions fill evenly. The same outbox always gets the same one.
func lanePartition(lane string, number uint64, partitions int) int32 {
	h := fnv.New32a()
	h.Write([]byte(lane)) // a hash never fails
	return int32((uint64(h.Sum32()) + number) % uint64(partitions))
}

// murmur2 is the 32-bit MurmurHash2 with the seed that Kafka uses.
func murmur2(b []byte) uint32 {
	const seed, m = 0x9747b28c, 0x5bd1e995
	h := seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	if len(b) > 0 {
		for n := len(b) - 1; n >= 0; n-- {
			h ^= uint32(b[n]) << (8 * n)
		}
		h *= m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
