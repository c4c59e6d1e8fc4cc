package wasm

// limitAddressSpace does nothing: darwin does not hold RLIMIT_AS. The static limits, the soft memory limit of the child
// and its time remain.
func limitAddressSpace(uint64) error { return nil }
