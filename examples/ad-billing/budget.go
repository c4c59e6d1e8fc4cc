package main

import (
	"encoding/json"
	"errors"
	"fmt"

	weir "github.com/weir-run/weir/sdk/go"
)

// Budget is a campaign's budget over HTTP: what a request sets, and what every request gets back.
type Budget struct {
	Limit int64 `json:"limit"`
	Spent int64 `json:"spent"`
}

var (
	limit = weir.Int64("limit")
	spent = weir.Int64("spent")
	told  = weir.Int64("told") // 1: topic budget-spent has been told of this limit
)

func budget(c *weir.Call, value []byte) error {
	if c.Origin() == weir.FromRequest {
		return setBudget(c, value)
	}
	var charge Charge
	if err := json.Unmarshal(value, &charge); err != nil {
		return fmt.Errorf("read charge: %w", err)
	}
	granted := charge.Price <= limit.Get(c)-spent.Get(c)
	if granted {
		spent.Set(c, spent.Get(c)+charge.Price)
	} else if told.Get(c) == 0 {
		told.Set(c, 1)
		c.Egress("ads/charges").Topic("budget-spent").PutJSON(c.Key(), Budget{limit.Get(c), spent.Get(c)})
	}
	from, _ := c.Sender()
	c.SendJSON(from.Type, from.Key, answer{charge, granted})
	return nil
}

// setBudget takes a new limit, or only answers when the body is empty. A campaign without a budget spends nothing.
func setBudget(c *weir.Call, value []byte) error {
	if len(value) > 0 {
		var b Budget
		if err := json.Unmarshal(value, &b); err != nil {
			return fmt.Errorf("read budget: %w", err)
		}
		if b.Limit < spent.Get(c) {
			return errors.New("the limit is below what is spent already")
		}
		limit.Set(c, b.Limit)
		told.Delete(c)
	}
	return c.ReplyJSON(Budget{limit.Get(c), spent.Get(c)})
}
