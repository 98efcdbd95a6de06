package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/cambist/cambist/broker"
)

// pool is a pgx pool that can be replaced whole. After a failover the old one
// may hold connections to a frozen server for many seconds; a new one finds the
// new primary at once.
type pool struct {
	config  *pgxpool.Config
	current atomic.Pointer[handle]
}

type handle struct {
	pool *pgxpool.Pool
	db   *sql.DB
}

func (s *Store) newPool(ctx context.Context, name string, size int32, timeout time.Duration) (*pool, error) {
	config, err := pgxpool.ParseConfig(s.config.DSN)
	if err != nil {
		// pgx says in its error what it could not read, with the password taken out.
		return nil, fmt.Errorf("store: the DSN is not valid: %w", err)
	}
	config.MaxConns, config.MinConns = size, 0
	config.MaxConnLifetime, config.MaxConnIdleTime = 10*time.Minute, 5*time.Minute
	config.ConnConfig.ConnectTimeout = connectTimeout
	set := config.ConnConfig.RuntimeParams
	set["application_name"] = "cambist " + name
	set["synchronous_commit"] = "on"
	set["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	set["lock_timeout"] = "2000"
	set["idle_in_transaction_session_timeout"] = "10000"
	config.ConnConfig.ValidateConnect = s.fence.validate
	p := &pool{config: config}
	old, err := p.swap(ctx)
	if old != nil {
		panic("internal error: a new pool had connections")
	}
	return p, err
}

// swap puts a new pool in place and returns the old one.
func (p *pool) swap(ctx context.Context) (*handle, error) {
	made, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), p.config.Copy())
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return p.current.Swap(&handle{pool: made, db: stdlib.OpenDBFromPool(made)}), nil
}

// hosts returns how to reach each host of the DSN by itself; none if there is but
// one.
func (p *pool) hosts() (hosts []*pgconn.Config) {
	base := &p.config.ConnConfig.Config
	ways := append([]*pgconn.FallbackConfig{{Host: base.Host, Port: base.Port, TLSConfig: base.TLSConfig}}, base.Fallbacks...)
	for _, way := range ways {
		i := slices.IndexFunc(hosts, func(c *pgconn.Config) bool { return c.Host == way.Host && c.Port == way.Port })
		if i >= 0 {
			hosts[i].Fallbacks = append(hosts[i].Fallbacks, way) // the same host, with TLS or without
			continue
		}
		c := base.Copy()
		c.Host, c.Port, c.TLSConfig, c.Fallbacks, c.ValidateConnect = way.Host, way.Port, way.TLSConfig, nil, nil
		hosts = append(hosts, c)
	}
	if len(hosts) < 2 {
		return nil
	}
	return hosts
}

func (h *handle) close() {
	_ = h.db.Close()
	h.pool.Close()
}

func (p *pool) pool() *pgxpool.Pool { return p.current.Load().pool }
func (p *pool) db() *sql.DB         { return p.current.Load().db }

func (p *pool) close() {
	if h := p.current.Load(); h != nil {
		h.close()
	}
}

// succeeded ends a row of deadline errors.
func (s *Store) succeeded() {
	s.mu.Lock()
	s.misses = 0
	s.mu.Unlock()
}

// hot classifies an error of the heartbeat or the record. Three deadlines in a row
// mean a primary that is frozen: it answers nothing and its connections would be
// kept, so every pool is swapped. A slow report or a hasty caller never means that.
func (s *Store) hot(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) && !pgconn.Timeout(err) {
		return s.classify(err)
	}
	s.mu.Lock()
	s.misses++
	due := s.misses >= deadlines && !s.closed
	if due {
		s.misses = 0
		for _, p := range s.pools() {
			// The configuration was good once, so this cannot fail. What still uses
			// the old pool lets go in its own time.
			if old, err := p.swap(context.Background()); err == nil {
				s.wait.Go(old.close)
			}
		}
	}
	s.mu.Unlock()
	return s.classify(err)
}

// behind runs f in the background, unless the store is closed. Close waits for it.
func (s *Store) behind(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wait.Go(f)
	}
}

// reset closes connections as they come free: new ones find who is the primary.
func (s *Store) reset() {
	for _, p := range s.pools() {
		p.pool().Reset()
	}
}

// classify gives an error of the driver its code, and lets go of connections
// that answer for a server which is no longer the primary.
func (s *Store) classify(err error) error {
	var coded *broker.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return s.classifyServer(pg, err)
	}
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return err
	case errors.As(err, &connect), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), pgconn.Timeout(err), errors.Is(err, sql.ErrConnDone), pgconn.SafeToRetry(err), unknownOutcome(err):
		return broker.Unavailable("", time.Second, err)
	}
	return err
}

// classifyServer goes by SQLSTATE and constraint name, never by text.
func (s *Store) classifyServer(pg *pgconn.PgError, err error) error {
	switch {
	case pg.Code == "25006" || strings.HasPrefix(pg.Code, "57P"):
		// Read-only, or shutting down: pgx would keep asking the same server.
		s.reset()
		return broker.Unavailable("", time.Second, err)
	case pg.Code == "23505":
		return &broker.Error{Code: broker.CodeConflict, Public: "it exists already", Err: err}
	case strings.HasPrefix(pg.Code, "23"), strings.HasPrefix(pg.Code, "22"):
		return &broker.Error{Code: broker.CodeInvalidRequest, Public: "the store does not accept the value (" + pg.ConstraintName + ")", Err: err}
	case pg.Code == "57014": // statement_timeout: the server gave up, so it is not frozen
		return broker.Unavailable("", time.Second, err)
	case strings.HasPrefix(pg.Code, "08"), strings.HasPrefix(pg.Code, "40"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "58"), pg.Code == "55P03":
		return broker.Unavailable("", time.Second, err)
	}
	return err
}

// unknownOutcome reports whether the statement may have been committed: it was
// sent, and the server did not say that it failed. A fatal error counts as
// silence, because the connection went with it.
func unknownOutcome(err error) bool {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case pgconn.SafeToRetry(err), errors.As(err, &connect):
		return false
	case errors.As(err, &pg):
		return pg.Severity != "ERROR"
	}
	return true
}

// refused reports whether the database answered a commit with a no.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Severity == "ERROR" || errors.Is(err, pgx.ErrTxCommitRollback)
}
