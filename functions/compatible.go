package functions

import (
	"fmt"
	"strings"
)

// Change is one difference between two versions of a job that its state does not survive.
type Change struct {
	Function TypeName // zero for a change of the job's key groups
	State    string
	Old, New string // types of the state, or numbers of key groups
}

// Incompatible is why a version cannot take over the state of another.
type Incompatible struct{ Changes []Change }

// Compatible says whether next can take over the state of old; both are bound. The error is an *Incompatible. States and
// functions may come and go: only a state of the same function and name with another type is refused, and another
// number of key groups.
func Compatible(old, next *Job) error {
	var changes []Change
	if old.KeyGroups != next.KeyGroups {
		changes = append(changes, Change{Old: fmt.Sprint(old.KeyGroups), New: fmt.Sprint(next.KeyGroups)})
	}
	types := make(map[StateKey]string)
	for i := range old.Modules {
		for _, spec := range old.Modules[i].Description.Functions {
			for _, state := range spec.States {
				types[StateKey{spec.Type, state.Name}] = state.Type
			}
		}
	}
	for i := range next.Modules {
		for _, spec := range next.Modules[i].Description.Functions {
			for _, state := range spec.States {
				was, known := types[StateKey{spec.Type, state.Name}]
				if known && was != state.Type {
					changes = append(changes, Change{Function: spec.Type, State: state.Name, Old: was, New: state.Type})
				}
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return &Incompatible{Changes: changes}
}

// Error tells the changes without the numbers of the versions; Between tells them with.
func (e *Incompatible) Error() string { return e.tell("in the running version", "in this one") }

// Between is the text for a user who deploys version new over version old: what changed, and what to do.
func (e *Incompatible) Between(old, new int) string {
	return e.tell(fmt.Sprintf("in version %d", old), fmt.Sprintf("in version %d", new))
}

func (e *Incompatible) tell(old, new string) string {
	var lines []string
	var states, keyGroups bool
	for _, c := range e.Changes {
		if c.State == "" {
			keyGroups = true
			lines = append(lines, fmt.Sprintf("keyGroups is %s %s and %s %s", c.Old, old, c.New, new))
			continue
		}
		states = true
		lines = append(lines, fmt.Sprintf("state %q of %s is %s %s and %s %s", c.State, c.Function, c.Old, old, c.New, new))
	}
	if keyGroups {
		lines = append(lines, "  key groups are fixed when a job is created; set the old number, or deploy under another name")
	}
	if states {
		lines = append(lines, "  keep the type, or give the state a new name and convert the old value in the function: docs/state.md#migration")
	}
	return strings.Join(lines, "\n")
}
