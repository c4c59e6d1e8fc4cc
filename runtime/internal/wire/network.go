package wire

import (
	"fmt"
	"sync"
)

// Network is the in-memory transport: endpoints by name in one process.
type Network struct {
	// Carry, when set before use, takes the place of immediate delivery: it is told of every message as it is sent, and
	// calls deliver, from any goroutine, when the message is to arrive; never, when it is lost. For simulation.
	Carry func(from, to string, message Message, deliver func())

	mu        sync.Mutex // guards endpoints; a leaf
	endpoints map[string]*Endpoint
}

// NewNetwork makes an empty network.
func NewNetwork() *Network { return &Network{endpoints: map[string]*Endpoint{}} }

// Delivery is one control message and who sent it.
type Delivery struct {
	From string
	Body []byte
}

// Endpoint is one role's place in the network. Send may be called from any goroutine; one goroutine receives.
type Endpoint struct {
	name  string
	net   *Network
	inbox *Inbox[Delivery]
}

// Join adds an endpoint. A name joined twice replaces the first, as a restarted process does.
func (n *Network) Join(name string) *Endpoint {
	e := &Endpoint{name: name, net: n, inbox: NewInbox[Delivery](nil)}
	n.mu.Lock()
	n.endpoints[name] = e
	n.mu.Unlock()
	return e
}

// Name is the endpoint's own.
func (e *Endpoint) Name() string { return e.name }

// Send encodes a control message and delivers it. A receiver that is gone loses it, as a network would: whoever waits for
// an answer has a deadline or learns of the loss from the ResourceManager.
func (e *Endpoint) Send(to string, message Message) {
	e.net.mu.Lock()
	target := e.net.endpoints[to]
	e.net.mu.Unlock()
	if target == nil {
		return
	}
	delivery := Delivery{From: e.name, Body: Encode(message)}
	if e.net.Carry != nil {
		e.net.Carry(e.name, to, message, func() { target.inbox.Put(delivery) })
		return
	}
	target.inbox.Put(delivery)
}

// Ready has a token when Receive may return something.
func (e *Endpoint) Ready() <-chan struct{} { return e.inbox.Ready() }

// Receive returns all deliveries that wait, decoded, in order of arrival.
func (e *Endpoint) Receive() ([]Received, error) {
	deliveries := e.inbox.Take(nil)
	received := make([]Received, 0, len(deliveries))
	for _, d := range deliveries {
		message, err := Decode(d.Body)
		if err != nil {
			return nil, fmt.Errorf("message from %s: %w", d.From, err)
		}
		received = append(received, Received{From: d.From, Message: message})
	}
	return received, nil
}

// Received is one decoded control message.
type Received struct {
	From    string
	Message Message
}
