package pgtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Freeze stops the whole server in its tracks, as a host that hangs does:
// connections stay open and nothing answers. Thaw lets it go on.
func (s *Server) Freeze() { s.signalAll(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signalAll(syscall.SIGCONT) }

// signalAll signals the postmaster, which then forks no more, and then its
// children: each leads a process group of its own.
func (s *Server) signalAll(sig syscall.Signal) {
	s.mu.Lock()
	proc := s.proc
	s.mu.Unlock()
	if proc == nil || !s.running() || proc.Signal(sig) != nil {
		return
	}
	for _, pid := range children(proc.Pid) {
		_ = syscall.Kill(pid, sig) // one that ended meanwhile is frozen enough
	}
}

// running reports whether the server's process has been started and not ended.
func (s *Server) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// children lists the processes whose parent is pid.
func children(pid int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var found []int
	for _, path := range stats {
		text, err := os.ReadFile(path) //nolint:gosec // a file of the kernel
		if err != nil {
			continue // ended meanwhile
		}
		// pid (name) state parent …; the name may hold anything, a bracket too.
		rest := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if len(rest) < 2 || string(rest[1]) != strconv.Itoa(pid) {
			continue
		}
		if child, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			found = append(found, child)
		}
	}
	return found
}
