-- name: claim_notices
-- Calls to make or to ask about, oldest first, under a lease.
UPDATE notices SET lease_owner = $1, lease_until = clock_timestamp() + $2 * interval '1 second', fence = fence + 1
WHERE notice_id IN (
    SELECT notice_id FROM notices
    WHERE state IN ('DUE', 'SENDING', 'UNKNOWN', 'SENT') AND due_at <= $3
      AND (lease_until IS NULL OR lease_until < clock_timestamp())
    ORDER BY due_at, notice_id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING notice_id, batch_no, kind, signature, payouts, attempts, submissions, seqs, outcomes, state, sealed, tries,
          fence, created_at, sent_at;

-- name: facts_for_notices
-- What the texts of a call say, by place in the call.
SELECT u.place, p.payout_id, coalesce(a.sealed, p.sealed) AS sealed,
       CASE WHEN a.sealed IS NULL THEN 0 ELSE a.order_no END AS order_no, p.programme, p.period, a.amount_fen,
       a.post_date, a.credited_at, a.returned_at
FROM unnest($1::bigint[], $2::integer[]) WITH ORDINALITY AS u(submission_id, seq, place)
JOIN attempts a ON a.submission_id = u.submission_id AND a.seq = u.seq
JOIN payouts p USING (payout_id)
ORDER BY u.place;

-- name: notice_sending!
-- The texts are fixed and the call is about to be made: from here on, ask before sending again.
UPDATE notices SET state = 'SENDING', sealed = $3, tries = tries + 1, sent_at = $4
WHERE notice_id = $1 AND fence = $2 AND lease_until > clock_timestamp() AND state IN ('DUE', 'UNKNOWN');

-- name: notice_outcome!
-- What became of a call, person by person; when to look again.
UPDATE notices SET state = $3, outcomes = $4, due_at = $5, sent_at = coalesce($6, sent_at), lease_until = NULL
WHERE notice_id = $1 AND fence = $2;

-- name: notice_outcomes
-- A call's outcomes, locked: reports come by callback while somebody asks.
SELECT notice_id, kind, payouts, attempts, state, outcomes FROM notices WHERE notice_id = ANY($1::bigint[]) ORDER BY notice_id FOR NO KEY UPDATE;

-- name: notice_reported!
-- Reports arrived; nothing more is expected when every person has a final one.
UPDATE notices SET outcomes = $2, state = $3 WHERE notice_id = $1;

-- name: notices_by_state
-- How many calls are where, and since when the oldest waits.
SELECT state, count(*) AS calls, sum(cardinality(payouts)) AS people, min(due_at) AS oldest_at FROM notices
WHERE state <> 'CLOSED' GROUP BY state;

-- name: notices_of_payout
-- The notices of one payout.
SELECT n.notice_id, n.kind, n.attempts[u.place] AS attempt_no, n.outcomes[u.place] AS outcome, n.state, n.created_at
FROM notices n, LATERAL (SELECT array_position(n.payouts, $1) AS place) u
WHERE n.batch_no = $2 AND u.place IS NOT NULL ORDER BY n.notice_id;
