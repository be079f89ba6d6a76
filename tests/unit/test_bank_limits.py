"""Limits that every simulated bank has: hours that refuse, a cut-off, bytes, a login's pace, funds that run out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand
from tests.bank.certificates import Certificates, prepare
from tests.bank.config import Hours
from tests.bank.hand import Client
from tests.bank.held import HOUR_SECONDS, HeldBank, HeldMachine, held_banks
from tests.bank.process import BankProcess, until
from tests.bank.timing import taking
from tests.world import clock

Files = Callable[..., HeldBank]
Machines = Callable[..., HeldMachine]
NIGHT_SECONDS = 10 * HOUR_SECONDS  # from ten in the morning
AN_HOUR_REAL_MILLISECONDS = 3_600_000


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    yield from held_banks(tmp_path, monkeypatch)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    yield from held_banks(tmp_path, monkeypatch, HeldMachine)


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[Callable[..., BankProcess]]:
    made: list[BankProcess] = []

    def one(**settings: Any) -> BankProcess:
        made.append(BankProcess(tmp_path / str(len(made)), "json_https", hang_real_seconds=1, **settings))
        made[-1].begin()
        return made[-1]

    yield one
    for bank in made:
        bank.child.kill()


def _faults(bank: Any) -> list[Any]:
    found: list[Any] = bank.column("SELECT fault FROM faults ORDER BY n")
    return found


# -- hours and cut-off


@pytest.mark.parametrize(
    ("hours", "waits_hours"),
    [
        (None, 0),
        (Hours("12:00", "13:00"), 0),
        (Hours("12:00", "13:00", refuses=True), 2),
        (Hours("08:30", "17:00", refuses=True), 0),
        (Hours("08:00", "17:00", refuses=True, cut_off="10:00"), 22),
        (Hours("10:00", "17:00", refuses=True, cut_off="10:01"), 0),
        (Hours("08:00", "17:00", [0], refuses=True), 5 * 24 + 22),
    ],
)
def test_a_bank_that_refuses_takes_from_its_opening_to_its_cut_off(hours: Hours | None, waits_hours: int) -> None:
    """Seen on a Tuesday at ten; one that does not refuse takes always, and the cut-off itself is too late."""
    tuesday_ten_ms = 1_795_485_600_000
    assert taking(tuesday_ten_ms, hours) - tuesday_ten_ms == waits_hours * HOUR_SECONDS * 1000


def test_a_file_bank_lets_files_lie_until_it_opens(files: Files) -> None:
    """No file code says "closed": the pair stays where it is, unanswered, and is taken in the morning."""
    bank = files(hours={"refuses": True})
    bank.wait(NIGHT_SECONDS)
    batch = bank.send(1, hand.payments(1))
    bank.desk.scan()
    assert _faults(bank) == ["outside_hours"]
    assert not bank.rows("SELECT * FROM submissions")
    bank.crash()
    bank.wait(13 * HOUR_SECONDS)
    bank.desk.scan()
    assert bank.column("SELECT batch FROM submissions WHERE verdict = 'taken'") == [batch]
    assert bank.column("SELECT status FROM answers WHERE channel = 'ack'") == ["RECEIVED"]


def test_a_machine_outside_its_hours_is_busy_and_takes_nothing(machines: Machines) -> None:
    """2007, no word in the ledger that would permit a resend, and 1002 when it is asked; open again, it takes it."""
    bank = machines(hours={"refuses": True, "cut_off": "16:00"}, settling_seconds=600)
    bank.wait(6 * HOUR_SECONDS)
    assert bank.send(1, hand.payments(1)).code == "2007"
    bank.wait(600)
    assert bank.ask("DF1002", BATCHNO=hand.batch_number(1)).code == "1002"
    assert bank.rows("SELECT verdict, code FROM submissions") == [("lost", "OUTSIDE_HOURS")]
    assert bank.column("SELECT status FROM answers") == ["ABSENT"]
    bank.wait(18 * HOUR_SECONDS)
    assert bank.send(1, hand.payments(1)).code == "1001"  # it has read that number: a second time says so
    assert bank.send(1, hand.payments(1), RESEND="Y").code == "0000"
    assert _faults(bank) == ["outside_hours"]


async def test_an_https_bank_outside_its_hours_says_when_to_come_again(
    requests: Callable[..., BankProcess],
) -> None:
    """429 RATE_LIMITED with the time to its opening, at most an hour; NOT_TAKEN. It can be asked always."""
    bank = requests(hours={"opens": "09:00", "closes": "09:01", "refuses": True}, scale=1)
    client = Client(prepare(bank.disk), bank.port)
    reply = await client.post("DF1", hand.payments(1))
    assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (429, "RATE_LIMITED", "3600")
    assert (await client.get("/v1/batches/DF1")).status == 404
    assert bank.rows("SELECT verdict, code FROM submissions") == [("refused", "OUTSIDE_HOURS")]
    assert bank.column("SELECT status FROM answers WHERE channel = 'reply'") == ["NOT_TAKEN"]
    assert _faults(bank) == ["outside_hours"]


# -- bytes and lines


def test_too_many_bytes_or_lines_refuse_a_file(files: Files) -> None:
    """One line too many and one byte too many are F001, the most itself is taken."""
    size = len(hand.batch_file(hand.batch_number(3), hand.payments(2)))
    bank = files(max_lines=2, max_bytes=size)
    bank.send(1, hand.payments(3))
    bank.send(2, [hand.Payment(1), hand.Payment(2, name="张珅珅")])
    bank.send(3, hand.payments(2))
    assert bank.column("SELECT code FROM answers WHERE channel = 'ack' ORDER BY n") == ["F001", "F001", "0000"]


def test_too_many_bytes_or_lines_refuse_a_document(machines: Machines) -> None:
    """1001 for one more than the agreement allows."""
    most = len(hand.Scribe(b"").batch(hand.batch_number(3), hand.payments(2)))
    bank = machines(max_lines=2, max_bytes=most)
    codes = [bank.send(1, hand.payments(3)).code]
    codes.append(bank.send(2, [hand.Payment(1), hand.Payment(2, name="张珅珅")]).code)
    assert [*codes, bank.send(3, hand.payments(2)).code] == ["1001", "1001", "0000"]


# -- pace


def test_a_login_that_submits_too_fast_is_told_busy(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the interval: 2007 and nothing taken; the refused one does not count, and the pace is real time."""
    now = [1_000_000]
    monkeypatch.setattr(clock, "wall_ms", lambda: now[0])
    bank = machines(submit_interval_real_milliseconds=1000)
    codes = []
    for number, step in enumerate((0, 999, 1, 1000), 1):
        now[0] += step
        codes.append(bank.send(number, hand.payments(1, start=number)).code)
    assert codes == ["0000", "2007", "0000", "0000"]
    assert _faults(bank) == ["too_fast"]
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "lost", "taken", "taken"]
    assert bank.column("SELECT status FROM answers") == ["RECEIVED"] * 3


def test_a_login_that_asks_too_fast_is_told_busy(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions have an interval of their own, whatever they ask; what they ask is then not told."""
    now = [1_000_000]
    monkeypatch.setattr(clock, "wall_ms", lambda: now[0])
    bank = machines(query_interval_real_milliseconds=2000)
    bank.send(1, hand.payments(1))
    codes = []
    for step in (0, 1999, 1):
        now[0] += step
        codes.append(bank.ask("DF1002", BATCHNO=hand.batch_number(9)).code)
    assert codes == ["1002", "2007", "1002"]
    assert bank.rows("SELECT fault, detail FROM faults") == [("too_fast", "DF1002/" + hand.batch_number(9))]
    assert len(bank.rows("SELECT * FROM answers WHERE channel = 'query'")) == 2


async def test_an_https_bank_limits_both_paces(requests: Callable[..., BankProcess]) -> None:
    """429 for the second submission and the second question within an hour; only a submission's is a word."""
    pace = {f"{kind}_interval_real_milliseconds": AN_HOUR_REAL_MILLISECONDS for kind in ("submit", "query")}
    bank = requests(**pace)
    client = Client(prepare(bank.disk), bank.port)
    replies = [await client.post(f"DF{number}", hand.payments(1, start=number)) for number in (1, 2)]
    replies += [await client.get("/v1/batches/DF1") for _ in range(2)]
    assert [reply.status for reply in replies] == [202, 429, 200, 429]
    assert {reply.headers.get("Retry-After") for reply in replies} == {None, "1"}
    assert bank.rows("SELECT fault, batch, detail FROM faults") == [
        ("too_fast", "DF2", ""),
        ("too_fast", "", "/v1/batches/DF1"),
    ]
    assert bank.column("SELECT status FROM answers WHERE channel = 'reply'") == ["RECEIVED", "NOT_TAKEN"]
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "refused"]


# -- funds in the middle of a file


def _top_up(directory: Path, fen: int) -> None:
    (directory / "control.json").write_text(json.dumps({"top_up_fen": {"one": fen}}))


LINES = [hand.Payment(1, fen=400), hand.Payment(2, fen=700), hand.Payment(3, fen=500), hand.Payment(4, fen=200)]


def test_a_file_bank_pays_in_order_until_the_funds_end(files: Files) -> None:
    """1,000 fen pay lines 1 and 3; 2 and 4 are F with 3008, not taken, nothing moved; topped up, they are paid."""
    bank = files(balance_fen=1000, funds="in_order", statements=False)
    bank.send(1, LINES)
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [100]
    bank.crash()
    bank.wait()
    assert bank.statuses() == [["S", "F", "S", "F"]]
    said = bank.rows("SELECT line, status, code FROM answers WHERE channel = 'res'")
    assert said == [
        (1, "CREDITED", "0000"),
        (2, "NOT_TAKEN", "3008"),
        (3, "CREDITED", "0000"),
        (4, "NOT_TAKEN", "3008"),
    ]
    assert bank.column("SELECT balance_fen FROM balance ORDER BY n DESC LIMIT 1") == [100]
    bank.book.move_balance(800, "top up one", 0)
    bank.book.commit()
    bank.crash()
    bank.send(2, [LINES[1], LINES[3]])
    bank.wait()
    assert bank.rows("SELECT reference, amount_fen FROM credits ORDER BY rowid")[2:] == [
        (line.reference, line.fen) for line in (LINES[1], LINES[3])
    ]
    assert bank.column("SELECT nth FROM lines") == [0] * 6  # a line without funds was not taken: it counts no time


@pytest.mark.parametrize("funds", ["whole", "in_order"])
def test_a_machine_short_of_funds(machines: Machines, funds: str) -> None:
    """Whole: 3008 for the package. In order: the package is taken, lines beyond the balance are 3 with 3008; and when
    not one line is covered, that is the package's answer too."""
    bank = machines(balance_fen=1000, funds=funds, deduplicate="by_reference")
    reply = bank.send(1, LINES)
    assert reply.code == ("0000" if funds == "in_order" else "3008")
    bank.wait()
    if funds == "in_order":
        asked = bank.ask("DF1002", BATCHNO=hand.batch_number(1))
        assert asked.column("CODE") == ["0000", "3008", "0000", "3008"]
        assert bank.column("SELECT line FROM answers WHERE status = 'NOT_TAKEN'") == [2, 4]
        assert bank.send(2, [LINES[1]]).code == "3008"
        bank.book.move_balance(800, "top up one", 0)
        assert bank.send(3, [LINES[1], LINES[3]]).code == "0000"
        bank.wait()
    assert bank.column("SELECT sum(amount_fen) FROM credits") == [1800 if funds == "in_order" else None]


async def test_the_top_up_reaches_a_running_machine(tmp_path: Path) -> None:
    """control.json adds the funds that the next transmission needs."""
    bank = BankProcess(tmp_path, "xml_tcp", balance_fen=0)
    try:
        bank.begin()
        scribe = hand.Scribe(Certificates(bank.disk).mac_key.read_bytes())
        client = hand.XmlClient(bank.port, scribe)
        sent = [scribe.batch("DF1", hand.payments(1), RESEND=resend) for resend in "NY"]
        (short,) = await client.send(sent[0])
        _top_up(bank.disk, 12_345)
        await until(lambda: bank.column("SELECT balance_fen FROM balance") == [12_345])
        (taken,) = await client.send(sent[1])
        assert (short.code, taken.code) == ("3008", "0000")
    finally:
        bank.child.kill()
