-- What must be remembered to see that a bank contradicts itself.

-- The bank itself said of this line that it has it. Of a transmission, acknowledgement_due_at says so.
ALTER TABLE attempts ADD COLUMN affirmed boolean NOT NULL DEFAULT false;

-- Which lines were in the bytes of a transmission that was retired, and travel elsewhere since: when the bank then says
-- that it has the old one, they are its lines too.
CREATE TABLE moved_lines (
    submission_id bigint NOT NULL,                 -- the retired one
    reference     text NOT NULL,
    PRIMARY KEY (submission_id, reference)
);
