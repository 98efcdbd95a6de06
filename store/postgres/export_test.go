package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// BecomeOwner is run on each connection of a migration.
func BecomeOwner(ctx context.Context, conn *pgx.Conn) error { return becomeOwner(ctx, conn) }
