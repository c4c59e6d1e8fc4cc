package main

import (
	"bytes"
	"testing"

	"github.com/weir-run/weir/deploy/deploytest"
	"github.com/weir-run/weir/runtime/jobmanager"
)

func TestAJobThatHasFailedIsDescribedWithThePageThatHelps(t *testing.T) {
	d := jobDescription{JobView: jobmanager.JobView{
		Name: "ads", State: jobmanager.Failed, Error: "manifest jobs/ab12/manifest-6: damaged", Parallelism: 1, Checkpoint: 6,
		CommittedAt: deploytest.Epoch(), Keys: 120, StateBytes: 2100,
	}}
	var out bytes.Buffer
	s := &shell{out: &out, output: "table"}
	if err := s.show(nil, func(t *table) { jobRows(t, &d) }); err != nil {
		t.Fatal(err)
	}
	want := `job         ads
state       failed
last error  manifest jobs/ab12/manifest-6: damaged
see         docs/errors.md#why-a-job-does-not-run: weir help errors why-a-job-does-not-run
tasks       0 of 1
values      120, 2.1 kB: one per key and state, and one per Idempotency-Key of the last day
checkpoint  6 at 2026-11-21 07:14:03
messages    0 in, 0 out, lag 0, 0 dead letters
`
	if out.String() != want {
		t.Errorf("got:\n%s", &out)
	}
}
