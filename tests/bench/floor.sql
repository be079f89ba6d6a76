-- name: rows_of_run
-- The rows of the measured run, as they were inserted, in key order.
SELECT p.payout_id, p.beneficiary, p.programme, p.period, p.bank, p.bank_no, p.amount_fen, p.has_phone, p.sealed,
       a.submission_id, a.seq, a.attempt_no, a.reference, a.state, a.host_reference, a.post_date, a.artefact,
       a.settled_at, a.credited_at
FROM payouts p JOIN attempts a USING (payout_id) ORDER BY p.payout_id;

-- name: records_of_run
-- The receipts of the measured run.
SELECT value FROM outbox WHERE topic = 'receipts' ORDER BY outbox_id;

-- name: empty_tables
-- The same tables with the same indexes and constraints, empty.
CREATE TABLE floor_payouts (LIKE payouts INCLUDING ALL);
CREATE TABLE floor_attempts (LIKE attempts INCLUDING ALL) WITH (fillfactor = 50);

-- name: settle
-- The one update of every row.
UPDATE floor_attempts a
SET state = u.state, host_reference = u.host_reference, post_date = u.post_date, artefact = u.artefact,
    settled_at = u.settled_at, credited_at = u.credited_at
FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::date[], $6::bytea[], $7::timestamptz[],
            $8::timestamptz[])
     AS u(submission_id, seq, state, host_reference, post_date, artefact, settled_at, credited_at)
WHERE a.submission_id = u.submission_id AND a.seq = u.seq;
