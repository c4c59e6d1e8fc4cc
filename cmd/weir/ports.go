package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/weir-run/weir/deploy"
)

// portFailure tells the user of an address that could not be taken which flag changes it.
func portFailure(err error, address, flag string) error {
	switch {
	case errors.Is(err, deploy.ErrPortInUse), errors.Is(err, syscall.EADDRINUSE):
		_, port, splitErr := net.SplitHostPort(address)
		if splitErr != nil {
			port = address
		}
		return failed(fmt.Sprintf("port %s is in use: another process listens on %s", port, address),
			"stop it, or choose another address with "+flag+" host:port (port 0 takes any), or in "+variable(strings.TrimPrefix(flag, "--")))
	case errors.Is(err, deploy.ErrNotLoopback):
		return failed(fmt.Sprintf("%s %s can be reached by others, and there is no authentication yet", flag, address),
			"use 127.0.0.1, or accept the risk with --insecure-listen")
	}
	return err
}

// private is ErrNotLoopback for an address that others can reach, unless that is accepted.
func private(address string, insecure bool) error {
	loopback, err := deploy.IsLoopback(address)
	if err == nil && !loopback && !insecure {
		err = deploy.ErrNotLoopback
	}
	return err
}
