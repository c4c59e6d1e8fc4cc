package kafkaio

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// inflation is how much larger than its compressed form a batch is taken to be, before it is decompressed.
	inflation = 4
	// plainBytes is the room for decompressed batches that is kept: as much as some polls of small batches take, or one
	// batch of the usual largest size.
	plainBytes = 1 << 20
	// maxPlainBytes is the most that a batch may decompress to. Producers make batches of at most some megabytes, and no
	// real records shrink a hundredfold: what is larger is meant to fill the memory.
	maxPlainBytes = 256 << 20
	// slack is what decompressors want to have behind their output, so as not to move it.
	slack = 512
)

// room is where batches are decompressed, one behind the other, until all that was handed out is given
// back. It implements kgo.PoolDecompressBytes: the library asks it for where to write. It belongs to the task.
type room struct {
	b     []byte // its length is what is in use
	lent  []byte // what the library was given last
	ratio int    // by how much the last batch grew
}

// estimate is the room that a batch is taken to need: the next batch of a topic is much like the last.
func (p *room) estimate(packed []byte) int {
	usual := inflation * len(packed)
	return max(usual, min(p.ratio*len(packed), plainBytes)) + slack
}

// reset takes all room back.
func (p *room) reset() { p.b = p.b[:0] }

// fits says whether a batch is likely to fit behind those in use.
func (p *room) fits(packed []byte) bool { return cap(p.b)-len(p.b) >= p.estimate(packed) }

// forget gives back what a large batch took, when nothing is in use.
func (p *room) forget() {
	if p.reset(); cap(p.b) > plainBytes {
		p.b = nil
	}
}

// decompress returns the plain form of packed, which stays until reset.
func (p *room) decompress(d kgo.Decompressor, packed []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	out, err := d.Decompress(packed, codec)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if cap(out) == 0 {
		return out, nil
	}
	p.ratio = len(out)/len(packed) + 1
	if lent := p.lent[:1]; &out[:1][0] == &lent[0] {
		p.b = p.b[:len(p.b)+len(out)]
	} else {
		p.b = out // it did not fit, and has been moved; views of the room before stay as they are
	}
	return out[:len(out):len(out)], nil
}

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *room) GetDecompressBytes(packed []byte, _ kgo.CompressionCodecType) []byte {
	if !p.fits(packed) {
		p.b = make([]byte, 0, max(plainBytes, p.estimate(packed)))
	}
	p.lent = p.b[len(p.b):cap(p.b)]
	return p.lent
}

// PutDecompressBytes implements kgo.PoolDecompressBytes: the library gives back what it could not decompress into.
func (p *room) PutDecompressBytes([]byte) {}
