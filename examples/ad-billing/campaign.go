package main

import (
	"encoding/json"
	"fmt"

	weir "github.com/weir-run/weir/sdk/go"
)

// Charge is what an impression asks of its campaign, the campaign of its budget, and a record of topic charges.
type Charge struct {
	Impression string `json:"impression"`
	Click      string `json:"click"`
	Price      int64  `json:"price"`
}

// answer is a Charge on its way back.
type answer struct {
	Charge
	Granted bool `json:"granted"`
}

// Totals is what a campaign says of itself over HTTP.
type Totals struct {
	Asked   int64 `json:"asked"` // clicks, with those that wait for the budget's answer
	Charges int64 `json:"charges"`
	Refused int64 `json:"refused"`
	Amount  int64 `json:"amount"` // of all charges
}

var totals = weir.JSON[Totals]("totals")

func campaign(c *weir.Call, value []byte) error {
	if c.Origin() == weir.FromRequest {
		return c.ReplyJSON(totals.Get(c))
	}
	from, _ := c.Sender()
	switch from.Type {
	case "ads/impression":
		return reserve(c, value)
	case "ads/budget":
		return bill(c, value)
	}
	return fmt.Errorf("no business with %q", from.Type)
}

// reserve asks the budget; nothing is charged before it answers.
func reserve(c *weir.Call, value []byte) error {
	t := totals.Get(c)
	t.Asked++
	totals.Set(c, t)
	c.SendBytes("ads/budget", c.Key(), value)
	return nil
}

func bill(c *weir.Call, value []byte) error {
	var a answer
	if err := json.Unmarshal(value, &a); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	t := totals.Get(c)
	if a.Granted {
		t.Charges++
		t.Amount += a.Price
		c.Egress("ads/charges").Header("campaign", c.Key()).PutJSON(c.Key(), a.Charge)
	} else {
		t.Refused++
	}
	totals.Set(c, t)
	c.SendBytes("ads/impression", a.Impression, value)
	return nil
}
