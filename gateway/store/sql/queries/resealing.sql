-- Sealing again: a window of a table's blocks at a time, each row only as it was read. `head` is what blobs under the
-- active key begin with; `context` is the row's part of what a seal is bound to (gateway/vault.py).

-- name: table_blocks
-- How many blocks a table has now; what is written later is sealed under the active key.
SELECT (pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint)::bigint AS blocks;

-- name: sealed_by_key
-- How many rows of each table are sealed under which key, by what the blobs say of themselves.
SELECT place, encode(substring(sealed FROM 3 FOR get_byte(sealed, 1)), 'escape') AS key_id, count(*) AS rows
FROM (
    SELECT 'batch_parts' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM batch_parts WHERE length(sealed) > 2
    UNION ALL SELECT 'refused_lines' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM refused_lines WHERE length(sealed) > 2
    UNION ALL SELECT 'payouts' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM payouts WHERE length(sealed) > 2
    UNION ALL SELECT 'attempts' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM attempts WHERE length(sealed) > 2
    UNION ALL SELECT 'submissions' AS place, substring(payload FROM 1 FOR 34) AS sealed FROM submissions WHERE length(payload) > 2
    UNION ALL SELECT 'artefacts' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM artefacts WHERE length(sealed) > 2
    UNION ALL SELECT 'orders' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM orders WHERE length(sealed) > 2
    UNION ALL SELECT 'account_bindings' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM account_bindings WHERE length(sealed) > 2
    UNION ALL SELECT 'notices' AS place, substring(sealed FROM 1 FOR 34) AS sealed FROM notices WHERE length(sealed) > 2
) AS heads GROUP BY place, key_id ORDER BY place, key_id;

-- name: stale_batch_parts
-- Signed bytes of parts that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[batch_no::text, part::text] AS context, sealed AS sealed FROM batch_parts
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_batch_parts!
-- Signed bytes of parts under their new seals, where nobody has changed the row since.
UPDATE batch_parts t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_refused_lines
-- Raw fields of refused lines that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[batch_no::text, line::text] AS context, sealed AS sealed FROM refused_lines
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_refused_lines!
-- Raw fields of refused lines under their new seals, where nobody has changed the row since.
UPDATE refused_lines t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_payouts
-- Details of payouts that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[payout_id::text] AS context, sealed AS sealed FROM payouts
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_payouts!
-- Details of payouts under their new seals, where nobody has changed the row since.
UPDATE payouts t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_attempts
-- Details that an order corrected that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[payout_id::text, order_no::text] AS context, sealed AS sealed FROM attempts
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_attempts!
-- Details that an order corrected under their new seals, where nobody has changed the row since.
UPDATE attempts t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_submissions
-- Rendered bytes that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[submission_id::text] AS context, payload AS sealed FROM submissions
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(payload FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_submissions!
-- Rendered bytes under their new seals, where nobody has changed the row since.
UPDATE submissions t SET payload = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.payload = u.old;

-- name: stale_artefacts
-- What banks answered that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[bank, encode(digest, 'hex')] AS context, sealed AS sealed FROM artefacts
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_artefacts!
-- What banks answered under their new seals, where nobody has changed the row since.
UPDATE artefacts t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_orders
-- Signed bytes of orders that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[issuer, order_id] AS context, sealed AS sealed FROM orders
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_orders!
-- Signed bytes of orders under their new seals, where nobody has changed the row since.
UPDATE orders t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_account_bindings
-- Accounts that the bank keeps for people that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[beneficiary::text] AS context, sealed AS sealed FROM account_bindings
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_account_bindings!
-- Accounts that the bank keeps for people under their new seals, where nobody has changed the row since.
UPDATE account_bindings t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;

-- name: stale_notices
-- Texts of notices that are not under the active key, in the blocks from $1 up to $2.
SELECT ctid AS place, ARRAY[notice_id::text] AS context, sealed AS sealed FROM notices
WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $2::bigint)::tid
  AND substring(sealed FROM 1 FOR length($3::bytea)) <> $3;

-- name: reseal_notices!
-- Texts of notices under their new seals, where nobody has changed the row since.
UPDATE notices t SET sealed = u.fresh FROM unnest($1::tid[], $2::bytea[], $3::bytea[]) AS u(place, old, fresh)
WHERE t.ctid = u.place AND t.sealed = u.old;
