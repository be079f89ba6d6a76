-- name: count_batch
-- The identity of one batch: every approved payout in exactly one bucket, by bank.
WITH b AS (SELECT batch_no, state, planned_line, limit_at FROM batches WHERE batch_no = $1)
SELECT bucket, bank, held, count(*) AS payouts, sum(amount_fen)::bigint AS amount_fen, min(since) AS since,
       count(*) FILTER (WHERE late) AS late, (sum(amount_fen) FILTER (WHERE late))::bigint AS late_fen
FROM (
    SELECT p.amount_fen, coalesce(a.bank, p.bank) AS bank, s.sent_at AS since,
           coalesce(a.state, s.state) = 'HELD' AS held,
           CASE WHEN p.conflict_at IS NOT NULL THEN 'conflict'
                WHEN p.cancelled_at IS NOT NULL THEN 'cancelled'
                WHEN b.state = 'AWAITING_FUNDS' THEN 'awaiting_funds'
                WHEN a.payout_id IS NULL THEN
                    CASE WHEN (p.payout_id & 1048575) > b.planned_line THEN 'queued' ELSE 'failed' END
                WHEN a.state = 'CREDITED' THEN 'credited'
                WHEN coalesce(a.state, s.state) IN ('IN_DOUBT', 'HELD') THEN 'in_doubt'
                WHEN coalesce(a.state, s.state) IN ('SENDING', 'SUBMITTED', 'ACCEPTED') THEN 'in_flight'
                WHEN s.state IN ('PLANNED', 'RENDERED', 'DEFERRED') THEN 'queued'
           END AS bucket,
           a.state = 'CREDITED' AND CASE WHEN a.post_date IS NULL
               THEN a.credited_at > coalesce(a.limit_at, b.limit_at)
               ELSE a.post_date > ((coalesce(a.limit_at, b.limit_at) - interval '1 microsecond')
                                   AT TIME ZONE 'Asia/Shanghai')::date END AS late
    FROM b
    JOIN payouts p ON p.payout_id BETWEEN b.batch_no << 20 AND (b.batch_no << 20) | 1048575
    LEFT JOIN attempts a ON a.payout_id = p.payout_id AND a.live
    LEFT JOIN submissions s ON s.submission_id = a.submission_id
) x
GROUP BY bucket, bank, held;

-- name: reasons_of_batch
-- Why lines were refused and why payouts that wait for an order failed.
SELECT reason, count(*) AS count FROM (
    SELECT reason FROM refused_lines WHERE batch_no = $1
    UNION ALL
    SELECT (SELECT c.reason FROM attempts c WHERE c.payout_id = p.payout_id AND NOT c.live
            ORDER BY c.attempt_no DESC LIMIT 1)
    FROM payouts p
    JOIN batches b ON b.batch_no = $1
    WHERE p.payout_id BETWEEN $1 << 20 AND ($1 << 20) | 1048575 AND p.cancelled_at IS NULL
      AND (p.payout_id & 1048575) <= b.planned_line
      AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.payout_id = p.payout_id AND a.live)
) r WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason;

-- name: batches_to_count
-- Batches that changed since they were counted.
SELECT batch_no FROM batches
WHERE (counted_at IS NULL OR changed_at > counted_at) AND state IN ('AWAITING_FUNDS', 'PAYING', 'COMPLETE')
ORDER BY batch_no LIMIT 200;

-- name: lock_batch
-- One batch, locked.
SELECT * FROM batches WHERE batch_no = $1 FOR NO KEY UPDATE;

-- name: keep_count!
-- Remember a count, and that it is of this state of affairs.
UPDATE batches SET buckets = $2::jsonb, counted_at = changed_at, state = $3, revision = $4,
                   interim_sent_at = coalesce($5, interim_sent_at), completed_at = coalesce(completed_at, $6)
WHERE batch_no = $1;

-- name: batches_past_limit
-- Batches that passed their limit without an interim report.
SELECT batch_no FROM batches
WHERE state = 'PAYING' AND limit_at <= $1 AND interim_sent_at IS NULL AND completed_at IS NULL ORDER BY limit_at LIMIT 100;

-- name: all_counts
-- The remembered counts of all batches, for the gauges.
SELECT state, approved_lines, approved_fen, refused_lines, buckets FROM batches WHERE state <> 'REFUSED';

-- name: batches_by_state
-- How many batches are where.
SELECT state, count(*) AS batches FROM batches GROUP BY state;

-- name: nearest_deadlines
-- The nearest open deadline of each clock.
SELECT least((SELECT min(limit_at) FROM batches WHERE state = 'PAYING' AND planned_line < lines),
             (SELECT min(limit_at) FROM submissions WHERE state NOT IN ('RETIRED', 'CLOSED'))) AS limit_at,
       (SELECT min(target_at) FROM batches WHERE state = 'PAYING' AND completed_at IS NULL) AS target_at,
       (SELECT min(feedback_due_at) FROM batches WHERE state = 'PAYING' AND completed_at IS NULL) AS feedback_at,
       (SELECT min(due_at) FROM outbox WHERE published_at IS NULL) AS receipt_at;

-- name: find_batches
-- Batches by number or by their issuer's name.
SELECT * FROM batches WHERE batch_no = $1 OR batch_id = $2 ORDER BY batch_no;

-- name: recent_batches
-- The newest batches.
SELECT * FROM batches ORDER BY batch_no DESC LIMIT $1;

-- name: payout_by_id
-- One approved line with its batch.
SELECT p.*, b.issuer, b.batch_id, b.county, b.limit_at, b.target_at, b.feedback_due_at, b.clock_started_at,
       b.state AS batch_state
FROM payouts p JOIN batches b ON b.batch_no = p.payout_id >> 20 WHERE p.payout_id = $1;

-- name: attempts_of_payout
-- All attempts of a payout, oldest first.
SELECT a.*, s.state AS submission_state, s.reference AS submission_reference, s.sent_at, s.probe_at, s.bank_no,
       s.transmissions
FROM attempts a JOIN submissions s USING (submission_id) WHERE a.payout_id = $1 ORDER BY a.attempt_no;

-- name: evidence_of_payout
-- Evidence that moved no state of this payout.
SELECT * FROM evidence WHERE payout_id = $1 ORDER BY evidence_id;

-- name: submissions_of_batch
-- The submissions of a batch.
SELECT submission_id, bank, bank_no, reference, state, lines, open_lines, amount_fen, transmissions, sent_at, due_at,
       probe_at, probes, limit_at FROM submissions WHERE batch_no = $1 ORDER BY submission_id;

-- name: fundings_of_batch
-- The money of a batch.
SELECT funding_id, amount_fen, received_at, key_id FROM fundings WHERE batch_no = $1 ORDER BY stored_at;

-- name: refused_line
-- A refused line and why.
SELECT line, reason, detail FROM refused_lines WHERE batch_no = $1 AND line = $2;

-- name: failed_everywhere
-- Batches that hold payouts waiting for an order.
SELECT batch_no, issuer, batch_id FROM batches WHERE state IN ('PAYING', 'COMPLETE') ORDER BY batch_no;
