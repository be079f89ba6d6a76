-- name: known_order
-- An order already decided: its digest and what came of it.
SELECT digest, outcome FROM orders WHERE issuer = $1 AND order_id = $2;

-- name: insert_order
-- Keep an order with its decision, once.
INSERT INTO orders (issuer, order_id, kind, batch_id, line, attempt_no, digest, key_id, signature, sealed, outcome,
                    decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
RETURNING order_no;

-- name: payout_for_order
-- A payout under its batch's lock.
SELECT payout_id, amount_fen, bank, bank_no, has_phone, sealed, cancelled_at,
       EXISTS (SELECT 1 FROM frozen_payouts f WHERE f.payout_id = payouts.payout_id)
           OR EXISTS (SELECT 1 FROM attempts a JOIN submissions s USING (submission_id)
                      CROSS JOIN LATERAL held_in_submission(a.submission_id) h
                      WHERE a.payout_id = payouts.payout_id AND a.live AND h.payout_id = a.payout_id
                        AND s.state IN ('PLANNED', 'RENDERED', 'DEFERRED')) AS frozen
FROM payouts
WHERE payout_id = $1 FOR NO KEY UPDATE;

-- name: latest_attempt
-- The latest attempt of a payout, with the state it shares with its submission.
SELECT a.submission_id, a.seq, a.attempt_no, a.reference, a.live, a.state, a.reason, a.sealed, a.order_no, a.amount_fen, a.bank,
       s.state AS submission_state, s.bank_no
FROM attempts a JOIN submissions s USING (submission_id)
WHERE a.payout_id = $1
ORDER BY a.attempt_no DESC LIMIT 1;

-- name: gathering_submission
-- A cut, unclaimed submission of re-issues for the same bank that still has room.
SELECT submission_id FROM submissions
WHERE batch_no = $1 AND bank = $2 AND bank_no = $3 AND state = 'PLANNED' AND due_at > $4 AND due_at <= $5
  AND lines < $6 AND amount_fen + $7 <= $8 AND (lease_until IS NULL OR lease_until < clock_timestamp())
ORDER BY submission_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: grow_submission
-- One more line gathers.
UPDATE submissions SET lines = lines + 1, open_lines = open_lines + 1, amount_fen = amount_fen + $2,
                       limit_at = least(limit_at, $3), hold_at = least(hold_at, $4)
WHERE submission_id = $1 RETURNING lines;

-- name: highest_seq
-- The last line number used in a submission.
SELECT coalesce(max(seq), 0) FROM attempts WHERE submission_id = $1;

-- name: insert_attempt!
-- A re-issue: a new attempt with a new reference, linked to its order.
INSERT INTO attempts (submission_id, seq, payout_id, attempt_no, bank, reference, amount_fen, limit_at, order_no,
                      sealed, has_phone)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: change_person!
-- A corrected ID replaces the payout's blind index; somebody else's raises a unique violation.
UPDATE payouts SET beneficiary = $2 WHERE payout_id = $1;

-- name: frozen_among
-- Which of these payouts are frozen.
SELECT DISTINCT payout_id FROM frozen_payouts WHERE payout_id = ANY($1::bigint[]);

-- name: cancel_payouts!
-- These payouts will not be made.
UPDATE payouts SET cancelled_at = $2 WHERE payout_id = ANY($1::bigint[]) AND cancelled_at IS NULL;

-- name: note_cancelled!
-- What cancelled lines no longer ask for.
UPDATE batches SET cancelled_fen = cancelled_fen + $2 WHERE batch_no = $1;

-- name: void_attempts!
-- Cancelled before it was sent: the reference is burned.
UPDATE attempts SET state = 'VOID', live = false, settled_at = $3
WHERE submission_id = $1 AND reference = ANY($2::text[]) AND state IS NULL;

-- name: recallable_submissions
-- Submissions of a batch of which the bank certainly has nothing, locked.
SELECT submission_id FROM submissions
WHERE batch_no = $1 AND state IN ('PLANNED', 'RENDERED', 'DEFERRED') ORDER BY submission_id FOR NO KEY UPDATE;

-- name: unsent_attempts
-- The lines of a submission that nobody has said anything about, with their last order; held ones are marked.
SELECT a.payout_id, a.attempt_no, a.reference, a.amount_fen, a.order_no, s.bank_no,
       a.payout_id IN (SELECT h.payout_id FROM held_in_submission($1) h) AS held
FROM attempts a JOIN submissions s USING (submission_id)
WHERE a.submission_id = $1 AND a.state IS NULL ORDER BY a.seq;

-- name: unplanned_payouts
-- Approved lines of a batch that are in no submission yet.
SELECT payout_id, amount_fen, bank_no FROM payouts
WHERE payout_id > $1 AND payout_id <= $2 AND cancelled_at IS NULL ORDER BY payout_id;

-- name: failed_payouts
-- Payouts of a batch that wait for an order: the latest attempt is closed negative and no new one lives.
SELECT p.payout_id, p.amount_fen, a.attempt_no, a.bank, a.state, a.reason, a.bank_code, a.settled_at, a.returned_at,
       a.reference, s.bank_no
FROM payouts p
JOIN LATERAL (
    SELECT * FROM attempts c WHERE c.payout_id = p.payout_id AND NOT c.live ORDER BY c.attempt_no DESC LIMIT 1) a ON true
JOIN submissions s ON s.submission_id = a.submission_id
WHERE p.payout_id BETWEEN $1 AND $2 AND p.cancelled_at IS NULL AND a.state IN ('REJECTED', 'RETURNED', 'NOT_EXECUTED')
  AND NOT EXISTS (SELECT 1 FROM attempts l WHERE l.payout_id = p.payout_id AND l.live)
ORDER BY p.payout_id LIMIT $3;

-- name: recall_batch!
-- No line of this batch that is not cut yet will be; the last recall binds what was ordered before it.
UPDATE batches SET recalled_at = coalesce(recalled_at, $2), recalled_by = $3, planned_line = lines WHERE batch_no = $1;
