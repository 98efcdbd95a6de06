-- +goose Up

-- One row, locked by every write that decides: versions are therefore in commit
-- order and without a gap, and nobody needs a feed of ids.
CREATE TABLE policy_version (
    only_row boolean NOT NULL DEFAULT true,
    revision bigint  NOT NULL,
    CONSTRAINT policy_version_only_row_key UNIQUE (only_row),
    CONSTRAINT policy_version_only_row_check CHECK (only_row),
    CONSTRAINT policy_version_revision_check CHECK (revision >= 0)
);
INSERT INTO policy_version (revision) VALUES (0);

-- Who wrote a revision, when and why. Times are microseconds since 1970.
CREATE TABLE policy_revisions (
    revision bigint NOT NULL,
    author   text   NOT NULL,
    reason   text   NOT NULL,
    at       bigint NOT NULL,
    CONSTRAINT policy_revisions_revision_pkey PRIMARY KEY (revision),
    CONSTRAINT policy_revisions_author_check CHECK (length(author) BETWEEN 1 AND 512),
    CONSTRAINT policy_revisions_reason_check CHECK (length(reason) <= 4096)
);

-- The history, append-only: what each revision made of each object it touched.
CREATE TABLE policy_changes (
    revision bigint  NOT NULL,
    kind     text    NOT NULL,
    name     text    NOT NULL,
    set_name text    NOT NULL,
    body     text    NOT NULL,
    deleted  boolean NOT NULL,
    CONSTRAINT policy_changes_kind_name_revision_pkey PRIMARY KEY (kind, name, revision),
    CONSTRAINT policy_changes_revision_fkey FOREIGN KEY (revision) REFERENCES policy_revisions (revision),
    CONSTRAINT policy_changes_kind_check CHECK (kind IN ('set', 'issuer', 'resource', 'mapping', 'block')),
    CONSTRAINT policy_changes_name_check CHECK (length(name) BETWEEN 1 AND 512),
    CONSTRAINT policy_changes_body_check CHECK (octet_length(body) <= 262144 AND (body = '') = deleted)
);
CREATE INDEX policy_changes_revision_idx ON policy_changes (revision);

-- What is in force: the latest change of each object that is not deleted.
CREATE TABLE policy_objects (
    kind     text   NOT NULL,
    name     text   NOT NULL,
    set_name text   NOT NULL,
    body     text   NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT policy_objects_kind_name_pkey PRIMARY KEY (kind, name)
);

-- The record: narrow, because every token writes one. The columns before body
-- repeat parts of it for search; the id is found by at, which it contains.
CREATE TABLE records (
    at       bigint NOT NULL,
    replica  text   NOT NULL,
    segment  text   NOT NULL,
    seq      bigint NOT NULL,
    id       text   NOT NULL,
    workload text   NOT NULL,
    resource text   NOT NULL,
    outcome  text   NOT NULL,
    body     bytea  NOT NULL,
    facts    bytea,
    prev     bytea  NOT NULL,
    hash     bytea  NOT NULL,
    CONSTRAINT records_at_replica_segment_seq_pkey PRIMARY KEY (at, replica, segment, seq),
    CONSTRAINT records_seq_check CHECK (seq > 0),
    CONSTRAINT records_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT records_body_check CHECK (octet_length(body) <= 65536)
) PARTITION BY RANGE (at);
-- A row is never refused for want of a partition. Rows stay as they are: to compress
-- one takes longer than to commit it.
CREATE TABLE records_default PARTITION OF records DEFAULT WITH (toast_tuple_target = 8160);
-- Where the chain of a replica ends.
CREATE INDEX records_replica_segment_seq_idx ON records (replica, segment, seq);

CREATE TABLE keys (
    id           text   NOT NULL,
    purpose      text   NOT NULL,
    algorithm    text   NOT NULL,
    state        text   NOT NULL,
    version      bigint NOT NULL,
    public       bytea,
    wrapped      bytea  NOT NULL,
    created_at   bigint NOT NULL,
    published_at bigint NOT NULL,
    activated_at bigint NOT NULL,
    retired_at   bigint NOT NULL,
    CONSTRAINT keys_id_pkey PRIMARY KEY (id),
    CONSTRAINT keys_state_check CHECK (state IN ('pending', 'active', 'retired', 'gone')),
    CONSTRAINT keys_version_check CHECK (version > 0)
);

CREATE TABLE replicas (
    id         text   NOT NULL,
    version    text   NOT NULL,
    started_at bigint NOT NULL,
    seen_at    bigint NOT NULL,
    applied    bigint NOT NULL,
    CONSTRAINT replicas_id_pkey PRIMARY KEY (id),
    CONSTRAINT replicas_id_check CHECK (length(id) BETWEEN 1 AND 256)
);

-- A mark that says what this store is for; it is never taken off.
CREATE TABLE store_stamp (
    only_row boolean NOT NULL DEFAULT true,
    stamp    text    NOT NULL,
    CONSTRAINT store_stamp_only_row_key UNIQUE (only_row),
    CONSTRAINT store_stamp_only_row_check CHECK (only_row)
);

-- +goose StatementBegin
-- Rows of the record and of the history are never changed, whoever asks; the
-- owner drops whole partitions instead.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER records_append_only BEFORE UPDATE OR DELETE ON records FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_changes_append_only BEFORE UPDATE OR DELETE ON policy_changes FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER policy_revisions_append_only BEFORE UPDATE OR DELETE ON policy_revisions FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- +goose StatementBegin
-- Replicas rely on it that no number comes twice and none is left out.
CREATE FUNCTION next_revision_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.revision = OLD.revision + 1 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'policy_version moves on by one and does nothing else' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER policy_version_next_only BEFORE UPDATE OR DELETE ON policy_version FOR EACH ROW EXECUTE FUNCTION next_revision_only();

-- +goose StatementBegin
-- Group roles, for login roles to be members of. Making a role needs CREATEROLE;
-- without it they must exist already, and what follows says so if they do not.
DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['cambist_owner', 'cambist_issue', 'cambist_admin', 'cambist_keys'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', r);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of the cluster was faster
            END;
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, 'cambist_owner', 'MEMBER') THEN
        EXECUTE format('GRANT cambist_owner TO %I', current_user);
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO cambist_issue, cambist_admin, cambist_keys', current_schema());
    EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO cambist_owner', current_schema());
    -- cambist_owner: migrations and partitions. It owns everything, and no server
    -- that issues tokens is a member of it.
    FOREACH r IN ARRAY ARRAY['goose_db_version', 'policy_version', 'policy_revisions', 'policy_changes', 'policy_objects',
                             'records', 'records_default', 'keys', 'replicas', 'store_stamp'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO cambist_owner', r);
    END LOOP;
    ALTER FUNCTION refuse_change() OWNER TO cambist_owner;
    ALTER FUNCTION next_revision_only() OWNER TO cambist_owner;
END $$;
-- +goose StatementEnd
GRANT SELECT ON goose_db_version, policy_version, store_stamp TO cambist_issue, cambist_admin, cambist_keys;
GRANT SELECT ON policy_revisions, policy_changes, policy_objects, replicas, records TO cambist_issue, cambist_admin;
GRANT SELECT ON keys TO cambist_issue, cambist_keys;
-- cambist_issue: what a replica needs to serve. It adds to the record and keeps its
-- own row among the replicas.
GRANT INSERT ON records TO cambist_issue, cambist_admin;
GRANT INSERT, UPDATE, DELETE ON replicas TO cambist_issue;
-- cambist_admin: writes policy. cambist_keys: adds keys and moves them from state to
-- state. Both move the version.
GRANT UPDATE ON policy_version TO cambist_admin, cambist_keys;
GRANT INSERT ON policy_revisions TO cambist_admin, cambist_keys;
GRANT INSERT ON policy_changes TO cambist_admin;
GRANT INSERT, UPDATE, DELETE ON policy_objects TO cambist_admin;
GRANT INSERT, UPDATE (state, version, wrapped, published_at, activated_at, retired_at) ON keys TO cambist_keys;
