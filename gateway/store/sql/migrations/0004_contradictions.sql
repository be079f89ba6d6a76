-- What must be remembered to see that a bank contradicts itself.

-- The bank itself said of this line that it has it. Of a transmission, acknowledgement_due_at says so.
ALTER TABLE attempts ADD COLUMN affirmed boolean NOT NULL DEFAULT false;
