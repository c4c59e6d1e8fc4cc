package runtime_test

import "testing"

func TestAJobTellsTheFuelOfItsInvocations(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	const calls = 7 // runtimetest's guests spend one unit per message
	for range calls {
		c.Call("t/counter", "ann", "1")
	}
	view, err := c.Jobs.Job(t.Context(), "job")
	if err != nil || view.Invocations != calls || view.Fuel != calls {
		t.Errorf("%d invocations, %d units, %v", view.Invocations, view.Fuel, err)
	}
}
