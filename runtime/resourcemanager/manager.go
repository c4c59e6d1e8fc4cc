package resourcemanager

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
)

// jobManager is the endpoint that requests come from.
const jobManager = "jobmanager"

// tick is how often time-outs are looked at.
const tick = time.Second

// Manager is the ResourceManager role.
type Manager struct {
	endpoint *wire.Endpoint
	slots    *slots
	log      *slog.Logger
}

// New makes a Manager on its endpoint; nothing runs before Run.
func New(endpoint *wire.Endpoint, log *slog.Logger) *Manager {
	return &Manager{endpoint: endpoint, slots: newSlots(), log: log}
}

// Run serves until ctx is done.
func (m *Manager) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			m.step(now, "", nil)
		case <-m.endpoint.Ready():
			received, err := m.endpoint.Receive()
			if err != nil {
				return fmt.Errorf("resourcemanager: %w", err)
			}
			for _, r := range received {
				m.step(time.Now(), r.From, r.Message)
			}
		}
	}
}

func (m *Manager) step(now time.Time, from string, message wire.Message) {
	for _, a := range m.slots.step(now, from, message) {
		if lost, ok := a.message.(*wire.Lost); ok {
			m.log.Warn("taskmanager lost", "taskmanager", lost.TaskManager)
		}
		m.endpoint.Send(a.to, a.message)
	}
}
