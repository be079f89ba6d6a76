-- name: open_batch!
-- The first part of a batch makes its row; later ones find it.
INSERT INTO batches (issuer, batch_id, county, programme, period, document_no, finance_bureau, line_department,
                     head_digest, parts, lines, amount_written, first_part_at, parts_due_at, claimed_list_at, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $13)
ON CONFLICT (issuer, batch_id) DO NOTHING;

-- name: lock_batch_name
-- Until the transaction ends: parts and fundings under one name wait for each other, also before the batch has a row.
SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0));

-- name: lock_batch_by_id
-- A batch by its issuer's name for it, locked.
SELECT * FROM batches WHERE issuer = $1 AND batch_id = $2 FOR NO KEY UPDATE;

-- name: part_digest
-- The digest under which a part is known.
SELECT digest FROM batch_parts WHERE batch_no = $1 AND part = $2;

-- name: insert_part!
-- Keep a part: the signed bytes sealed, the signature beside them.
INSERT INTO batch_parts (batch_no, part, digest, key_id, signature, sealed, first_line, lines, amount_written,
                         received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: parts_of_batch
-- What is in of a batch, in order.
SELECT part, first_line, lines, amount_written FROM batch_parts WHERE batch_no = $1 ORDER BY part;

-- name: count_parts
-- How many parts of a batch are in.
SELECT count(*) FROM batch_parts WHERE batch_no = $1;

-- name: batch_to_judge!
-- The list is whole: its lines may be judged. The list counts as received at the earlier of its two dates.
UPDATE batches SET state = 'JUDGING', list_received_at = least(claimed_list_at, $2) WHERE batch_no = $1;

-- name: refuse_batch!
-- Nothing of this batch will ever be paid.
UPDATE batches SET state = 'REFUSED' WHERE batch_no = $1;

-- name: waiting_for_parts
-- Batches of which parts are missing, the oldest first: what is not among so many is looked at when they are over.
SELECT batch_no, parts_due_at FROM batches WHERE state = 'COLLECTING' ORDER BY parts_due_at, batch_no LIMIT 10000;

-- name: overdue_batches
-- Those of these batches whose parts have still not all arrived.
SELECT batch_no, issuer, batch_id, parts FROM batches
WHERE state = 'COLLECTING' AND batch_no = ANY($1::bigint[]) ORDER BY parts_due_at LIMIT 100
FOR NO KEY UPDATE SKIP LOCKED;

-- name: next_to_judge
-- The oldest batch with parts to judge, locked for one part's work.
SELECT b.* FROM batches b WHERE b.state = 'JUDGING' AND NOT b.batch_no = ANY($1::bigint[]) ORDER BY b.list_received_at, b.batch_no LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED;

-- name: sealed_part
-- The signed bytes of one part.
SELECT sealed FROM batch_parts WHERE batch_no = $1 AND part = $2;

-- name: approved_beneficiaries
-- Who of these people has an approved, uncancelled payout of this programme and period already.
SELECT beneficiary FROM payouts
WHERE beneficiary = ANY($1::uuid[]) AND programme = $2 AND period = $3 AND cancelled_at IS NULL;

-- name: bindings_of
-- The accounts kept for these people.
SELECT beneficiary, sealed FROM account_bindings WHERE beneficiary = ANY($1::uuid[]);

-- name: advance_judging
-- One more part is judged.
UPDATE batches
SET judged_parts = judged_parts + 1, approved_lines = approved_lines + $2, approved_fen = approved_fen + $3,
    refused_lines = refused_lines + $4,
    state = CASE WHEN judged_parts + 1 < parts THEN 'JUDGING'
                 WHEN approved_lines + $2 = 0 THEN 'COMPLETE' ELSE 'AWAITING_FUNDS' END
WHERE batch_no = $1
RETURNING state;

-- name: funding_digest
-- The digest under which a funding confirmation is known.
SELECT digest FROM fundings WHERE issuer = $1 AND funding_id = $2;

-- name: insert_funding!
-- Keep a funding confirmation.
INSERT INTO fundings (issuer, funding_id, batch_id, amount_fen, received_at, digest, key_id, signature, raw, stored_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: match_fundings
-- Give a batch the confirmations that wait for it; what they add up to, and when the last of the money came.
WITH matched AS (
    UPDATE fundings SET batch_no = $3 WHERE issuer = $1 AND batch_id = $2 AND batch_no IS NULL
    RETURNING amount_fen, received_at
)
UPDATE batches b
SET funds_fen = b.funds_fen + m.amount_fen, funds_received_at = greatest(b.funds_received_at, m.received_at)
FROM (SELECT sum(amount_fen) AS amount_fen, max(received_at) AS received_at FROM matched) m
WHERE b.batch_no = $3 AND m.amount_fen IS NOT NULL
RETURNING b.funds_fen;

-- name: funded_batches
-- Judged batches whose money covers their approved lines; the clock has not started.
SELECT batch_no, list_received_at, funds_received_at FROM batches
WHERE state = 'AWAITING_FUNDS' AND funds_fen >= approved_fen - cancelled_fen AND funds_received_at IS NOT NULL
ORDER BY list_received_at, batch_no LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED;

-- name: start_clock!
-- Money and list are in: the deadlines run.
UPDATE batches
SET state = 'PAYING', clock_started_at = $2, limit_at = $3, target_at = $4, feedback_due_at = $5, deadline_exact = $6
WHERE batch_no = $1 AND state = 'AWAITING_FUNDS';

-- name: next_to_plan
-- The most urgent batch with approved lines that are in no submission yet, locked for one chunk.
SELECT batch_no, issuer, batch_id, county, programme, period, lines, planned_line, limit_at, clock_started_at
FROM batches WHERE state = 'PAYING' AND planned_line < lines AND NOT batch_no = ANY($1::bigint[]) ORDER BY limit_at, batch_no LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: payouts_to_plan
-- Approved lines in line order.
SELECT payout_id, bank, bank_no, amount_fen FROM payouts
WHERE payout_id > $1 AND payout_id <= $2 AND cancelled_at IS NULL ORDER BY payout_id LIMIT $3;

-- name: advance_planning!
-- Lines up to this one are in submissions.
UPDATE batches SET planned_line = $2 WHERE batch_no = $1;

-- name: insert_submission
-- A submission, cut but not rendered.
INSERT INTO submissions (batch_no, bank, reference, county, bank_no, debit_account, debit_name, sms_signature, lines,
                         open_lines, amount_fen, limit_at, hold_at, due_at)
VALUES ($1, $2, 'NEW' || gen_random_uuid(), $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12)
RETURNING submission_id;

-- name: upsert_bindings
-- Load the accounts a bank keeps for people; the newest wins.
INSERT INTO account_bindings (beneficiary, sealed, loaded_at)
SELECT u.beneficiary, u.sealed, $3 FROM unnest($1::uuid[], $2::bytea[]) AS u(beneficiary, sealed)
ON CONFLICT (beneficiary) DO UPDATE SET sealed = EXCLUDED.sealed, loaded_at = EXCLUDED.loaded_at;

-- name: known_message
-- Whether exactly these bytes were accepted before under this name.
SELECT EXISTS (SELECT 1 FROM batch_parts p JOIN batches b USING (batch_no)
               WHERE b.issuer = $1 AND b.batch_id = $2 AND p.part = $3 AND p.digest = $4)
    OR EXISTS (SELECT 1 FROM fundings WHERE issuer = $1 AND funding_id = $2 AND digest = $4 AND $3 IS NULL)
    OR EXISTS (SELECT 1 FROM orders WHERE issuer = $1 AND order_id = $2 AND digest = $4 AND $3 IS NULL);
