package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/broker"
)

const channel = "cambist_policy"

// quiet is how long the connection that listens may be silent before it is asked
// whether it still lives.
const quiet = 30 * time.Second

func notify(ctx context.Context, tx *sql.Tx, revision broker.Revision) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, fmt.Sprint(int64(revision)))
	return err
}

// hearing is who listens for everybody: one connection, and whoever waits besides is
// told by the one who has it.
type hearing struct {
	turn  chan struct{} // held by the one who listens
	conn  *pgx.Conn     // of whoever has the turn; nil after a failure
	quiet time.Duration

	mu   sync.Mutex
	told chan struct{} // closed at the next notification
}

func newHearing() hearing {
	return hearing{turn: make(chan struct{}, 1), quiet: quiet, told: make(chan struct{})}
}

func (h *hearing) next() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}

func (h *hearing) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.told)
	h.told = make(chan struct{})
}

// Wait returns at the next notification. After a failure it connects anew; as
// nobody knows what was said meanwhile, it then returns at once. It ends when the
// store is closed.
func (s *Store) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	h := &s.hearing
	select {
	case <-ctx.Done():
		return s.classify(ctx.Err())
	case <-h.next():
		return nil
	case h.turn <- struct{}{}:
	}
	defer func() { <-h.turn }()
	if h.conn == nil {
		return s.listen(ctx)
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, h.quiet)
		_, err := h.conn.WaitForNotification(waiting)
		cancel()
		if err == nil {
			h.tell()
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || s.alive(ctx) != nil {
			s.deafen(ctx)
			return s.classify(err)
		}
	}
}

func (s *Store) listen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout+hotTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, s.policy.config.ConnConfig.Copy())
	if err != nil {
		return s.classify(err)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return errors.Join(s.classify(err), conn.Close(context.WithoutCancel(ctx)))
	}
	s.hearing.conn = conn
	return nil
}

func (s *Store) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hotTimeout)
	defer cancel()
	return s.hearing.conn.Ping(ctx)
}

// deafen lets go of a connection that is of no more use.
func (s *Store) deafen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	_ = s.hearing.conn.Close(ctx)
	s.hearing.conn = nil
}
