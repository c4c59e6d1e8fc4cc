package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// keptModules is how many loaded modules are kept that no attempt uses: a restart finds its module ready, which saves the
// 60 to 90 ms that loading a standard-Go guest takes, and many reloads do not pile them up.
const keptModules = 4

// moduleCache hands loaded modules to attempts, and keeps the last ones that were given back.
type moduleCache struct {
	engine *wasm.Engine
	read   func(digest string) ([]byte, error)

	loading singleflight.Group // by key: a module is loaded once, and others do not wait for it

	mu     sync.Mutex // guards loaded
	loaded []*loadedModule
}

type loadedModule struct {
	key    moduleKey
	module *wasm.Module
	users  int
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
			module, err := c.engine.Load(shared, m.Digest, func() ([]byte, error) { return c.read(m.Digest) }, key.limits)
			if err != nil {
				return nil, err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.loaded = append(c.loaded, &loadedModule{key: key, module: module})
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
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
	c.trim(keptModules)
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
		errs = append(errs, l.module.Close())
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
	instance, err := u.loaded.module.NewInstance(context.Background(), log)
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
		err = fmt.Errorf("%w\n%s%s", err, failure.Stderr, failure.Stack) // for the dead letter
	}
	return out, err
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
	// The module and its image leave some 20 MB of garbage: it goes back to the system at once, and not in the minutes that
	// the runtime would take.
	defer debug.FreeOSMemory()
	p, err := c.engine.Prepare(ctx, module)
	if err != nil {
		return nil, err
	}
	return &p.Description, nil
}
