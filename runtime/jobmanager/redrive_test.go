package jobmanager

import (
	"errors"
	"testing"

	"github.com/weir-run/weir/router"
)

func TestALetterThatIsNamedAndCannotBeSentIsRefused(t *testing.T) {
	letters := []Letter{
		{DeadLetterView: DeadLetterView{ID: "dead[0]@1", Function: "shop/average"}},
		{DeadLetterView: DeadLetterView{ID: "dead[0]@2"}},
		{DeadLetterView: DeadLetterView{ID: "dead[0]@3", Function: "shop/average"}},
	}
	for _, c := range []struct {
		ids           []string
		chosen, unfit int
		problem       string
	}{
		{nil, 2, 1, ""},
		{[]string{"dead[0]@3"}, 1, 0, ""},
		{[]string{"dead[0]@3", "dead[0]@3"}, 1, 0, ""},
		{[]string{"dead[0]@1", "bogus"}, 0, 0, "no-such-letter"},
		{[]string{"dead[0]@1", "dead[0]@2"}, 0, 0, "letter-unfit"},
	} {
		chosen, unfit, err := choose("average", letters, c.ids)
		var p *router.Problem
		if errors.As(err, &p) != (c.problem != "") || p != nil && p.Type != c.problem {
			t.Errorf("%q: %v; want %q", c.ids, err, c.problem)
		}
		if len(chosen) != c.chosen || unfit != c.unfit {
			t.Errorf("%q: %d letters, %d unfit", c.ids, len(chosen), unfit)
		}
	}
}
