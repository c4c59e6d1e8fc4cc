package history

import "fmt"

// window holds the open ones of a sequence that begins at 1. All up to done have been left behind; open holds those after it.
type window[E any] struct {
	done uint32
	open []E
}

// push adds the next one.
func (w *window[E]) push(seq uint32, e E) error {
	if want := w.done + uint32(len(w.open)) + 1; seq != want {
		return fmt.Errorf("the next one is %d", want)
	}
	if len(w.open) == maxOpen {
		return fmt.Errorf("number %d is not complete, and %d after it have begun", w.done+1, maxOpen-1)
	}
	w.open = append(w.open, e)
	return nil
}

// at is the one with a number, or nil; past says that it has been left behind. A nil window holds none.
func (w *window[E]) at(seq uint32) (e *E, past bool) {
	switch {
	case w == nil || seq == 0:
		return nil, false
	case seq <= w.done:
		return nil, true
	case seq-w.done > uint32(len(w.open)):
		return nil, false
	}
	return &w.open[seq-w.done-1], false
}

// leave leaves behind what is complete, up to the first that is not.
func (w *window[E]) leave(complete func(*E) bool) {
	for len(w.open) > 0 && complete(&w.open[0]) {
		w.open = w.open[1:]
		w.done++
	}
}
