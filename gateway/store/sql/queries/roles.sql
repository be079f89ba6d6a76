-- name: role_exists
-- Whether the server knows this role; roles and their passwords are the database administrator's.
SELECT 1 FROM pg_roles WHERE rolname = $1;

-- name: role_is_ordinary
-- Whether a role (null: whoever asks) is bound by what it is granted.
-- It is no superuser or as good as one, and neither by itself nor as a member the owner of the books, of their schema or
-- of the database, who could drop what he may not change.
SELECT NOT r.rolsuper
   AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER')
   AND NOT pg_has_role(r.oid, n.nspowner, 'MEMBER')
   AND NOT pg_has_role(r.oid, d.datdba, 'MEMBER')
   AND NOT EXISTS (
       SELECT 1 FROM pg_roles p
       WHERE p.rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
         AND pg_has_role(r.oid, p.oid, 'MEMBER')
   ) AS ordinary
FROM pg_roles r, pg_class c, pg_namespace n, pg_database d
WHERE r.rolname = coalesce($1, current_user) AND c.oid = 'history'::regclass AND n.oid = c.relnamespace
  AND d.datname = current_database();

-- name: may_write_history
-- Whether whoever asks was granted more on the history than to read it and to add to it; owners are not ordinary.
SELECT has_any_column_privilege('history', 'UPDATE') OR has_table_privilege('history', 'DELETE, TRUNCATE');

-- name: server_version
-- The server's version as a number: 180001 is 18.1.
SELECT current_setting('server_version_num')::integer;

-- name: name_role
-- The role of the grants that follow in this transaction: a DO block takes no parameters.
SELECT set_config('payout.role', $1, true);

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

-- name: grant_paying!
-- After grant_reading: a gateway adds rows and changes the columns that move; an amount, a signature, history never.
DO $$
DECLARE
    who text = current_setting('payout.role');
    what text;
BEGIN
    FOREACH what IN ARRAY ARRAY[
        'INSERT ON batches, batch_parts, fundings, refused_lines, payouts, submissions, attempts, evidence, artefacts,
            callback_events, banks, orders, account_bindings, notices, outbox, history, leases, statements,
            statement_entries, statement_differences, notice_parts, moved_lines',
        'UPDATE (state, list_received_at, funds_received_at, funds_fen, judged_parts, planned_line, approved_lines,
            approved_fen, refused_lines, cancelled_fen, clock_started_at, limit_at, target_at, feedback_due_at,
            deadline_exact, recalled_at, revision, interim_sent_at, completed_at, changed_at, counted_at, buckets,
            history_seq, history_hash) ON batches',
        'UPDATE (batch_no) ON fundings',
        'UPDATE (beneficiary, conflict_at, cancelled_at) ON payouts',
        'UPDATE (reference, state, lines, open_lines, sent_lines, amount_fen, limit_at, payload, digest, remote_name,
            rendered_at, hold_at, due_at, sent_at, ended_at, transmissions, acknowledged_at, silent_at, probe_at, probes,
            watch_until, lease_owner, lease_until, fence, acknowledgement_due_at) ON submissions',
        'UPDATE (submission_id, live, state, reason, bank_code, host_reference, post_date, artefact, settled_at,
            credited_at, return_host_reference, returned_at, affirmed) ON attempts',
        'UPDATE (collected_to, paused_at, pause_reason, pause_configuration, next_submit_at, next_probe_at) ON banks',
        'UPDATE (sealed, loaded_at) ON account_bindings',
        'UPDATE (outcomes, state, sealed, due_at, tries, sent_at, lease_owner, lease_until, fence) ON notices',
        'UPDATE (published_at) ON outbox',
        'UPDATE ON leases',
        'UPDATE ON statements',
        'UPDATE (notice_id, place, outcome) ON notice_parts',
        'UPDATE (resolved_at, artefact) ON statement_differences',
        'DELETE ON statements',
        'DELETE ON statement_entries',
        'DELETE ON notice_parts'
    ] LOOP
        EXECUTE format('GRANT %s TO %I', what, who);
    END LOOP;
END $$;
