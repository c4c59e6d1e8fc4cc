//go:build !linux

package kafkabroker

import "syscall"

// bound does nothing where the system cannot tie one process to another: the owner stops the broker.
func bound() *syscall.SysProcAttr { return nil }
