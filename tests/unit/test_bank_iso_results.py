"""The simulated ISO 20022 bank's status reports and notices when something is wrong with them, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

import pytest

from tests.bank import hand
from tests.bank.held import HOUR_SECONDS, held_banks
from tests.bank.held_iso import HeldIso, plain, told
from tests.unit.iso_kit import offences

Make = Callable[..., HeldIso]
DAY_SECONDS = 24 * HOUR_SECONDS
BATCH = hand.batch_number(1)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldIso)


def _programmed(*plans: str) -> dict[str, object]:
    """A programme in which line n has the n-th plan."""
    return {"accounts": {hand.account(number): [plan] for number, plan in enumerate(plans, 1)}}


def _readable(body: bytes) -> bool:
    try:
        expat.ParserCreate().Parse(body, True)
    except expat.ExpatError:
        return False
    return b"<!DOCTYPE" not in body


@pytest.mark.parametrize(
    ("fault", "sound_now", "files_in_the_end"),
    [
        ("result_truncated", [False], 2),
        ("result_duplicated", [True, True], 2),
        ("result_out_of_order", [True], 2),
        ("result_rewritten", [True], 1),
        ("result_unknown_reference", [True], 2),
        ("result_wrong_totals", [True], 2),
        ("result_late", [], 1),
        ("hostile_names", [True], 1),
        ("hostile_entities", [False], 2),
        ("result_wrong_version", [True], 2),
    ],
)
def test_each_result_fault_fires_and_the_truth_follows(
    make: Make, fault: str, sound_now: list[bool], files_in_the_end: int
) -> None:
    """What the gateway sees at first is faulty as named; within the repair time every line was told soundly."""
    bank = make(programme={"results": {"*": [fault]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    reports = [body for name, body in bank.files().items() if name != f"pain002_{BATCH}_01.xml"]
    assert [_readable(body) for body in reports] == sound_now
    at_first = {"result_out_of_order": 2, "result_rewritten": 2, "result_duplicated": 8, "hostile_names": 4}
    at_first["result_unknown_reference"] = 4  # beside the stranger, and true
    assert len(bank.column("SELECT line FROM answers WHERE channel = 'res'")) == at_first.get(fault, 0)
    bank.wait(DAY_SECONDS)
    assert len(bank.files("pain002")) == 1 + files_in_the_end
    assert set(bank.column("SELECT line FROM answers WHERE channel = 'res'")) == {1, 2, 3, 4}
    assert bank.column("SELECT fault FROM faults") == [fault]
    assert bank.column("SELECT count(*) FROM credits") == [4]


def test_the_totals_of_a_report_contradict_its_lines(make: Make) -> None:
    """A wrong total shows in the file itself: fewer transactions than it lists."""
    bank = make(programme={"results": {"*": ["result_wrong_totals"]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    body = bank.files()[f"pain002_{BATCH}_02.xml"]
    assert plain(body).findtext("*/*/OrgnlNbOfTxs") == "3"
    assert len(told(body)) == 4


def test_an_unknown_reference_stands_beside_the_right_ones(make: Make) -> None:
    """One line more than the file had, credited under a reference that nobody minted."""
    bank = make(programme={"results": {"*": ["result_unknown_reference"]}})
    bank.send(1, hand.payments(2))
    bank.wait()
    lines = told(bank.files()[f"pain002_{BATCH}_02.xml"])
    assert [line.reference for line in lines] == [hand.reference(1), hand.reference(2), hand.reference(2)[::-1]]
    assert lines[2].status == "ACCC"


def test_another_version_stands_in_the_namespace(make: Make) -> None:
    """A structure that nobody agreed on, however alike it looks."""
    bank = make(programme={"results": {"*": ["result_wrong_version"]}})
    bank.send(1, hand.payments(1))
    bank.wait()
    assert b"pain.002.001.02" in bank.files()[f"pain002_{BATCH}_02.xml"]


@pytest.mark.parametrize(
    "fault",
    ["result_truncated", "result_unknown_reference", "result_wrong_totals", "result_late", "result_wrong_version"],
)
def test_notices_have_faults_too(make: Make, fault: str) -> None:
    """The first camt.054 is unsound or missing; one that holds follows, and money came back once."""
    programme = {**_programmed("credit_then_return:600:ACCOUNT_CLOSED"), "results": {"*": ["none", fault]}}
    bank = make(programme=programme)
    bank.send(1, hand.payments(1))
    bank.wait(2000)
    assert bank.column("SELECT count(*) FROM returns") == [1]
    at_first = bank.column("SELECT code FROM answers WHERE status = 'RETURNED'")
    assert at_first == (["AC04"] if fault == "result_unknown_reference" else [])
    assert len(bank.files("camt054")) == int(fault != "result_late")
    bank.wait(6 * HOUR_SECONDS)
    assert bank.column("SELECT code FROM answers WHERE status = 'RETURNED'") == [*at_first, "AC04"]
    sound = bank.column("SELECT body FROM artefacts WHERE name LIKE '%camt054%' AND sound = 1")
    assert [offences(body) for body in sound] == [[]]
    assert bank.column("SELECT fault FROM faults ORDER BY n") == ["credit_then_return", fault]


def test_a_report_that_a_return_overtook_leaves_it_to_the_notice(make: Make) -> None:
    """A late report does not speak of a line that has come back meanwhile: the notice does."""
    programme = {**_programmed("credit_then_return:600"), "results": {"*": ["result_late"]}}
    bank = make(programme=programme)
    bank.send(1, hand.payments(2))
    bank.wait(6 * HOUR_SECONDS)
    assert bank.statuses() == [["ACCC"]]
    assert bank.column("SELECT status FROM answers WHERE line = 1") == ["RETURNED"]


@pytest.mark.parametrize("fault", ["result_truncated", "result_late", "result_out_of_order", "hostile_entities"])
def test_a_crash_before_the_repair_loses_no_result(make: Make, fault: str) -> None:
    """What was promised in memory is made good from the ledger, under names and numbers that were not used."""
    bank = make(programme={"results": {"*": [fault]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    bank.crash(programme={})
    bank.wait(DAY_SECONDS)
    assert set(bank.column("SELECT line FROM answers WHERE channel = 'res'")) == {1, 2, 3, 4}
    assert bank.column("SELECT count(*) FROM credits") == [4]
    messages = [plain(body).findtext("*/GrpHdr/MsgId") for body in bank.files().values() if _readable(body)]
    assert len(set(messages)) == len(messages)
