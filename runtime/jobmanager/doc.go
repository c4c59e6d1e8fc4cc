// Package jobmanager is the role that decides: it keeps the deployed jobs and their versions, runs one master per job,
// and in it the coordinator of epochs.
//
// It hides how an epoch is agreed upon. Its invariant: at most one epoch of a job is undecided, and a manifest is written
// only when every task of the attempt has acknowledged. The protocol parts (coordinator, life cycle, restart strategy)
// are Step(event) []action, without I/O, clock or goroutine; the master's loop does what they say. It talks to
// ResourceManager and TaskManagers in wire messages only.
package jobmanager
