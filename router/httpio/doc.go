// Package httpio is the request ingress: POST /in/{namespace}/{name}/{key} brings a body to a function, and what the
// function replies comes back once the epoch that holds its effects is committed.
//
// It hides HTTP. A request is read once, in one place, for two fronts: Server, the data plane on fasthttp, and Handler,
// for the control port on net/http, which forwards /in. The invariant: no answer leaves before its dispatch has returned
// it, and what is beyond a limit is refused before it is dispatched. The package owns connections and the bytes of a
// request until dispatch returns; it keeps nothing about a call: replays of an Idempotency-Key are answered by the owner
// of the key.
//
// It is not an authenticated front. Without Config.InsecureListen it binds to loopback only, and refuses requests that a
// page of another site makes in a browser.
package httpio
