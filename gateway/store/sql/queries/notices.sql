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
SELECT notice_id, kind, payouts, attempts, state, outcomes, sealed FROM notices WHERE notice_id = ANY($1::bigint[]) ORDER BY notice_id FOR NO KEY UPDATE;

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

-- name: note_parts!
-- The provider's ids of the parts of a call, known from an answer or a serial; a report may have been first.
INSERT INTO notice_parts (provider, provider_id, notice_id, place, at)
SELECT $1, u.provider_id, $3, u.place, clock_timestamp() FROM unnest($2::text[], $4::smallint[]) AS u(provider_id, place)
ORDER BY u.provider_id
ON CONFLICT (provider, provider_id) DO UPDATE SET notice_id = excluded.notice_id, place = excluded.place
WHERE notice_parts.notice_id IS NULL;

-- name: take_reports
-- Reports of parts, the first final word of each; whose each is, where that is known.
INSERT INTO notice_parts AS p (provider, provider_id, outcome, at)
SELECT $1, u.provider_id, u.outcome, clock_timestamp() FROM unnest($2::text[], $3::text[]) AS u(provider_id, outcome)
ORDER BY u.provider_id
ON CONFLICT (provider, provider_id) DO UPDATE SET outcome = coalesce(p.outcome, excluded.outcome)
RETURNING provider_id, notice_id, place;

-- name: newest_notice$
-- The number of the newest call.
SELECT max(notice_id) FROM notices;

-- name: parts_of_notices
-- The parts of some calls, as far as they are known, with what was reported of each.
SELECT notice_id, place, outcome FROM notice_parts WHERE notice_id = ANY($1::bigint[]);

-- name: forget_parts
-- Drop reports that found no message, and parts that nobody will report again.
DELETE FROM notice_parts
WHERE provider = $1 AND ((notice_id IS NULL AND at < clock_timestamp() - $2 * interval '1 second')
                         OR at < clock_timestamp() - $3 * interval '1 second')
RETURNING notice_id IS NULL AS orphan;
