-- name: claim_to_render
-- Cut submissions whose bytes do not exist yet. A claim is a lease with a new fence.
UPDATE submissions SET lease_owner = $2, lease_until = clock_timestamp() + $3 * interval '1 second', fence = fence + 1
WHERE submission_id IN (
    SELECT s.submission_id FROM submissions s
    WHERE s.bank = $1 AND s.state = 'PLANNED' AND s.due_at <= $4
      AND (s.lease_until IS NULL OR s.lease_until < clock_timestamp())
    ORDER BY s.limit_at, s.submission_id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING submission_id, batch_no, bank, reference, county, bank_no, debit_account, debit_name, lines, fence;

-- name: claim_to_send
-- Rendered or deferred submissions that are due, most urgent first, of a bank that is not paused.
UPDATE submissions SET lease_owner = $2, lease_until = clock_timestamp() + $3 * interval '1 second', fence = fence + 1
WHERE submission_id IN (
    SELECT s.submission_id FROM submissions s
    WHERE s.bank = $1 AND s.state IN ('RENDERED', 'DEFERRED') AND s.due_at <= $4
      AND (s.lease_until IS NULL OR s.lease_until < clock_timestamp())
      AND NOT EXISTS (SELECT 1 FROM banks b WHERE b.bank = $1 AND b.paused_at IS NOT NULL)
    ORDER BY s.limit_at, s.submission_id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING submission_id, batch_no, bank, reference, payload, digest, remote_name, rendered_at, sent_lines, amount_fen,
          transmissions, unsent, fence, state;

-- name: claim_to_probe
-- Submissions to ask about: not finally answered and due, or closed and inside the return horizon.
UPDATE submissions SET lease_owner = $2, lease_until = clock_timestamp() + $3 * interval '1 second', fence = fence + 1
WHERE submission_id IN (
    SELECT s.submission_id FROM submissions s
    WHERE s.bank = $1 AND s.state IN ('SUBMITTED', 'ACCEPTED', 'IN_DOUBT', 'HELD', 'CLOSED') AND s.probe_at <= $4
      AND (s.lease_until IS NULL OR s.lease_until < clock_timestamp())
    ORDER BY s.probe_at, s.submission_id LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING submission_id, batch_no, bank, reference, payload, digest, remote_name, rendered_at, sent_lines, amount_fen,
          state, probes, sent_at, watch_until, transmissions, fence;

-- name: renew_leases!
-- Still at work on these.
UPDATE submissions SET lease_until = clock_timestamp() + $2 * interval '1 second'
WHERE submission_id = $1 AND fence = $3 AND lease_owner = $4;

-- name: release_submission!
-- Work on a submission is over; only the holder of the fence may say so.
UPDATE submissions SET lease_until = NULL, lease_owner = NULL WHERE submission_id = $1 AND fence = $2;

-- name: lines_to_render
-- What the bank must be told of each line, in order.
-- Marked are lines that are held, that were called back while they were, and that pay what nobody approved.
SELECT a.seq, a.reference, a.amount_fen, a.payout_id, a.attempt_no, coalesce(a.sealed, p.sealed) AS sealed,
       CASE WHEN a.sealed IS NULL THEN 0 ELSE a.order_no END AS order_no, p.programme, p.period,
       p.amount_fen <> a.amount_fen OR p.cancelled_at IS NOT NULL AS unapproved,
       p.payout_id IN (SELECT h.payout_id FROM held_in_submission($1) h) AS held,
       coalesce(coalesce(a.order_no, 0) < b.recalled_by, false) AS recalled
FROM attempts a
JOIN payouts p USING (payout_id)
JOIN submissions s USING (submission_id)
JOIN batches b ON b.batch_no = s.batch_no
WHERE a.submission_id = $1 AND a.state IS NULL ORDER BY a.seq;

-- name: sent_references
-- The references in a submission's bytes, in order: all but the lines refused before sending.
SELECT reference FROM attempts
WHERE submission_id = $1 AND NOT (state IS NOT DISTINCT FROM 'REJECTED' AND coalesce(bank_code, '') LIKE 'LOCAL:%')
ORDER BY seq;

-- name: lock_claimed
-- The claimed submission, locked, if the claim still holds.
SELECT submission_id, batch_no, state, lines, reference, due_at, transmissions, unsent FROM submissions
WHERE submission_id = $1 AND fence = $2 AND lease_until > clock_timestamp() FOR NO KEY UPDATE;

-- name: write_rendering!
-- The bytes, their digest and their name, once, before anything is sent.
UPDATE submissions
SET state = 'RENDERED', payload = $3, digest = $4, remote_name = $5, rendered_at = $6, sent_lines = $7, amount_fen = $8,
    lease_until = NULL
WHERE submission_id = $1 AND fence = $2 AND state = 'PLANNED' AND lines = $9;

-- name: write_sending
-- The point of no return, on paper first: committed before the wire is touched, by the holder of the lease only.
-- What has travelled travels again only while nothing is known of any line in it, whoever says that it is deferred.
UPDATE submissions
SET state = 'SENDING', transmissions = transmissions + 1,
    sent_at = greatest($3, sent_at + interval '1 millisecond'), silent_at = $4, ended_at = NULL, acknowledged_at = NULL, probe_at = NULL, probes = 0,
    watch_until = $5, acknowledgement_due_at = $6
WHERE submission_id = $1 AND fence = $2 AND state IN ('RENDERED', 'DEFERRED') AND lease_until > clock_timestamp()
  AND NOT EXISTS (SELECT 1 FROM banks b WHERE b.bank = submissions.bank AND b.paused_at IS NOT NULL)
  AND (transmissions = 0
       OR NOT EXISTS (SELECT 1 FROM attempts a
                      WHERE a.submission_id = $1 AND a.state IS NOT NULL
                        AND NOT (a.state = 'REJECTED' AND coalesce(a.bank_code, '') LIKE 'LOCAL:%')))
RETURNING bank, sent_at;

-- name: held_lines
-- Payouts of a submission of which nothing may travel now.
SELECT payout_id FROM held_in_submission($1);

-- name: share_statements_of
-- Until the transaction ends no statement of this submission's bank is compared.
SELECT pg_advisory_xact_lock_shared(hashtextextended(bank, 1)) FROM submissions WHERE submission_id = $1;

-- name: abandoned_sendings
-- Submissions left in SENDING by a process that is gone: nobody knows what the bank has.
SELECT submission_id, batch_no, bank FROM submissions
WHERE state = 'SENDING' AND (lease_until IS NULL OR lease_until < clock_timestamp())
ORDER BY submission_id LIMIT 100;

-- name: doubt_abandoned
-- Fence the gone process off and put its submissions in doubt, to be asked about at once. Its call may last until $3.
UPDATE submissions
SET state = 'IN_DOUBT', fence = fence + 1, lease_until = NULL, lease_owner = NULL, probe_at = $2, ended_at = $3
WHERE submission_id = ANY($1::bigint[]) AND state = 'SENDING'
  AND (lease_until IS NULL OR lease_until < clock_timestamp())
RETURNING submission_id, batch_no, bank;

-- name: silent_submissions
-- Submissions of which the bank has not said in its own time that it has them, or nothing final.
SELECT submission_id, batch_no FROM submissions
WHERE bank = $1 AND state IN ('SUBMITTED', 'ACCEPTED') AND (silent_at <= $2 OR acknowledgement_due_at <= $2)
ORDER BY least(silent_at, acknowledgement_due_at) LIMIT 100;

-- name: doubt_silent
-- Silence past the bank's due time is doubt.
-- A bank that then says "still working" has twice as long for its next word: otherwise its answer would be silence
-- again at once, and be asked about again at once, without end. The same for one that has not acknowledged.
UPDATE submissions
SET state = 'IN_DOUBT', probe_at = least(probe_at, $3), probes = 0,
    silent_at = CASE WHEN silent_at > $2 THEN silent_at
                     WHEN hold_at > $2 THEN least($2 + (silent_at - sent_at), hold_at)
                     ELSE $2 + (silent_at - sent_at) END,
    acknowledgement_due_at = CASE WHEN acknowledgement_due_at IS NULL OR acknowledgement_due_at > $2
                                  THEN acknowledgement_due_at
                                  WHEN hold_at > $2
                                  THEN least($2 + (acknowledgement_due_at - sent_at), hold_at)
                                  ELSE $2 + (acknowledgement_due_at - sent_at) END
WHERE submission_id = ANY($1::bigint[]) AND state IN ('SUBMITTED', 'ACCEPTED')
  AND (silent_at <= $2 OR acknowledgement_due_at <= $2)
RETURNING submission_id, batch_no;

-- name: doubt_silent_lines!
-- Lines that the bank said it was working on share the silence.
UPDATE attempts SET state = 'IN_DOUBT' WHERE submission_id = ANY($1::bigint[]) AND state = 'ACCEPTED';

-- name: silent_lines
-- Submissions in doubt, past their due time, of which the bank said that it was working on some line.
SELECT submission_id, batch_no FROM submissions s
WHERE bank = $1 AND state IN ('IN_DOUBT', 'HELD') AND silent_at <= $2
  AND EXISTS (SELECT 1 FROM attempts a WHERE a.submission_id = s.submission_id AND a.state = 'ACCEPTED')
ORDER BY silent_at LIMIT 100;

-- name: extend_silence!
-- The next word about such lines has twice as long, as in doubt_silent.
UPDATE submissions
SET silent_at = CASE WHEN hold_at > $2 THEN least($2 + (silent_at - sent_at), hold_at) ELSE $2 + (silent_at - sent_at) END
WHERE submission_id = ANY($1::bigint[]) AND silent_at <= $2;

-- name: doubts_to_hold
-- Doubt that lasts until close to the limit, and the lines the bank doubted by themselves.
SELECT submission_id, batch_no FROM submissions s
WHERE bank = $1 AND hold_at <= $2
  AND (state = 'IN_DOUBT'
       OR (state NOT IN ('CLOSED', 'RETIRED') AND EXISTS (
           SELECT 1 FROM attempts a WHERE a.submission_id = s.submission_id AND a.state = 'IN_DOUBT')))
ORDER BY limit_at LIMIT 100;

-- name: hold_submissions!
-- A person is called; asking goes on.
UPDATE submissions SET state = 'HELD', probe_at = coalesce(probe_at, $2)
WHERE submission_id = ANY($1::bigint[]) AND state = 'IN_DOUBT';

-- name: hold_lines!
-- The same for lines in doubt by themselves.
UPDATE attempts SET state = 'HELD' WHERE submission_id = ANY($1::bigint[]) AND state = 'IN_DOUBT';

-- name: schedule_probe!
-- When to ask next.
UPDATE submissions SET probe_at = $3, probes = probes + 1, lease_until = NULL, lease_owner = NULL
WHERE submission_id = $1 AND fence = $2;

-- name: schedule_first_probe!
-- After a transmission: when to ask for the first time, unless somebody did already.
UPDATE submissions
SET probe_at = CASE WHEN state IN ('DEFERRED', 'RETIRED') THEN NULL ELSE coalesce(probe_at, $3) END,
    lease_until = NULL, lease_owner = NULL
WHERE submission_id = $1 AND fence = $2;

-- name: bank_cursor
-- How far a bank's files have been collected.
SELECT collected_to FROM banks WHERE bank = $1;

-- name: ensure_banks
-- A row for each configured bank.
INSERT INTO banks (bank) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING;

-- name: move_cursor!
-- Collected up to here.
UPDATE banks SET collected_to = $2 WHERE bank = $1;

-- name: ask_now!
-- Something happened at the bank: ask about these submissions at once.
UPDATE submissions SET probe_at = $3
WHERE bank = $1 AND reference = ANY($2::text[]) AND state IN ('SUBMITTED', 'ACCEPTED', 'IN_DOUBT', 'HELD', 'CLOSED')
  AND (probe_at IS NULL OR probe_at > $3);
