-- name: durability_settings
-- The server's settings that decide whether an acknowledged commit survives a power loss.
SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[]);

-- name: has_migrations_table
-- Whether this database was ever migrated.
SELECT to_regclass('schema_migrations') IS NOT NULL;

-- name: create_migrations_table!
-- The list of applied migrations.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    digest     bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: lock_migrations
-- One process migrates at a time; released with the transaction.
SELECT pg_advisory_xact_lock(7305808867329);

-- name: applied_migrations
-- All applied migrations, oldest first.
SELECT version, digest FROM schema_migrations ORDER BY version;

-- name: applied_migration
-- One applied migration.
SELECT version, digest FROM schema_migrations WHERE version = $1;

-- name: note_migration!
-- Remember an applied migration.
INSERT INTO schema_migrations (version, digest) VALUES ($1, $2);

-- name: acquire_lease
-- Take or renew a named lease; no row when another owner still holds it. A new holder gets a new fence.
INSERT INTO leases (name, owner, lease_until, fence)
VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second', 1)
ON CONFLICT (name) DO UPDATE
SET owner = EXCLUDED.owner,
    lease_until = EXCLUDED.lease_until,
    fence = leases.fence + CASE WHEN leases.owner = EXCLUDED.owner THEN 0 ELSE 1 END
WHERE leases.owner = EXCLUDED.owner OR leases.lease_until < clock_timestamp()
RETURNING fence;

-- name: release_lease!
-- Give a lease back early.
UPDATE leases SET lease_until = clock_timestamp() - interval '1 second' WHERE name = $1 AND owner = $2;

-- name: lease_is_held
-- Inside a transaction: whether this owner still holds the lease; locks it so that nobody takes it meanwhile.
SELECT 1 FROM leases WHERE name = $1 AND owner = $2 AND fence = $3 AND lease_until > clock_timestamp() FOR SHARE;

-- name: lock_batches
-- Lock batches in key order: every change of a batch's payouts happens under this lock, which orders its history.
SELECT batch_no, issuer, batch_id, county, programme, period, finance_bureau, line_department, state, limit_at,
       recalled_at, recalled_by, history_seq, history_hash
FROM batches WHERE batch_no = ANY($1::bigint[]) ORDER BY batch_no FOR NO KEY UPDATE;

-- name: append_history
-- Add events to the append-only history.
INSERT INTO history (batch_no, seq, at, event, body, hash)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::bytea[], $6::bytea[]);

-- name: advance_history!
-- Move the heads of the chains, and say that the batches changed: later than any count, however the clocks stood.
UPDATE batches b SET history_seq = u.seq, history_hash = u.hash,
                     changed_at = greatest(b.changed_at + interval '1 microsecond', u.at)
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::timestamptz[]) AS u(batch_no, seq, hash, at)
WHERE b.batch_no = u.batch_no;

-- name: read_history
-- A batch's history in order, for the verification of its chain.
SELECT seq, at, event, body, hash FROM history WHERE batch_no = $1 ORDER BY seq;
