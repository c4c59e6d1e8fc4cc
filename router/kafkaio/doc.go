// Package kafkaio is Kafka as ingress and egress, the broker that weir dev embeds, and what the command line asks of a
// Kafka cluster.
//
// It hides the Kafka protocol and its client library, of which it is the only home. Its invariants:
//
//   - An ingress starts exactly where the checkpoint says or ends with an error that names topic, partition and offset:
//     no offset is ever reset, no truncated or re-created log skipped.
//   - A lane's output is visible to read_committed readers once, in the order of epochs: an outbox and its marker are
//     one transaction, and after anything unclear the marker is read again before anything is sent again.
//   - What Send was given is in the log at least once, each partition's in order, or Send says why not.
//
// An ingress reads record batches where they lie in the answers of brokers: one fetcher per broker asks for the partitions
// that it leads, Poll walks what came. The bytes of a fetch belong to the task until the Poll after the last of its records.
// Lanes and Send build record batches themselves, straight from encoded records, and own producer id, epoch and sequences; the
// client library keeps connections, coordinators and retries of single requests. The marker of a lane is a record of the
// compacted topic weir-markers: key is the lane's id, value is
//
//	0 u64 number of the outbox, big-endian
//
// Goroutines belong to Run of an Ingress or Egress and are joined by it; what the client library starts for itself ends
// with Run or Close. It is not where positions are kept (statestore/checkpoint), and it decides nothing about epochs.
package kafkaio
