package functions

import (
	"fmt"
	"slices"
)

const (
	// maxFunctions bounds the function types of a job, so that dictionaries have room for many versions.
	maxFunctions = 1024
	// maxStates bounds the states of one function type: all of them travel with every batch of its messages.
	maxStates = 64
)

// checkDescriptions checks what modules say of themselves, and then the job against all of them together. It waits until
// every module is described: a target may belong to the one that is not.
func (j *Job) checkDescriptions(f *findings) {
	owners := map[TypeName]int{}
	complete := len(j.Modules) > 0
	for i := range j.Modules {
		if j.Modules[i].Description == nil {
			complete = false
			continue
		}
		j.checkDescription(f, i, owners)
	}
	if len(owners) > maxFunctions {
		f.add("modules", "split the job", "the modules hold %d function types; at most %d are taken", len(owners), maxFunctions)
	}
	if !complete {
		return
	}
	var names []string
	for t := range owners {
		names = append(names, t.String())
	}
	j.checkTargets(f, owners, names)
	for i := range j.Modules {
		j.checkEgressNames(f, i)
		for name := range j.Modules[i].Overrides {
			t, err := ParseTypeName(name)
			if owner, known := owners[t]; err == nil && (!known || owner != i) {
				f.add(fmt.Sprintf("modules[%d].overrides[%s]", i, name), didYouMean(name, names),
					"module %s has no function %s to override", j.Modules[i].File, name)
			}
		}
	}
}

func (j *Job) checkDescription(f *findings, i int, owners map[TypeName]int) {
	m, path := &j.Modules[i], fmt.Sprintf("modules[%d]", i)
	if len(m.Description.Functions) == 0 {
		f.add(path, "register a function in it, such as weir.Handle(\"example/counter\", …)", "module %s has no function", m.File)
	}
	for k := range m.Description.Functions {
		spec := &m.Description.Functions[k]
		if !checkType(f, path, spec.Type) {
			continue
		}
		if first, twice := owners[spec.Type]; twice {
			f.add(path, "a function type belongs to one module, once", "function %s of module %s is also in module %s",
				spec.Type, m.File, j.Modules[first].File)
			continue
		}
		owners[spec.Type] = i
		checkStates(f, path, spec)
	}
	for _, topic := range m.Description.Ingresses {
		checkTopic(f, path, topic)
	}
	for _, id := range m.Description.Egresses {
		checkID(f, path, "egress", id)
	}
}

func checkStates(f *findings, path string, spec *FunctionSpec) {
	if len(spec.States) > maxStates {
		f.add(path, "keep fewer values together in one state", "function %s has %d states; at most %d are taken", spec.Type, len(spec.States), maxStates)
	}
	seen := map[string]bool{}
	for _, state := range spec.States {
		if err := checkName(state.Name); err != nil {
			f.add(path, "", "state %q of function %s: %v", state.Name, spec.Type, err)
		}
		if state.Type == "" || len(state.Type) > maxNameBytes {
			f.add(path, "", "state %q of function %s has a type of %d bytes; it needs 1 to %d", state.Name, spec.Type, len(state.Type), maxNameBytes)
		}
		if seen[state.Name] {
			f.add(path, "declare it once", "state %q of function %s is declared twice", state.Name, spec.Type)
		}
		seen[state.Name] = true
	}
}

func (j *Job) checkTargets(f *findings, owners map[TypeName]int, names []string) {
	for i := range j.Ingresses {
		for k := range j.Ingresses[i].Topics {
			for n, target := range j.Ingresses[i].Topics[k].Targets {
				if _, known := owners[target]; !known {
					f.add(fmt.Sprintf("ingresses[%d].topics[%d].targets[%d]", i, k, n), didYouMean(target.String(), names),
						"no module has function %s", target)
				}
			}
		}
	}
}

func (j *Job) checkEgressNames(f *findings, i int) {
	var ids []string
	for k := range j.Egresses {
		ids = append(ids, j.Egresses[k].ID)
	}
	m := &j.Modules[i]
	for _, id := range m.Description.Egresses {
		if !slices.Contains(ids, id) {
			fix := didYouMean(id, ids)
			if fix == "" {
				fix = fmt.Sprintf("add a document with kind %s and spec: {id: %s, address: …}", kindKafkaEgress, id)
			}
			f.add(fmt.Sprintf("modules[%d]", i), fix, "module %s writes to egress %q, which is not declared", m.File, id)
		}
	}
}

// FromDescription makes the job of a lone module, with every default: the topics and egresses that the module names, on
// the cluster at this address (EmbeddedCluster for the broker of weir dev, where they are created). Each egress name is
// also its topic. The error is a *ParseError.
func FromDescription(name string, d *Description, cluster string) (*Job, error) {
	p := &parsing{found: findings{source: newSource("")}, job: &Job{}}
	p.parseJobSpec(value{p: p}.object())
	j := p.job
	j.Name = name
	j.Modules = []Module{{File: name + ".wasm", Memory: defaultMemory, Time: defaultTime, Retry: defaultRetry, Description: d}}
	create := 0
	if cluster == EmbeddedCluster {
		create = createdPartitions
	}
	for _, topic := range d.Ingresses {
		in := Ingress{
			ID: topic, Cluster: Cluster{Address: cluster}, Start: Start{Type: earliest, Reset: earliest},
			Topics: []IngressTopic{{Topic: topic, Create: create}},
			Invalid: Invalid{
				NoKey: InvalidDeadLetter, Tombstone: InvalidDeadLetter, Oversize: InvalidDeadLetter, MaxBytes: defaultMaxRecordBytes,
			},
		}
		for i := range d.Functions {
			if slices.Contains(d.Functions[i].Ingress, topic) {
				in.Topics[0].Targets = append(in.Topics[0].Targets, d.Functions[i].Type)
			}
		}
		j.Ingresses = append(j.Ingresses, in)
	}
	for _, id := range d.Egresses {
		out := Egress{
			ID: id, Cluster: Cluster{Address: cluster}, Create: create, Compression: defaultCompression, TxnTimeout: defaultTxnTimeout,
		}
		out.fillTopics()
		j.Egresses = append(j.Egresses, out)
	}
	j.fillNames()
	if err := j.Validate(); err != nil {
		return nil, err
	}
	return j, nil
}
