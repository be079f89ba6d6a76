-- name: insert_outbox
-- Stage records in the transaction that changed the state they tell of.
INSERT INTO outbox (lane, topic, record_key, value, happened_at, due_at)
SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[], $6::timestamptz[]);

-- name: waiting_records
-- The oldest unpublished records of a lane. Not "id greater than the last": that skips rows of open transactions.
SELECT outbox_id, topic, record_key, value, happened_at, due_at FROM outbox
WHERE lane = $1 AND published_at IS NULL ORDER BY outbox_id LIMIT $2;

-- name: mark_published!
-- The broker acknowledged these records.
UPDATE outbox SET published_at = $2 WHERE outbox_id = ANY($1::bigint[]) AND published_at IS NULL;

-- name: waiting_lanes
-- Lanes that have something to publish.
SELECT DISTINCT lane FROM outbox WHERE published_at IS NULL ORDER BY lane;

-- name: outbox_state
-- How much waits, since when, and the nearest promise.
SELECT count(*) AS pending, min(happened_at) AS oldest_at, min(due_at) AS due_at FROM outbox WHERE published_at IS NULL;
