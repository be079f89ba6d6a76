-- One row is one part of a message at a provider that reports part by part. It is known from the answer to its sending
-- (then it has a place), from its report (then it has an outcome), or from both, in either order.
CREATE TABLE notice_parts (
    provider    text NOT NULL,
    provider_id text NOT NULL,
    notice_id   bigint,                            -- NULL: reported, and not yet known whose it is
    place       smallint,                          -- in the arrays of the call
    outcome     text CHECK (outcome IN ('DELIVERED', 'UNDELIVERED')),
    at          timestamptz NOT NULL,              -- real time: how long a report has waited for its message
    PRIMARY KEY (provider, provider_id),
    CHECK ((notice_id IS NULL) = (place IS NULL))
);
CREATE INDEX notice_parts_of_notice ON notice_parts (notice_id) WHERE notice_id IS NOT NULL;
CREATE INDEX notice_parts_by_age ON notice_parts (at);
