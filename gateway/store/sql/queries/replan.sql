-- name: retire_submission!
-- Close a submission whose bytes must never travel (again); its lines move elsewhere.
UPDATE submissions SET state = 'RETIRED', open_lines = 0, probe_at = NULL, lease_until = NULL WHERE submission_id = $1;

-- name: copy_submission
-- A fresh, unrendered submission for lines of a retired one.
INSERT INTO submissions (batch_no, bank, reference, county, bank_no, debit_account, debit_name, sms_signature,
                         lines, open_lines,
                         amount_fen, limit_at, hold_at, due_at, set_aside_at)
SELECT batch_no, bank, 'NEW' || gen_random_uuid(), county, bank_no, debit_account, debit_name,
       sms_signature, $2, $2, $3,
       coalesce($5, limit_at), coalesce($6, hold_at), $4, $7
FROM submissions WHERE submission_id = $1
RETURNING submission_id;

-- name: name_submission!
-- Give a fresh submission the reference minted from its number.
UPDATE submissions SET reference = $2 WHERE submission_id = $1;

-- name: rebind_attempts!
-- Move unsent lines, with their references, to a fresh submission; remembered where the old bytes had travelled.
WITH moved AS (
    UPDATE attempts a SET submission_id = $2 WHERE a.submission_id = $1 AND a.reference = ANY($3::text[])
    RETURNING a.reference)
INSERT INTO moved_lines (submission_id, reference)
SELECT $1, m.reference FROM moved m JOIN submissions s ON s.submission_id = $1 WHERE s.transmissions > 0;

-- name: replan_attempts
-- New attempts, with new references, for lines that alone never reached the bank.
INSERT INTO attempts (submission_id, seq, payout_id, attempt_no, bank, reference, amount_fen, limit_at, order_no,
                      sealed, has_phone)
SELECT $2, a.seq, a.payout_id, a.attempt_no + 1, a.bank, u.fresh, a.amount_fen, a.limit_at, a.order_no, a.sealed,
       a.has_phone
FROM attempts a JOIN unnest($3::text[], $4::text[]) AS u(burned, fresh) ON a.reference = u.burned
WHERE a.submission_id = $1;

-- name: unspoken_lines
-- Lines of a submission that have no state of their own, in order.
SELECT reference, amount_fen FROM attempts WHERE submission_id = $1 AND state IS NULL ORDER BY seq;

-- name: amount_of_lines
-- What some lines of a submission add up to.
SELECT coalesce(sum(amount_fen), 0) FROM attempts WHERE submission_id = $1 AND reference = ANY($2::text[]);

-- name: lines_of_payouts
-- The unspoken lines of a submission that pay these payouts.
SELECT reference, amount_fen FROM attempts
WHERE submission_id = $1 AND payout_id = ANY($2::bigint[]) AND state IS NULL;

-- name: tries_so_far
-- How often lines were not executed before, by the order under which they were tried.
SELECT payout_id, order_no, count(*) AS tries FROM attempts
WHERE payout_id = ANY($1::bigint[]) AND NOT live AND state = 'NOT_EXECUTED' GROUP BY payout_id, order_no;
