package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

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

func newPool(ctx context.Context, dsn, name string, size int32, timeout time.Duration) (*pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
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
	if config.ConnConfig.ValidateConnect == nil {
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	p := &pool{config: config}
	return p, p.swap(ctx)
}

// swap puts a new pool in place; the old one closes behind, when what still
// uses it has let go.
func (p *pool) swap(ctx context.Context) error {
	made, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), p.config.Copy())
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	old := p.current.Swap(&handle{pool: made, db: stdlib.OpenDBFromPool(made)})
	if old != nil {
		go old.close()
	}
	return nil
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

// missed counts a deadline error and swaps every pool after three in a row: a
// frozen primary answers nothing, and its connections would be kept.
func (s *Store) missed() {
	s.mu.Lock()
	s.misses++
	due := s.misses >= deadlines
	if due {
		s.misses = 0
	}
	s.mu.Unlock()
	if !due {
		return
	}
	for _, p := range []*pool{s.heartbeat, s.audit, s.admin, s.reports} {
		_ = p.swap(context.Background()) // the configuration was good once: this cannot fail
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
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		s.missed()
		return broker.Unavailable("", time.Second, err)
	case errors.Is(err, sql.ErrNoRows):
		return err
	case errors.As(err, &connect), errors.Is(err, context.Canceled), errors.Is(err, sql.ErrConnDone), pgconn.SafeToRetry(err), unknownOutcome(err):
		return broker.Unavailable("", time.Second, err)
	}
	return err
}

// classifyServer goes by SQLSTATE and constraint name, never by text.
func (s *Store) classifyServer(pg *pgconn.PgError, err error) error {
	switch {
	case pg.Code == "25006" || strings.HasPrefix(pg.Code, "57P"):
		// Read-only, or shutting down: pgx would keep asking the same server.
		for _, p := range []*pool{s.heartbeat, s.audit, s.admin, s.reports} {
			p.pool().Reset()
		}
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
	if errors.As(err, &pg) {
		return pg.Severity != "ERROR"
	}
	var connect *pgconn.ConnectError
	return !errors.As(err, &connect) && !pgconn.SafeToRetry(err)
}
