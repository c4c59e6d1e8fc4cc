// Package resourcemanager is the role that owns capacity: which TaskManagers live, how many slots they offer, and which
// job's tasks hold them.
//
// It hides placement. Its invariant: a slot is held by at most one task, and a job is granted all its slots or none. The
// slot table is Step(event) []action, without clock or I/O; Manager is the loop around it. It never starts a task: it
// grants slots to the JobManager, which deploys.
package resourcemanager
