package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// BecomeOwner is run on each connection of a migration.
func BecomeOwner(ctx context.Context, conn *pgx.Conn) error { return becomeOwner(ctx, conn) }

// SetQuiet shortens how long the connection that listens may be silent.
func (s *Store) SetQuiet(d time.Duration) { s.hearing.quiet = d }
