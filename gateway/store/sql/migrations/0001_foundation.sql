-- The books of the gateway. What must never happen is refused here, by the schema, not by care.
--
-- Two habits explain most of what looks unusual:
--   * States that all lines of a submission share live on the submission. An attempt's row is inserted once and
--     updated once, with its outcome, and no index mentions a volatile column, so that update stays on its page (HOT).
--   * Hot tables have no foreign keys: their keys are written by the same transaction that writes what they point to.
-- Times named *_at are business time (the gateway's clock); lease_until alone is the database's own clock.

CREATE TABLE batches (
    batch_no          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer            text NOT NULL,
    batch_id          text NOT NULL,
    county            text NOT NULL,
    programme         text NOT NULL,
    period            text NOT NULL,
    document_no       text NOT NULL,
    finance_bureau    text NOT NULL,
    line_department   text NOT NULL,
    head_digest       bytea NOT NULL,              -- all parts carry the same head
    parts             integer NOT NULL CHECK (parts BETWEEN 1 AND 10000),
    lines             integer NOT NULL CHECK (lines BETWEEN 1 AND 1000000),
    amount_written    text NOT NULL,
    state             text NOT NULL DEFAULT 'COLLECTING'
                      CHECK (state IN ('COLLECTING', 'JUDGING', 'AWAITING_FUNDS', 'PAYING', 'COMPLETE', 'REFUSED')),
    first_part_at     timestamptz NOT NULL,
    parts_due_at      timestamptz NOT NULL,
    claimed_list_at   timestamptz NOT NULL,        -- what the signed head says
    list_received_at  timestamptz,
    funds_received_at timestamptz,
    funds_fen         bigint NOT NULL DEFAULT 0 CHECK (funds_fen >= 0),
    judged_parts      integer NOT NULL DEFAULT 0,  -- parts 1..n are judged
    planned_line      integer NOT NULL DEFAULT 0,  -- lines 1..n are cut into submissions
    approved_lines    integer NOT NULL DEFAULT 0,
    approved_fen      bigint NOT NULL DEFAULT 0,
    refused_lines     integer NOT NULL DEFAULT 0,
    cancelled_fen     bigint NOT NULL DEFAULT 0 CHECK (cancelled_fen >= 0),
    clock_started_at  timestamptz,
    limit_at          timestamptz,
    target_at         timestamptz,
    feedback_due_at   timestamptz,
    deadline_exact    boolean NOT NULL DEFAULT true, -- false: the calendar did not reach, the earlier date was taken
    recalled_at       timestamptz,
    revision          integer NOT NULL DEFAULT 0,
    interim_sent_at   timestamptz,
    completed_at      timestamptz,                 -- for the first time: a later return or re-issue opens it again
    changed_at        timestamptz NOT NULL,        -- moved by every change; a report newer than it is current
    counted_at        timestamptz,                 -- the buckets below are of this state of affairs
    buckets           jsonb NOT NULL DEFAULT '[]',
    history_seq       bigint NOT NULL DEFAULT 0,
    history_hash      bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
    UNIQUE (issuer, batch_id),
    CHECK (judged_parts <= parts AND approved_lines + refused_lines <= lines),
    CHECK (state <> 'PAYING' OR (clock_started_at IS NOT NULL AND funds_fen >= approved_fen - cancelled_fen))
);
CREATE INDEX batches_changed ON batches (batch_no) WHERE counted_at IS NULL OR changed_at > counted_at;
CREATE INDEX batches_open ON batches (batch_no) WHERE state NOT IN ('COMPLETE', 'REFUSED');

CREATE TABLE batch_parts (
    batch_no    bigint NOT NULL,
    part        integer NOT NULL CHECK (part >= 1),
    digest      bytea NOT NULL,                    -- SHA-256 of the signed bytes
    key_id      text NOT NULL,
    signature   text NOT NULL,                     -- the detached JWS: an auditor can verify it against the bytes
    sealed      bytea NOT NULL,                    -- the signed bytes
    first_line  integer NOT NULL,
    lines       integer NOT NULL,
    amount_written text NOT NULL,                  -- exact sum of this part's amounts as written
    received_at timestamptz NOT NULL,
    PRIMARY KEY (batch_no, part)
);

CREATE TABLE fundings (
    issuer      text NOT NULL,
    funding_id  text NOT NULL,
    batch_id    text NOT NULL,
    amount_fen  bigint NOT NULL CHECK (amount_fen > 0),
    received_at timestamptz NOT NULL,
    digest      bytea NOT NULL,
    key_id      text NOT NULL,
    signature   text NOT NULL,
    raw         bytea NOT NULL,                    -- no personal data in it
    batch_no    bigint,                            -- null until its batch is known
    stored_at   timestamptz NOT NULL,
    PRIMARY KEY (issuer, funding_id)
);
CREATE INDEX fundings_waiting ON fundings (issuer, batch_id) WHERE batch_no IS NULL;

CREATE TABLE refused_lines (
    batch_no bigint NOT NULL,
    line     integer NOT NULL,
    reason   text NOT NULL,
    detail   text NOT NULL,
    sealed   bytea NOT NULL,                       -- the raw fields
    PRIMARY KEY (batch_no, line)
);

-- payout_id = batch_no * 2^20 + line: an approved line is found by its batch without an index of its own.
CREATE TABLE payouts (
    payout_id    bigint PRIMARY KEY CHECK (payout_id > 0),
    beneficiary  uuid NOT NULL,                    -- blind index of the resident ID
    programme    text NOT NULL,
    period       text NOT NULL,
    bank         text NOT NULL,                    -- configured adapter
    bank_no      text NOT NULL,
    amount_fen   bigint NOT NULL CHECK (amount_fen > 0),
    has_phone    boolean NOT NULL,
    sealed       bytea NOT NULL,                   -- name, ID, account, phone as one sealed record
    conflict_at  timestamptz,                      -- frozen: people decide
    cancelled_at timestamptz
);
CREATE UNIQUE INDEX payouts_once_per_person ON payouts (beneficiary, programme, period) WHERE cancelled_at IS NULL;
CREATE INDEX payouts_in_conflict ON payouts (payout_id) WHERE conflict_at IS NOT NULL;

CREATE TABLE submissions (
    submission_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_no      bigint NOT NULL,
    bank          text NOT NULL,
    reference     text NOT NULL,
    county        text NOT NULL,
    bank_no       text NOT NULL,
    debit_account text NOT NULL,                   -- the fiscal account: public money, no person's
    debit_name    text NOT NULL,
    sms_signature text NOT NULL,
    state         text NOT NULL DEFAULT 'PLANNED'
                  CHECK (state IN ('PLANNED', 'RENDERED', 'SENDING', 'DEFERRED', 'SUBMITTED', 'ACCEPTED', 'IN_DOUBT',
                                   'HELD', 'RETIRED', 'CLOSED')),
    lines         integer NOT NULL CHECK (lines >= 0),
    open_lines    integer NOT NULL CHECK (open_lines BETWEEN 0 AND lines),
    sent_lines    integer NOT NULL DEFAULT 0,      -- lines in the rendered bytes
    amount_fen    bigint NOT NULL,
    limit_at      timestamptz NOT NULL,            -- the earliest limit of its lines: what is urgent goes first
    payload       bytea,                           -- sealed; written once, before anything is sent
    digest        bytea,
    remote_name   text,
    rendered_at   timestamptz,
    hold_at       timestamptz NOT NULL,            -- doubt that lasts until then becomes a person's business
    due_at        timestamptz NOT NULL,            -- not to be sent before
    sent_at       timestamptz,                     -- the current transmission's SENDING
    ended_at      timestamptz,                     -- when its call ended, or its process was fenced off
    transmissions integer NOT NULL DEFAULT 0,
    acknowledged_at timestamptz,
    silent_at     timestamptz,                     -- after this, silence is doubt
    probe_at      timestamptz,
    probes        integer NOT NULL DEFAULT 0,
    watch_until   timestamptz,                     -- returns are expected until then
    lease_owner   text,
    lease_until   timestamptz,
    fence         bigint NOT NULL DEFAULT 0,
    UNIQUE (bank, reference),
    CHECK (state IN ('PLANNED', 'RETIRED', 'CLOSED') OR payload IS NOT NULL),
    CHECK (state NOT IN ('SENDING', 'SUBMITTED', 'ACCEPTED', 'IN_DOUBT', 'HELD') OR sent_at IS NOT NULL),
    CHECK (state <> 'CLOSED' OR open_lines = 0)
);
CREATE INDEX submissions_open ON submissions (bank, limit_at) WHERE state NOT IN ('RETIRED', 'CLOSED');
CREATE INDEX submissions_watched ON submissions (bank, probe_at) WHERE state = 'CLOSED' AND probe_at IS NOT NULL;
CREATE INDEX submissions_of_batch ON submissions (batch_no);

CREATE TABLE attempts (
    submission_id  bigint NOT NULL,
    seq            integer NOT NULL,
    payout_id      bigint NOT NULL,
    attempt_no     smallint NOT NULL CHECK (attempt_no >= 1),
    bank           text NOT NULL,
    reference      text NOT NULL,
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    live           boolean NOT NULL DEFAULT true,
    state          text,                           -- null: as its submission
    reason         text,
    bank_code      text,
    host_reference text,
    post_date      date,
    artefact       bytea,                          -- digest of the bytes that proved the outcome
    settled_at     timestamptz,
    credited_at    timestamptz,
    return_host_reference text,
    returned_at    timestamptz,
    limit_at       timestamptz,                    -- a re-issue's own clock; null: its batch's
    order_no       bigint,                         -- the signed order that made this attempt
    sealed         bytea,                          -- corrected details; null: the payout's
    has_phone      boolean,
    PRIMARY KEY (submission_id, seq),
    CHECK (state IN ('ACCEPTED', 'IN_DOUBT', 'HELD', 'CREDITED', 'RETURNED', 'REJECTED', 'NOT_EXECUTED', 'VOID')),
    CHECK (live = (state IS NULL OR state NOT IN ('RETURNED', 'REJECTED', 'NOT_EXECUTED', 'VOID'))),
    CHECK (state <> 'CREDITED' OR credited_at IS NOT NULL),
    CHECK (state <> 'RETURNED' OR (credited_at IS NOT NULL AND returned_at IS NOT NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX attempts_one_live ON attempts (payout_id) WHERE live;
CREATE UNIQUE INDEX attempts_closed ON attempts (payout_id, attempt_no) WHERE NOT live;
CREATE UNIQUE INDEX attempts_reference ON attempts (reference, bank);

-- Evidence that moved no state: late, repeated with other facts, contradicting. Never thrown away, never twice.
CREATE TABLE evidence (
    evidence_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank           text NOT NULL,
    reference      text NOT NULL,
    proof          text NOT NULL,
    effect         text NOT NULL CHECK (effect IN ('CONFLICT', 'UNMATCHED', 'LATE')),
    payout_id      bigint,
    reason         text,
    bank_code      text,
    amount_fen     bigint,
    host_reference text,
    post_date      date,
    artefact       bytea,
    recorded_at    timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (bank, reference, proof, amount_fen, host_reference, post_date)
);
CREATE INDEX evidence_of_payout ON evidence (payout_id) WHERE payout_id IS NOT NULL;

CREATE TABLE artefacts (
    artefact_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank        text NOT NULL,
    digest      bytea NOT NULL,
    name        text NOT NULL,
    sealed      bytea NOT NULL,
    received_at timestamptz NOT NULL,
    quarantined text,                              -- why it yielded nothing
    UNIQUE (bank, digest, name)
);

CREATE TABLE callback_events (
    bank        text NOT NULL,
    event_id    text NOT NULL,
    digest      bytea NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (bank, event_id)
);

CREATE TABLE banks (
    bank          text PRIMARY KEY,
    collected_to  text NOT NULL DEFAULT '',        -- the adapter's cursor
    paused_at     timestamptz,
    pause_reason  text
);

CREATE TABLE orders (
    order_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer     text NOT NULL,
    order_id   text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('REISSUE', 'CANCEL', 'RECALL')),
    batch_id   text NOT NULL,
    line       integer,
    attempt_no smallint,
    digest     bytea NOT NULL,
    key_id     text NOT NULL,
    signature  text NOT NULL,
    sealed     bytea NOT NULL,                     -- the signed bytes
    outcome    text NOT NULL,                      -- APPLIED or the reason of the refusal
    decided_at timestamptz NOT NULL,
    UNIQUE (issuer, order_id)
);

CREATE TABLE account_bindings (
    beneficiary  uuid PRIMARY KEY,
    sealed       bytea NOT NULL,
    loaded_at    timestamptz NOT NULL
);

-- One row is one call to the SMS provider, for at most a hundred people; the arrays run in parallel.
CREATE TABLE notices (
    notice_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_no     bigint NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('ARRIVAL', 'REISSUE_ARRIVAL', 'CORRECTION')),
    signature    text NOT NULL,
    payouts      bigint[] NOT NULL,
    attempts     smallint[] NOT NULL,
    submissions  bigint[] NOT NULL,
    seqs         integer[] NOT NULL,
    outcomes     text[] NOT NULL,                  -- DUE, ACCEPTED, DELIVERED, UNDELIVERED, REFUSED, UNKNOWN
    state        text NOT NULL DEFAULT 'DUE' CHECK (state IN ('DUE', 'SENDING', 'UNKNOWN', 'SENT', 'CLOSED')),
    sealed       bytea,                            -- the call as it is sent
    due_at       timestamptz NOT NULL,
    tries        integer NOT NULL DEFAULT 0,
    sent_at      timestamptz,                      -- when the last call ended, or began where it never ended
    created_at   timestamptz NOT NULL,
    lease_owner  text,
    lease_until  timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    CHECK (cardinality(payouts) BETWEEN 1 AND 100 AND cardinality(payouts) = cardinality(outcomes))
);
CREATE INDEX notices_of_batch ON notices (batch_no);
CREATE INDEX notices_open ON notices (due_at) WHERE state IN ('DUE', 'SENDING', 'UNKNOWN', 'SENT');

-- One row is one Kafka record, its bytes fixed in the transaction that changed the state it tells of.
CREATE TABLE outbox (
    outbox_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane         smallint NOT NULL,
    topic        text NOT NULL,
    record_key   text NOT NULL,
    value        bytea NOT NULL,
    happened_at  timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,             -- the promise: published within two days of the outcome
    published_at timestamptz
);
CREATE INDEX outbox_waiting ON outbox (lane, outbox_id) WHERE published_at IS NULL;

CREATE TABLE history (
    batch_no bigint NOT NULL,
    seq      bigint NOT NULL,
    at       timestamptz NOT NULL,
    event    text NOT NULL,
    body     bytea NOT NULL,                       -- canonical JSON, no personal data
    hash     bytea NOT NULL,                       -- SHA-256 over the previous hash, seq, event and body
    PRIMARY KEY (batch_no, seq)
);

CREATE TABLE leases (
    name        text PRIMARY KEY,
    owner       text NOT NULL,
    lease_until timestamptz NOT NULL,
    fence       bigint NOT NULL
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON history
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER history_is_not_truncated BEFORE TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
