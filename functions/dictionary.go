package functions

import (
	"fmt"
	"slices"
)

// StateKey is one state of one function type.
type StateKey struct {
	Function TypeName `json:"function"`
	State    string   `json:"state"`
}

// Dictionary gives the function types and states of a job the numbers that stand for them in messages, mailboxes and
// state files: the place in its list. A number keeps its meaning over all versions of the job, also when a version drops
// it and a later one brings it back. The zero value is an empty dictionary; its JSON is its two lists.
type Dictionary struct {
	Functions []TypeName `json:"functions"`
	States    []StateKey `json:"states"`
}

// maxNumbers is how many numbers 16 bits hold without NoSender.
const maxNumbers = NoSender

// Extend is the dictionary with what the job's modules add to it, at the end. Their descriptions are bound. It panics
// when the numbers run out: Room says so before.
func (d *Dictionary) Extend(job *Job) Dictionary {
	next := Dictionary{Functions: slices.Clone(d.Functions), States: slices.Clone(d.States)}
	functions, states := make(map[TypeName]bool), make(map[StateKey]bool)
	for _, t := range d.Functions {
		functions[t] = true
	}
	for _, s := range d.States {
		states[s] = true
	}
	for i := range job.Modules {
		for k := range job.Modules[i].Description.Functions {
			spec := &job.Modules[i].Description.Functions[k]
			if !functions[spec.Type] {
				functions[spec.Type] = true
				next.Functions = append(next.Functions, spec.Type)
			}
			for _, state := range spec.States {
				key := StateKey{spec.Type, state.Name}
				if !states[key] {
					states[key] = true
					next.States = append(next.States, key)
				}
			}
		}
	}
	if len(next.Functions) > maxNumbers || len(next.States) > maxNumbers {
		panic(fmt.Sprintf("functions: dictionary of %d functions and %d states", len(next.Functions), len(next.States)))
	}
	return next
}

// Room reports whether Extend has a number for everything in the job.
func (d *Dictionary) Room(job *Job) error {
	functions, states := len(d.Functions), len(d.States)
	for i := range job.Modules {
		functions += len(job.Modules[i].Description.Functions)
		for k := range job.Modules[i].Description.Functions {
			states += len(job.Modules[i].Description.Functions[k].States)
		}
	}
	if functions > maxNumbers || states > maxNumbers {
		return fmt.Errorf("job %s has had close to %d function types or states over its versions; create it under another name", job.Name, maxNumbers)
	}
	return nil
}

// FunctionID is the number of a function type. It searches: callers on the message path keep the answer.
func (d *Dictionary) FunctionID(t TypeName) (uint16, bool) {
	i := slices.Index(d.Functions, t)
	return uint16(max(i, 0)), i >= 0
}

// StateID is the number of a state of a function type.
func (d *Dictionary) StateID(t TypeName, state string) (uint16, bool) {
	i := slices.Index(d.States, StateKey{t, state})
	return uint16(max(i, 0)), i >= 0
}
