"""What one piece of evidence does to a case: ``states.decide``, and what it must look at beside the table."""

from __future__ import annotations

from dataclasses import replace

from adapters.contract import Evidence, Proof, Reason
from gateway.states import OPEN, SETTLED, Known, State, Verdict, decide
from gateway.store.case import HAS_IT, Case, Concerned
from gateway.store.consequences import Moving
from gateway.store.engine import Connection, sql

PAUSING = frozenset({Reason.FORMAT, Reason.SIGNATURE})  # the bank will refuse the next one for the same reason


async def apply_whole(connection: Connection, case: Case, item: Evidence, submission: Concerned) -> list[Evidence]:
    """Move a submission, or spread a fact over the lines that have no state of their own."""
    if submission.state == "RETIRED" and item.proof in HAS_IT and case.heard.acknowledges(item):
        # The bank had said that it took nothing. Its lines meet this under the old name, as a contradiction.
        name = submission.row["reference"]
        left = case.left.get(submission.row["submission_id"], [])
        return [replace(item, reference=reference, submission=name) for reference in left]
    if item.proof in (Proof.CREDITED, Proof.REJECTED, Proof.RETURNED):
        rows = await connection.fetch(sql("inheriting_attempts"), submission.row["submission_id"])
        return [replace(item, reference=row["reference"]) for row in rows]
    case.listen(item, submission)
    money = replace(item, reference=submission.row["reference"])
    if submission.state in ("CLOSED", "RETIRED"):
        case.keep_money(money, None, settled=True)
        case.result.effects[item.proof, "noop"] += 1
        return []
    if not case.believed(item, submission.row):
        case.result.effects[item.proof, "noop"] += 1
        return []
    known = Known(State(submission.state), submission.row["amount_fen"], affirmed=submission.affirmed)
    verdict = decide(known, item, whole=True)
    if verdict is State.DEFERRED and not await _may_travel_again(connection, item, submission):
        verdict = State.IN_DOUBT if submission.state == State.SENDING else Verdict.NOOP
    if verdict is Verdict.CONFLICT:  # the bank has what we never sent: nothing of it may travel now
        rows = await connection.fetch(sql("inheriting_attempts"), submission.row["submission_id"])
        return [replace(item, reference=row["reference"]) for row in rows]
    case.keep_money(money, None, settled=False)
    if verdict is Verdict.NOOP:
        case.result.effects[item.proof, "noop"] += 1
        return []
    case.result.effects[item.proof, "move"] += 1
    if verdict is State.IN_DOUBT and item.reason is Reason.DUPLICATE:
        case.stop_for = item.reason  # the bank holds other bytes under our reference: stop, and a person looks
    submission.state = verdict.value
    submission.acknowledged = submission.acknowledged or item.proof in (Proof.RECEIVED, Proof.IN_PROCESS)
    if verdict is State.DEFERRED:
        submission.due_at = case.heard.deferred_until
        submission.unsent = int(item.proof is Proof.NOT_SENT)
        if item.reason in PAUSING:
            submission.retire = item.reason
    return []


async def _may_travel_again(connection: Connection, item: Evidence, submission: Concerned) -> bool:
    """ "Never had it" does not undo "received": one of the two is wrong, and only people can say which."""
    if item.proof is Proof.ABSENT and submission.row["acknowledged_at"] is not None:
        return False
    return await _nothing_known_of_lines(connection, submission)


async def _nothing_known_of_lines(connection: Connection, submission: Concerned) -> bool:
    """Only a submission of which the bank has not spoken line by line may ever travel again."""
    count = await connection.fetchval(sql("attempts_with_own_state"), submission.row["submission_id"])
    return int(count) == 0


def apply_line(case: Case, item: Evidence) -> None:
    """One piece of evidence about one line, decided on the outcome of those before it."""
    attempt = case.attempts.get(item.reference or "")
    if attempt is None:
        case.keep(item, "UNMATCHED", None)
        return
    named = item.submission is None or item.submission == case.submission_of(attempt).row["reference"]
    if not named:
        _misnamed(case, attempt, item)
        return
    case.listen(item, case.submission_of(attempt))
    if _published_absence(case, attempt, item):
        case.move(attempt, item, State.NOT_EXECUTED)
        return
    if not case.believed(item, attempt.row):
        case.result.effects[item.proof, "noop"] += 1
        return
    verdict = decide(attempt.known, item, whole=False)
    if item.proof in (Proof.RECEIVED, Proof.IN_PROCESS) and attempt.known.state in OPEN:
        attempt.known.affirmed = attempt.known.affirmed or case.heard.acknowledges(item)
    if verdict is not Verdict.CONFLICT:
        case.keep_money(item, attempt.row["payout_id"], settled=attempt.known.state in SETTLED)
    if verdict is Verdict.CONFLICT and _put_back(case, attempt, item):
        case.keep(item, "LATE", attempt.row["payout_id"])
    elif verdict is Verdict.CONFLICT:
        case.conflict(attempt, item)
    elif verdict is Verdict.NOOP:
        case.result.effects[item.proof, "noop"] += 1
        on_record = (None, attempt.known.credit_host_reference, attempt.known.return_host_reference)
        if attempt.known.state is State.RETURNED and item.host_reference not in on_record:
            case.keep(item, "LATE", attempt.row["payout_id"], counted=False)
    elif verdict is State.SUBMITTED:
        case.move(attempt, item, State.ACCEPTED)  # "received" of one line: a line has no state of its own below
    elif verdict is State.DEFERRED:
        # "Took nothing" of one line alone cannot send the file again: the line is over, the others are not.
        case.move(attempt, item, State.NOT_EXECUTED)
        if item.reason in PAUSING:
            case.stop_for = item.reason  # the next attempt would be refused for the same reason
    else:
        case.move(attempt, item, verdict)


def _published_absence(case: Case, attempt: Moving, item: Evidence) -> bool:
    """A result file that answers for the other lines and says of this one "never received" has said its last word:
    it is no answer to a question that came too early, and it will not be read again."""
    if item.proof is not Proof.ABSENT or not case.heard.published or case.heard.settling_seconds is None:
        return False
    at_the_bank = attempt.known.state in (State.SUBMITTED, State.ACCEPTED, State.IN_DOUBT, State.HELD)
    submission = case.submission_of(attempt).row
    answers = (submission["submission_id"], item.artefact) in case.answered
    # With one transmission, a file that settles lines of it can only speak of that one; with more, time must tell.
    of_this_transmission = submission["transmissions"] == 1 or case.believed(item, attempt.row)
    return at_the_bank and answers and of_this_transmission and not attempt.known.affirmed


def _put_back(case: Case, attempt: Moving, item: Evidence) -> bool:
    """A bank that debits a file in one go puts what it refused of it back, line by line: that contradicts nothing."""
    rejected = attempt.known.state is State.REJECTED and item.proof is Proof.RETURNED
    names = {item.reference, case.submission_of(attempt).row["reference"]}
    return rejected and item.amount_fen == attempt.known.amount_fen and not names.isdisjoint(case.debited)


def _misnamed(case: Case, attempt: Moving, item: Evidence) -> None:
    """The right line under another submission's name. Where it says that the bank has it, it may be a file that was
    retired because the bank had said it took nothing: then none of its lines may travel in the new one."""
    has_it = item.proof in HAS_IT and case.heard.acknowledges(item)
    if not (has_it and item.submission in case.ours):
        case.keep(item, "UNMATCHED", attempt.row["payout_id"])
        return
    case.conflict(attempt, item)
    case.suspects.add(attempt.row["submission_id"])
