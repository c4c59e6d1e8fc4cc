package kafkaio

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// inflation is how much larger than its compressed form a batch is taken to be, when no buffer is at hand.
const inflation = 4

// pool lends the client library what it decodes fetches into. All of it comes back with the Poll after the one that
// handed the records out. It saves a third of the garbage, measured by BenchmarkIngress.
type pool struct {
	records sync.Pool // *[]kgo.Record
	bytes   sync.Pool // *[]byte
}

// GetRecords implements kgo.PoolRecords.
func (p *pool) GetRecords(n int) []kgo.Record {
	if s, ok := p.records.Get().(*[]kgo.Record); ok && cap(*s) >= n {
		return (*s)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements kgo.PoolRecords.
func (p *pool) PutRecords(s []kgo.Record) { p.records.Put(&s) }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if b, ok := p.bytes.Get().(*[]byte); ok && cap(*b) >= len(compressed) {
		return (*b)[:0]
	}
	return make([]byte, 0, inflation*len(compressed))
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *pool) PutDecompressBytes(b []byte) { p.bytes.Put(&b) }
