// Command ad-billing charges for clicks on ads: three functions that ask each other, and a budget that is never overspent.
//
//	topic impressions --\                       charge?                   reserve?
//	                     > ads/impression (id) ---------> ads/campaign (id) -------> ads/budget (id) --> topic budget-spent
//	topic clicks -------/          ^ <----------------------- outcome |  ^ <--------------- answer |
//	                                                                  v
//	                                                            topic charges
//
// A click and its impression arrive in any order and meet in the state of the impression. Each click is charged once,
// however often its record is repeated, and only as far as the campaign's budget goes. Amounts are in millionths.
package main

import weir "github.com/weir-run/weir/sdk/go"

func init() {
	weir.Handle("ads/impression", impression, shown, clicks)
	weir.Handle("ads/campaign", campaign, totals)
	weir.Handle("ads/budget", budget, limit, spent, told)
}

func main() {}
