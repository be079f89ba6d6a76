"""The state machine, cell by cell and rule by rule."""

from __future__ import annotations

import datetime as dt
from itertools import product
from pathlib import Path

import pytest

from adapters.contract import Evidence, Proof
from gateway import states
from gateway.states import CLOSED_NEGATIVE, OPEN, SETTLED, TABLE, Known, Split, State, Verdict, believable, decide

AMOUNT = 10_000
WEAK = (Proof.NOT_SENT, Proof.NOT_TAKEN, Proof.ABSENT, Proof.IN_DOUBT)
MOVES_MONEY = (Proof.CREDITED, Proof.RETURNED)

# The whole table once more, written by hand in another notation: columns in the order of Proof. "." no-op, "!"
# conflict, "a/b" whole submission / one line. Whoever changes a cell must change it here too, and mean it.
BY_HAND = """
               NOT_SENT  NOT_TAKEN ABSENT                 IN_DOUBT RECEIVED  IN_PROCESS CREDITED REJECTED RETURNED
PLANNED        .         .         .                      .        !         !          !        REJECTED !
RENDERED       .         .         .                      .        !         !          !        !        !
SENDING        DEFERRED  DEFERRED  .                      IN_DOUBT SUBMITTED ACCEPTED   CREDITED REJECTED RETURNED
DEFERRED       .         .         .                      IN_DOUBT SUBMITTED ACCEPTED   CREDITED REJECTED RETURNED
SUBMITTED      .         DEFERRED  IN_DOUBT               IN_DOUBT .         ACCEPTED   CREDITED REJECTED RETURNED
ACCEPTED       .         IN_DOUBT/DEFERRED IN_DOUBT     IN_DOUBT .         .          CREDITED REJECTED RETURNED
IN_DOUBT       .         DEFERRED  DEFERRED/NOT_EXECUTED  .        SUBMITTED ACCEPTED   CREDITED REJECTED RETURNED
HELD           .         DEFERRED  DEFERRED/NOT_EXECUTED  .        .         .          CREDITED REJECTED RETURNED
CREDITED       .         .         .                      .        .         .          .        !        RETURNED
RETURNED       .         .         .                      .        .         .          .        !        .
REJECTED       .         .         .                      .        .         .          !        .        !
NOT_EXECUTED   .         .         .                      .        .         !          !        .        !
VOID           .         .         .                      .        !         !          !        .        !
"""


def evidence(proof: Proof, **more: object) -> Evidence:
    return Evidence(proof, reference="R", **more)  # type: ignore[arg-type]


def symbol(outcome: State | Verdict) -> str:
    if isinstance(outcome, State):
        return outcome.value
    return "." if outcome is Verdict.NOOP else "!"


def test_the_table_is_total() -> None:
    """Every state has a cell for every proof: nothing a bank says is without an answer."""
    assert set(TABLE) == set(State)
    assert all(set(row) == set(Proof) for row in TABLE.values())


def test_the_table_says_what_was_meant() -> None:
    """Each of the 117 cells equals the one written by hand."""
    rows = [row.split() for row in BY_HAND.strip().splitlines()]
    assert rows[0] == [proof.value for proof in Proof]
    for name, *cells in rows[1:]:
        for proof, cell in zip(Proof, cells, strict=True):
            whole, _, line = cell.partition("/")
            known = Known(State(name), AMOUNT)
            assert symbol(decide(known, evidence(proof), whole=True)) == whole, (name, proof)
            assert symbol(decide(known, evidence(proof), whole=False)) == (line or whole), (name, proof)
    assert len(rows) == len(State) + 1


@pytest.mark.parametrize(("state", "proof", "whole"), list(product(State, WEAK, (True, False))))
def test_weak_evidence_never_undoes_a_fact(state: State, proof: Proof, whole: bool) -> None:
    """ "Not sent", "not taken", "absent" and "in doubt" change nothing about a settled attempt."""
    if state in SETTLED:
        assert decide(Known(state, AMOUNT), evidence(proof), whole=whole) is Verdict.NOOP


def test_bytes_travel_again_only_after_proof_that_the_bank_has_nothing() -> None:
    """DEFERRED, the one state from which a second transmission starts, is entered by three proofs only."""
    entering = {
        (state, proof)
        for state, proof in product(State, Proof)
        for whole in (True, False)
        if decide(Known(state, AMOUNT), evidence(proof), whole=whole) is State.DEFERRED
    }
    assert {proof for _, proof in entering} == {Proof.NOT_SENT, Proof.NOT_TAKEN, Proof.ABSENT}
    assert {state for state, proof in entering if proof is Proof.ABSENT} == {State.IN_DOUBT, State.HELD}
    assert {state for state, proof in entering if proof is Proof.NOT_SENT} == {State.SENDING}


def test_doubt_is_left_by_evidence_alone() -> None:
    """Nothing we do ourselves leads out of doubt, but into HELD."""
    assert states.OWN_MOVES[State.IN_DOUBT] == {State.HELD}
    assert State.HELD not in states.OWN_MOVES


def test_sending_starts_only_where_the_bank_has_nothing() -> None:
    """SENDING is entered from RENDERED and DEFERRED, never from doubt and never from evidence."""
    assert {s for s, targets in states.OWN_MOVES.items() if State.SENDING in targets} == states.TRANSMITTABLE
    reached = {outcome for row in TABLE.values() for cell in row.values() for _, outcome in states._outcomes(cell)}
    assert State.SENDING not in reached
    assert State.VOID not in reached


def test_a_closed_attempt_never_opens_again() -> None:
    """No evidence leads from a settled state back to an open one; a return is the only move between settled ones."""
    for state, proof in product(SETTLED, Proof):
        outcome = decide(Known(state, AMOUNT), evidence(proof), whole=False)
        assert isinstance(outcome, Verdict) or (state, outcome) == (State.CREDITED, State.RETURNED)
    assert OPEN.isdisjoint(SETTLED)
    assert CLOSED_NEGATIVE | {State.CREDITED} == SETTLED


@pytest.mark.parametrize("proof", MOVES_MONEY)
@pytest.mark.parametrize("difference", [-1, 1, -AMOUNT])
@pytest.mark.parametrize("state", list(State))
def test_another_amount_is_a_conflict_in_every_state(state: State, proof: Proof, difference: int) -> None:
    """Credited is the approved amount to the fen, or it is a conflict."""
    said = evidence(proof, amount_fen=AMOUNT + difference)
    assert decide(Known(state, AMOUNT), said, whole=False) is Verdict.CONFLICT


def test_a_credit_read_again_is_nothing_new_even_after_its_return() -> None:
    """The same booking, by host reference, is a no-op; another booking of the same payout is a conflict."""
    for state in (State.CREDITED, State.RETURNED):
        known = Known(state, AMOUNT, credit_host_reference="H1", return_host_reference="R1")
        again = evidence(Proof.CREDITED, amount_fen=AMOUNT, host_reference="H1")
        other = evidence(Proof.CREDITED, amount_fen=AMOUNT, host_reference="H2")
        assert decide(known, again, whole=False) is Verdict.NOOP
        assert decide(known, other, whole=False) is Verdict.CONFLICT


def test_a_second_return_under_another_number_is_a_conflict() -> None:
    """One credit comes back once."""
    known = Known(State.RETURNED, AMOUNT, credit_host_reference="H1", return_host_reference="R1")
    assert decide(known, evidence(Proof.RETURNED, host_reference="R1"), whole=False) is Verdict.NOOP
    assert decide(known, evidence(Proof.RETURNED, host_reference="R2"), whole=False) is Verdict.CONFLICT


SENT = dt.datetime(2026, 11, 24, 10, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("proof", "asked_after", "settling", "believed"),
    [
        (Proof.CREDITED, -100, None, True),
        (Proof.IN_DOUBT, -100, None, True),
        (Proof.NOT_SENT, 0, None, True),
        (Proof.NOT_SENT, -1, None, False),
        (Proof.NOT_TAKEN, 0, None, True),
        (Proof.NOT_TAKEN, -1, None, False),
        (Proof.ABSENT, 1800, None, False),
        (Proof.ABSENT, 1799, 1800, False),
        (Proof.ABSENT, 1800, 1800, True),
    ],
)
def test_having_nothing_is_believed_only_of_the_current_transmission(
    proof: Proof, asked_after: int, settling: int | None, believed: bool
) -> None:
    """An answer older than the transmission says nothing about it; ABSENT also needs an authoritative bank and time."""
    asked_at = SENT + dt.timedelta(seconds=asked_after)
    assert believable(proof, sent_at=SENT, ended_at=SENT, asked_at=asked_at, settling_seconds=settling) is believed


def test_absence_of_what_was_never_sent_is_not_believed() -> None:
    """Without a transmission there is nothing to be absent."""
    assert not believable(Proof.ABSENT, sent_at=None, ended_at=None, asked_at=SENT, settling_seconds=0)


def test_the_settling_time_runs_from_the_end_of_the_call() -> None:
    """Bytes may be on their way until the call is over: settling counts from then, and never before that is known."""
    asked_at, ended_at = SENT + dt.timedelta(seconds=1800), SENT + dt.timedelta(seconds=60)
    asked = {"sent_at": SENT, "settling_seconds": 1800}
    assert not believable(Proof.ABSENT, ended_at=ended_at, asked_at=asked_at, **asked)  # type: ignore[arg-type]
    assert not believable(Proof.ABSENT, ended_at=None, asked_at=asked_at, **asked)  # type: ignore[arg-type]
    later = asked_at + dt.timedelta(seconds=60)
    assert believable(Proof.ABSENT, ended_at=ended_at, asked_at=later, **asked)  # type: ignore[arg-type]


def test_the_settling_time_runs_on_one_clock() -> None:
    """A clock that was set, or has just started, cannot say how long ago something was: settling counts from then."""
    asked_at, set_at = SENT + dt.timedelta(days=1), SENT + dt.timedelta(days=1, seconds=-60)
    asked = {"sent_at": SENT, "ended_at": SENT, "settling_seconds": 1800}
    assert not believable(Proof.ABSENT, asked_at=asked_at, steady_since=set_at, **asked)  # type: ignore[arg-type]
    later = set_at + dt.timedelta(seconds=1800)
    assert believable(Proof.ABSENT, asked_at=later, steady_since=set_at, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(("state", "proof", "whole"), list(product(State, Proof, (True, False))))
def test_a_bank_that_has_said_i_have_it_cannot_take_it_back(state: State, proof: Proof, whole: bool) -> None:
    """After the bank's own word a refusal is doubt, repeated it is no news, and nothing travels."""
    plain = decide(Known(state, AMOUNT), evidence(proof), whole=whole)
    affirmed = decide(Known(state, AMOUNT, affirmed=True), evidence(proof), whole=whole)
    if plain in (State.DEFERRED, State.NOT_EXECUTED):
        assert affirmed is (Verdict.NOOP if state in states.DOUBTFUL else State.IN_DOUBT)
    else:
        assert affirmed is plain


def test_nothing_is_affirmed_until_the_bank_says_so() -> None:
    """What is taken for granted of an attempt is that nobody has confirmed it."""
    assert not Known(State.SENDING, AMOUNT).affirmed
    assert decide(Known(State.SENDING, AMOUNT), evidence(Proof.NOT_TAKEN), whole=True) is State.DEFERRED


def test_only_two_things_depend_on_their_scope() -> None:
    """The split cells: ABSENT in doubt (resend the file, or close the one line), NOT_TAKEN of what is in process."""
    split = {(s, p) for s, row in TABLE.items() for p, cell in row.items() if isinstance(cell, Split)}
    assert split == {
        (State.IN_DOUBT, Proof.ABSENT),
        (State.HELD, Proof.ABSENT),
        (State.ACCEPTED, Proof.NOT_TAKEN),
    }


def test_the_readme_shows_the_machine_as_it_is() -> None:
    """The diagram in the README is the generated one: run `python -m gateway.states` when the table changes."""
    readme = Path(__file__).parents[2] / "README.md"
    assert f"```mermaid\n{states.diagram()}\n```" in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(("own", "whole"), list(product([None, *State], State)))
def test_what_the_bank_said_of_a_line_outweighs_what_it_said_of_all(own: State | None, whole: State) -> None:
    """An attempt shares its submission's state until the bank speaks of the line itself."""
    assert states.effective(own, whole) is (whole if own is None else own)
