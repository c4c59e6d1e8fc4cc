package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// keptModules is how many loaded modules are kept that no attempt uses: a restart finds its module ready, which saves the
// 60 to 90 ms that loading a standard-Go guest takes, and many reloads do not pile them up.
const keptModules = 4

// moduleCache hands loaded modules to attempts, and keeps the last ones that were given back.
type moduleCache struct {
	engine *wasm.Engine
	read   func(digest string) ([]byte, error)
	tiered bool // modules run interpreted until they are compiled
	log    *slog.Logger

	loading singleflight.Group // by key: a module is loaded once, and others do not wait for it
	wake    chan struct{}      // holds a token when run has something to look at

	mu     sync.Mutex // guards what follows
	loaded []*loadedModule
	drafts []*wasm.Draft
	swept  bool // interpreted code was closed, and its memory not yet given back
}

func newModuleCache(engine *wasm.Engine, tiered bool, log *slog.Logger) *moduleCache {
	return &moduleCache{engine: engine, tiered: tiered, log: log, wake: make(chan struct{}, 1)}
}

// loadedModule is a module from which instances are made. users and closed are guarded by moduleCache.mu.
type loadedModule struct {
	key         moduleKey
	users       int
	closed      bool
	compiled    atomic.Pointer[wasm.Module] // nil while it is interpreted; set once
	interpreted *interpretedCode            // nil when it was compiled from the beginning
}

type moduleKey struct {
	digest string
	limits wasm.Limits
}

// load is the taskmanager's way to a module.
func (c *moduleCache) load(ctx context.Context, m *functions.Module) (taskmanager.Module, error) {
	key := moduleKey{digest: m.Digest, limits: wasm.Limits{Memory: m.Memory, Fuel: wasm.FuelFor(m.Time)}}
	for {
		if used := c.use(key); used != nil {
			return used, nil
		}
		// Who came first may give up, and those who wait with it do not.
		shared := context.WithoutCancel(ctx)
		_, err, _ := c.loading.Do(fmt.Sprint(key), func() (any, error) {
			if c.holds(key) { // loaded since it was looked for
				return nil, nil
			}
			l, err := c.open(shared, key)
			if err != nil {
				return nil, err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.loaded = append(c.loaded, l)
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// open makes a module ready: compiled, or where that takes long and may wait, interpreted.
func (c *moduleCache) open(ctx context.Context, key moduleKey) (*loadedModule, error) {
	l := &loadedModule{key: key}
	var err error
	if c.tiered && !c.engine.Has(key.digest) {
		if l.interpreted, err = c.interpret(ctx, key); !errors.Is(err, wasm.ErrInterpreter) {
			return l, err
		}
	}
	module, err := c.engine.Load(ctx, key.digest, func() ([]byte, error) { return c.read(key.digest) }, key.limits)
	if err != nil {
		return nil, err
	}
	l.compiled.Store(module)
	return l, nil
}

// use takes a module that is loaded, or returns nil.
func (c *moduleCache) use(key moduleKey) taskmanager.Module {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.find(key)
	if l == nil {
		return nil
	}
	l.users++
	c.rouse()
	return &usedModule{cache: c, loaded: l}
}

func (c *moduleCache) holds(key moduleKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(key) != nil
}

// find is called with the lock held.
func (c *moduleCache) find(key moduleKey) *loadedModule {
	at := slices.IndexFunc(c.loaded, func(l *loadedModule) bool { return l.key == key })
	if at < 0 {
		return nil
	}
	return c.loaded[at]
}

func (c *moduleCache) giveBack(l *loadedModule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.users--
	if l.users == 0 && l.compiled.Load() == nil {
		// Nobody waits for its compiler, and it is as large as ten that are compiled.
		if l.interpreted.stop != nil {
			l.interpreted.stop()
		}
		c.loaded = slices.DeleteFunc(c.loaded, func(other *loadedModule) bool { return other == l })
		_ = c.shut(l) // as below
	}
	_ = c.trim(keptModules) // what cannot be closed is lost memory, and no reason to fail who goes
}

// shut closes the code of a module without instances. It is called with the lock held.
func (c *moduleCache) shut(l *loadedModule) error {
	l.closed = true
	var errs []error
	if module := l.compiled.Load(); module != nil {
		errs = append(errs, module.Close())
	}
	if l.interpreted != nil {
		errs = append(errs, c.settle(l))
	}
	return errors.Join(errs...)
}

// trim closes unused modules, the oldest first, until no more than keep are left of them.
func (c *moduleCache) trim(keep int) error {
	unused := 0
	for _, l := range c.loaded {
		if l.users == 0 {
			unused++
		}
	}
	var errs []error
	c.loaded = slices.DeleteFunc(c.loaded, func(l *loadedModule) bool {
		if l.users > 0 || unused <= keep {
			return false
		}
		unused--
		errs = append(errs, c.shut(l))
		return true
	})
	return errors.Join(errs...)
}

func (c *moduleCache) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trim(0)
}

// usedModule is a module in the hands of one attempt.
type usedModule struct {
	cache  *moduleCache
	loaded *loadedModule
}

func (u *usedModule) NewInvoker(log func(level int, text []byte)) (taskmanager.Invoker, error) {
	if u.loaded.interpreted != nil {
		return u.cache.tieredInvoker(u.loaded, log)
	}
	instance, err := u.loaded.compiled.Load().NewInstance(context.Background(), log)
	if err != nil {
		return nil, err
	}
	return &invoker{instance: instance}, nil
}

func (u *usedModule) Close() { u.cache.giveBack(u.loaded) }

// invoker is an instance as tasks call it.
type invoker struct{ instance *wasm.Instance }

func (i *invoker) Call(in []byte, now int64, seed uint64) ([]byte, error) {
	i.instance.SetTime(now, seed)
	out, err := i.instance.Call(in)
	var failure *wasm.Failure
	if errors.As(err, &failure) {
		err = fmt.Errorf("%w%s\n%s%s", err, raise(err), failure.Stderr, failure.Stack) // for the dead letter
	}
	return out, err
}

// raise names the setting of module.yaml that a call has run into.
func raise(err error) string {
	switch {
	case errors.Is(err, wasm.ErrFuel):
		return ": do less in one call, or raise limits.time in module.yaml (docs/sandbox.md#how-fuel-is-counted)"
	case errors.Is(err, wasm.ErrMemory):
		return ": hold less, or raise limits.memory in module.yaml (docs/sandbox.md#what-a-running-guest-may-use)"
	}
	return ""
}

// Fuel is what the last call spent.
func (i *invoker) Fuel() int64 { return i.instance.Fuel() }

func (i *invoker) Close() { i.instance.Close() }

// prepareLimit bounds how long a deployment waits for its module.
const prepareLimit = time.Minute

// prepare takes an uploaded module through the deploy pipeline.
func (c *moduleCache) prepare(ctx context.Context, module []byte) (*functions.Description, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	if c.tiered && !c.engine.Has(wasm.Digest(module)) {
		d, err := c.draft(ctx, module)
		if err == nil {
			return &d.Description, nil
		}
		if !errors.Is(err, wasm.ErrInterpreter) {
			return nil, moduleRefused(err)
		}
	}
	// The module and its image leave some 20 MB of garbage: it goes back to the system at once, and not in the minutes that
	// the runtime would take.
	defer debug.FreeOSMemory()
	p, err := c.engine.Prepare(ctx, module)
	if err != nil {
		return nil, moduleRefused(err)
	}
	return &p.Description, nil
}

// moduleRefused words a refusal of the sandbox for the API; another error is the machine's.
func moduleRefused(err error) error {
	var r *wasm.Refusal
	if !errors.As(err, &r) {
		return err
	}
	const kind = "module-refused"
	return &router.Problem{Type: kind, Title: "the module is refused", Status: http.StatusUnprocessableEntity, Detail: r.Reason(), Docs: "docs/errors.md#" + kind}
}
