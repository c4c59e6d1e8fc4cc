package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
)

// Restore calls load with every block of the key groups [from, to) that m names: of one group in order, its bases and
// then its deltas, and for as many groups at once as there are processors. A block is valid until load returns. The first
// error ends it.
func Restore(ctx context.Context, storage Storage, m *Manifest, from, to functions.KeyGroup,
	load func(group functions.KeyGroup, block []byte) error) error {
	source, err := openBlocks(ctx, m.Over(storage), m.Bases, m.Deltas)
	if err != nil {
		return fmt.Errorf("restore checkpoint %d: %w", m.Number, err)
	}
	groups, ctx := errgroup.WithContext(ctx)
	groups.SetLimit(runtime.GOMAXPROCS(0))
	var memory sync.Pool // of *[]byte: a block's, used again for the next, as a gigabyte of garbage costs more than reading it (BenchmarkRestore)
	for at := int(from); at < int(to); at++ {
		group := functions.KeyGroup(at)
		places := append(source.bases[group], source.deltas[group]...)
		if len(places) == 0 {
			continue
		}
		groups.Go(func() error { return restoreGroup(ctx, group, places, &memory, load) })
	}
	if err := errors.Join(groups.Wait(), source.close()); err != nil {
		return fmt.Errorf("restore checkpoint %d: %w", m.Number, err)
	}
	return nil
}

func restoreGroup(ctx context.Context, group functions.KeyGroup, places []blockPlace, memory *sync.Pool,
	load func(functions.KeyGroup, []byte) error) error {
	block, ok := memory.Get().(*[]byte)
	if !ok {
		block = new([]byte)
	}
	defer memory.Put(block)
	for _, p := range places {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if *block, err = p.file.readInto(*block, p.section); err != nil {
			return err
		}
		if err := load(group, *block); err != nil {
			return fmt.Errorf("key group %d from %s: %w", group, p.file.name, err)
		}
	}
	return nil
}
