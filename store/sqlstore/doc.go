// Package sqlstore is the one SQL text of Cambist over database/sql, in the
// subset that PostgreSQL and SQLite share: text ids, microseconds in bigint,
// JSON as text, placeholders numbered in the order of their first use. The
// rooms that embed it add how to open, what errors mean, and what only one of
// them can do.
package sqlstore
