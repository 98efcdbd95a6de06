package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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

// Wait returns at the next notification. It keeps one connection of its own, and
// makes a new one after a failure; as nobody knows what was said meanwhile, it then
// returns at once. One caller listens; others wait for their turn.
func (s *Store) Wait(ctx context.Context) error {
	select {
	case <-s.listening:
		defer func() { s.listening <- struct{}{} }()
	case <-ctx.Done():
		return s.classify(ctx.Err())
	}
	if s.listener == nil {
		return s.listen(ctx)
	}
	for {
		waiting, cancel := context.WithTimeout(ctx, quiet)
		_, err := s.listener.WaitForNotification(waiting)
		cancel()
		if err == nil {
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
	s.listener = conn
	return nil
}

func (s *Store) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hotTimeout)
	defer cancel()
	return s.listener.Ping(ctx)
}

// deafen lets go of a connection that is of no more use.
func (s *Store) deafen(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	_ = s.listener.Close(ctx)
	s.listener = nil
}
