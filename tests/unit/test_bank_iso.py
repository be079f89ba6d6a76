"""The simulated ISO 20022 bank's desk: files taken and refused, lines in its words, faults, crashes in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bank import hand, hand_iso, outlook
from tests.bank.held import HOUR_SECONDS, PROCESSING_SECONDS, held_banks
from tests.bank.held_iso import HeldIso, plain, told
from tests.bank.iso_desk import TAKEN
from tests.bank.iso_reports import IN_PROCESS
from tests.bank.iso_write import REASONS
from tests.bank.ledger import Ledger
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


def test_a_good_file_is_acknowledged_taken_away_and_paid(make: Make) -> None:
    """The clean path: a group status, the file moved to taken/, a report in which every line is credited."""
    bank = make()
    bank.send(1, hand.payments(3))
    ((word, code),) = bank.groups()
    assert word in TAKEN
    assert code == ""
    assert [path.name for path in (bank.directory / "sftp/in/20261124").glob("*/*")] == [f"{BATCH}.xml"]
    assert (bank.directory / f"sftp/in/20261124/taken/{BATCH}.xml").exists()
    bank.wait()
    assert list(bank.files()) == [f"pain002_{BATCH}_01.xml", f"pain002_{BATCH}_02.xml"]
    assert bank.groups()[1] == ("ACCC", "")
    lines = told(bank.files()[f"pain002_{BATCH}_02.xml"])
    assert [line.reference for line in lines] == [hand.reference(number) for number in (1, 2, 3)]
    assert [line.host_ref for line in lines] == bank.column("SELECT host_ref FROM credits ORDER BY line")
    assert bank.rows("SELECT status, amount_fen, channel FROM answers WHERE line = 1") == [("CREDITED", None, "res")]


def test_every_word_that_means_taken_is_used(make: Make) -> None:
    """Over many files the bank says each of the four, so that a gateway that knows only one is found out."""
    bank = make()
    for number in range(1, 31):
        bank.send(number, hand.payments(1, start=number))
    assert {bank.groups(number)[0][0] for number in range(1, 31)} == set(TAKEN)


def test_a_name_that_is_not_final_is_not_looked_at(make: Make) -> None:
    """What does not end in `.xml` is still being written."""
    bank = make()
    path = hand_iso.drop(bank.directory, BATCH, hand_iso.pain001(BATCH, hand.payments(1)))
    path.rename(path.with_suffix(".tmp"))
    bank.desk.scan()
    bank.wait()
    assert path.with_suffix(".tmp").exists()
    assert not bank.rows("SELECT * FROM submissions")


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (b"<Document/>", {}),
        (hand_iso.pain001("DF9", hand.payments(1)), {}),
        (hand_iso.pain001(BATCH, hand.payments(1), date="2026-10-01"), {}),
        (hand_iso.pain001(BATCH, hand.payments(3)), {"max_lines": 2}),
        (hand_iso.pain001(BATCH, hand.payments(1)), {"iso20022": {"member_id": "402881000016"}}),
    ],
)
def test_a_bad_file_is_refused_for_its_format(make: Make, data: bytes, settings: dict[str, object]) -> None:
    """Form, name, date, size and member are judged before anything is taken; nothing is paid, the file put aside."""
    bank = make(**settings)
    hand_iso.drop(bank.directory, BATCH, data)
    bank.desk.scan()
    bank.wait()
    assert bank.groups() == [("RJCT", "FF01")]
    assert bank.rows("SELECT verdict, code FROM submissions") == [("refused", "FF01")]
    assert bank.column("SELECT status FROM answers") == ["NOT_TAKEN"]
    assert not bank.rows("SELECT * FROM credits")
    assert (bank.directory / f"sftp/in/20261124/refused/{BATCH}.xml").exists()


def test_a_strange_name_is_answered_all_the_same(make: Make) -> None:
    """A name that could be no MsgId is refused under what is left of it, and never climbs out of the tree."""
    bank = make()
    hand_iso.drop(bank.directory, "..DF-1 ", hand_iso.pain001("DF1", hand.payments(1)))
    bank.desk.scan()
    assert list(bank.files()) == ["pain002_DF1_01.xml"]
    assert all(offences(body) == [] for body in bank.files().values())


def test_only_debtors_with_an_agreement_are_served(make: Make) -> None:
    """A debit account without an agreement: the group is rejected for a reason of its own, and so is every line."""
    bank = make(iso20022={"debit_accounts": ["6599990000000025"]})
    bank.send(1, hand.payments(2))
    assert bank.groups() == [("RJCT", "AG01")]
    rows = bank.rows("SELECT line, status, code FROM answers WHERE channel = 'ack' ORDER BY line")
    assert rows == [(0, "NOT_TAKEN", "AG01"), (1, "REJECTED", "AG01"), (2, "REJECTED", "AG01")]


@pytest.mark.parametrize(
    ("fault", "reasons", "credits_"),
    [
        ("funds_short", ["AM04"], 0),
        ("refuse_format", ["FF01"], 0),
        ("refuse_signature", ["DS02"], 0),
        ("refuse_duplicate", ["AM05"], 1),
        ("ack_missing", [], 1),
        ("ack_late", [""], 1),
    ],
)
def test_each_submission_fault_fires_once_and_the_second_transmission_passes(
    make: Make, fault: str, reasons: list[str], credits_: int
) -> None:
    """The fault is logged, does what it says, and the next transmission of the same file is clean."""
    bank = make(programme={"submissions": {"*": [fault]}})
    bank.send(1, hand.payments(1))
    assert [code for _, code in bank.groups()] == (reasons if fault != "ack_late" else [])
    bank.wait(HOUR_SECONDS)
    acknowledged = bank.rows("SELECT status, artefact FROM answers WHERE channel = 'ack'")
    assert len(acknowledged) == len(reasons)
    assert bank.rows("SELECT fault, batch FROM faults") == [(fault, BATCH)]
    assert bank.column("SELECT count(*) FROM credits") == [credits_]
    if fault == "refuse_duplicate":
        assert [status for status, _ in acknowledged] == ["DUPLICATE"]
    if not credits_:
        bank.crash()
        bank.send(1, hand.payments(1))
        bank.wait(HOUR_SECONDS)
        assert [word in TAKEN for word, _ in bank.groups()] == [False, True, False]
        assert bank.column("SELECT transmission FROM submissions") == [1, 2]


def test_a_known_file_is_a_duplicate_and_pays_nothing(make: Make) -> None:
    """A bank that deduplicates answers the second transmission AM05; reports of both are numbered on."""
    bank = make(deduplicate="by_file_id")
    for _ in range(2):
        bank.send(1, hand.payments(1))
    bank.wait()
    assert bank.column("SELECT verdict FROM submissions") == ["taken", "duplicate"]
    assert [code for _, code in bank.groups()] == ["", "AM05", ""]
    assert bank.column("SELECT count(*) FROM credits") == [1]


def test_too_little_money_takes_nothing(make: Make) -> None:
    """Funds that do not cover the file: AM04, and the same bytes are taken once there is money."""
    bank = make(balance_fen=12_345)
    bank.send(1, hand.payments(2))
    assert bank.groups() == [("RJCT", "AM04")]
    assert bank.column("SELECT balance_fen FROM balance") == [12_345]
    bank.book.move_balance(12_345, "top up x", 0)
    bank.send(1, hand.payments(2))
    bank.wait()
    assert bank.column("SELECT count(*) FROM credits") == [2]


@pytest.mark.parametrize(
    ("plan", "words", "codes"),
    [
        ("accept", ["ACCC"], ["ACCC"]),
        ("reject:NAME_MISMATCH", ["RJCT"], ["BE01"]),
        ("reject_late:3600:ACCOUNT_CLOSED", ["…", "RJCT"], ["…", "AC04"]),
        ("settle_late:3600", ["…", "ACCC"], ["…", "ACCC"]),
        ("suspect_then_settle:3600", ["PDNG", "ACCC"], ["NARR", "ACCC"]),
        ("pending_for_ever", ["…"], ["…"]),
        ("duplicate_answer", ["ACCC", "ACCC"], ["ACCC", "ACCC"]),
        ("wrong_reference", ["ACCC", "ACCC"], ["ACCC", "ACCC"]),
        ("wrong_amount", ["ACCC"], ["ACCC"]),
        ("credit_after_reject:3600:ACCOUNT_FROZEN", ["RJCT", "ACCC"], ["AC06", "ACCC"]),
        ("contradiction:ACCOUNT_CLOSED", ["ACCC", "RJCT", "ACCC"], ["ACCC", "AC04", "ACCC"]),
    ],
)
def test_every_outcome_in_this_banks_words(make: Make, plan: str, words: list[str], codes: list[str]) -> None:
    """What a line's plan says is what the status reports say, one after another, and what the ledger has."""
    bank = make(programme=_programmed(plan))
    bank.send(1, hand.payments(1))
    bank.wait(DAY_SECONDS - 11 * HOUR_SECONDS)
    waiting = IN_PROCESS[bank.book.programme.draw("word", hand.reference(1)) % len(IN_PROCESS)]
    assert bank.statuses() == [[waiting if word == "…" else word] for word in words]
    said = bank.column("SELECT code FROM answers WHERE channel = 'res' ORDER BY n")
    assert said == [waiting if code == "…" else code for code in codes]


def test_nothing_that_is_in_process_says_credited(make: Make) -> None:
    """In process is told in four words, of which ACSC is the tempting one; none carries the bank's reference."""
    bank = make(programme={"rates": {"pending_for_ever": 10_000}})
    bank.send(1, hand.payments(60))
    bank.wait()
    (body,) = [body for body in bank.files().values() if told(body)]
    assert {line.status for line in told(body)} == set(IN_PROCESS)
    assert {line.host_ref for line in told(body)} == {""}


def test_all_that_settled_at_the_debtor_only_is_a_group_of_it(make: Make) -> None:
    """A file of one line whose word is ACSC is a group ACSC, and nobody is paid."""
    bank = make(programme={"rates": {"pending_for_ever": 10_000}})
    for number in range(1, 21):
        bank.send(number, hand.payments(1, start=number))
    bank.wait()
    groups = {(bank.statuses(number)[0][0], bank.groups(number)[1][0]) for number in range(1, 21)}
    assert groups == {(word, "ACSC" if word == "ACSC" else "PART") for word in IN_PROCESS}
    assert not bank.rows("SELECT * FROM credits")


def test_a_wrong_reference_is_not_given_away_by_the_instruction(make: Make) -> None:
    """The line that is called by an unknown reference carries no OrgnlInstrId either; the right one follows."""
    bank = make(programme=_programmed("wrong_reference"))
    bank.send(1, hand.payments(2))
    bank.wait()
    body = bank.files()[f"pain002_{BATCH}_02.xml"]
    assert told(body)[0].reference == hand.reference(1)[::-1]
    assert [each.findtext("OrgnlInstrId") for each in plain(body).iter("TxInfAndSts")] == [None, f"{BATCH}-000002"]
    bank.wait(DAY_SECONDS // 4)
    assert told(bank.files()[f"pain002_{BATCH}_03.xml"])[0].reference == hand.reference(1)


def test_what_came_back_is_a_notice_and_not_a_report(make: Make) -> None:
    """A return is an entry of a camt.054 with amount, date, reference and reason; the status reports are silent."""
    bank = make(programme=_programmed("credit_then_return:7200:ACCOUNT_CLOSED", "accept"))
    bank.send(1, hand.payments(2))
    bank.wait(4 * HOUR_SECONDS)
    assert bank.statuses() == [["ACCC", "ACCC"]]
    ((name, body),) = bank.files("camt054").items()
    assert name == "camt054_20261124_000001.xml"
    (entry,) = plain(body).iter("Ntry")
    assert (entry.findtext("Amt"), entry.findtext("CdtDbtInd")) == ("123.45", "CRDT")
    assert entry.findtext("NtryDtls/TxDtls/Refs/EndToEndId") == hand.reference(1)
    assert entry.findtext("NtryDtls/TxDtls/RtrInf/Rsn/Cd") == "AC04"
    assert bank.column("SELECT host_ref FROM returns") == [entry.findtext("AcctSvcrRef")]
    told_back = bank.rows("SELECT status, code, amount_fen FROM answers WHERE status = 'RETURNED'")
    assert told_back == [("RETURNED", "AC04", 12_345)]


def test_notices_are_numbered_on_over_a_restart(make: Make) -> None:
    """No camt.054 takes the name of an earlier one."""
    bank = make(programme=_programmed("credit_then_return:600", "credit_then_return:7200"))
    bank.send(1, hand.payments(2))
    bank.wait(HOUR_SECONDS)
    bank.crash()
    bank.wait(3 * HOUR_SECONDS)
    assert list(bank.files("camt054")) == ["camt054_20261124_000001.xml", "camt054_20261124_000002.xml"]


def test_every_code_of_the_table_reaches_the_wire(make: Make) -> None:
    """Each reason of the programme has its code, and a raw code goes out as it is, for tables to not know it."""
    reasons = {**{reason: code for reason, (code, _) in REASONS.items()}, "8888": "8888"}
    bank = make(programme=_programmed(*(f"reject:{reason}" for reason in reasons)))
    bank.send(1, hand.payments(len(reasons)))
    bank.wait()
    assert [line.code for line in told(bank.files()[f"pain002_{BATCH}_02.xml"])] == list(reasons.values())


# -- one bad line, and the whole file is refused


def test_one_bad_line_refuses_the_whole_file(make: Make) -> None:
    """RJCT for the group, the reason beside the bad line, the others without a status; nothing is taken or paid."""
    programme = _programmed("accept", "reject:NAME_MISMATCH", "reject_late:60")
    bank = make(iso20022={"whole_file": True}, programme=programme, balance_fen=100_000)
    bank.send(1, hand.payments(3))
    assert bank.groups() == [("RJCT", "")]
    (body,) = bank.files().values()
    assert offences(body) == []
    assert [(line.status, line.code) for line in told(body)] == [("", ""), ("RJCT", "BE01"), ("", "")]
    assert bank.rows("SELECT verdict, code FROM submissions") == [("refused", "WHOLE_FILE")]
    rows = bank.rows("SELECT line, status, code FROM answers ORDER BY line")
    assert rows == [(0, "NOT_TAKEN", "RJCT"), (2, "REJECTED", "BE01")]
    assert bank.rows("SELECT fault, reference FROM faults") == [("reject", hand.reference(2))]
    bank.wait(DAY_SECONDS)
    assert not bank.rows("SELECT * FROM credits")
    assert bank.column("SELECT balance_fen FROM balance") == [100_000]
    assert outlook.read(bank.directory)["rejections"] == 0


@pytest.mark.parametrize("crash", [False, True])
def test_the_bad_line_counts_as_a_time_so_that_a_re_issue_can_succeed(make: Make, crash: bool) -> None:
    """The account that was refused once is not refused for ever, also when the bank died in between."""
    bank = make(iso20022={"whole_file": True}, programme={"rates": {"reject": 10_000}})
    bank.send(1, hand.payments(2))
    if crash:
        bank.crash()
    bank.send(2, hand.payments(2))
    bank.wait()
    assert bank.column("SELECT verdict FROM submissions") == ["refused", "taken"]
    assert bank.statuses(2) == [["ACCC", "ACCC"]]


def test_a_known_file_is_not_judged_again(make: Make) -> None:
    """Recognised before its lines are looked at: AM05, although a line would now be a bad one."""
    programme = {"accounts": {hand.account(1): ["accept", "reject"]}}
    bank = make(iso20022={"whole_file": True}, deduplicate="by_file_id", programme=programme)
    for _ in range(2):
        bank.send(1, hand.payments(1))
    assert [code for _, code in bank.groups()] == ["", "AM05"]


def test_a_bank_that_takes_good_lines_of_a_file_does_not_refuse_it(make: Make) -> None:
    """Without the setting a bad line is that line's affair."""
    bank = make(programme=_programmed("accept", "reject:NAME_MISMATCH"))
    bank.send(1, hand.payments(2))
    bank.wait()
    assert bank.statuses() == [["ACCC", "RJCT"]]


def test_a_kill_between_ledger_and_tree_neither_repeats_nor_loses(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the commit and before the file was moved and answered: taken once, acknowledged once back."""
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
    assert not bank.files()
    with pytest.raises(Killed):
        bank.wait()
    monkeypatch.setattr(Ledger, "commit", whole)
    bank.crash()
    bank.desk.scan()
    bank.wait(PROCESSING_SECONDS)
    assert bank.column("SELECT count(*) FROM submissions") == [1]
    assert bank.column("SELECT count(*) FROM credits") == [2]
    assert list(bank.files()) == [f"pain002_{BATCH}_01.xml", f"pain002_{BATCH}_02.xml"]
