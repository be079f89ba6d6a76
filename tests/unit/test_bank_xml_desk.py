"""The simulated front-end machine's desk: how strictly it reads, what it takes, and each fault of a submission."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand, xml_format
from tests.bank.held import HOUR_SECONDS, HeldMachine, held_banks
from tests.bank.programme import SUBMISSION_FAULTS, XML
from tests.bank.xml_answers import Manner

Make = Callable[..., HeldMachine]
SAMPLES = Path(hand.__file__).parent.parent / "data" / "xml_tcp"
SAMPLE_KEY = b"sample-mac-key-0123456789abcdef0"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from held_banks(tmp_path, monkeypatch, HeldMachine)


def _verdicts(bank: HeldMachine) -> list[Any]:
    return bank.column("SELECT verdict FROM submissions ORDER BY n")


def _said(bank: HeldMachine) -> list[tuple[Any, ...]]:
    return bank.rows("SELECT status, code FROM answers WHERE channel = 'reply' ORDER BY n")


def test_the_samples_are_read_and_written_byte_for_byte(make: Make) -> None:
    """The sample submission is taken, its names as they are; the sample replies are what the bank's writer writes."""
    bank = make()
    (bank.directory / "keys" / "mac.key").write_bytes(SAMPLE_KEY)
    bank.crash()
    header, document = (
        (SAMPLES / "DF1001_request.bin").read_bytes()[:8],
        (SAMPLES / "DF1001_request.bin").read_bytes()[8:],
    )
    assert bank.desk.framing.length(header) == len(document)
    reply = bank.scribe.read(bank.put(document).document)
    assert (reply.code, reply.head["REQSEQ"], reply.genuine) == ("0000", "2026112400000017", True)
    rows = bank.rows("SELECT name, account, id_no, amount_fen, programme FROM lines")
    assert rows[0] == ("阿依古丽·买买提", "6299990000000000012", "659999198001010021", 150_000, "边民补助")
    assert [row[0] for row in rows[1:]] == ["张珅", "古丽娜尔·阿卜杜热合曼"]
    for name in ("DF1001_reply.bin", "DF1002_reply_mixed.bin"):
        sample = (SAMPLES / name).read_bytes()
        root = bank.desk.code.read(sample[8:])
        head = [(field.tag, field.text) for field in root.children[0].children[:-1]]
        body = re.sub(rb".*<BODY>(.*)</BODY>.*|.*<BODY/>.*", lambda match: match[1] or b"", sample[8:], flags=re.DOTALL)
        assert bank.desk.framing.frame(bank.desk.code.document(head, body.decode("gbk"))) == sample


def test_a_submission_is_taken_paid_and_can_be_asked_about(make: Make) -> None:
    """0000, then received, then paid with date and reference; a batch that the bank never had is 1002."""
    bank = make()
    reply = bank.send(1, hand.payments(3))
    assert (reply.code, reply.head["TRCODE"], reply.head["REQSEQ"]) == ("0000", "DF1001", "202611240000000001")
    batch = hand.batch_number(1)
    asked = bank.ask("DF1002", BATCHNO=batch)
    assert (asked.body["BATCHNO"], asked.column("STATUS"), asked.column("CODE")) == (batch, ["0"] * 3, ["2000"] * 3)
    bank.wait()
    asked = bank.ask("DF1002", BATCHNO=batch)
    assert asked.column("REF") == [hand.reference(number) for number in (1, 2, 3)]
    assert {tuple(item.values())[1:6] for item in asked.items} == {("123.45", "2", "0000", "交易成功", "20261124")}
    assert asked.column("HOSTREF") == bank.column("SELECT host_ref FROM credits ORDER BY rowid")
    one = bank.ask("DF1003", BATCHNO=batch, REF=hand.reference(2))
    assert one.items == [asked.items[1]]
    assert bank.ask("DF1002", BATCHNO="DF9").code == bank.ask("DF1003", BATCHNO=batch, REF="STRANGER").code == "1002"
    assert bank.ask("DF9999").code == "0000"
    told = bank.rows("SELECT status, batch, reference FROM answers WHERE channel = 'query' AND line = 0")
    assert told == [("ABSENT", "DF9", ""), ("NOT_FOUND", "", "STRANGER")]  # never a word about the batch that it has


BAD: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "encoding": ("1000", lambda d: d.replace(b'"GBK"', b'"UTF-8"')),
    "undecodable name": ("1000", lambda d: d.replace("张珅".encode("gbk"), b"\x81\x30\x81\x30")),
    "doctype": ("1000", lambda d: d.replace(b"<BANK>", b'<!DOCTYPE BANK [<!ENTITY a "b">]><BANK>')),
    "comment": ("1000", lambda d: d.replace(b"<HEAD>", b"<HEAD><!-- -->")),
    "instruction": ("1000", lambda d: d.replace(b"<HEAD>", b"<HEAD><?x y?>")),
    "cdata": ("1000", lambda d: d.replace(b"<PART>1/1", b"<PART><![CDATA[1/1]]>")),
    "unknown entity": ("1000", lambda d: d.replace(b"<PART>1/1", b"<PART>&x;")),
    "attribute": ("1000", lambda d: d.replace(b"<LIST>", b'<LIST a="b">')),
    "text between": ("1000", lambda d: d.replace(b"<LIST>", b"<LIST>x")),
    "text after": ("1000", lambda d: d.replace(b"</LIST>", b"x</LIST>")),
    "text at the end": ("1000", lambda d: d.replace(b"</BANK>", b"x</BANK>")),
    "second body": ("1000", lambda d: d.replace(b"<HEAD>", b"<BODY/><HEAD>")),
    "cut": ("1000", lambda d: d[:-5]),
    "order of HEAD": ("1000", lambda d: d.replace(b"<VERSION>1.0</VERSION>", b"")),
    "one byte of BODY": ("3058", lambda d: d.replace(b"123.45", b"124.45")),
    "mac of another": ("3058", lambda d: re.sub(rb"<MAC>.{64}", b"<MAC>" + b"0" * 64, d)),
    "mac in capitals": ("3058", lambda d: re.sub(rb"<MAC>.{64}", lambda match: match[0].upper(), d)),
    "no mac": ("3058", lambda d: re.sub(rb"<MAC>.{64}", b"<MAC>", d)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_document_that_is_not_the_manuals_takes_nothing(make: Make, what: str) -> None:
    """Markup beyond elements, another encoding, a changed byte: 1000 or 3058 with our REQSEQ, and so in the ledger."""
    bank = make()
    code, spoil = BAD[what]
    document = bank.scribe.batch(hand.batch_number(1), hand.payments(1))
    spoilt = spoil(document)
    assert spoilt != document
    reply = bank.scribe.read(bank.put(spoilt).document)
    assert (reply.code, reply.head["REQSEQ"], reply.genuine) == (code, "202611240000000001", True)
    assert (_verdicts(bank), _said(bank)) == (["refused"], [("NOT_TAKEN", code)])
    assert bank.send(1, hand.payments(1)).code == "0000"  # it hears the number for the first time


WRONG: dict[str, dict[str, Any]] = {
    "count": {"more": {"TOTALNUM": "2"}},
    "count with a zero": {"more": {"TOTALNUM": "03"}},
    "total": {"more": {"TOTALAMT": "370.36"}},
    "total in fen": {"more": {"TOTALAMT": "37035"}},
    "part": {"more": {"PART": "1/2"}},
    "debit account": {"more": {"PAYACC": "6599990000000018"}},
    "long payer": {"more": {"PAYNAME": "某" * 31}},
    "no purpose": {"more": {"SUMMARY": ""}},
    "batch number": {"more": {"BATCHNO": "df1"}},
    "channel": {"CHANNEL": "YKT02"},
    "corporation": {"CORPNO": "65999902"},
    "version": {"VERSION": "2.0"},
    "date": {"REQDATE": "20261301"},
    "old date": {"REQDATE": "20260101"},
    "time": {"REQTIME": "246000"},
    "resend": {"RESEND": "y"},
    "trade": {"TRCODE": "DF1010"},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_field_out_of_form_refuses_the_whole_submission(make: Make, what: str) -> None:
    """Counts, totals, widths, dates, numbers of the agreement: 1001, nothing taken."""
    bank = make(xml_tcp={"debit_accounts": [hand.DEBIT]})
    assert bank.send(1, hand.payments(3), **WRONG[what]).code == "1001"
    assert not bank.rows("SELECT * FROM submissions WHERE verdict = 'taken'")
    assert bank.send(2, hand.payments(3)).code == "0000"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("SEQ", "2"), ("SEQ", "01"), ("REF", "lower"), ("REF", "R" * 31), ("ACCNO", ""), ("ACCNAME", "名" * 51)),
        *(("ACCNAME", "张\t三"), ("IDTYPE", "1"), ("IDNO", "65999919800101002x"), ("AMT", "0.00"), ("AMT", "1.5")),
        *(("AMT", "-1.00"), ("AMT", "１.00"), ("AMT", "01.00")),
    ],
)
def test_a_line_out_of_form_refuses_the_whole_submission(make: Make, field: str, value: str) -> None:
    """Whatever one line does not say as the manual wants it, the bank takes none of the file."""
    bank = make()
    item = re.sub(rf"<{field}>.*</{field}>", f"<{field}>{value}</{field}>", bank.scribe.item(1, hand.payments(1)[0]))
    bank.scribe.item = lambda place, line: item  # type: ignore[method-assign]
    amount = {"TOTALAMT": value} if field == "AMT" else {}
    assert bank.send(1, hand.payments(1), more=amount).code == "1001"
    assert _verdicts(bank) == ["refused"]


def test_a_document_without_number_or_trade_is_not_answered(make: Make) -> None:
    """What cannot be answered by its number is heard, kept and met with silence."""
    bank = make()
    for noise in (b"", b"GET / HTTP/1.1\r\n\r\n", b"<REQSEQ>1</REQSEQ>", b"<TRCODE>DF1001</TRCODE>"):
        assert bank.desk.answer(noise) is None
    assert bank.rows("SELECT verdict, code FROM submissions") == [("refused", "FRAME")] * 4


def test_500_lines_and_a_bank_number_are_the_most(make: Make) -> None:
    """500 lines are taken, 501 are not, nor a reference twice; a line may name another bank."""
    bank = make()
    assert bank.send(1, hand.payments(501)).code == "1001"
    assert bank.send(2, hand.payments(500)).code == "0000"
    assert bank.send(3, [hand.Payment(901), hand.Payment(902, reference=hand.reference(901))]).code == "1001"
    item = bank.scribe.item(1, hand.Payment(903)).replace("</AMT>", "</AMT><BANKNO>102659000019</BANKNO>")
    bank.scribe.item = lambda place, line: item  # type: ignore[method-assign]
    assert bank.send(4, [hand.Payment(903)]).code == "0000"


def test_gb18030_holds_what_gbk_cannot(make: Make) -> None:
    """A bank with GB18030 takes a name of four-byte characters, one with GBK has no way to be sent it."""
    bank = make(xml_tcp={"encoding": "GB18030"})
    bank.scribe.encoding = "GB18030"
    lines = [hand.Payment(1, name="㛃𠅤·䶮")]
    assert bank.send(1, lines).code == "0000"
    assert bank.column("SELECT name FROM lines") == ["㛃𠅤·䶮"]
    with pytest.raises(UnicodeEncodeError):
        hand.Scribe(b"").batch("DF1", lines)


# -- batch number, REQSEQ, RESEND


def test_a_second_transmission_says_so_and_is_otherwise_the_same(make: Make) -> None:
    """After a loss: RESEND N, another number, other bytes are 1001; RESEND Y with the first bytes is taken."""
    bank = make(programme={"submissions": {hand.batch_number(1): ["busy_2007_before_accept"]}})
    lines = hand.payments(2)
    assert bank.send(1, lines).code == "2007"
    bank.crash()
    assert bank.send(1, lines).code == "1001"
    assert bank.send(1, lines, RESEND="Y", REQSEQ="77").code == "1001"
    assert bank.send(1, hand.payments(3), RESEND="Y").code == "1001"
    assert bank.send(1, lines, RESEND="Y", REQTIME="101531").code == "1001"
    assert bank.send(1, lines, RESEND="Y").code == "0000"
    assert _verdicts(bank) == ["lost", *["refused"] * 4, "taken"]
    assert len(set(bank.column("SELECT sha256 FROM submissions WHERE verdict IN ('lost', 'taken')"))) == 1


def test_a_number_serves_one_batch_or_one_question(make: Make) -> None:
    """REQSEQ used before, by a batch or a question, is 1001 for anything else; a first RESEND Y is welcome."""
    bank = make()
    assert bank.send(1, hand.payments(1), REQSEQ="5").code == "0000"
    bank.crash()
    assert bank.send(2, hand.payments(1, start=9), REQSEQ="5").code == "1001"
    question = bank.scribe.question("DF9999")
    answers = [bank.scribe.read(bank.put(question).document).code for _ in range(2)]
    assert answers == ["0000", "1001"]
    bank.scribe.asked = 4
    assert bank.ask("DF9999").code == "1001"
    assert bank.send(3, hand.payments(1, start=9), REQSEQ=str(10**19 + 1)).code == "1001"
    assert bank.send(4, hand.payments(1, start=9), RESEND="Y").code == "0000"


@pytest.mark.parametrize(
    ("mode", "codes", "paid"), [("none", ["0000", "0000"], 2), ("by_file_id", ["0000", "3051"], 1)]
)
def test_a_blind_resend_shows(make: Make, mode: str, codes: list[str], paid: int) -> None:
    """The same bytes again are paid again, or are 3051 where the bank deduplicates; the ledger has both arrivals."""
    bank = make(deduplicate=mode)
    assert [bank.send(1, hand.payments(1)).code for _ in range(2)] == codes
    bank.wait()
    assert bank.column("SELECT count(*) FROM credits") == [paid]
    assert bank.column("SELECT count(*) FROM lines") == [2]


# -- faults of submissions

TAKEN, LOST, REFUSED = "taken", "lost", "refused"
FAULTS: dict[str, tuple[str, str | None, Manner]] = {
    "timeout_after_accept": (TAKEN, None, Manner.HANG),
    "drop_after_accept": (TAKEN, None, Manner.DROP),
    "timeout_before_accept": (LOST, None, Manner.HANG),
    "drop_before_accept": (LOST, None, Manner.DROP),
    "funds_short": (REFUSED, "3008", Manner.WHOLE),
    "refuse_format": (REFUSED, "1001", Manner.WHOLE),
    "refuse_mac": (REFUSED, "3058", Manner.WHOLE),
    "answer_9999_after_accept": (TAKEN, "9999", Manner.WHOLE),
    "answer_9999_before_accept": (LOST, "9999", Manner.WHOLE),
    "answer_cics_after_accept": (TAKEN, "CICS", Manner.WHOLE),
    "answer_blank_after_accept": (TAKEN, "", Manner.WHOLE),
    "busy_2007_after_accept": (TAKEN, "2007", Manner.WHOLE),
    "busy_2007_before_accept": (LOST, "2007", Manner.WHOLE),
    "duplicate_3051_after_accept": (TAKEN, "3051", Manner.WHOLE),
    "wrong_mac_answer": (TAKEN, "0000", Manner.WHOLE),
    "other_reqseq_answer": (TAKEN, "0000", Manner.WHOLE),
    "short_answer": (TAKEN, None, Manner.SHORT),
    "garbage_answer": (TAKEN, None, Manner.PLAIN),
    "not_found_until_settled": (TAKEN, None, Manner.DROP),
    "hidden": (TAKEN, None, Manner.DROP),
    "hostile_oversize": (TAKEN, None, Manner.OVERSIZE),
    "hostile_slow": (TAKEN, None, Manner.SLOW),
    "hostile_entities": (TAKEN, None, Manner.WHOLE),
}


@pytest.mark.parametrize("fault", [name for name, profiles in SUBMISSION_FAULTS.items() if XML in profiles])
def test_each_submission_fault_fires_once(make: Make, fault: str) -> None:
    """What is taken, what is answered and how, and what the ledger says of it; the resend is clean."""
    verdict, code, manner = FAULTS[fault]
    bank = make(programme={"submissions": {hand.batch_number(1): [fault]}})
    document = bank.scribe.batch(hand.batch_number(1), hand.payments(1))
    outcome = bank.put(document)
    assert outcome.manner is manner
    if code is not None:
        reply = bank.scribe.read(outcome.document)
        assert (reply.code, reply.genuine) == (code, fault != "wrong_mac_answer")
        assert (reply.head["REQSEQ"] == "202611240000000001") == (fault != "other_reqseq_answer")
    assert bank.column("SELECT fault FROM faults") == [fault]
    assert _verdicts(bank) == [verdict]
    assert _said(bank) == ([("NOT_TAKEN", code)] if verdict == REFUSED else [])
    assert bank.send(1, hand.payments(1), RESEND="Y").code == "0000"
    bank.wait(3 * HOUR_SECONDS)
    assert bank.column("SELECT count(*) FROM credits") == [2 if verdict == TAKEN else 1]


def test_the_bomb_is_a_bomb_and_this_reader_survives_it(make: Make) -> None:
    """The hostile reply has the right MAC and number, and would unpack to a thousand million bytes."""
    bank = make(programme={"submissions": {"*": ["hostile_entities"]}})
    document = bank.put(bank.scribe.batch(hand.batch_number(1), hand.payments(1))).document
    assert document.count(b"<!ENTITY") == 9
    assert b"<RETMSG>&i;</RETMSG>" in document
    assert bank.scribe.mac(b"<BODY/>").encode() in document
    with pytest.raises(xml_format.Unreadable):
        bank.desk.code.read(document)


@pytest.mark.parametrize(
    ("fault", "settling", "word"), [("not_found_until_settled", 600, "NOT_FOUND"), ("hidden", 0, "ABSENT")]
)
def test_a_submission_can_hide_and_appear(make: Make, fault: str, settling: int, word: str) -> None:
    """Within the settling time that is honest; `hidden` breaks the bank's word, and the ledger shows which."""
    bank = make(programme={"submissions": {"*": [fault]}}, settling_seconds=settling)
    bank.put(bank.scribe.batch(hand.batch_number(1), hand.payments(1)))
    bank.crash()
    assert bank.ask("DF1002", BATCHNO=hand.batch_number(1)).code == "1002"
    assert bank.ask("DF1003", BATCHNO=hand.batch_number(1), REF=hand.reference(1)).code == "1002"
    assert bank.column("SELECT status FROM answers WHERE channel = 'query'") == [word, word]
    bank.wait(3 * HOUR_SECONDS)
    assert bank.ask("DF1002", BATCHNO=hand.batch_number(1)).column("STATUS") == ["2"]


def test_what_was_never_received_is_absent_after_the_settling_time_only(make: Make) -> None:
    """The same 1002 is worth nothing at first, and authoritative once the bank's settling time is over."""
    bank = make(programme={"submissions": {"*": ["drop_before_accept"]}}, settling_seconds=600)
    bank.put(bank.scribe.batch(hand.batch_number(1), hand.payments(1)))
    for seconds in (599, 1):
        bank.wait(seconds)
        assert bank.ask("DF1002", BATCHNO=hand.batch_number(1)).code == "1002"
    assert bank.column("SELECT status FROM answers WHERE channel = 'query'") == ["NOT_FOUND", "ABSENT"]
