//go:build !linux

package main

// harden does nothing where the system has no call for it.
func harden() error { return nil }

// memoryLimit returns 0: there is no cgroup.
func memoryLimit() int64 { return 0 }
