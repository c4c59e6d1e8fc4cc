package kafkabroker

import "syscall"

// bound lets the broker die with the process that started it.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
