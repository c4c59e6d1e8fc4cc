package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weir-run/weir/sdk/go/weirtest"
)

func TestEveryChargeAgreesWithAnIndependentSum(t *testing.T) {
	l := newLedger(2_000)
	h := weirtest.New(t)
	for campaign, limit := range l.limits {
		h.Invoke("ads/budget", campaign, Budget{Limit: limit})
	}
	for _, e := range l.events {
		h.InvokeTyped("ads/impression", e.impression, e.valueType, e.value)
	}
	for campaign := range l.limits {
		var got Totals
		h.Invoke("ads/campaign", campaign, nil).JSON(&got)
		if want := l.totals(campaign); got != want {
			t.Errorf("%s: totals %+v, want %+v", campaign, got, want)
		}
	}
	charges, spent := outcome(h)
	for _, fault := range l.check(charges, spent) {
		t.Error(fault)
	}
	if len(h.Failures()) > 0 {
		t.Errorf("%d invocations failed, first %v", len(h.Failures()), h.Failures()[0])
	}
}

// outcome sorts the records of egress ads/charges by topic and campaign.
func outcome(h *weirtest.Harness) (map[string][]Charge, map[string][]Budget) {
	charges, spent := map[string][]Charge{}, map[string][]Budget{}
	for _, r := range h.Egress("ads/charges") {
		if r.Topic == "budget-spent" {
			var b Budget
			r.JSON(&b)
			spent[r.Key] = append(spent[r.Key], b)
			continue
		}
		var c Charge
		r.JSON(&c)
		charges[r.Key] = append(charges[r.Key], c)
	}
	return charges, spent
}

func TestLedgerNoticesWhatIsWrong(t *testing.T) {
	l := newLedger(300)
	whole := map[string][]Charge{}
	for c := range l.clicked {
		campaign := l.campaigns[c.Impression]
		if int64(len(whole[campaign])) < l.totals(campaign).Charges {
			whole[campaign] = append(whole[campaign], c)
		}
	}
	spent := map[string][]Budget{}
	for campaign, limit := range l.limits {
		if want := l.totals(campaign); want.Refused > 0 {
			spent[campaign] = []Budget{{limit, want.Amount}}
		}
	}
	if faults := l.check(whole, spent); len(faults) > 0 {
		t.Fatalf("faults in a whole outcome: %v", faults)
	}
	first := whole["c-1"][0]
	for want, change := range map[string]func(charges map[string][]Charge, spent map[string][]Budget){
		"came twice":     func(c map[string][]Charge, _ map[string][]Budget) { c["c-1"] = append(c["c-1"], first) },
		"want":           func(c map[string][]Charge, _ map[string][]Budget) { c["c-1"] = c["c-1"][1:] },
		"has no click":   func(c map[string][]Charge, _ map[string][]Budget) { c["c-2"] = append(c["c-2"], first) },
		"does not exist": func(c map[string][]Charge, _ map[string][]Budget) { c["c-99"] = []Charge{first} },
		"budget-spent":   func(_ map[string][]Charge, s map[string][]Budget) { s["c-1"] = []Budget{{1, 1}} },
	} {
		charges, events := map[string][]Charge{}, map[string][]Budget{}
		for k, v := range whole {
			charges[k] = slices.Clone(v)
		}
		for k, v := range spent {
			events[k] = slices.Clone(v)
		}
		change(charges, events)
		if faults := l.check(charges, events); !strings.Contains(strings.Join(faults, "\n"), want) {
			t.Errorf("%q is not among the faults %v", want, faults)
		}
	}
}

func TestABudgetThatIsRaisedPaysAgainAndIsToldOfAgain(t *testing.T) {
	h := weirtest.New(t)
	budget := func(limit int64) { h.Invoke("ads/budget", "c", Budget{Limit: limit}) }
	click := func(n int) {
		id := fmt.Sprintf("i-%d", n)
		h.InvokeTyped("ads/impression", id, typeImpression, Impression{"c", 40})
		h.InvokeTyped("ads/impression", id, typeClick, Click{"k"})
	}
	budget(100)
	for n := range 4 {
		click(n)
	}
	budget(140)
	for n := 4; n < 7; n++ {
		click(n)
	}
	charges, spent := outcome(h)
	if len(charges["c"]) != 3 || fmt.Sprint(spent["c"]) != "[{100 80} {140 120}]" {
		t.Errorf("%d charges, budget-spent %v", len(charges["c"]), spent["c"])
	}
	seenClicks, _ := weirtest.Get(h, clicks, "ads/impression", "i-2")
	if want := []seen{{"k", refused}}; !slices.Equal(seenClicks, want) {
		t.Errorf("clicks of i-2: %v, want %v", seenClicks, want)
	}
}

func TestWhatMakesNoSenseFailsItsInvocationOnly(t *testing.T) {
	h := weirtest.New(t)
	h.InvokeTyped("ads/impression", "i", typeImpression, Impression{"c", 40})
	for _, c := range []struct{ function, valueType, value, want string }{
		{"ads/impression", typeImpression, `{"campaign":"c"}`, ""}, // repeated: not read again
		{"ads/impression", typeClick, `{`, "read click"},
		{"ads/impression", typeClick, `{}`, "needs an id"},
		{"ads/impression", "ads/other", `{}`, "neither"},
		{"ads/budget", "", `{"limit":-1}`, "below what is spent"},
		{"ads/budget", "", `7`, "read budget"},
	} {
		err := h.InvokeTyped(c.function, "i", c.valueType, c.value).Err()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s: got %v, want %q", c.function, c.value, err, c.want)
		}
	}
	if err := h.InvokeTyped("ads/impression", "other", typeImpression, Impression{"c", 0}).Err(); err == nil {
		t.Error("an impression for nothing is taken")
	}
	if n := len(h.Egress("ads/charges")); n != 0 {
		t.Errorf("%d records, want none", n)
	}
}

func TestAnImpressionTakesABoundedNumberOfClicks(t *testing.T) {
	h := weirtest.New(t)
	for n := range maxClicks {
		h.InvokeTyped("ads/impression", "i", typeClick, Click{fmt.Sprint(n)})
	}
	if err := h.InvokeTyped("ads/impression", "i", typeClick, Click{"more"}).Err(); err == nil {
		t.Errorf("more than %d clicks are taken", maxClicks)
	}
}
