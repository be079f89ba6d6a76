-- What is settled stays so, whoever writes: also for a role that may write the column.
--
-- The gateway's own login is not trusted with the past. A credited attempt that became REJECTED, or a batch that was cut
-- again from its first line, would make an honest gateway send the money a second time.
--
-- All triggers are AFTER ROW with a WHEN clause that ordinary rows do not meet. AFTER, because a BEFORE ROW trigger makes
-- an UPDATE lock each row apart from changing it, and a COPY insert its rows one by one (55 bytes of WAL each), whatever
-- its WHEN clause says; this costs a look at two columns. An error undoes the statement either way.

CREATE FUNCTION refuse_undoing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: % is not undone', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;

-- The one move from a settled state is a credit that comes back (gateway/states.py); lines move on before that only.
CREATE TRIGGER attempts_stay_settled AFTER UPDATE ON attempts
    FOR EACH ROW
    WHEN (OLD.state IN ('CREDITED', 'RETURNED', 'REJECTED', 'NOT_EXECUTED', 'VOID')
          AND (NEW.submission_id <> OLD.submission_id
               OR NEW.state IS DISTINCT FROM OLD.state
                  AND NOT (OLD.state = 'CREDITED' AND NEW.state IS NOT DISTINCT FROM 'RETURNED')))
    EXECUTE FUNCTION refuse_undoing('a settled attempt');

-- Bytes of which every line is settled, or whose lines moved on, never travel (again).
CREATE TRIGGER submissions_stay_closed AFTER UPDATE ON submissions
    FOR EACH ROW
    WHEN (OLD.state IN ('CLOSED', 'RETIRED') AND NEW.state NOT IN ('CLOSED', 'RETIRED')
          OR NEW.transmissions < OLD.transmissions)
    EXECUTE FUNCTION refuse_undoing('what has travelled');

CREATE TRIGGER batches_are_cut_once AFTER UPDATE ON batches
    FOR EACH ROW WHEN (NEW.planned_line < OLD.planned_line) EXECUTE FUNCTION refuse_undoing('the cutting');

CREATE TRIGGER payouts_stay_cancelled AFTER UPDATE ON payouts
    FOR EACH ROW WHEN (OLD.cancelled_at IS NOT NULL AND NEW.cancelled_at IS DISTINCT FROM OLD.cancelled_at)
    EXECUTE FUNCTION refuse_undoing('a cancellation');

-- A further attempt follows one that failed, and pays the same approved, uncancelled amount. That no other one is open or
-- credited is the business of attempts_one_live. The path of search is fixed: a session's own temporary tables come
-- before the books otherwise.
CREATE FUNCTION refuse_unfounded_attempt() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.state IS NOT NULL THEN
        RAISE EXCEPTION 'attempts: a new one has no state yet' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM attempts a
                   WHERE a.payout_id = NEW.payout_id AND a.attempt_no = NEW.attempt_no - 1 AND NOT a.live
                     AND a.state IN ('REJECTED', 'RETURNED', 'NOT_EXECUTED')) THEN
        RAISE EXCEPTION 'attempts: a further one follows one that failed' USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM payouts p
                   WHERE p.payout_id = NEW.payout_id AND p.amount_fen = NEW.amount_fen AND p.cancelled_at IS NULL) THEN
        RAISE EXCEPTION 'attempts: a further one pays the amount of a payout that is not cancelled'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_follow_failures AFTER INSERT ON attempts
    FOR EACH ROW WHEN (NEW.attempt_no > 1 OR NEW.state IS NOT NULL) EXECUTE FUNCTION refuse_unfounded_attempt();
