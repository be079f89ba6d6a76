-- name: pause_bank!
-- Stop sending to a bank until somebody looked; the first reason stays, with the configuration it came about under.
INSERT INTO banks AS b (bank, paused_at, pause_reason, pause_configuration) VALUES ($1, $2, $3, $4)
ON CONFLICT (bank) DO UPDATE
SET paused_at = EXCLUDED.paused_at, pause_reason = EXCLUDED.pause_reason,
    pause_configuration = EXCLUDED.pause_configuration
WHERE b.paused_at IS NULL;

-- name: resume_mended
-- Lift the pauses of banks whose configuration is another one than that under which they were paused.
UPDATE banks b SET paused_at = NULL, pause_reason = NULL, pause_configuration = NULL
FROM unnest($1::text[], $2::bytea[]) AS now(bank, configuration)
WHERE b.bank = now.bank AND b.paused_at IS NOT NULL AND b.pause_configuration <> now.configuration
RETURNING b.bank;

-- name: resume_banks
-- Lift pauses because an operator says so.
UPDATE banks b SET paused_at = NULL, pause_reason = NULL, pause_configuration = NULL
FROM (SELECT bank, paused_at, pause_reason FROM banks WHERE bank = ANY($1::text[]) FOR UPDATE) was
WHERE b.bank = was.bank AND was.paused_at IS NOT NULL RETURNING was.bank, was.paused_at, was.pause_reason;

-- name: paused_banks
-- Banks to which nothing is sent at present, since when and why.
SELECT bank, paused_at, pause_reason FROM banks WHERE paused_at IS NOT NULL ORDER BY bank;
