package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/tests/pgtest"
)

// The connection that listens is kept: after a notification nobody is woken again
// without another.
func TestWaitKeepsListening(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: pgtest.NewMigrated(t, "store", migrate), AllowNoFsync: true})
	if err := s.Wait(t.Context()); err != nil { // it listens now
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), store.Write{Author: "a", Changes: []broker.Object{{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); err == nil {
		t.Error("woken without a write")
	}
}

// Closing the store ends whoever still waits.
func TestCloseEndsWait(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: pgtest.NewMigrated(t, "store", migrate), AllowNoFsync: true})
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	for range cap(ended) {
		go func() { ended <- s.Wait(context.Background()) }()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for range cap(ended) {
		if err := <-ended; err == nil {
			t.Error("woken by nothing")
		}
	}
}

// Threat G2: the connection that listens is asked whether it lives, so that a server
// which went without a word is noticed.
func TestWaitNoticesSilence(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	s := open(t, postgres.Config{DSN: server.DSN("postgres"), AllowNoFsync: true})
	s.SetQuiet(50 * time.Millisecond)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); err == nil { // it lives: nothing is said for several times the span
		t.Error("woken by nothing")
	}
	if err := s.Wait(t.Context()); err != nil { // listens anew
		t.Fatal(err)
	}
	server.Freeze()
	if err := s.Wait(t.Context()); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	server.Thaw()
}
