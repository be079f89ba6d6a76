-- name: locate_evidence
-- Which attempts, submissions and batches references belong to; no lock yet, so that locks can be taken in order.
SELECT a.reference, a.submission_id, s.batch_no
FROM attempts a JOIN submissions s USING (submission_id)
WHERE a.reference = ANY($2::text[]) AND a.bank = $1;

-- name: locate_submissions
-- Submissions of a bank by their own reference or their key.
SELECT submission_id, batch_no, reference FROM submissions
WHERE bank = $1 AND (reference = ANY($2::text[]) OR submission_id = ANY($3::bigint[]));

-- name: lines_of_retired
-- The lines that were in a retired transmission, wherever they are now: moved on, or cancelled.
SELECT o.submission_id AS retired, a.reference, a.submission_id, s.batch_no
FROM submissions o
JOIN moved_lines m ON m.submission_id = o.submission_id
JOIN attempts a ON a.bank = o.bank AND a.reference = m.reference
JOIN submissions s ON s.submission_id = a.submission_id
WHERE o.bank = $1 AND (o.reference = ANY($2::text[]) OR o.submission_id = ANY($3::bigint[])) AND o.state = 'RETIRED'
UNION ALL
SELECT o.submission_id, a.reference, a.submission_id, o.batch_no
FROM submissions o JOIN attempts a ON a.submission_id = o.submission_id AND a.state = 'VOID'
WHERE o.bank = $1 AND (o.reference = ANY($2::text[]) OR o.submission_id = ANY($3::bigint[])) AND o.state = 'RETIRED'
  AND o.transmissions > 0;

-- name: lock_submissions
-- Lock submissions in key order, after their batches.
SELECT submission_id, batch_no, bank, reference, state, lines, open_lines, sent_lines, sent_at, ended_at, acknowledged_at,
       acknowledgement_due_at, transmissions, fence, bank_no, limit_at, hold_at, amount_fen
FROM submissions WHERE submission_id = ANY($1::bigint[]) ORDER BY submission_id FOR NO KEY UPDATE;

-- name: known_attempts
-- What is on record about the attempts that evidence names; their submissions are locked.
SELECT a.submission_id, a.seq, a.payout_id, a.attempt_no, a.reference, a.amount_fen, a.state, a.host_reference,
       a.return_host_reference, a.affirmed, a.credited_at, a.order_no, a.reason, coalesce(a.has_phone, p.has_phone) AS has_phone,
       coalesce(a.limit_at, b.limit_at) AS limit_at, p.conflict_at, s.batch_no, s.state AS submission_state, s.bank_no,
       s.sms_signature, s.sent_at, s.ended_at
FROM attempts a
JOIN submissions s USING (submission_id)
JOIN payouts p USING (payout_id)
JOIN batches b ON b.batch_no = s.batch_no
WHERE a.bank = $1 AND a.reference = ANY($2::text[]);

-- name: debited_lines
-- Which of these lines a statement shows as debited, under their own reference or in one sum with their submission.
SELECT reference FROM statement_entries WHERE bank = $1 AND reference = ANY($2::text[]) AND booking = 'DEBIT'
UNION
SELECT a.reference FROM attempts a JOIN submissions s USING (submission_id)
JOIN statement_entries e ON e.submission = s.reference AND e.bank = s.bank AND e.reference IS NULL AND e.booking = 'DEBIT'
WHERE a.bank = $1 AND a.reference = ANY($2::text[]);

-- name: inheriting_attempts
-- References of the attempts that have no state of their own: what is said of the whole submission is said of them.
SELECT reference FROM attempts WHERE submission_id = $1 AND state IS NULL ORDER BY seq;

-- name: attempts_with_own_state
-- How many sent lines of a submission the bank spoke of by themselves, also in contradiction; any forbids a resend.
SELECT count(*) FROM attempts a
WHERE a.submission_id = $1
  AND ((a.state IS NOT NULL AND NOT (a.state = 'REJECTED' AND coalesce(a.bank_code, '') LIKE 'LOCAL:%'))
       OR EXISTS (SELECT 1 FROM evidence e
                  WHERE e.bank = a.bank AND e.reference = a.reference AND e.effect = 'CONFLICT'));

-- name: settle_attempts!
-- Write outcomes once, sorted by key: conditional on the state the decision was made on.
UPDATE attempts a
SET state = u.state, live = u.live, reason = u.reason, bank_code = u.bank_code,
    host_reference = coalesce(u.host_reference, a.host_reference), post_date = coalesce(u.post_date, a.post_date),
    artefact = u.artefact, settled_at = u.at, credited_at = coalesce(a.credited_at, u.credited_at),
    return_host_reference = u.return_host_reference, returned_at = u.returned_at,
    affirmed = a.affirmed OR u.state = 'ACCEPTED'
FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::text[],
            $9::date[], $10::bytea[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::timestamptz[])
     AS u(submission_id, seq, state_before, state, live, reason, bank_code, host_reference, post_date, artefact, at,
          credited_at, return_host_reference, returned_at)
WHERE a.submission_id = u.submission_id AND a.seq = u.seq AND a.state IS NOT DISTINCT FROM u.state_before;

-- name: affirm_attempts!
-- The bank itself said of these lines that it has them.
UPDATE attempts SET affirmed = true WHERE bank = $1 AND reference = ANY($2::text[]) AND NOT affirmed;

-- name: keep_evidence
-- Keep evidence beside the state; the same again is nothing new.
INSERT INTO evidence (bank, reference, proof, effect, payout_id, reason, bank_code, amount_fen, host_reference,
                      post_date, artefact, recorded_at)
SELECT $1, u.* , $11
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::text[],
            $10::date[], $12::bytea[])
     AS u(reference, proof, effect, payout_id, reason, bank_code, amount_fen, host_reference, post_date, artefact)
ON CONFLICT DO NOTHING RETURNING reference;

-- name: freeze_payouts
-- A contradiction freezes the payout; the first one's time stays.
UPDATE payouts SET conflict_at = $2 WHERE payout_id = ANY($1::bigint[]) AND conflict_at IS NULL RETURNING payout_id;

-- name: update_submissions!
-- Move submissions after evidence: state, lines still open, when to ask next.
-- What closes straight from SENDING or DEFERRED has no question planned yet, and may have to be watched for returns.
UPDATE submissions s
SET state = u.state, open_lines = u.open_lines,
    acknowledged_at = CASE WHEN u.acknowledged THEN coalesce(s.acknowledged_at, $6) ELSE s.acknowledged_at END,
    acknowledgement_due_at = CASE WHEN u.spoken THEN NULL ELSE s.acknowledgement_due_at END,
    due_at = coalesce(u.due_at, s.due_at),
    unsent = s.unsent + u.unsent,
    ended_at = CASE WHEN $7 THEN $6 ELSE s.ended_at END,
    watch_until = greatest(s.watch_until, $6 + $8 * interval '1 day'),
    probe_at = CASE WHEN u.state IN ('DEFERRED', 'RETIRED') THEN NULL
                    WHEN u.state = 'CLOSED' AND s.state NOT IN ('DEFERRED', 'SENDING') THEN s.probe_at
                    ELSE coalesce(s.probe_at, $10, $6) END
FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::boolean[], $5::timestamptz[], $9::boolean[], $11::integer[])
     AS u(submission_id, state, open_lines, acknowledged, due_at, spoken, unsent)
WHERE s.submission_id = u.submission_id;

-- name: insert_artefact
-- Keep what a bank gave us, once per name and content.
INSERT INTO artefacts (bank, digest, name, sealed, received_at, quarantined) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (bank, digest, name) DO NOTHING RETURNING artefact_id;

-- name: artefacts_first_read
-- When contents were read for the first time, under whatever name.
SELECT digest, min(received_at) AS first_read_at FROM artefacts
WHERE bank = $1 AND digest = ANY($2::bytea[]) GROUP BY digest;

-- name: insert_callback_event
-- Remember a callback by its event; no row when it was there already.
INSERT INTO callback_events (bank, event_id, digest, received_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING RETURNING event_id;

-- name: callback_event
-- The digest under which an event was first seen.
SELECT digest FROM callback_events WHERE bank = $1 AND event_id = $2;

-- name: insert_notices!
-- Calls to the SMS provider, at most a hundred people each.
INSERT INTO notices (batch_no, kind, signature, payouts, attempts, submissions, seqs, outcomes, due_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9);

-- name: facts_on_record
-- Outcomes already in the books, to tell news from what is read again.
SELECT reference, state, amount_fen, host_reference, return_host_reference FROM attempts
WHERE bank = $1 AND reference = ANY($2::text[]) AND state IN ('CREDITED', 'REJECTED', 'RETURNED');
