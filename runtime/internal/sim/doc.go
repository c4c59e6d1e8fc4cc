// Package sim runs whole clusters from a seed and judges what they did.
//
// A run is the platform's own roles - JobManager, ResourceManager, TaskManagers with their tasks - inside a bubble of
// testing/synctest, over a disk, a broker and a network that the run owns. Whatever crosses a process's edge waits for the
// scheduler: a control message, a frame between tasks, a write of a file, a broker's request, a guest call, an answer. The
// scheduler lets everything run until nothing moves, then lets exactly one thing happen, chosen by the seed: one of those,
// a fault, a wish of a user, or time. So the schedule is the seed's and not Go's, and a run replays.
//
//	inputs, calls, deployments -> [process: roles] -> held operations -> scheduler -> disk, broker, network
//	                                                                        |
//	                                                 checks after every step, and of the whole history at the end
//
// It hides how a schedule is made. Its invariant: it reports only what contradicts docs/reliability.md, and knows no bug
// by name; the bugs of internal/planted are found by the same checks as any other. Several processes may live at once: a
// crash ends one at an instant, a pause leaves one behind whose operations still arrive after its successor has begun.
//
// It is not a proof of the adapters: the disk and the broker are models of what statestore/checkpoint and router ask of
// theirs, whose conformance suites are routertest and checkpointtest. Channels keep their order and lose nothing within
// an attempt, as package wire promises; frames of ended attempts may come late and twice.
package sim
