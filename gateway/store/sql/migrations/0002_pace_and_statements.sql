-- What a bank's manual allows (pace, acknowledgement) and what its statements say.

-- Beside lease_until the only times of the database's own clock: a login's pace is real time, for all processes together.
ALTER TABLE banks ADD COLUMN next_submit_at timestamptz NOT NULL DEFAULT 'epoch',
                  ADD COLUMN next_probe_at  timestamptz NOT NULL DEFAULT 'epoch';

-- Until then the bank itself must have said something of what was sent; null: it has.
ALTER TABLE submissions ADD COLUMN acknowledgement_due_at timestamptz;

-- One day of one fiscal account, as the bank states it; a rewritten statement takes the place of the one before.
CREATE TABLE statements (
    statement_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank          text NOT NULL,
    day           date NOT NULL,
    debit_account text NOT NULL,                   -- public money, no person's; '': all accounts of the bank
    digest        bytea NOT NULL,                  -- of the artefact, which is kept sealed
    credits       integer NOT NULL CHECK (credits >= 0),
    credits_fen   bigint NOT NULL,
    debits        integer NOT NULL CHECK (debits >= 0),
    debits_fen    bigint NOT NULL,
    returns       integer NOT NULL CHECK (returns >= 0),
    returns_fen   bigint NOT NULL,
    readings      integer NOT NULL DEFAULT 1,      -- how many different contents it had
    read_at       timestamptz NOT NULL,
    UNIQUE (bank, day, debit_account)
);

-- Its entries are what "stands on a statement" means: kept apart, so that a statement costs no update of an attempt.
CREATE TABLE statement_entries (
    statement_no   bigint NOT NULL,
    entry          integer NOT NULL,
    bank           text NOT NULL,
    booking        text NOT NULL CHECK (booking IN ('CREDIT', 'DEBIT', 'RETURN')),
    reference      text,                           -- as the bank wrote it
    submission     text,
    amount_fen     bigint NOT NULL,
    post_date      date NOT NULL,
    host_reference text,
    PRIMARY KEY (statement_no, entry)
);
CREATE INDEX statement_entries_of_line ON statement_entries (reference, bank) WHERE reference IS NOT NULL;
CREATE INDEX statement_entries_of_submission ON statement_entries (submission, bank) WHERE reference IS NULL;

-- What a statement says and our books do not, or the other way round; people ask the bank.
CREATE TABLE statement_differences (
    difference_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank           text NOT NULL,
    day            date NOT NULL,
    debit_account  text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('UNKNOWN', 'AMOUNT', 'NOT_PAID', 'NOT_RETURNED',
                                                       'ACCOUNT', 'MISSING')),
    booking        text,                           -- null: there is no entry
    reference      text NOT NULL,                  -- of a line or a submission, as the bank wrote it; '': it named none
    payout_id      bigint,
    submission     text,                           -- in whose one sum a line was booked; null: under its own reference
    booked_fen     bigint,                         -- what the statement says; null: nothing
    expected_fen   bigint,                         -- what the books say; null: nothing
    host_reference text,
    artefact       bytea NOT NULL,                 -- the statement by which it was found
    found_at       timestamptz NOT NULL,
    resolved_at    timestamptz,                    -- a later statement or evidence settled it
    UNIQUE NULLS NOT DISTINCT (bank, day, debit_account, kind, booking, reference, booked_fen, host_reference)
);
CREATE INDEX statement_differences_open ON statement_differences (bank) WHERE resolved_at IS NULL;
CREATE INDEX statement_differences_of_payout ON statement_differences (payout_id) WHERE payout_id IS NOT NULL;
CREATE INDEX statement_differences_freezing ON statement_differences (payout_id)
    WHERE kind = 'NOT_PAID' AND payout_id IS NOT NULL AND resolved_at IS NULL;

-- What was booked for submissions in one sum, what came back of that, and which part of it our books say was paid.
CREATE VIEW sums_booked AS
SELECT s.submission_id, s.bank, s.reference, s.state, s.amount_fen, p.paid_fen, b.booked_fen, b.host_reference,
       b.back_fen + r.back_fen AS back_fen
FROM submissions s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.amount_fen), 0)::bigint AS paid_fen FROM attempts a
    WHERE a.submission_id = s.submission_id AND coalesce(a.state, s.state) NOT IN (
        'REJECTED', 'NOT_EXECUTED', 'VOID', 'PLANNED', 'RENDERED', 'DEFERRED', 'RETIRED')) p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.amount_fen) FILTER (WHERE e.booking = 'DEBIT'), 0)::bigint AS booked_fen,
           coalesce(sum(e.amount_fen) FILTER (WHERE e.booking = 'RETURN'), 0)::bigint AS back_fen,
           min(e.host_reference) FILTER (WHERE e.booking = 'DEBIT') AS host_reference
    FROM statement_entries e
    WHERE e.submission = s.reference AND e.bank = s.bank AND e.reference IS NULL) b
CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.amount_fen), 0)::bigint AS back_fen
    FROM attempts a JOIN statement_entries e ON e.reference = a.reference AND e.bank = a.bank
    WHERE a.submission_id = s.submission_id AND a.state IN ('REJECTED', 'NOT_EXECUTED') AND e.booking = 'RETURN') r;

-- Nothing more is sent for these: a contradiction people have to decide, or money that a statement shows as booked
-- although our books say that it never moved, for as long as that difference is open.
CREATE VIEW frozen_payouts AS
SELECT payout_id FROM payouts WHERE conflict_at IS NOT NULL
UNION ALL
SELECT payout_id FROM statement_differences
WHERE kind = 'NOT_PAID' AND payout_id IS NOT NULL AND resolved_at IS NULL;
