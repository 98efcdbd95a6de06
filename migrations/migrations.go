// Package migrations holds the schema of both stores as SQL files, forward
// only, embedded. One file is one transaction.
package migrations

import "embed"

// Postgres and SQLite hold the files, each under its folder of that name.
var (
	//go:embed postgres/*.sql
	Postgres embed.FS

	//go:embed sqlite/*.sql
	SQLite embed.FS
)
