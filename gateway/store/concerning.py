"""What evidence concerns: found, locked in the one order that all transactions keep, and read into a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adapters.contract import Evidence, Proof
from gateway.states import Known, State
from gateway.store.case import HAS_IT, Case, Concerned
from gateway.store.consequences import Moving
from gateway.store.engine import Connection, sql
from gateway.store.hearing import OUTCOMES
from gateway.store.history import Ledger


async def lock(
    connection: Connection, case: Case, evidence: Sequence[Evidence]
) -> tuple[Ledger, list[Evidence], list[tuple[Evidence, int]]]:
    """Find what is concerned, lock it in order, and tell lines' evidence from whole submissions'."""
    references = sorted({e.reference for e in evidence if e.reference is not None})
    named = sorted({e.submission for e in evidence if e.reference is None and e.submission is not None})
    given = [] if case.heard.submission_id is None else [case.heard.submission_id]
    located = await connection.fetch(sql("locate_evidence"), case.heard.bank, references)
    by_name = await connection.fetch(sql("locate_submissions"), case.heard.bank, named, given)
    moved = []
    if any(e.reference is None and e.proof in HAS_IT for e in evidence):
        moved = await connection.fetch(sql("lines_of_retired"), case.heard.bank, named, given)
    for row in moved:
        case.left.setdefault(row["retired"], []).append(row["reference"])
    found = [*located, *by_name, *moved]
    keys = {row["submission_id"] for row in found}
    ledger = await Ledger.lock(connection, [row["batch_no"] for row in found])
    for row in await connection.fetch(sql("lock_submissions"), sorted(keys)):
        affirmed = row["sent_at"] is not None and row["acknowledgement_due_at"] is None
        case.submissions[row["submission_id"]] = Concerned(row, row["state"], row["open_lines"], affirmed=affirmed)
    numbers = {row["reference"]: row["submission_id"] for row in by_name}
    lines: list[Evidence] = []
    whole: list[tuple[Evidence, int]] = []
    for item in evidence:
        if item.reference is not None:
            lines.append(item)
            continue
        key = case.heard.submission_id if item.submission is None else numbers.get(item.submission)
        if key in case.submissions:
            whole.append((item, key))
        else:
            case.keep(replace(item, reference=item.submission or ""), "UNMATCHED", None)
    return ledger, lines, whole


async def date(connection: Connection, case: Case, evidence: Sequence[Evidence]) -> None:
    """When the files that say "the bank has nothing" were first read: a bank may publish an old refusal again."""
    digests = {e.artefact for e in evidence if e.artefact is not None and e.proof in (Proof.NOT_TAKEN, Proof.ABSENT)}
    if case.heard.ends_call or not digests:
        return  # what answers a call is no file, and may well say the same as the call before
    rows = await connection.fetch(
        sql("artefacts_first_read"), case.heard.bank, [bytes.fromhex(digest) for digest in sorted(digests)]
    )
    case.first_read = {bytes(row["digest"]).hex(): row["first_read_at"] for row in rows}


async def load(connection: Connection, case: Case, evidence: Sequence[Evidence]) -> None:
    references = sorted({e.reference for e in evidence if e.reference is not None})
    if not references:
        return
    # A closed or retired submission has no line without a state; the fallback is the strictest reading.
    shared = {key: State.__members__.get(s.state, State.PLANNED) for key, s in case.submissions.items()}
    for row in await connection.fetch(sql("known_attempts"), case.heard.bank, references):
        own = row["state"]
        state = shared[row["submission_id"]] if own is None else State.__members__[own]
        told = (row["host_reference"], row["return_host_reference"], row["affirmed"])
        known = Known(state, row["amount_fen"], *told)
        case.attempts[row["reference"]] = Moving(row, known)
    back = [e.reference for e in evidence if e.proof is Proof.RETURNED and _is_rejected(case, e.reference)]
    if back:
        rows = await connection.fetch(sql("debited_lines"), case.heard.bank, back)
        case.debited = {row["reference"] for row in rows} | case.heard.debited
    case.answered = {
        (case.attempts[e.reference].row["submission_id"], e.artefact)
        for e in evidence
        if e.proof in OUTCOMES and e.artefact is not None and e.reference in case.attempts
    }
    ours = {submission.row["reference"] for submission in case.submissions.values()}
    others = sorted({e.submission for e in evidence if e.submission is not None} - ours)
    if others:
        rows = await connection.fetch(sql("locate_submissions"), case.heard.bank, others, [])
        ours |= {row["reference"] for row in rows}
    case.ours = ours


def _is_rejected(case: Case, reference: str | None) -> bool:
    attempt = case.attempts.get(reference or "")
    return attempt is not None and attempt.known.state is State.REJECTED
