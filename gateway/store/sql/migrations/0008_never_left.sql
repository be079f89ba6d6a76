-- Transmissions of which our own wire says that no byte had left: while they are all there were, the bytes are as good as
-- never sent, and may be dated anew.
--
-- Of what was transmitted before this migration nobody remembers it; it counts as sent.
ALTER TABLE submissions ADD COLUMN unsent integer NOT NULL DEFAULT 0;

-- It is known only where a call ends, and of the transmission that the call was about.
CREATE TRIGGER submissions_left_once AFTER UPDATE ON submissions
    FOR EACH ROW
    WHEN (NEW.unsent <> OLD.unsent
          AND NOT (NEW.unsent = OLD.unsent + 1 AND OLD.state = 'SENDING' AND NEW.state = 'DEFERRED'))
    EXECUTE FUNCTION refuse_undoing('what has left');
