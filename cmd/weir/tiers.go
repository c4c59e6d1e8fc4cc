package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// Interpreted code is ready in a fraction of the time that compiling takes. weir dev runs a module that it has not compiled
// yet interpreted, compiles it meanwhile, and replaces each instance by one of compiled code before its next batch: an
// instance holds nothing that another of the same module would miss.

// keptDrafts is how many drafts wait for a job that runs them. A deployment that is checked only leaves one behind, of some
// 10 MB.
const keptDrafts = 4

// interpretedCode is what a loaded module begins with when it is not compiled. moduleCache.mu guards all.
type interpretedCode struct {
	module    *wasm.Module // nil when it is closed
	instances int          // of module
	refused   error        // why it cannot be compiled
	stop      context.CancelFunc
}

// draft takes a module through the deploy pipeline, and keeps the result for who loads it.
func (c *moduleCache) draft(ctx context.Context, module []byte) (*wasm.Draft, error) {
	d, err := c.engine.Draft(ctx, module)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drafts = append(c.drafts, d); len(c.drafts) > keptDrafts {
		c.drafts = append([]*wasm.Draft(nil), c.drafts[1:]...)
	}
	return d, nil
}

// takeDraft hands out the draft of a module, or nil.
func (c *moduleCache) takeDraft(digest string) (found *wasm.Draft) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var others []*wasm.Draft
	for _, d := range c.drafts {
		if d.Digest == digest {
			found = d
			continue
		}
		others = append(others, d)
	}
	c.drafts = others
	return found
}

// interpret loads a module that is not compiled. The error is wasm.ErrInterpreter when only compiled code can begin.
func (c *moduleCache) interpret(ctx context.Context, key moduleKey) (*interpretedCode, error) {
	d := c.takeDraft(key.digest)
	if d == nil {
		module, err := c.read(key.digest)
		if err != nil {
			return nil, err
		}
		if d, err = c.engine.Draft(ctx, module); err != nil {
			return nil, err
		}
	}
	module, err := c.engine.Interpret(ctx, d, key.limits)
	if err != nil {
		return nil, err
	}
	return &interpretedCode{module: module}, nil
}

// run compiles what runs interpreted, one module at a time, the last one first, until ctx is done. A compiler that works for
// a module that nobody uses any more is ended.
func (c *moduleCache) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if l, turn := c.next(ctx); l != nil {
			_ = c.compile(turn, l) // told there
			c.turnOver(l)
			continue
		}
		if c.sweep() {
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
		case <-c.wake:
		}
	}
	return nil
}

// sweep says whether interpreted code was closed since it was last asked: it leaves some 100 MB of garbage.
func (c *moduleCache) sweep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	closed := c.swept
	c.swept = false
	return closed
}

// next is the module to compile, with the context of its compiler.
func (c *moduleCache) next(ctx context.Context) (*loadedModule, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := len(c.loaded) - 1; at >= 0; at-- {
		l := c.loaded[at]
		if l.users > 0 && l.compiled.Load() == nil && l.interpreted.refused == nil {
			ctx, l.interpreted.stop = context.WithCancel(ctx)
			return l, ctx
		}
	}
	return nil, nil
}

// turnOver ends what next began.
func (c *moduleCache) turnOver(l *loadedModule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.interpreted.stop()
	l.interpreted.stop = nil
}

// compile makes compiled code of a module that is interpreted. One that the compiler refuses goes on as it is.
func (c *moduleCache) compile(ctx context.Context, l *loadedModule) error {
	if done, err := c.compiled(l); done {
		return err
	}
	module, err := c.engine.Load(ctx, l.key.digest, func() ([]byte, error) { return c.read(l.key.digest) }, l.key.limits)
	c.mu.Lock()
	defer c.mu.Unlock()
	code := l.interpreted
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		code.refused = err
		c.log.Warn("module cannot be compiled and goes on interpreted, which is ten to a hundred times slower", "module", l.key.digest, "err", err)
		return err
	case l.closed, l.compiled.Load() != nil:
		return module.Close() // others were quicker
	}
	l.compiled.Store(module)
	code.module.Supersede()
	c.log.Info("module runs compiled", "module", l.key.digest)
	return c.settle(l)
}

// compiled says whether compiling was done, and how it ended.
func (c *moduleCache) compiled(l *loadedModule) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.compiled.Load() != nil || l.interpreted.refused != nil, l.interpreted.refused
}

// settle closes interpreted code that nothing runs on any more. It is called with the lock held.
func (c *moduleCache) settle(l *loadedModule) error {
	code := l.interpreted
	if code.module == nil || code.instances > 0 || l.compiled.Load() == nil && !l.closed {
		return nil
	}
	err := code.module.Close()
	code.module, c.swept = nil, true
	c.rouse()
	return err
}

// rouse has run look at what there is to do.
func (c *moduleCache) rouse() {
	select {
	case c.wake <- struct{}{}:
	default: // it has been told, and has not looked yet
	}
}

// tieredInvoker is an instance of interpreted code that is replaced when there is compiled code.
type tieredInvoker struct {
	invoker
	cache       *moduleCache
	loaded      *loadedModule
	log         func(level int, text []byte)
	interpreted bool
}

// tieredInvoker makes an instance of what there is.
func (c *moduleCache) tieredInvoker(l *loadedModule, log func(level int, text []byte)) (taskmanager.Invoker, error) {
	i := &tieredInvoker{cache: c, loaded: l, log: log}
	c.mu.Lock()
	code := l.interpreted.module
	i.interpreted = l.compiled.Load() == nil
	if i.interpreted {
		l.interpreted.instances++
	} else {
		code = l.compiled.Load()
	}
	c.mu.Unlock()
	var err error
	if i.instance, err = code.NewInstance(context.Background(), log); err != nil {
		return nil, errors.Join(err, i.release())
	}
	return i, nil
}

func (i *tieredInvoker) Call(in []byte, now int64, seed uint64) ([]byte, error) {
	if i.interpreted && i.loaded.compiled.Load() != nil {
		if err := i.replace(); err != nil {
			return nil, err
		}
	}
	out, err := i.invoker.Call(in, now, seed)
	if !i.interpreted || !errors.Is(err, wasm.ErrInterpreter) {
		return out, err
	}
	// The interpreter cannot tell how this call ends, or need not. It had no effects, so it begins again on compiled code.
	if refused := i.cache.compile(context.Background(), i.loaded); refused != nil {
		return nil, fmt.Errorf("%w\nand there is no compiled code: %w", err, refused)
	}
	if err := i.replace(); err != nil {
		return nil, err
	}
	return i.invoker.Call(in, now, seed)
}

// replace puts an instance of compiled code in the place of an interpreted one.
func (i *tieredInvoker) replace() error {
	fresh, err := i.loaded.compiled.Load().NewInstance(context.Background(), i.log)
	if err != nil {
		return fmt.Errorf("replace an interpreted instance: %w", err)
	}
	i.instance.Close()
	i.instance = fresh
	return i.release()
}

// release notes that an instance of interpreted code has gone.
func (i *tieredInvoker) release() error {
	if !i.interpreted {
		return nil
	}
	i.interpreted = false
	i.cache.mu.Lock()
	defer i.cache.mu.Unlock()
	i.loaded.interpreted.instances--
	return i.cache.settle(i.loaded)
}

func (i *tieredInvoker) Close() {
	i.instance.Close()
	if err := i.release(); err != nil {
		i.cache.log.Warn("interpreted code was not closed", "module", i.loaded.key.digest, "err", err)
	}
}
