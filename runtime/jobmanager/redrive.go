package jobmanager

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/weir-run/weir/router"
)

// redriveLimit bounds one redrive to the newest letters: it reads them all into memory.
const redriveLimit = 10_000

// Redrive sends dead letters to their functions again, each under the Idempotency-Key of the request that failed, or one
// made of its own coordinates: a letter that a redrive brought through is not run twice.
func (m *Manager) Redrive(ctx context.Context, name string, ids []string) (RedriveView, error) {
	letters, err := m.letters(ctx, name, redriveLimit)
	if err != nil {
		return RedriveView{}, err
	}
	namespace, err := with(ctx, m, name, func(j *master) (string, error) { return j.version().Job.Namespace, nil })
	if err != nil {
		return RedriveView{}, err
	}
	chosen, unfit, err := choose(name, letters, ids)
	if err != nil {
		return RedriveView{}, err
	}
	view := RedriveView{Unfit: unfit}
	for _, l := range chosen {
		call := &router.Call{Namespace: namespace, Type: l.Function, Key: []byte(l.Key), Body: l.Value, Idempotency: l.Idempotency, Ext: l.Ext, Redrive: true}
		if call.Idempotency == "" {
			call.Idempotency = "dead-letter:" + l.ID
		}
		limited, cancel := context.WithTimeout(ctx, dispatchLimit)
		answer, err := m.config.Dispatch(limited, call)
		cancel()
		switch {
		case err != nil:
			return view, fmt.Errorf("redrive %s: %w", l.ID, err)
		case answer.Problem != nil && answer.Status != http.StatusInternalServerError:
			return view, answer.Problem
		case answer.Replayed:
			view.Skipped++
		default:
			view.Redriven++
		}
	}
	return view, nil
}

// choose picks the letters with these ids, or all when there are none, and counts those without a function among all. A
// letter that was named and cannot be sent is a refusal: nothing has been sent by then.
func choose(name string, letters []Letter, ids []string) (chosen []*Letter, unfit int, err error) {
	missing := slices.Clone(ids)
	for i := range letters {
		l := &letters[i]
		named := slices.Contains(ids, l.ID)
		missing = slices.DeleteFunc(missing, func(id string) bool { return id == l.ID })
		switch {
		case len(ids) > 0 && !named:
		case l.Function != "":
			chosen = append(chosen, l)
		case named:
			return nil, 0, refusal(http.StatusConflict, "letter-unfit", "a dead letter cannot be redriven", fmt.Sprintf(
				"%s has no function: its record never became a message, or was too large to keep; nothing was redriven\n"+
					"look at the record with weir consume, and produce what is right", l.ID))
		default:
			unfit++
		}
	}
	if len(missing) > 0 {
		return nil, 0, refusal(http.StatusNotFound, "no-such-letter", "no such dead letter", fmt.Sprintf(
			"%q is none of the newest %d dead letters of job %s; nothing was redriven\nweir dlq list %s shows their ids",
			missing[0], redriveLimit, name, name))
	}
	return chosen, unfit, nil
}
