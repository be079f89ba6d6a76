-- name: role_exists
-- Whether the server knows this role; roles and their passwords are the database administrator's.
SELECT 1 FROM pg_roles WHERE rolname = $1;

-- name: role_is_ordinary
-- Whether a role (null: whoever asks) is bound by what it is granted.
-- It is no superuser or as good as one, and neither by itself nor as a member of whatever role, whether it takes its
-- rights over by itself or by SET ROLE, a superuser or the owner of the books, of their schema or of the database, who
-- could drop what he may not change.
SELECT NOT r.rolsuper
   AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER')
   AND NOT pg_has_role(r.oid, n.nspowner, 'MEMBER')
   AND NOT pg_has_role(r.oid, d.datdba, 'MEMBER')
   AND NOT EXISTS (
       SELECT 1 FROM pg_roles p
       WHERE (p.rolsuper
              OR p.rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program'))
         AND pg_has_role(r.oid, p.oid, 'MEMBER')
   ) AS ordinary
FROM pg_roles r, pg_class c, pg_namespace n, pg_database d
WHERE r.rolname = coalesce($1, current_user) AND c.oid = 'history'::regclass AND n.oid = c.relnamespace
  AND d.datname = current_database();

-- name: rights_beyond
-- What whoever asks may change beyond these rights, one text for each; columns of a table are named together.
-- Effective rights count: its own, everybody's (PUBLIC), and those of every role it is a member of. Beside tables: to make
-- things in the schema or the database, to set sequences, and to switch triggers off.
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS g(privilege, table_name, column_name)
), me AS (
    SELECT oid FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')
), books AS (
    SELECT c.oid, c.relname, c.relkind, c.relnamespace FROM pg_class c
    WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'history'::regclass)
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), whole AS (
    SELECT b.oid, b.relname, p.privilege
    FROM books b
    CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) AS p(privilege)
    WHERE b.relkind <> 'S' AND EXISTS (SELECT 1 FROM me WHERE has_table_privilege(me.oid, b.oid, p.privilege))
)
SELECT format('%s ON %s', w.privilege, w.relname) AS beyond FROM whole w
WHERE NOT EXISTS (SELECT 1 FROM given g
                  WHERE g.privilege = w.privilege AND g.table_name = w.relname AND g.column_name IS NULL)
UNION ALL
SELECT format('%s (%s) ON %s', p.privilege, string_agg(a.attname, ', ' ORDER BY a.attnum), b.relname)
FROM books b
JOIN pg_attribute a ON a.attrelid = b.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'REFERENCES']) AS p(privilege)
WHERE b.relkind <> 'S'
  AND NOT EXISTS (SELECT 1 FROM whole w WHERE w.oid = b.oid AND w.privilege = p.privilege)
  AND EXISTS (SELECT 1 FROM me WHERE has_column_privilege(me.oid, b.oid, a.attnum, p.privilege))
  AND NOT EXISTS (SELECT 1 FROM given g
                  WHERE g.privilege = p.privilege AND g.table_name = b.relname
                    AND (g.column_name IS NULL OR g.column_name = a.attname))
GROUP BY p.privilege, b.relname
UNION ALL
SELECT format('USAGE or UPDATE ON %s', b.relname) FROM books b
WHERE b.relkind = 'S' AND EXISTS (SELECT 1 FROM me WHERE has_sequence_privilege(me.oid, b.oid, 'USAGE, UPDATE'))
UNION ALL
SELECT 'CREATE ON SCHEMA' WHERE EXISTS (
    SELECT 1 FROM me, books b WHERE b.relname = 'history' AND has_schema_privilege(me.oid, b.relnamespace, 'CREATE'))
UNION ALL
SELECT 'CREATE ON DATABASE' WHERE EXISTS (
    SELECT 1 FROM me WHERE has_database_privilege(me.oid, current_database(), 'CREATE'))
UNION ALL
SELECT 'SET session_replication_role' WHERE EXISTS (
    SELECT 1 FROM me WHERE has_parameter_privilege(me.oid, 'session_replication_role', 'SET'))
ORDER BY beyond;

-- name: server_version
-- The server's version as a number: 180001 is 18.1.
SELECT current_setting('server_version_num')::integer;

-- name: name_role
-- The role of the grants that follow in this transaction, and their rights as JSON: a DO block takes no parameters.
SELECT set_config('payout.role', $1, true), set_config('payout.rights', $2, true);

-- name: grant_reading!
-- An auditor reads everything (people's details are sealed) and writes nothing. Repeating it takes back what was more.
DO $$
DECLARE who text = current_setting('payout.role');
BEGIN
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', who);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM %I', who);
    EXECUTE format('REVOKE CREATE ON SCHEMA public FROM %I', who);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', who);
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA public TO %I', who);
END $$;

-- name: grant_resealing!
-- After grant_reading: whoever rotates the sealing keys writes what is sealed, and nothing else.
DO $$
DECLARE
    who text = current_setting('payout.role');
    what text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'batch_parts', 'refused_lines', 'payouts', 'attempts', 'artefacts', 'orders', 'account_bindings', 'notices'
    ] LOOP
        EXECUTE format('GRANT UPDATE (sealed) ON %I TO %I', what, who);
    END LOOP;
    EXECUTE format('GRANT UPDATE (payload) ON submissions TO %I', who);
END $$;

-- name: paying_rights
-- What a gateway may change: it adds rows and moves the columns that move; an amount, a signature, history never.
-- A null column is the whole table. From these rows a role is granted, and against them a running gateway's is held.
SELECT r.privilege, t.table_name, c.column_name
FROM (VALUES
    ('INSERT', 'batches batch_parts fundings refused_lines payouts submissions attempts evidence artefacts
        callback_events banks orders account_bindings notices outbox history leases statements statement_entries
        statement_differences notice_parts moved_lines', NULL),
    ('UPDATE', 'batches', 'state list_received_at funds_received_at funds_fen judged_parts planned_line approved_lines
        approved_fen refused_lines cancelled_fen clock_started_at limit_at target_at feedback_due_at deadline_exact
        recalled_at recalled_by revision interim_sent_at completed_at changed_at counted_at buckets history_seq history_hash'),
    ('UPDATE', 'fundings', 'batch_no'),
    ('UPDATE', 'payouts', 'beneficiary conflict_at cancelled_at'),
    ('UPDATE', 'submissions', 'reference state lines open_lines sent_lines amount_fen limit_at payload digest
        remote_name rendered_at hold_at due_at sent_at ended_at transmissions unsent acknowledged_at silent_at probe_at probes
        watch_until lease_owner lease_until fence acknowledgement_due_at set_aside_at'),
    ('UPDATE', 'attempts', 'submission_id live state reason bank_code host_reference post_date artefact settled_at
        credited_at return_host_reference returned_at affirmed'),
    ('UPDATE', 'banks', 'collected_to paused_at pause_reason pause_configuration next_submit_at next_probe_at'),
    ('UPDATE', 'account_bindings', 'sealed loaded_at'),
    ('UPDATE', 'notices', 'outcomes state sealed due_at tries sent_at lease_owner lease_until fence'),
    ('UPDATE', 'outbox', 'published_at'),
    ('UPDATE', 'leases statements', NULL),
    ('UPDATE', 'notice_parts', 'notice_id place outcome'),
    ('UPDATE', 'statement_differences', 'resolved_at artefact'),
    ('DELETE', 'statements statement_entries notice_parts', NULL)
) AS r(privilege, tables, columns)
CROSS JOIN LATERAL regexp_split_to_table(r.tables, '\s+') AS t(table_name)
LEFT JOIN LATERAL regexp_split_to_table(r.columns, '\s+') AS c(column_name) ON true
ORDER BY t.table_name, r.privilege, c.column_name;

-- name: grant_paying!
-- After grant_reading: the rights named with the role.
DO $$
DECLARE
    who text = current_setting('payout.role');
    what record;
BEGIN
    FOR what IN
        SELECT privilege, table_name, string_agg(quote_ident(column_name), ', ') AS columns
        FROM json_to_recordset(current_setting('payout.rights')::json)
             AS r(privilege text, table_name text, column_name text)
        GROUP BY privilege, table_name
    LOOP
        EXECUTE format('GRANT %s%s ON %I TO %I', what.privilege, coalesce(' (' || what.columns || ')', ''),
                       what.table_name, who);
    END LOOP;
END $$;
