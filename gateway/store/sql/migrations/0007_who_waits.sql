-- Who is called back, who waits aside, and what a difference is about.

-- The number of the last recall. It binds the attempts that were made before it, and no order that came after it.
ALTER TABLE batches ADD COLUMN recalled_by bigint;
UPDATE batches b SET recalled_by = (
    SELECT max(o.order_no) FROM orders o
    WHERE o.issuer = b.issuer AND o.batch_id = b.batch_id AND o.kind = 'RECALL' AND o.outcome = 'APPLIED')
WHERE recalled_at IS NOT NULL;

-- Since when a submission of frozen lines has waited for their difference to be settled; null: it waits for none.
ALTER TABLE submissions ADD COLUMN set_aside_at timestamptz;
UPDATE submissions SET set_aside_at = due_at - interval '365 days'
WHERE state = 'PLANNED' AND due_at > limit_at + interval '180 days';
CREATE INDEX submissions_set_aside ON submissions (bank) WHERE set_aside_at IS NOT NULL;

-- A line that is booked under its own reference, and in the sum of one file or of another, is another difference each:
-- with one row for all of them, settling one would thaw what the others freeze.
DO $$
BEGIN
    EXECUTE (SELECT format('ALTER TABLE statement_differences DROP CONSTRAINT %I', conname) FROM pg_constraint
             WHERE conrelid = 'statement_differences'::regclass AND contype = 'u');
END $$;
ALTER TABLE statement_differences ADD CONSTRAINT statement_differences_once UNIQUE NULLS NOT DISTINCT
    (bank, day, debit_account, kind, booking, reference, submission, booked_fen, host_reference);

-- The files that a bank has, whatever it says: a statement shows that a line of theirs was booked, and our books that it
-- was not paid.
CREATE INDEX moved_lines_of_line ON moved_lines (reference);
CREATE FUNCTION files_at_the_bank(text) RETURNS TABLE (submission_id bigint) LANGUAGE sql STABLE AS $$
    WITH booked AS MATERIALIZED (
        SELECT a.submission_id, a.reference
        FROM statement_differences d JOIN attempts a ON a.reference = d.reference AND a.bank = d.bank
        WHERE d.bank = $1 AND d.kind = 'NOT_PAID' AND d.payout_id IS NOT NULL AND d.resolved_at IS NULL)
    SELECT m.submission_id FROM booked b JOIN moved_lines m USING (reference)
    UNION
    SELECT b.submission_id FROM booked b JOIN submissions s USING (submission_id) WHERE s.transmissions > 0
$$;

-- The payouts of a submission of which nothing may travel, and nothing be cancelled: the frozen ones; and the lines that
-- travelled in such a file and of which the bank has not spoken by themselves, since nobody knows what it did with them.
CREATE FUNCTION held_in_submission(bigint) RETURNS TABLE (payout_id bigint) LANGUAGE sql STABLE AS $$
    WITH files AS MATERIALIZED (
        SELECT f.submission_id FROM submissions s CROSS JOIN LATERAL files_at_the_bank(s.bank) f
        WHERE s.submission_id = $1)
    SELECT a.payout_id FROM frozen_payouts f JOIN attempts a USING (payout_id)
    WHERE a.submission_id = $1 AND a.live
    UNION
    SELECT a.payout_id FROM attempts a
    WHERE a.submission_id = $1 AND a.state IS NULL
      AND (a.submission_id IN (SELECT f.submission_id FROM files f)
           OR EXISTS (SELECT 1 FROM moved_lines m JOIN files f USING (submission_id) WHERE m.reference = a.reference))
$$;
