// Package taskmanager is the role that works: it offers slots, and runs in each one task, the loop that owns a range of
// key groups of a job.
//
// It hides how a batch of messages becomes effects. A Manager owns workers, one per attempt of a job; a worker owns its
// tasks, the publisher of each lane, the writer of snapshots, and the spiller, which moves messages that do not fit into
// memory to segment files and back. A task runs on one goroutine and owns everything it touches: mailbox, state, guest
// instances, output buffers; no lock and no channel per message.
//
// Invariants: messages of one sender to one address keep their order; an address runs one invocation at a time; the
// effects of an invocation apply together or not at all; nothing that is to be exactly once leaves before the commit
// point of its epoch. Any unexpected error ends the attempt (a Failed message to the JobManager), never the process.
//
// It decides nothing about epochs, restarts or placement: JobManager and ResourceManager do, and it is told in wire messages.
package taskmanager
