-- name: keep_statement
-- One day of one account as the bank states it now; no row where it says what it said before.
-- All accounts stated as before are news where one of them was stated alone since.
INSERT INTO statements (bank, day, debit_account, digest, credits, credits_fen, debits, debits_fen, returns, returns_fen,
                        read_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (bank, day, debit_account) DO UPDATE
SET digest = EXCLUDED.digest, credits = EXCLUDED.credits, credits_fen = EXCLUDED.credits_fen, debits = EXCLUDED.debits,
    debits_fen = EXCLUDED.debits_fen, returns = EXCLUDED.returns, returns_fen = EXCLUDED.returns_fen,
    readings = statements.readings + (statements.digest <> EXCLUDED.digest)::integer, read_at = EXCLUDED.read_at
WHERE statements.digest <> EXCLUDED.digest
   OR EXCLUDED.debit_account = '' AND EXISTS (
       SELECT 1 FROM statements o WHERE o.bank = EXCLUDED.bank AND o.day = EXCLUDED.day AND o.debit_account <> '')
RETURNING statement_no;

-- name: drop_single_accounts
-- All accounts of a day, stated together, take the place of whatever was stated for one of them.
DELETE FROM statements WHERE bank = $1 AND day = $2 AND debit_account <> '' RETURNING statement_no, debit_account;

-- name: close_dropped
-- What was found by a statement that is gone is found anew by the one in its place, where it is still so.
UPDATE statement_differences SET resolved_at = $4
WHERE bank = $1 AND day = $2 AND debit_account = ANY($3::text[]) AND resolved_at IS NULL
RETURNING reference, submission;

-- name: statement_of_all_accounts
-- The day's statement of all accounts together.
SELECT statement_no FROM statements WHERE bank = $1 AND day = $2 AND debit_account = '';

-- name: drop_given_way!
-- Of all accounts ($1) what gives way to the statement ($2) of one ($3): what is paid from that one, or names nobody.
-- And what it shows itself, of whichever account: it would count twice. Of equal ones as many as it shows.
-- (Looked up by hash: resolve_differences says why.)
WITH shown AS MATERIALIZED (
    SELECT statement_no, entry, bank, reference, submission, booking, amount_fen,
           coalesce('=' || reference, '') AS line, coalesce('=' || submission, '') AS file,
           coalesce('=' || host_reference, '') AS serial,
           row_number() OVER (PARTITION BY statement_no, booking, reference, submission, amount_fen, host_reference
                              ORDER BY entry) AS nth
    FROM statement_entries WHERE statement_no IN ($1, $2)
)
DELETE FROM statement_entries WHERE statement_no = $1 AND (entry IN (
    SELECT e.entry FROM shown e
    LEFT JOIN attempts a ON a.reference = e.reference AND a.bank = e.bank
    LEFT JOIN submissions s ON s.submission_id = a.submission_id
    LEFT JOIN submissions f ON f.reference = e.submission AND f.bank = e.bank
    WHERE e.statement_no = $1
      AND (coalesce(s.debit_account, f.debit_account, $3::text) = $3::text
           OR (e.nth, e.booking, e.line, e.file, e.amount_fen, e.serial) IN (
               SELECT nth, booking, line, file, amount_fen, serial FROM shown WHERE statement_no = $2)))) IS TRUE;

-- name: close_given_way
-- What all accounts ($1) said of entries that gave way, and what they missed of the account ($2) that speaks itself.
UPDATE statement_differences d SET resolved_at = $3 FROM statements t
WHERE t.statement_no = $1 AND d.bank = t.bank AND d.day = t.day AND d.debit_account = t.debit_account
  AND d.resolved_at IS NULL AND CASE WHEN d.booking IS NULL THEN
      EXISTS (SELECT 1 FROM attempts a JOIN submissions s USING (submission_id)
              WHERE a.reference = d.reference AND a.bank = d.bank AND s.debit_account = $2)
  ELSE (d.booking, coalesce(d.submission, d.reference)) NOT IN (
      SELECT booking, coalesce(reference, submission, '') FROM statement_entries WHERE statement_no = $1) END
RETURNING d.reference, d.submission;

-- name: statements_after_refusal
-- The statements by which lines ($2) in one sum were asked for because the bank had refused them: one of each day.
SELECT DISTINCT ON (n.day) n.statement_no FROM attempts a
JOIN statements n ON n.bank = a.bank AND a.settled_at >= (n.day - 14)::timestamp AT TIME ZONE 'Asia/Shanghai'
                 AND a.settled_at < (n.day - 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
WHERE a.bank = $1 AND a.reference = ANY($2::text[]) ORDER BY n.day, n.statement_no;

-- name: drop_entries!
-- The entries of a statement that was rewritten make room for what it says now.
DELETE FROM statement_entries WHERE statement_no = $1;

-- name: references_of_bank
-- Which of these references we gave this bank.
SELECT reference FROM attempts WHERE bank = $1 AND reference = ANY($2::text[]);

-- name: submissions_of_bank
-- Which of these submissions are ours at this bank.
SELECT reference FROM submissions WHERE bank = $1 AND reference = ANY($2::text[]);

-- name: find_unknown_entries!
-- Entries that name nothing we ever gave this bank.
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, booked_fen, host_reference,
                                   artefact, found_at)
SELECT DISTINCT t.bank, t.day, t.debit_account, 'UNKNOWN', e.booking, coalesce(e.reference, e.submission, ''),
       e.amount_fen, e.host_reference, t.digest, $2::timestamptz
FROM statements t JOIN statement_entries e USING (statement_no)
WHERE t.statement_no = $1
  AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.reference = e.reference AND a.bank = e.bank)
  AND (e.reference IS NOT NULL
       OR NOT EXISTS (SELECT 1 FROM submissions s WHERE s.reference = e.submission AND s.bank = e.bank))
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_wrong_amounts!
-- Lines whose entries, over all statements, add up to another amount than theirs: a fee, or booked twice.
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, payout_id, booked_fen,
                                   expected_fen, host_reference, artefact, found_at)
SELECT t.bank, t.day, t.debit_account, 'AMOUNT', n.booking, n.reference, a.payout_id, b.booked_fen, a.amount_fen,
       b.host_reference, t.digest, $2::timestamptz
FROM statements t
JOIN (SELECT DISTINCT statement_no, bank, booking, reference FROM statement_entries
      WHERE statement_no = $1 AND reference IS NOT NULL) n USING (statement_no)
JOIN attempts a ON a.reference = n.reference AND a.bank = n.bank
CROSS JOIN LATERAL (
    SELECT sum(e.amount_fen)::bigint AS booked_fen, min(e.host_reference) AS host_reference FROM statement_entries e
    WHERE e.reference = n.reference AND e.bank = n.bank AND e.booking = n.booking) b
WHERE t.statement_no = $1 AND b.booked_fen <> a.amount_fen
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_wrong_totals!
-- Submissions debited in one sum that is neither all that was sent nor that without what the bank refused.
-- Of a retired one nothing was ever to be paid: its lines travelled, or will, under another name.
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, booked_fen, expected_fen,
                                   host_reference, artefact, found_at)
SELECT t.bank, t.day, t.debit_account, 'AMOUNT', 'DEBIT', b.reference, b.booked_fen,
       CASE b.state WHEN 'RETIRED' THEN b.paid_fen ELSE b.amount_fen END, b.host_reference, t.digest, $2::timestamptz
FROM statements t
JOIN (SELECT DISTINCT statement_no, bank, submission FROM statement_entries
      WHERE statement_no = $1 AND reference IS NULL AND booking = 'DEBIT') n USING (statement_no)
JOIN sums_booked b ON b.reference = n.submission AND b.bank = n.bank
WHERE t.statement_no = $1 AND b.booked_fen <> b.paid_fen AND (b.booked_fen <> b.amount_fen OR b.state = 'RETIRED')
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_sums_of_unpaid!
-- Lines in a sum that was booked though they were never sent, moved on from a refused file, or were refused and kept.
-- The first two at once; the last two days after the debit and the refusal (looked for in the fortnight after it).
-- Each file is added up once and not once for each of its lines, which would be the square of them.
WITH lines AS MATERIALIZED (
    SELECT a.reference, a.payout_id, a.amount_fen, a.submission_id, n.bank, NULL::date AS until
    FROM statement_entries n
    JOIN submissions s ON s.reference = n.submission AND s.bank = n.bank
    JOIN attempts a ON a.submission_id = s.submission_id
    WHERE n.statement_no = $1 AND n.reference IS NULL AND n.booking = 'DEBIT'
      AND coalesce(a.state, s.state) IN ('PLANNED', 'RENDERED', 'DEFERRED')
    UNION ALL
    SELECT a.reference, a.payout_id, a.amount_fen, s.submission_id, n.bank, NULL
    FROM statement_entries n
    JOIN submissions s ON s.reference = n.submission AND s.bank = n.bank AND s.state = 'RETIRED'
    JOIN moved_lines m ON m.submission_id = s.submission_id
    JOIN attempts a ON a.reference = m.reference AND a.bank = s.bank
    WHERE n.statement_no = $1 AND n.reference IS NULL AND n.booking = 'DEBIT' AND a.credited_at IS NULL
    UNION ALL
    SELECT a.reference, a.payout_id, a.amount_fen, a.submission_id, n.bank, n.day - 2
    FROM statements n JOIN submissions s ON s.bank = n.bank JOIN attempts a ON a.submission_id = s.submission_id
    WHERE n.statement_no = $1 AND s.watch_until >= n.day::timestamp AT TIME ZONE 'Asia/Shanghai'
      AND a.state IN ('REJECTED', 'NOT_EXECUTED') AND coalesce(a.bank_code, '') NOT LIKE 'LOCAL:%'
      AND a.settled_at >= (n.day - 14)::timestamp AT TIME ZONE 'Asia/Shanghai'
      AND a.settled_at < (n.day - 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
      AND NOT EXISTS (SELECT 1 FROM statement_entries r
                      WHERE r.reference = a.reference AND r.bank = a.bank AND r.booking = 'RETURN')
), sums AS MATERIALIZED (
    SELECT b.* FROM (SELECT DISTINCT submission_id FROM lines) c
    CROSS JOIN LATERAL (SELECT * FROM sums_booked WHERE submission_id = c.submission_id OFFSET 0) b
)
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, payout_id, submission,
                                   booked_fen, host_reference, artefact, found_at)
SELECT DISTINCT t.bank, t.day, t.debit_account, 'NOT_PAID', e.booking, c.reference, c.payout_id, b.reference,
       c.amount_fen, e.host_reference, t.digest, $2::timestamptz
FROM lines c
JOIN sums b ON b.submission_id = c.submission_id AND b.booked_fen - b.back_fen - b.paid_fen >= c.amount_fen
JOIN statement_entries e ON e.submission = b.reference AND e.bank = c.bank AND e.reference IS NULL
                        AND e.booking = 'DEBIT'
JOIN statements t ON t.statement_no = e.statement_no AND (c.until IS NULL OR t.day <= c.until)
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_bookings_of_unpaid!
-- Lines that were booked although they are refused, void or never sent, and whose money has not come back.
-- Looked for on this statement, and on older ones for lines refused in the fortnight before it.
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, payout_id, booked_fen,
                                   host_reference, artefact, found_at)
SELECT DISTINCT t.bank, t.day, t.debit_account, 'NOT_PAID', e.booking, e.reference, c.payout_id, e.amount_fen,
       e.host_reference, t.digest, $2::timestamptz
FROM (
    SELECT a.reference, a.bank, a.payout_id
    FROM statement_entries n JOIN attempts a ON a.reference = n.reference AND a.bank = n.bank
    JOIN submissions s ON s.submission_id = a.submission_id
    WHERE n.statement_no = $1
      AND coalesce(a.state, s.state) IN ('REJECTED', 'NOT_EXECUTED', 'VOID', 'PLANNED', 'RENDERED', 'DEFERRED', 'RETIRED')
    UNION
    SELECT a.reference, a.bank, a.payout_id
    FROM statements n JOIN submissions s ON s.bank = n.bank JOIN attempts a ON a.submission_id = s.submission_id
    WHERE n.statement_no = $1 AND s.watch_until >= n.day::timestamp AT TIME ZONE 'Asia/Shanghai'
      AND a.state IN ('REJECTED', 'NOT_EXECUTED')
      AND a.settled_at >= (n.day - 14)::timestamp AT TIME ZONE 'Asia/Shanghai') c
JOIN statement_entries e ON e.reference = c.reference AND e.bank = c.bank AND e.booking <> 'RETURN'
JOIN statements t ON t.statement_no = e.statement_no
WHERE (SELECT coalesce(sum(m.amount_fen) FILTER (WHERE m.booking <> 'RETURN'), 0)
            > coalesce(sum(m.amount_fen) FILTER (WHERE m.booking = 'RETURN'), 0)
       FROM statement_entries m WHERE m.reference = c.reference AND m.bank = c.bank)
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: statements_showing
-- Statements on which lines ($2, references) are booked, or anything of whole submissions ($3).
SELECT statement_no FROM statement_entries WHERE reference = ANY($2::text[]) AND bank = $1 AND booking <> 'RETURN'
UNION
SELECT e.statement_no
FROM submissions s JOIN statement_entries e ON e.submission = s.reference AND e.bank = s.bank AND e.reference IS NULL
WHERE s.submission_id = ANY($3::bigint[]) AND e.booking <> 'RETURN'
UNION
SELECT e.statement_no FROM attempts a JOIN statement_entries e ON e.reference = a.reference AND e.bank = a.bank
WHERE a.submission_id = ANY($3::bigint[]) AND e.booking <> 'RETURN'
ORDER BY statement_no;

-- name: lock_statements
-- Until the transaction ends a bank's statement is compared while no word of the bank makes something unpaid.
SELECT pg_advisory_xact_lock(hashtextextended($1, 1));

-- name: share_statements
-- The other side of it: two such words do not wait for each other.
SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 1));

-- name: find_wrong_accounts!
-- Lines booked on another fiscal account than the one they were to be paid from.
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, payout_id, booked_fen,
                                   expected_fen, host_reference, artefact, found_at)
SELECT DISTINCT t.bank, t.day, t.debit_account, 'ACCOUNT', e.booking, e.reference, a.payout_id, e.amount_fen, 0,
       e.host_reference, t.digest, $2::timestamptz
FROM statements t JOIN statement_entries e USING (statement_no)
JOIN attempts a ON a.reference = e.reference AND a.bank = e.bank
JOIN submissions s ON s.submission_id = a.submission_id
WHERE t.statement_no = $1 AND t.debit_account NOT IN ('', s.debit_account)
UNION
SELECT t.bank, t.day, t.debit_account, 'ACCOUNT', e.booking, e.submission, NULL, e.amount_fen, 0, e.host_reference,
       t.digest, $2::timestamptz
FROM statements t JOIN statement_entries e USING (statement_no)
JOIN submissions s ON s.reference = e.submission AND s.bank = e.bank
WHERE t.statement_no = $1 AND e.reference IS NULL AND t.debit_account NOT IN ('', s.debit_account)
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_unknown_returns!
-- Money that came back by the statement, and of which our books know nothing.
-- Of a line that stays as it was, or of a submission in one sum beyond what the bank refused of it.
WITH sums AS MATERIALIZED (
    SELECT b.* FROM (
        SELECT DISTINCT s.submission_id FROM statement_entries e
        JOIN submissions s ON s.reference = e.submission AND s.bank = e.bank
        WHERE e.statement_no = $1 AND e.reference IS NULL AND e.booking = 'RETURN') c
    CROSS JOIN LATERAL (SELECT * FROM sums_booked WHERE submission_id = c.submission_id OFFSET 0) b
)
INSERT INTO statement_differences (bank, day, debit_account, kind, booking, reference, payout_id, booked_fen,
                                   host_reference, artefact, found_at)
SELECT DISTINCT t.bank, t.day, t.debit_account, 'NOT_RETURNED', e.booking, e.reference, a.payout_id, e.amount_fen,
       e.host_reference, t.digest, $2::timestamptz
FROM statements t JOIN statement_entries e USING (statement_no)
JOIN attempts a ON a.reference = e.reference AND a.bank = e.bank
WHERE t.statement_no = $1 AND e.booking = 'RETURN'
  AND (a.state IS NULL OR a.state NOT IN ('RETURNED', 'REJECTED', 'NOT_EXECUTED', 'VOID'))
UNION
SELECT t.bank, t.day, t.debit_account, 'NOT_RETURNED', e.booking, e.submission, NULL, e.amount_fen, e.host_reference,
       t.digest, $2::timestamptz
FROM statements t JOIN statement_entries e USING (statement_no)
JOIN sums b ON b.reference = e.submission AND b.bank = e.bank
WHERE t.statement_no = $1 AND e.reference IS NULL AND e.booking = 'RETURN' AND b.booked_fen - b.back_fen < b.paid_fen
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: find_missing_entries!
-- Credits of our books that no statement shows. With a post date: that day's statement is in and does not name it.
-- Without: learned of before this statement's day, sent since the first statement of this account, and on none.
-- Each credit is held against the statements of the fortnight after it: longer than the longest closure. A bank that
-- changes between statements of one account and of all goes on with one series; what is open already is open once.
INSERT INTO statement_differences (bank, day, debit_account, kind, reference, payout_id, expected_fen, host_reference,
                                   artefact, found_at)
SELECT n.bank, coalesce(a.post_date, (a.credited_at AT TIME ZONE 'Asia/Shanghai')::date), n.debit_account, 'MISSING',
       a.reference, a.payout_id, a.amount_fen, a.host_reference, n.digest, $2::timestamptz
FROM statements n
JOIN submissions s ON s.bank = n.bank AND n.debit_account IN ('', s.debit_account)
JOIN attempts a ON a.submission_id = s.submission_id
WHERE n.statement_no = $1 AND a.credited_at IS NOT NULL
  AND greatest(s.watch_until, s.sent_at + interval '31 days') >= n.day::timestamp AT TIME ZONE 'Asia/Shanghai'
  AND greatest(a.post_date, (a.credited_at AT TIME ZONE 'Asia/Shanghai')::date) >= n.day - 14
  AND CASE WHEN a.post_date IS NOT NULL
      THEN a.post_date <= n.day AND EXISTS (
          SELECT 1 FROM statements o
          WHERE o.bank = n.bank AND o.debit_account IN ('', s.debit_account) AND o.day = a.post_date)
      ELSE (a.credited_at AT TIME ZONE 'Asia/Shanghai')::date < n.day
           AND (s.sent_at AT TIME ZONE 'Asia/Shanghai')::date >= (
               SELECT min(o.day) FROM statements o
               WHERE o.bank = n.bank AND o.debit_account IN ('', s.debit_account)) END
  AND NOT EXISTS (SELECT 1 FROM statement_differences d
                  WHERE d.payout_id = a.payout_id AND d.reference = a.reference AND d.kind = 'MISSING'
                    AND d.resolved_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM statement_entries e
                  WHERE e.reference = a.reference AND e.bank = a.bank AND e.booking <> 'RETURN')
  AND NOT EXISTS (SELECT 1 FROM statement_entries e
                  WHERE e.submission = s.reference AND e.bank = s.bank AND e.reference IS NULL
                    AND e.booking <> 'RETURN')
ON CONFLICT (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference)
DO UPDATE SET resolved_at = NULL, artefact = EXCLUDED.artefact WHERE statement_differences.resolved_at IS NOT NULL;

-- name: resolve_differences!
-- Differences of a bank that what is known by now has settled: an entry that came, went, was put right or came back.
-- Files are added up, and statements read, once for all differences. A list under OR that has no nulls is looked up by
-- hash (see hash_mem_multiplier in engine.py); joined, or asked for each difference, it is the square of the lines.
WITH sums AS MATERIALIZED (
    SELECT b.* FROM (
        SELECT DISTINCT s.submission_id FROM statement_differences d
        JOIN submissions s ON s.reference = coalesce(d.submission, d.reference) AND s.bank = d.bank
        WHERE d.bank = $1 AND d.resolved_at IS NULL AND (d.submission IS NOT NULL OR d.payout_id IS NULL)) c
    CROSS JOIN LATERAL (SELECT * FROM sums_booked WHERE submission_id = c.submission_id OFFSET 0) b
), stated AS MATERIALIZED (
    SELECT t.day, t.debit_account, e.booking, coalesce(e.reference, e.submission, '') AS name,
           coalesce('=' || e.host_reference, '') AS serial, e.amount_fen
    FROM (SELECT DISTINCT day, debit_account FROM statement_differences
          WHERE bank = $1 AND resolved_at IS NULL AND kind NOT IN ('AMOUNT', 'MISSING')) d
    JOIN statements t ON t.bank = $1 AND t.day = d.day AND t.debit_account = d.debit_account
    JOIN statement_entries e USING (statement_no)
)
UPDATE statement_differences d SET resolved_at = $2
WHERE d.bank = $1 AND d.resolved_at IS NULL AND CASE d.kind
    WHEN 'MISSING' THEN
        EXISTS (SELECT 1 FROM statement_entries e
                WHERE e.reference = d.reference AND e.bank = d.bank AND e.booking <> 'RETURN')
        OR EXISTS (SELECT 1 FROM attempts a JOIN submissions s USING (submission_id)
                   JOIN statement_entries e ON e.submission = s.reference AND e.bank = s.bank
                                           AND e.reference IS NULL AND e.booking <> 'RETURN'
                   WHERE a.reference = d.reference AND a.bank = d.bank)
    WHEN 'AMOUNT' THEN
        d.booked_fen IS DISTINCT FROM (
            SELECT sum(e.amount_fen)::bigint FROM statement_entries e
            WHERE e.bank = d.bank AND e.booking = d.booking
              AND (e.reference = d.reference OR (e.reference IS NULL AND e.submission = d.reference)))
        OR (d.payout_id IS NULL AND EXISTS (SELECT 1 FROM sums b WHERE b.reference = d.reference AND b.bank = d.bank
                                            AND b.paid_fen IN (b.booked_fen, b.booked_fen - b.back_fen)))
    WHEN 'NOT_PAID' THEN
        EXISTS (SELECT 1 FROM attempts a
                WHERE a.reference = d.reference AND a.bank = d.bank AND a.credited_at IS NOT NULL)
        OR CASE WHEN d.submission IS NULL THEN
               (SELECT coalesce(sum(m.amount_fen) FILTER (WHERE m.booking <> 'RETURN'), 0)
                    <= coalesce(sum(m.amount_fen) FILTER (WHERE m.booking = 'RETURN'), 0)
                FROM statement_entries m WHERE m.reference = d.reference AND m.bank = d.bank)
           ELSE
               EXISTS (SELECT 1 FROM sums b WHERE b.reference = d.submission AND b.bank = d.bank
                       AND b.booked_fen - b.back_fen - b.paid_fen < d.booked_fen) END
    WHEN 'NOT_RETURNED' THEN
        EXISTS (SELECT 1 FROM attempts a WHERE a.reference = d.reference AND a.bank = d.bank
                AND a.state IN ('RETURNED', 'REJECTED', 'NOT_EXECUTED', 'VOID'))
        OR EXISTS (SELECT 1 FROM sums b WHERE b.reference = d.reference AND b.bank = d.bank
                   AND d.payout_id IS NULL AND b.booked_fen - b.back_fen >= b.paid_fen)
    ELSE false END
    OR d.bank = $1 AND d.resolved_at IS NULL AND d.kind IN ('UNKNOWN', 'NOT_PAID', 'NOT_RETURNED', 'ACCOUNT')
       AND CASE WHEN d.submission IS NULL THEN
           (d.day, d.debit_account, d.booking, d.reference, coalesce('=' || d.host_reference, ''), d.booked_fen)
           NOT IN (SELECT day, debit_account, booking, name, serial, amount_fen FROM stated)
       ELSE
           (d.day, d.debit_account, d.booking, d.submission, coalesce('=' || d.host_reference, ''))
           NOT IN (SELECT day, debit_account, booking, name, serial FROM stated) END;

-- name: wake_unfrozen!
-- Lines of a bank that were set aside and that nothing holds any more: they may travel now.
-- Whoever else waits in the same submission and is still held is set aside again.
-- (As held_in_submission, with what a bank has looked up once for all that wait.)
WITH files AS MATERIALIZED (SELECT f.submission_id FROM files_at_the_bank($1) f)
UPDATE submissions s SET due_at = $2::timestamptz, set_aside_at = NULL
WHERE s.bank = $1 AND s.state = 'PLANNED' AND s.set_aside_at IS NOT NULL AND EXISTS (
    SELECT 1 FROM attempts a
    WHERE a.submission_id = s.submission_id AND a.state IS NULL
      AND NOT EXISTS (SELECT 1 FROM frozen_payouts f WHERE f.payout_id = a.payout_id)
      AND NOT EXISTS (SELECT 1 FROM moved_lines m JOIN files USING (submission_id) WHERE m.reference = a.reference));

-- name: differences_of_statement
-- What is open of one day of one account, and what was found by this statement on other days, by kind.
SELECT kind, count(*) AS count FROM statement_differences
WHERE bank = $1 AND resolved_at IS NULL AND ((day = $2 AND debit_account = $3) OR artefact = $4) GROUP BY kind;

-- name: wrong_debits
-- Lines of a statement whose debits add up to another amount than theirs.
SELECT d.reference, d.booked_fen, d.host_reference, d.day FROM statement_differences d
WHERE d.bank = $1 AND d.day = $2 AND d.debit_account = $3 AND d.kind = 'AMOUNT' AND d.booking = 'DEBIT'
  AND d.payout_id IS NOT NULL AND d.resolved_at IS NULL ORDER BY d.reference;

-- name: unstated_since
-- By bank the oldest day after its last statement on which something was sent.
SELECT s.bank, min((s.sent_at AT TIME ZONE 'Asia/Shanghai')::date) AS day FROM submissions s
WHERE (s.sent_at AT TIME ZONE 'Asia/Shanghai')::date
      > coalesce((SELECT max(t.day) FROM statements t WHERE t.bank = s.bank), '-infinity'::date)
GROUP BY s.bank;

-- name: open_differences
-- How many differences between statements and books are open, by bank and kind.
SELECT bank, kind, count(*) AS count FROM statement_differences WHERE resolved_at IS NULL GROUP BY bank, kind;

-- name: list_differences
-- Differences between statements and books, the open ones first, then the newest.
SELECT * FROM statement_differences WHERE $1 OR resolved_at IS NULL
ORDER BY resolved_at IS NOT NULL, difference_no DESC LIMIT $2;

-- name: differences_of_payout
-- What statements say differently of one payout.
SELECT * FROM statement_differences WHERE payout_id = $1 ORDER BY difference_no;
