-- +goose Up

-- The same schema as for PostgreSQL; what it says there is not said again.
CREATE TABLE revocations (
    id       text    NOT NULL,
    at       integer NOT NULL,
    until    integer NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    CONSTRAINT revocations_id_pkey PRIMARY KEY (id),
    CONSTRAINT revocations_id_check CHECK (length(id) BETWEEN 1 AND 256)
) STRICT;
CREATE INDEX revocations_until_idx ON revocations (until);
CREATE INDEX revocations_revision_idx ON revocations (revision);

-- +goose StatementBegin
CREATE TRIGGER revocations_end AFTER INSERT ON revocations WHEN NEW.until > (unixepoch() + 7200) * 1000000
BEGIN SELECT RAISE(ABORT, 'a revocation ends within two hours'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER revocations_move_version AFTER INSERT ON revocations
BEGIN
    DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE until < (unixepoch() - 600) * 1000000 ORDER BY until LIMIT 16);
    UPDATE policy_version SET revision = revision + 1;
    UPDATE revocations SET revision = (SELECT revision FROM policy_version) WHERE id = NEW.id;
END;
-- +goose StatementEnd
