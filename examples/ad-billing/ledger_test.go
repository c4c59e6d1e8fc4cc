package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// ledger is an independent account of a workload: it knows nothing of functions, and what it expects follows from sums
// alone. For that, all impressions of a campaign have one price.
type ledger struct {
	prices, limits map[string]int64
	campaigns      map[string]string // of each impression
	clicked        map[Charge]bool   // every click on an impression, once
	events         []event
}

// event is one record of the workload, in the order of sending.
type event struct{ valueType, impression, value string }

// newLedger makes a workload with as many impressions: some are never clicked, some clicks have no impression, many records
// are repeated, clicks come before and after their impression, and half of the budgets are too small.
func newLedger(impressions int) *ledger {
	l := &ledger{prices: map[string]int64{}, limits: map[string]int64{}, campaigns: map[string]string{}, clicked: map[Charge]bool{}}
	const campaigns = 10
	for i := range campaigns {
		name := fmt.Sprintf("c-%d", i)
		l.prices[name] = int64(100 + 7*i)
		l.limits[name] = 1 << 40
		if i%2 == 0 {
			l.limits[name] = l.prices[name]*int64(impressions/(3*campaigns)) + 3
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range impressions {
		id, campaign := fmt.Sprintf("i-%d", i), fmt.Sprintf("c-%d", random.IntN(campaigns))
		shown := event{typeImpression, id, text(Impression{campaign, l.prices[campaign]})}
		lost := random.IntN(20) == 0
		var clicks []event
		for n := range random.IntN(3) {
			click := event{typeClick, id, text(Click{fmt.Sprintf("k-%d", n)})}
			clicks = append(clicks, click)
			if random.IntN(4) == 0 {
				clicks = append(clicks, click)
			}
			if !lost {
				l.clicked[Charge{id, fmt.Sprintf("k-%d", n), l.prices[campaign]}] = true
			}
		}
		l.campaigns[id] = campaign
		early := random.IntN(len(clicks) + 1)
		l.events = append(l.events, clicks[:early]...)
		if !lost {
			l.events = append(l.events, shown)
			if random.IntN(5) == 0 {
				l.events = append(l.events, shown)
			}
		}
		l.events = append(l.events, clicks[early:]...)
	}
	return l
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("ad-billing: %v", err)) // only plain structs come here
	}
	return string(b)
}

// totals is what a campaign must end with.
func (l *ledger) totals(campaign string) Totals {
	var t Totals
	for c := range l.clicked {
		if l.campaigns[c.Impression] == campaign {
			t.Asked++
		}
	}
	t.Charges = min(t.Asked, l.limits[campaign]/l.prices[campaign])
	t.Refused = t.Asked - t.Charges
	t.Amount = t.Charges * l.prices[campaign]
	return t
}

// check compares the records of both topics with the account. Which clicks a small budget pays for is left open; how many,
// and that each is paid once, is not.
func (l *ledger) check(charges map[string][]Charge, spent map[string][]Budget) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for campaign := range charges {
		if l.prices[campaign] == 0 {
			fault("charges of campaign %q, which does not exist", campaign)
		}
	}
	for campaign := range l.prices {
		want := l.totals(campaign)
		seen := map[Charge]bool{}
		for _, c := range charges[campaign] {
			switch {
			case seen[c]:
				fault("%s: charge %v came twice", campaign, c)
			case !l.clicked[c] || l.campaigns[c.Impression] != campaign:
				fault("%s: charge %v has no click", campaign, c)
			}
			seen[c] = true
		}
		if n := int64(len(seen)); n != want.Charges {
			fault("%s: %d charges, want %d", campaign, n, want.Charges)
		}
		var events []Budget
		if want.Refused > 0 {
			events = []Budget{{l.limits[campaign], want.Amount}}
		}
		if got := spent[campaign]; fmt.Sprint(got) != fmt.Sprint(events) {
			fault("%s: budget-spent %v, want %v", campaign, got, events)
		}
	}
	return faults
}
