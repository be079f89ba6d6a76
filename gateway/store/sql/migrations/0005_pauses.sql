-- Under which configuration a bank was paused: only another one, or an operator, may lift it.
ALTER TABLE banks ADD COLUMN pause_configuration bytea; -- null: not known
