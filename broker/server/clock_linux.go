package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// boot reads the clock that counts on while the machine is suspended, so that a
// lease ends in a sleep as it does awake.
func boot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("internal error: the system has no CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(now.Nano())
}
