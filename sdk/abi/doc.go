// Package abi is the byte layout between host and guest, written once. See host.go for the host's half and guest.go for
// the guest's.
package abi
