package taskmanager

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// Invoker runs batches on one instance of a module. It is an extension point, crossed once per batch, and used from one
// goroutine.
type Invoker interface {
	// Call hands a batch (sdk/abi) to the guest and returns its result: a view, valid until the next Call or Close. now (unix
	// ms) and seed are what the guest's clock and random source answer. After an error the instance is discarded.
	Call(in []byte, now int64, seed uint64) ([]byte, error)
	// Close frees the instance.
	Close()
}

// Module is a compiled module that makes instances.
type Module interface {
	// NewInvoker makes an instance. log takes what the guest writes; it must not block.
	NewInvoker(log func(level int, text []byte)) (Invoker, error)
	// Close gives the module back; its instances have been closed.
	Close()
}

// program is a job's version as tasks use it: ids resolved to indexes. Immutable.
type program struct {
	version           int
	job               *functions.Job
	modules           []Module
	functions         []function // by id of the job's dictionary
	ids               map[string]uint16
	egresses          map[string]*egressTarget
	clusters          []*cluster
	deadLetterCluster int
}

// function is one function type of a job. module is -1 when no module of this version has it.
type function struct {
	name       functions.TypeName
	nameBytes  []byte
	module     int
	index      uint16   // in the module's description
	states     []uint16 // ids, in the order of the description
	retry      functions.Retry
	deadLetter string
}

type egressTarget struct {
	id       string
	cluster  int
	delivery functions.Delivery
	topic    []byte
	topics   map[string]bool
}

// cluster is one Kafka cluster to which a job writes.
type cluster struct {
	key    string
	spec   functions.Cluster
	egress router.Egress
}

// errFatal marks an error that a restart cannot heal: the job fails, whatever its restart strategy.
var errFatal = errors.New("the job cannot go on")

func fatal(err error) error { return fmt.Errorf("%w: %w", errFatal, err) }

// link loads the modules of a version and resolves its names. What it returns holds modules also when it fails.
func (w *worker) link(ctx context.Context, v *wire.Version) (*program, error) {
	p := &program{version: v.Number, job: &v.Job, ids: map[string]uint16{}, egresses: map[string]*egressTarget{}, deadLetterCluster: -1}
	for id, name := range v.Dictionary.Functions {
		p.functions = append(p.functions, function{name: name, nameBytes: []byte(name.String()), module: -1})
		p.ids[name.String()] = uint16(id)
	}
	p.linkEgresses(&v.Job)
	for i := range v.Job.Modules {
		module, err := w.config.Modules(ctx, &v.Job.Modules[i])
		if err != nil {
			return p, fmt.Errorf("load module %s: %w", v.Job.Modules[i].File, err)
		}
		p.modules = append(p.modules, module)
		if err := p.linkModule(i, &v.Job.Modules[i], &v.Dictionary); err != nil {
			return p, err
		}
	}
	for i := range p.functions {
		if p.functions[i].module < 0 {
			p.functions[i].deadLetter = p.letterTopic()
		}
	}
	return p, nil
}

func (p *program) linkModule(i int, module *functions.Module, dictionary *functions.Dictionary) error {
	if module.Description == nil {
		return fmt.Errorf("module %s has no description", module.File)
	}
	for index, spec := range module.Description.Functions {
		id, known := dictionary.FunctionID(spec.Type)
		if !known {
			return fmt.Errorf("function %s is not in the job's dictionary", spec.Type)
		}
		f := &p.functions[id]
		f.module, f.index, f.retry, f.deadLetter = i, uint16(index), module.Retry, module.DeadLetter
		if override, ok := module.Overrides[spec.Type.String()]; ok {
			f.retry = override
		}
		for _, state := range spec.States {
			stateID, known := dictionary.StateID(spec.Type, state.Name)
			if !known {
				return fmt.Errorf("state %q of %s is not in the job's dictionary", state.Name, spec.Type)
			}
			f.states = append(f.states, stateID)
		}
	}
	return nil
}

// linkEgresses finds the clusters to write to: those of egresses, then those of ingresses, which take dead letters.
func (p *program) linkEgresses(job *functions.Job) {
	for i := range job.Egresses {
		e := &job.Egresses[i]
		target := &egressTarget{id: e.ID, cluster: p.cluster(e.Cluster), delivery: e.Delivery, topic: []byte(e.Topic), topics: map[string]bool{}}
		for _, topic := range e.Topics {
			target.topics[topic] = true
		}
		p.egresses[e.ID] = target
	}
	for i := range job.Ingresses {
		p.cluster(job.Ingresses[i].Cluster)
	}
	if len(p.clusters) > 0 {
		p.deadLetterCluster = 0
	}
}

func (p *program) cluster(spec functions.Cluster) int {
	key := wire.ClusterKey(spec)
	for i, c := range p.clusters {
		if c.key == key {
			return i
		}
	}
	p.clusters = append(p.clusters, &cluster{key: key, spec: spec})
	return len(p.clusters) - 1
}

// topics are those that a job writes to in a cluster, dead letters included, with the partitions to create them with
// (0: they must exist).
func (p *program) topics(cluster int) map[string]int {
	topics := map[string]int{}
	for i := range p.job.Egresses {
		e := &p.job.Egresses[i]
		if p.clusters[cluster].key != wire.ClusterKey(e.Cluster) {
			continue
		}
		for _, topic := range e.Topics {
			topics[topic] = e.Create
		}
	}
	// A module's letters go to one cluster, but a record that any cluster refuses is diverted within that one.
	letters := map[string]bool{}
	for i := range p.job.Modules {
		letters[p.job.Modules[i].DeadLetter] = true
	}
	for i := range p.job.Ingresses {
		if p.clusters[cluster].key == wire.ClusterKey(p.job.Ingresses[i].Cluster) {
			letters[p.job.Ingresses[i].Invalid.DeadLetter] = true
		}
	}
	for topic := range letters {
		if _, declared := topics[topic]; !declared && topic != "" {
			topics[topic] = deadLetterPartitions
		}
	}
	return topics
}

// deadLetterPartitions is what a dead-letter topic is created with: order among dead letters is worth more than width.
const deadLetterPartitions = 1

// fitting says whether a running attempt can switch from p to next at a barrier: it keeps its clusters, ingresses and
// egresses, so only modules may differ.
func (p *program) fitting(next *program) error {
	if len(next.functions) < len(p.functions) {
		return errors.New("a version that knows fewer functions needs a restart")
	}
	if len(next.clusters) != len(p.clusters) {
		return errors.New("a version with other Kafka clusters needs a restart")
	}
	for i := range p.clusters {
		if p.clusters[i].key != next.clusters[i].key {
			return errors.New("a version with other Kafka clusters needs a restart")
		}
		next.clusters[i] = p.clusters[i]
	}
	return nil
}

// prepared is a version ready to take over in one task.
type prepared struct {
	program  *program
	invokers []Invoker
}

// close frees instances that no task has taken.
func (p *prepared) close() {
	if p != nil {
		closeAll(p.invokers)
	}
}

func closeAll(invokers []Invoker) {
	for _, invoker := range invokers {
		invoker.Close()
	}
}

// instances makes one instance per module for a task.
func (p *program) instances(log func(level int, text []byte)) ([]Invoker, error) {
	var invokers []Invoker
	for i, module := range p.modules {
		invoker, err := module.NewInvoker(log)
		if err != nil {
			closeAll(invokers)
			return nil, fmt.Errorf("instance of module %s: %w", p.job.Modules[i].File, err)
		}
		invokers = append(invokers, invoker)
	}
	return invokers, nil
}

// switchModules puts an upcoming version in place, behind the barrier: what the epoch before it recorded is processed by
// the new version, also after a recovery from that epoch.
func (t *task) switchModules(version int) {
	if t.program.version == version {
		return // with an epoch that failed
	}
	if t.upcoming == nil || t.upcoming.program.version != version {
		t.worker.fail(fmt.Errorf("switch to version %d, which is not prepared", version))
		return
	}
	closeAll(t.invokers)
	t.lastEgress = nil
	t.program, t.invokers, t.upcoming = t.upcoming.program, t.upcoming.invokers, nil
	t.batches = make([]batch, len(t.program.modules))
}
