// Package trouble holds the end-to-end tests of what goes wrong around a server: a broker that is down, a topic that goes
// away, credentials that are refused, kills while a version is deployed. They run with the tag e2e, on the built weir and a
// real Apache Kafka.
//
// It hides nothing and exports nothing; what it starts it stops, by process id.
package trouble
