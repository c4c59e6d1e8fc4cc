// Package functions is the vocabulary of Weir: names and addresses of functions, key groups, the message that travels
// between them, what a module says of itself, and the job that a user deploys.
//
// It hides the format of module.yaml and of a message in bytes. Its invariant: a Job that ParseJob or Validate accepted is
// within every limit, and references to credentials stay unresolved in it. It owns no resource and does no I/O, but for
// the look-ups of FromHost; it imports the standard library only, but for the YAML parser of module.yaml. It is not the
// guest's view of a function (sdk/abi).
package functions
