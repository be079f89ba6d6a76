"""The state machine of an attempt: one total table from state and proof to what happens.

Theory of operation
-------------------

An *attempt* is one issue of a payout to one bank under one reference, for ever. Its state is what this gateway
**knows** about the money, never what it hopes:

``PLANNED``       cut into a submission; no bytes exist
``RENDERED``      the bytes, their digest and the references are committed; nothing was sent
``SENDING``       committed before the wire is touched: from here on the bank may have it
``DEFERRED``      it is certain that the bank has nothing of it; the same bytes travel later
``SUBMITTED``     the bank has it; nobody is paid by that
``ACCEPTED``      the bank says it is working on it
``IN_DOUBT``      nobody here knows; only asking helps
``HELD``          in doubt and close to the limit: a person was called, asking goes on
``CREDITED``      the payee has the money (and may still give it back: a return)
``RETURNED``      it was credited and came back           } closed negative: the reference is burned,
``REJECTED``      the bank will not pay it                } only a new attempt can pay this payout
``NOT_EXECUTED``  this line alone never reached the bank  }
``VOID``          cancelled before it was sent            }

Four rules make the table safe, and each cell can be read against them:

1. *Evidence only strengthens.* "Not sent", "not taken", "absent" and "in doubt" never undo a fact. A stale answer read
   after a credit is a no-op, because banks repeat themselves.
2. *Doubt is never transmitted again.* The only way back to a state from which bytes travel (``DEFERRED``) is a proof
   that the bank has nothing: NOT_SENT from our own wire, NOT_TAKEN by the bank's documented word, or ABSENT for the
   whole submission after the bank's settling time. ``ABSENT`` for one line of a submission that the bank does know
   closes that line instead; a resend of the file would pay the others twice.
3. *Contradictions freeze.* A credit on a closed attempt, a rejection after a credit, a second credit under another host
   reference, another amount than the approved one: the attempt keeps its state, the payout is frozen, people decide.
4. *A bank that has said "I have it" cannot take that back.* Once its own word (our upload, seen where we put it, is
   none) affirmed this transmission, or this line, "not taken" and "absent" contradict it: that is doubt, and the same
   words once more are no news. It is left by an outcome, or by people. What was said of the file is not said of each
   line in it: a line that the bank's documented word alone refuses in the middle of a file is over, and is tried anew.

States up to ACCEPTED, and doubt about a whole submission, are kept once on the submission; an attempt has a state of
its own only when the bank said something about that line alone. ``effective`` joins the two.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from adapters.contract import Evidence, Proof


class State(StrEnum):
    PLANNED = "PLANNED"
    RENDERED = "RENDERED"
    SENDING = "SENDING"
    DEFERRED = "DEFERRED"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    IN_DOUBT = "IN_DOUBT"
    HELD = "HELD"
    CREDITED = "CREDITED"
    RETURNED = "RETURNED"
    REJECTED = "REJECTED"
    NOT_EXECUTED = "NOT_EXECUTED"
    VOID = "VOID"


CLOSED_NEGATIVE: Final = frozenset({State.RETURNED, State.REJECTED, State.NOT_EXECUTED, State.VOID})
SETTLED: Final = CLOSED_NEGATIVE | {State.CREDITED}
OPEN: Final = frozenset(State) - SETTLED
TRANSMITTABLE: Final = frozenset({State.RENDERED, State.DEFERRED})  # the only states from which bytes may travel
CANCELLABLE: Final = frozenset({State.PLANNED, State.RENDERED, State.DEFERRED})  # the bank certainly has nothing of it
AT_THE_BANK: Final = frozenset({State.SENDING, State.SUBMITTED, State.ACCEPTED})
DOUBTFUL: Final = frozenset({State.IN_DOUBT, State.HELD})

# What is not evidence but our own doing. The store makes each of these conditional on the state it leaves.
OWN_MOVES: Final = MappingProxyType(
    {
        State.PLANNED: frozenset({State.RENDERED, State.VOID}),
        State.RENDERED: frozenset({State.SENDING, State.VOID, State.PLANNED}),  # PLANNED: the submission was retired
        State.SENDING: frozenset({State.IN_DOUBT}),  # its process died, or its lease passed
        State.DEFERRED: frozenset({State.SENDING, State.VOID, State.PLANNED}),
        State.SUBMITTED: frozenset({State.IN_DOUBT}),  # silence past the bank's due time
        State.ACCEPTED: frozenset({State.IN_DOUBT}),
        State.IN_DOUBT: frozenset({State.HELD}),  # four working hours before the limit
    }
)


class Verdict(StrEnum):
    """What a cell says when it names no new state."""

    NOOP = "NOOP"
    CONFLICT = "CONFLICT"


@dataclass(frozen=True, slots=True)
class Split:
    """A cell whose outcome depends on whether the evidence speaks of the whole submission or of one line."""

    whole: State | Verdict
    line: State | Verdict


Cell = State | Verdict | Split

NOOP: Final = Verdict.NOOP
CONFLICT: Final = Verdict.CONFLICT
_NEVER_SENT: Final[dict[Proof, Cell]] = {
    Proof.NOT_SENT: NOOP,
    Proof.NOT_TAKEN: NOOP,
    Proof.ABSENT: NOOP,
    Proof.IN_DOUBT: NOOP,
    Proof.RECEIVED: CONFLICT,  # the bank has something that we never sent
    Proof.IN_PROCESS: CONFLICT,
    Proof.CREDITED: CONFLICT,
    Proof.REJECTED: State.REJECTED,  # our own refusal before sending: a name the bank's encoding cannot hold
    Proof.RETURNED: CONFLICT,
}
_FACTS: Final[dict[Proof, Cell]] = {
    Proof.IN_PROCESS: State.ACCEPTED,
    Proof.CREDITED: State.CREDITED,
    Proof.REJECTED: State.REJECTED,
    Proof.RETURNED: State.RETURNED,
}
_DOUBT: Final[dict[Proof, Cell]] = {
    Proof.NOT_SENT: NOOP,  # only the process that holds the lease may say so, and it would not be in doubt
    Proof.NOT_TAKEN: State.DEFERRED,
    Proof.ABSENT: Split(whole=State.DEFERRED, line=State.NOT_EXECUTED),
    Proof.IN_DOUBT: NOOP,
    Proof.RECEIVED: State.SUBMITTED,
    **_FACTS,
}
_WEAK_AFTER_A_FACT: Final[dict[Proof, Cell]] = {
    Proof.NOT_SENT: NOOP,
    Proof.NOT_TAKEN: NOOP,
    Proof.ABSENT: NOOP,
    Proof.IN_DOUBT: NOOP,
    Proof.RECEIVED: NOOP,
    Proof.IN_PROCESS: NOOP,
}

TABLE: Final[MappingProxyType[State, MappingProxyType[Proof, Cell]]] = MappingProxyType(
    {
        state: MappingProxyType(row)
        for state, row in {
            State.PLANNED: _NEVER_SENT,
            State.RENDERED: {**_NEVER_SENT, Proof.REJECTED: CONFLICT},  # its bytes are fixed and would travel with it
            State.SENDING: {
                Proof.NOT_SENT: State.DEFERRED,
                Proof.NOT_TAKEN: State.DEFERRED,
                Proof.ABSENT: NOOP,  # asked while the bytes were under way: worth nothing
                Proof.IN_DOUBT: State.IN_DOUBT,
                Proof.RECEIVED: State.SUBMITTED,
                **_FACTS,
            },
            State.DEFERRED: {
                Proof.NOT_SENT: NOOP,
                Proof.NOT_TAKEN: NOOP,
                Proof.ABSENT: NOOP,
                Proof.IN_DOUBT: State.IN_DOUBT,  # a doubt about something that we were about to send again
                Proof.RECEIVED: State.SUBMITTED,
                **_FACTS,
            },
            State.SUBMITTED: {
                Proof.NOT_SENT: NOOP,
                # The file arrived where we put it, its acknowledgement refuses it as a whole; affirmed, see decide().
                Proof.NOT_TAKEN: State.DEFERRED,
                Proof.ABSENT: State.IN_DOUBT,  # it said "received" before: one of the two is wrong
                Proof.IN_DOUBT: State.IN_DOUBT,
                Proof.RECEIVED: NOOP,
                **_FACTS,
            },
            State.ACCEPTED: {
                Proof.NOT_SENT: NOOP,
                # Funds may run out in the middle of a file; of a line that was itself in process, see decide().
                Proof.NOT_TAKEN: Split(whole=State.IN_DOUBT, line=State.DEFERRED),
                Proof.ABSENT: State.IN_DOUBT,
                Proof.IN_DOUBT: State.IN_DOUBT,
                Proof.RECEIVED: NOOP,
                **_FACTS,
                Proof.IN_PROCESS: NOOP,
            },
            State.IN_DOUBT: _DOUBT,
            # "Received" and "working on it" answer nothing that a person was called for: HELD stays.
            State.HELD: {**_DOUBT, Proof.RECEIVED: NOOP, Proof.IN_PROCESS: NOOP},
            State.CREDITED: {
                **_WEAK_AFTER_A_FACT,
                Proof.CREDITED: NOOP,  # the same booking; another host reference is a conflict, see decide()
                Proof.REJECTED: CONFLICT,
                Proof.RETURNED: State.RETURNED,
            },
            State.RETURNED: {
                **_WEAK_AFTER_A_FACT,
                Proof.CREDITED: NOOP,  # the credit that came back, read again; another host reference is a conflict
                Proof.REJECTED: CONFLICT,
                Proof.RETURNED: NOOP,
            },
            State.REJECTED: {
                **_WEAK_AFTER_A_FACT,
                Proof.CREDITED: CONFLICT,
                Proof.REJECTED: NOOP,
                Proof.RETURNED: CONFLICT,
            },
            State.NOT_EXECUTED: {
                **_WEAK_AFTER_A_FACT,
                Proof.IN_PROCESS: CONFLICT,  # a new attempt is on its way, and the bank found the old one
                Proof.CREDITED: CONFLICT,
                Proof.REJECTED: NOOP,
                Proof.RETURNED: CONFLICT,
            },
            State.VOID: {
                **_WEAK_AFTER_A_FACT,
                Proof.RECEIVED: CONFLICT,  # finance was told that it is cancelled
                Proof.IN_PROCESS: CONFLICT,
                Proof.CREDITED: CONFLICT,
                Proof.REJECTED: NOOP,
                Proof.RETURNED: CONFLICT,
            },
        }.items()
    }
)


@dataclass(slots=True)
class Known:
    """What is on record about an attempt when evidence arrives; whoever moves the attempt keeps it current.

    ``affirmed``: the bank itself said that it has this transmission or, of a line, this line.
    """

    state: State
    amount_fen: int
    credit_host_reference: str | None = None
    return_host_reference: str | None = None
    affirmed: bool = False


def effective(attempt_state: State | None, submission_state: State) -> State:
    """The state of an attempt: its own where the bank spoke of the line, else its submission's."""
    return submission_state if attempt_state is None else attempt_state


def believable(
    proof: Proof,
    *,
    sent_at: dt.datetime | None,
    ended_at: dt.datetime | None,
    asked_at: dt.datetime,
    settling_seconds: int | None,
    steady_since: dt.datetime | None = None,
) -> bool:
    """Whether "the bank has nothing" may be believed; every other proof always is.

    The question must not be older than the transmission it speaks of: an answer to the first transmission says nothing
    about the second. ABSENT needs more: a bank whose "not found" is authoritative (``settling_seconds`` is not None),
    asked after its settling time. That time runs from the *end* of the call (``ended_at``; for a process that died,
    from when its call is over for certain): until then bytes may still have been on their way. And it runs on one
    clock: a process whose clock was set, or that has just started, counts it from then (``steady_since``).
    """
    if proof not in (Proof.NOT_SENT, Proof.NOT_TAKEN, Proof.ABSENT):
        return True
    if sent_at is None or asked_at < sent_at:
        return False
    if proof is not Proof.ABSENT:
        return True
    if settling_seconds is None or ended_at is None:
        return False
    counted_from = ended_at if steady_since is None else max(ended_at, steady_since)
    return asked_at >= counted_from + dt.timedelta(seconds=settling_seconds)


def decide(known: Known, evidence: Evidence, *, whole: bool) -> State | Verdict:
    """What ``evidence`` does to an attempt: the state to move to, NOOP, or CONFLICT.

    Total: every state and proof has an answer. ``whole`` says that the evidence speaks of the whole submission.
    """
    cell = TABLE[known.state][evidence.proof]
    outcome = (cell.whole if whole else cell.line) if isinstance(cell, Split) else cell
    if outcome is CONFLICT:
        return CONFLICT
    if known.affirmed and outcome in (State.DEFERRED, State.NOT_EXECUTED):
        return NOOP if known.state in DOUBTFUL else State.IN_DOUBT
    moved_money = evidence.proof in (Proof.CREDITED, Proof.RETURNED)
    if moved_money and evidence.amount_fen is not None and evidence.amount_fen != known.amount_fen:
        return CONFLICT  # a fee was taken, or somebody else's money moved (D6)
    if evidence.proof is Proof.CREDITED and _differs(evidence.host_reference, known.credit_host_reference):
        return CONFLICT  # a second booking, not the first one read again
    if evidence.proof is Proof.RETURNED and _differs(evidence.host_reference, known.return_host_reference):
        return CONFLICT
    return outcome


def _differs(seen: str | None, recorded: str | None) -> bool:
    return seen is not None and recorded is not None and seen != recorded


def diagram() -> str:
    """The machine as a Mermaid state diagram, generated from the table so that the README cannot drift from it."""
    edges: dict[tuple[State, State], set[str]] = {}
    for state, row in TABLE.items():
        for proof, cell in row.items():
            for suffix, outcome in _outcomes(cell):
                if isinstance(outcome, State):
                    edges.setdefault((state, outcome), set()).add(proof.value + suffix)
    for state, targets in OWN_MOVES.items():
        for target in targets:
            edges.setdefault((state, target), set()).add("we")
    order = list(State)
    lines = ["stateDiagram-v2", "    [*] --> PLANNED"]
    for (source, target), labels in sorted(edges.items(), key=lambda e: (order.index(e[0][0]), order.index(e[0][1]))):
        lines.append(f"    {source} --> {target}: {', '.join(sorted(labels))}")
    return "\n".join(lines)


def _outcomes(cell: Cell) -> tuple[tuple[str, State | Verdict], ...]:
    if isinstance(cell, Split):
        return ((" (whole)", cell.whole), (" (line)", cell.line))
    return (("", cell),)


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram() + "\n")
