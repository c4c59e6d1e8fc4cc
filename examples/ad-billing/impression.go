package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	weir "github.com/weir-run/weir/sdk/go"
)

// The value types that module.yaml gives to the records of the two topics.
const (
	typeImpression = "ads/impression-shown"
	typeClick      = "ads/click"
)

// maxClicks bounds the clicks of one impression, which its state lists: more of them are no person's.
const maxClicks = 100

// Impression is the value of a record of topic impressions; the record's key is the impression's id.
type Impression struct {
	Campaign string `json:"campaign"`
	Price    int64  `json:"price"` // of one click
}

// Click is the value of a record of topic clicks; the record's key is the impression's id.
type Click struct {
	ID string `json:"id"`
}

// seen is a click as the impression remembers it.
type seen struct {
	Click   string `json:"click"`
	Outcome string `json:"outcome"`
}

// What becomes of a click.
const (
	waiting = "waiting" // for its impression
	asked   = "asked"   // the campaign has not answered yet
	charged = "charged"
	refused = "refused" // the budget is spent
)

var (
	shown  = weir.JSON[Impression]("shown")
	clicks = weir.JSON[[]seen]("clicks")
)

func impression(c *weir.Call, value []byte) error {
	if c.Origin() == weir.FromFunction {
		return settle(c, value)
	}
	switch c.Type() {
	case typeImpression:
		return show(c, value)
	case typeClick:
		return click(c, value)
	}
	return fmt.Errorf("a message of type %q is neither an impression nor a click", c.Type())
}

// show remembers the impression and asks for the clicks that came before it. A repeated record changes nothing.
func show(c *weir.Call, value []byte) error {
	if shown.Exists(c) {
		return nil
	}
	var i Impression
	if err := json.Unmarshal(value, &i); err != nil {
		return fmt.Errorf("read impression: %w", err)
	}
	if i.Campaign == "" || i.Price <= 0 {
		return errors.New("an impression needs a campaign and a price above 0")
	}
	shown.Set(c, i)
	early := clicks.Get(c)
	for n := range early {
		early[n].Outcome = asked
		ask(c, i, early[n].Click)
	}
	if len(early) > 0 {
		clicks.Set(c, early)
	}
	return nil
}

func click(c *weir.Call, value []byte) error {
	var k Click
	if err := json.Unmarshal(value, &k); err != nil {
		return fmt.Errorf("read click: %w", err)
	}
	all := clicks.Get(c)
	switch {
	case k.ID == "":
		return errors.New("a click needs an id")
	case slices.ContainsFunc(all, func(s seen) bool { return s.Click == k.ID }):
		return nil
	case len(all) == maxClicks:
		return fmt.Errorf("more than %d clicks on one impression", maxClicks)
	}
	outcome := waiting
	if shown.Exists(c) {
		outcome = asked
		ask(c, shown.Get(c), k.ID)
	}
	clicks.Set(c, append(all, seen{k.ID, outcome}))
	return nil
}

func ask(c *weir.Call, i Impression, click string) {
	c.SendJSON("ads/campaign", i.Campaign, Charge{Impression: c.Key(), Click: click, Price: i.Price})
}

// settle takes the campaign's answer.
func settle(c *weir.Call, value []byte) error {
	var a answer
	if err := json.Unmarshal(value, &a); err != nil {
		return fmt.Errorf("read outcome: %w", err)
	}
	all := clicks.Get(c)
	at := slices.IndexFunc(all, func(s seen) bool { return s.Click == a.Click })
	if at < 0 || all[at].Outcome != asked {
		return fmt.Errorf("an outcome for click %q, which was not asked for", a.Click)
	}
	all[at].Outcome = refused
	if a.Granted {
		all[at].Outcome = charged
	}
	clicks.Set(c, all)
	return nil
}
