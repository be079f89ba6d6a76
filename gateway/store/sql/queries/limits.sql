-- name: lock_bank
-- A bank's pace, locked until the transaction ends: two processes cannot both count the last free place.
SELECT greatest(0, ceil(extract(epoch FROM next_submit_at - clock_timestamp()) * 1000))::bigint AS wait_milliseconds
FROM banks WHERE bank = $1 FOR NO KEY UPDATE;

-- name: sending_count
-- How many of a bank's submissions are on the wire at this moment.
SELECT count(*) FROM submissions WHERE bank = $1 AND state = 'SENDING';

-- name: submit_wait
-- How long, in milliseconds, until a bank may be sent the next submission; a look, not a turn.
SELECT greatest(0, ceil(extract(epoch FROM next_submit_at - clock_timestamp()) * 1000))::bigint AS wait_milliseconds
FROM banks WHERE bank = $1;

-- name: use_submit_turn!
-- The next submission of this login is a whole interval away.
UPDATE banks SET next_submit_at = clock_timestamp() + $2 * interval '1 millisecond' WHERE bank = $1;

-- name: take_probe_turn
-- The right to one question, for whoever comes first after the interval; no row: not yet.
UPDATE banks SET next_probe_at = clock_timestamp() + $2 * interval '1 millisecond'
WHERE bank = $1 AND next_probe_at <= clock_timestamp() RETURNING bank;

-- name: probe_wait
-- How long, in milliseconds, until a bank may be asked the next question.
SELECT greatest(1, ceil(extract(epoch FROM next_probe_at - clock_timestamp()) * 1000))::bigint AS wait_milliseconds
FROM banks WHERE bank = $1;

-- name: shrink_submission!
-- The first half of a split submission: the other half has one of its own. The claim is given back.
UPDATE submissions SET lines = lines - $2, open_lines = open_lines - $2, amount_fen = amount_fen - $3, lease_until = NULL,
                       lease_owner = NULL
WHERE submission_id = $1;
