package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/cambist/cambist/broker"
)

// Migrate brings the schema up to the newest file. Each file is a transaction;
// running it again resumes.
func Migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, files fs.FS, options ...goose.ProviderOption) (applied []string, err error) {
	p, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		applied = append(applied, path.Base(r.Source.Path))
	}
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

// CheckSchema returns an error that names the fix if the schema is not the one
// of the newest file. It writes nothing, so every role may ask.
func CheckSchema(ctx context.Context, db *sql.DB, files fs.FS) error {
	want, err := newest(files)
	if err != nil {
		return err
	}
	var have int64
	if err := db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&have); err != nil {
		if ctx.Err() != nil {
			return broker.Unavailable("", 0, err)
		}
		return fmt.Errorf("the store has no schema yet, or it cannot be read: %w (run: cambist migrate)", err)
	}
	switch {
	case have < want:
		return fmt.Errorf("the schema of the store is version %d, this program needs %d (run: cambist migrate)", have, want)
	case have > want:
		return fmt.Errorf("the schema of the store is version %d, this program knows %d (run a newer cambist)", have, want)
	}
	return nil
}

func newest(files fs.FS) (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("no migrations are built in: %w", err)
	}
	number, _, _ := strings.Cut(names[len(names)-1], "_") // Glob sorts
	version, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("migration %q has no number: %w", names[len(names)-1], err)
	}
	return version, nil
}
