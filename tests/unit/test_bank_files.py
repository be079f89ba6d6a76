"""The simulated file bank's desk: uploads judged, faults of submissions and of result files, and crashes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bank import hand, rcc_format
from tests.bank.held import HOUR_SECONDS, HeldBank, held_banks
from tests.bank.ledger import Ledger

Make = Callable[..., HeldBank]
DAY_SECONDS = 24 * HOUR_SECONDS


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch)


def _codes(bank: HeldBank) -> list[str]:
    return bank.column("SELECT code FROM answers WHERE channel = 'ack' ORDER BY n")


def _sound(body: bytes, seal: bytes) -> bool:
    """Whether a result file holds together: seal, trailer, counts and sums."""
    rows = body.decode("gb18030", "replace").split("\r\n")
    if seal != hand.ok(body) or not rows[-2:-1] or not rows[-2].startswith("T|"):
        return False
    count, fen, digest = rows[-2].split("|")[1:]
    amounts = [int(row.split("|")[4]) for row in rows if row.startswith("D|")]
    before = body[: body.rindex(b"T|")]
    return (len(amounts), sum(amounts), hand.sm3(before)) == (int(count), int(fen), digest)


def test_a_good_upload_is_acknowledged_taken_away_and_paid(make: Make) -> None:
    """The clean path: .ack, the pair moved to taken/, one sealed result file with every line."""
    bank = make()
    batch = bank.send(1, hand.payments(3))
    assert (
        bank.files(".ack")[hand.file_name(batch)[:-4] + ".ack"].decode("gb18030") == f"{batch}|00|0000|文件已接收\r\n"
    )
    taken = bank.directory / "sftp" / "up" / "20261124" / "taken"
    assert sorted(path.name for path in taken.iterdir()) == [hand.file_name(batch), hand.file_name(batch) + ".ok"]
    bank.wait()
    ((name, body),) = bank.files().items()
    assert _sound(body, bank.files(".res.ok")[name + ".ok"])
    assert bank.statuses() == [["S", "S", "S"]]
    assert bank.column("SELECT payload FROM submissions") == [hand.batch_file(batch, hand.payments(3))]


def test_a_file_without_its_ok_does_not_exist(make: Make) -> None:
    """The bank neither reads nor moves nor answers an upload whose `.ok` is missing."""
    bank = make()
    path = hand.drop(bank.directory, "DF1", hand.batch_file("DF1", hand.payments(1)))
    path.with_name(path.name + ".ok").unlink()
    bank.desk.scan()
    bank.wait()
    assert path.exists()
    assert not bank.rows("SELECT * FROM submissions")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: (data, b"1|00"), "F005"),
        (lambda data: (data.replace(b"|CNY|", b"|USD|"), None), "F005"),
        (lambda data: (hand.batch_file("DF9", hand.payments(1)), None), "F001"),
        (lambda data: (hand.batch_file("DF1", hand.payments(1), date="20250101"), None), "F004"),
        (lambda data: (hand.batch_file("DF1", hand.payments(1), date="20261399"), None), "F004"),
        (lambda data: (hand.batch_file("DF1", hand.payments(3)), None), "F001"),
    ],
)
def test_a_bad_upload_is_refused_with_its_code(
    make: Make, change: Callable[[bytes], tuple[bytes, bytes | None]], code: str
) -> None:
    """Seal, digest, name, date and size are judged before anything is taken; nothing is paid."""
    bank = make(max_lines=2)
    hand.drop(bank.directory, "DF1", *change(hand.batch_file("DF1", hand.payments(1))))
    bank.desk.scan()
    bank.wait()
    assert _codes(bank) == [code]
    assert bank.column("SELECT verdict FROM submissions") == ["refused"]
    assert not bank.rows("SELECT * FROM credits")
    assert not list((bank.directory / "sftp" / "up").glob("*/*.txt"))


def test_only_debtors_with_an_agreement_are_served(make: Make) -> None:
    """A debit account without an agreement is refused F006."""
    bank = make(rcc_file={"debit_accounts": ["6599990000000025"]})
    bank.send(1, hand.payments(1))
    assert _codes(bank) == ["F006"]


@pytest.mark.parametrize(
    ("fault", "codes", "credits_"),
    [
        ("funds_short", ["F007"], 0),
        ("refuse_format", ["F001"], 0),
        ("refuse_digest", ["F005"], 0),
        ("refuse_agreement", ["F006"], 0),
        ("ack_missing", [], 1),
        ("ack_late", ["0000"], 1),
    ],
)
def test_each_submission_fault_fires_once_and_the_second_transmission_passes(
    make: Make, fault: str, codes: list[str], credits_: int
) -> None:
    """The fault is logged, does what it says, and the next transmission of the same batch is clean."""
    bank = make(programme={"submissions": {"*": [fault]}})
    bank.send(1, hand.payments(1))
    assert _codes(bank) == (codes if fault != "ack_late" else [])
    bank.wait(HOUR_SECONDS)
    assert _codes(bank) == codes
    assert bank.rows("SELECT fault, batch FROM faults") == [(fault, hand.batch_number(1))]
    assert bank.column("SELECT count(*) FROM credits") == [credits_]
    if not credits_:
        bank.crash()
        bank.send(1, hand.payments(1))
        bank.wait(HOUR_SECONDS)
        assert _codes(bank)[-1] == "0000"
        assert bank.column("SELECT transmission FROM submissions") == [1, 2]


@pytest.mark.parametrize(
    ("fault", "sound_now", "files_in_the_end"),
    [
        ("result_truncated", [False], 2),
        ("result_duplicated", [True, True], 2),
        ("result_out_of_order", [True], 2),
        ("result_rewritten", [True], 1),
        ("result_unknown_reference", [True], 2),
        ("result_wrong_totals", [False], 2),
        ("result_late", [], 1),
        ("hostile_names", [True], 1),
    ],
)
def test_each_result_fault_fires_and_the_truth_follows(
    make: Make, fault: str, sound_now: list[bool], files_in_the_end: int
) -> None:
    """What the gateway sees at first is faulty as named; within the repair time every line was told soundly."""
    bank = make(programme={"results": {"*": [fault]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    assert [_sound(body, bank.files(".res.ok")[name + ".ok"]) for name, body in bank.files().items()] == sound_now
    at_first = {"result_out_of_order": 2, "result_rewritten": 2, "result_duplicated": 8, "hostile_names": 4}
    at_first["result_unknown_reference"] = 4  # beside the stranger, and true
    told = bank.column("SELECT line FROM answers WHERE channel = 'res'")
    assert len(told) == at_first.get(fault, 0)
    bank.wait(DAY_SECONDS)
    assert len(bank.files()) == files_in_the_end
    assert set(bank.column("SELECT line FROM answers WHERE channel = 'res'")) == {1, 2, 3, 4}
    assert bank.column("SELECT fault FROM faults") == [fault]
    assert bank.column("SELECT count(*) FROM credits") == [4]


def test_a_truncated_file_may_carry_a_seal_that_fits(make: Make) -> None:
    """Over many files, some truncated ones betray themselves by the seal and some only by the missing trailer."""
    bank = make(programme={"results": {"*": ["result_truncated"]}})
    for number in range(1, 13):
        bank.send(number, hand.payments(2, start=number * 10))
    bank.wait()
    seals = bank.files(".res.ok")
    fits = {seals[name + ".ok"] == hand.ok(body) for name, body in bank.files().items()}
    assert fits == {True, False}


def test_a_rewritten_file_keeps_its_name_and_gains_lines(make: Make) -> None:
    """The second version stands under the first one's name."""
    bank = make(programme={"results": {"*": ["result_rewritten"]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    assert bank.statuses() == [["S", "S"]]
    bank.wait(DAY_SECONDS)
    assert bank.statuses() == [["S", "S", "S", "S"]]


def test_an_unsound_result_leaves_no_answer_in_the_ledger(make: Make) -> None:
    """The checker must not take a file that nobody may believe for an answer."""
    bank = make(programme={"results": {"*": ["result_wrong_totals"]}})
    bank.send(1, hand.payments(1))
    bank.wait()
    assert bank.column("SELECT sound FROM artefacts WHERE channel = 'res'") == [0]
    assert not bank.rows("SELECT * FROM answers WHERE channel = 'res'")


@pytest.mark.parametrize("fault", ["result_truncated", "result_late", "result_out_of_order", "result_rewritten"])
def test_a_crash_before_the_repair_loses_no_result(make: Make, fault: str) -> None:
    """What was promised in memory is made good from the ledger."""
    bank = make(programme={"results": {"*": [fault]}})
    bank.send(1, hand.payments(4))
    bank.wait()
    bank.crash(programme={})
    bank.wait(DAY_SECONDS)
    assert set(bank.column("SELECT line FROM answers WHERE channel = 'res'")) == {1, 2, 3, 4}
    assert bank.column("SELECT count(*) FROM credits") == [4]


def test_a_kill_between_ledger_and_tree_neither_repeats_nor_loses(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the commit and before the file was moved and acknowledged: taken once, acknowledged once back."""
    bank = make()

    class Killed(Exception):
        pass

    whole = Ledger.commit

    def commit_and_die(ledger: Ledger) -> None:
        whole(ledger)
        raise Killed

    monkeypatch.setattr(Ledger, "commit", commit_and_die)
    with pytest.raises(Killed):
        bank.send(1, hand.payments(2))
    assert not bank.files(".ack")
    with pytest.raises(Killed):
        bank.wait()
    monkeypatch.setattr(Ledger, "commit", whole)
    bank.crash()
    bank.desk.scan()
    bank.wait()
    assert bank.column("SELECT count(*) FROM submissions") == [1]
    assert bank.column("SELECT count(*) FROM credits") == [2]
    assert len(bank.files(".ack")) == len(bank.files()) == 1


def test_every_code_of_the_manual_reaches_the_wire(make: Make) -> None:
    """Each reason of the programme has its own code, and a raw code goes out as it is, for tables to not know it."""
    reasons = {**{reason: code for reason, (code, _) in rcc_format.LINE_CODES.items()}, "8888": "8888"}
    listed = {hand.account(number): [f"reject:{reason}"] for number, reason in enumerate(reasons, 1)}
    bank = make(programme={"accounts": listed})
    bank.send(1, hand.payments(len(reasons)))
    bank.wait()
    (body,) = bank.files().values()
    rows = [row.split("|") for row in body.decode("gb18030").split("\r\n") if row.startswith("D|")]
    assert [row[6] for row in rows] == list(reasons.values())
    assert {row[5] for row in rows} == {"F"}
