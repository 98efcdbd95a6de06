-- +goose Up

-- The same schema as for PostgreSQL; what it says there is not said again.
CREATE TABLE policy_version (
    only_row integer NOT NULL DEFAULT 1,
    revision integer NOT NULL,
    CONSTRAINT policy_version_only_row_key UNIQUE (only_row),
    CONSTRAINT policy_version_only_row_check CHECK (only_row = 1),
    CONSTRAINT policy_version_revision_check CHECK (revision >= 0)
) STRICT;
INSERT INTO policy_version (revision) VALUES (0);

CREATE TABLE policy_revisions (
    revision integer NOT NULL,
    author   text    NOT NULL,
    reason   text    NOT NULL,
    at       integer NOT NULL,
    CONSTRAINT policy_revisions_revision_pkey PRIMARY KEY (revision),
    CONSTRAINT policy_revisions_author_check CHECK (length(author) BETWEEN 1 AND 512),
    CONSTRAINT policy_revisions_reason_check CHECK (length(reason) <= 4096)
) STRICT;

CREATE TABLE policy_changes (
    revision integer NOT NULL,
    kind     text    NOT NULL,
    name     text    NOT NULL,
    set_name text    NOT NULL,
    body     text    NOT NULL,
    deleted  integer NOT NULL,
    CONSTRAINT policy_changes_kind_name_revision_pkey PRIMARY KEY (kind, name, revision),
    CONSTRAINT policy_changes_revision_fkey FOREIGN KEY (revision) REFERENCES policy_revisions (revision),
    CONSTRAINT policy_changes_kind_check CHECK (kind IN ('set', 'issuer', 'resource', 'mapping', 'block')),
    CONSTRAINT policy_changes_name_check CHECK (length(name) BETWEEN 1 AND 512),
    CONSTRAINT policy_changes_body_check CHECK (length(CAST(body AS blob)) <= 262144 AND (body = '') = deleted)
) STRICT;
CREATE INDEX policy_changes_revision_idx ON policy_changes (revision);

CREATE TABLE policy_objects (
    kind     text    NOT NULL,
    name     text    NOT NULL,
    set_name text    NOT NULL,
    body     text    NOT NULL,
    revision integer NOT NULL,
    CONSTRAINT policy_objects_kind_name_pkey PRIMARY KEY (kind, name)
) STRICT;

CREATE TABLE records (
    at       integer NOT NULL,
    replica  text    NOT NULL,
    segment  text    NOT NULL,
    seq      integer NOT NULL,
    id       text    NOT NULL,
    workload text    NOT NULL,
    resource text    NOT NULL,
    outcome  text    NOT NULL,
    body     blob    NOT NULL,
    facts    blob,
    prev     blob    NOT NULL,
    hash     blob    NOT NULL,
    CONSTRAINT records_at_replica_segment_seq_pkey PRIMARY KEY (at, replica, segment, seq),
    CONSTRAINT records_seq_check CHECK (seq > 0),
    CONSTRAINT records_hash_check CHECK (length(hash) = 32),
    CONSTRAINT records_body_check CHECK (length(body) <= 65536)
) STRICT, WITHOUT ROWID;
-- Where the chain of a replica ends.
CREATE INDEX records_replica_segment_seq_idx ON records (replica, segment, seq);

CREATE TABLE keys (
    id           text    NOT NULL,
    purpose      text    NOT NULL,
    algorithm    text    NOT NULL,
    state        text    NOT NULL,
    version      integer NOT NULL,
    public       blob,
    wrapped      blob    NOT NULL,
    created_at   integer NOT NULL,
    published_at integer NOT NULL,
    activated_at integer NOT NULL,
    retired_at   integer NOT NULL,
    CONSTRAINT keys_id_pkey PRIMARY KEY (id),
    CONSTRAINT keys_state_check CHECK (state IN ('pending', 'active', 'retired', 'gone')),
    CONSTRAINT keys_version_check CHECK (version > 0)
) STRICT;

CREATE TABLE replicas (
    id         text    NOT NULL,
    version    text    NOT NULL,
    started_at integer NOT NULL,
    seen_at    integer NOT NULL,
    applied    integer NOT NULL,
    CONSTRAINT replicas_id_pkey PRIMARY KEY (id),
    CONSTRAINT replicas_id_check CHECK (length(id) BETWEEN 1 AND 256)
) STRICT;

CREATE TABLE store_stamp (
    only_row integer NOT NULL DEFAULT 1,
    stamp    text    NOT NULL,
    CONSTRAINT store_stamp_only_row_key UNIQUE (only_row),
    CONSTRAINT store_stamp_only_row_check CHECK (only_row = 1)
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER records_append_only BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_changes_append_only BEFORE UPDATE ON policy_changes BEGIN SELECT RAISE(ABORT, 'policy_changes is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_changes_kept BEFORE DELETE ON policy_changes BEGIN SELECT RAISE(ABORT, 'policy_changes is append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_version_next_only BEFORE UPDATE ON policy_version WHEN NEW.revision <> OLD.revision + 1
BEGIN SELECT RAISE(ABORT, 'policy_version moves on by one and does nothing else'); END;
-- +goose StatementEnd
