-- +goose Up

-- Tokens that were revoked before their time. A row ends when its token would have
-- expired, so none is part of the history, which is kept for ever: who revoked what
-- and when stands in the record.
CREATE TABLE revocations (
    id       text   NOT NULL,
    at       bigint NOT NULL,
    until    bigint NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    CONSTRAINT revocations_id_pkey PRIMARY KEY (id),
    CONSTRAINT revocations_id_check CHECK (length(id) BETWEEN 1 AND 256)
);
CREATE INDEX revocations_until_idx ON revocations (until);
CREATE INDEX revocations_revision_idx ON revocations (revision);

-- +goose StatementBegin
-- A revocation moves the version, whoever makes it. This is all that the role which
-- issues tokens can do to the version, and to policy. Each takes away more rows
-- that are over than it brings, so the table grows no longer than tokens live. Ten
-- minutes of grace are for replicas whose clocks are late.
CREATE FUNCTION revocation_moves_version() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    now_us bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    next   bigint;
BEGIN
    IF NEW.until > now_us + 7200000000 THEN
        RAISE EXCEPTION 'a revocation ends within two hours' USING ERRCODE = 'check_violation';
    END IF;
    DELETE FROM revocations WHERE id IN (
        SELECT id FROM revocations WHERE until < now_us - 600000000 ORDER BY until LIMIT 16 FOR UPDATE SKIP LOCKED);
    UPDATE policy_version SET revision = revision + 1 RETURNING revision INTO next;
    UPDATE revocations SET revision = next WHERE id = NEW.id;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER revocations_move_version AFTER INSERT ON revocations FOR EACH ROW EXECUTE FUNCTION revocation_moves_version();

-- +goose StatementBegin
-- The function has the rights of the owner, so it finds its tables in this schema
-- alone: no caller can put others in their place.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION revocation_moves_version() SET search_path = %I, pg_temp', current_schema());
    ALTER FUNCTION revocation_moves_version() OWNER TO cambist_owner;
    ALTER TABLE revocations OWNER TO cambist_owner;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION revocation_moves_version() FROM PUBLIC;
GRANT SELECT ON revocations TO cambist_issue, cambist_admin;
GRANT INSERT (id, at, until) ON revocations TO cambist_issue;
