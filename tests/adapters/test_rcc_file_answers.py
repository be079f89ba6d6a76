"""What the answers of rcc_file prove: samples, files cut short or tampered with, statuses, codes, acknowledgements."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import Artefact, Proof, Reason, Unreadable
from tests.adapters.rcc_file_kit import (
    SAMPLE_LINES,
    SAMPLES,
    STEM,
    artefact,
    make_adapter,
    result,
    row,
    sample_artefact,
)


def test_sample_results_are_read() -> None:
    """The samples prove two credits and a rejection, and two days later the return of one of the credits."""
    first = list(make_adapter().parse(sample_artefact("01")))
    later = list(make_adapter().parse(sample_artefact("02")))
    assert [(e.proof, e.reason, e.amount_fen) for e in first + later] == [
        (Proof.CREDITED, None, 123456),
        (Proof.REJECTED, Reason.NAME_MISMATCH, 88050),
        (Proof.CREDITED, None, 60000),
        (Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, 60000),
    ]
    assert [e.reference for e in first] == [each.reference for each in SAMPLE_LINES]
    assert {e.submission for e in first + later} == {"DF202611240001"}
    assert (first[0].post_date, first[0].host_reference) == (dt.date(2026, 11, 25), "H20261125000001")
    assert (first[1].post_date, first[1].host_reference, first[1].code) == (None, None, "3031")
    assert {e.artefact for e in first} == {sample_artefact("01").sha256}
    assert later[0].text == "退票:账户状态异常"


def test_truncated_result_yields_nothing() -> None:
    """A result cut at any byte is unreadable as a whole, with the bank's .ok and with one that fits the rest."""
    content = (SAMPLES / f"{STEM}.01.res").read_bytes()
    ok = (SAMPLES / f"{STEM}.01.res.ok").read_bytes()
    bank = make_adapter()
    for length in range(len(content)):
        for given_ok in (ok, None):
            with pytest.raises(Unreadable):
                list(bank.parse(artefact(content[:length], given_ok)))


def test_any_flipped_byte_of_a_result_yields_nothing() -> None:
    """One changed byte anywhere in a result, or in its .ok, makes the whole unreadable."""
    whole = sample_artefact("01")
    bank = make_adapter()
    for position in range(len(whole.content)):
        changed = bytearray(whole.content)
        changed[position] ^= 0x01
        with pytest.raises(Unreadable):
            bank.parse(Artefact.of(whole.name, bytes(changed)))


GOOD_ROW = row(1, 100, "S", "0000")


@pytest.mark.parametrize(
    "content",
    [
        result(GOOD_ROW, head="2|100|1|100|0|0"),
        result(GOOD_ROW, head="1|101|1|100|0|0"),
        result(GOOD_ROW, head="1|100|0|0|1|100"),
        result(GOOD_ROW, head="1|100|1|99|0|0"),
        result(GOOD_ROW, row(2, 50, "P", "2007", "|"), head="2|150|1|100|1|50"),
        result(GOOD_ROW, head="1|１00|1|100|0|0"),
        result("D|000001|REF1|6299990000000000012|١٠٠|S|0000|x|20261125|H1", head="1|100|1|100|0|0"),
        result(row(1, 100, "S", "0000", "20261125|H1|more")),
        result(row(1, 100, "S", "0000", "20261125|H1\n")),
        result(row(1, 100, "S", "0000", "2026112|H1")),
        result(row(1, 100, "S", "00000")),
        result(GOOD_ROW.replace("REF1", "ref1")),
        result(GOOD_ROW).replace(b"H|1.0|", b"H|1.1|"),
        result(GOOD_ROW).replace(b"REF1", b"REF2"),
        b"",
        b"\r\n",
        b"H|1.0|402XJ0001|DF202611240001|00|20261125|0|0|0|0|0|0\r\n",
    ],
)
def test_results_that_do_not_add_up_are_unreadable(content: bytes) -> None:
    """Wrong counts, sums or digest, digits that are not ASCII, fields too many, another version: no evidence at all."""
    with pytest.raises(Unreadable):
        make_adapter().parse(artefact(content))


@pytest.mark.parametrize(
    "name",
    [
        "20261125/DF_402XJ0001_DF202611240002_00.01.res",
        "20261125/DF_402XJ0001_DF202611240001_01.01.res",
        "20261125/DF_402XJ0002_DF202611240001_00.01.res",
        "20261125/DF_402XJ0001_DF202611240001_00.txt",
        "20261125/../../x.res",
        "",
    ],
)
def test_result_under_another_name_is_unreadable(name: str) -> None:
    """A result speaks only for the bank, batch and sequence that its own file name says."""
    with pytest.raises(Unreadable):
        make_adapter().parse(artefact(result(GOOD_ROW), name=name))


@pytest.mark.parametrize("ok", [b"", b"0|", b"999|" + b"0" * 64, b"\r\n", b"more than 200 bytes"])
def test_result_without_its_ok_is_unreadable(ok: bytes) -> None:
    """A sound result beside an .ok that is not its own is not believed: one of the two is still being written."""
    with pytest.raises(Unreadable):
        make_adapter().parse(artefact(result(GOOD_ROW), ok))


def test_result_beyond_the_bound_is_unreadable() -> None:
    """A result larger than the configuration allows is not read."""
    content = result(*(row(n, 1, "S", "0000") for n in range(50)))
    assert len(list(make_adapter().parse(artefact(content)))) == 50
    with pytest.raises(Unreadable, match="larger"):
        make_adapter(max_result_bytes=2_000).parse(artefact(content))


def test_unreadable_quotes_nothing() -> None:
    """No refusal of a file carries its content, not even through the exception that caused it."""
    for content in (result(GOOD_ROW, head="9|9|9|9|9|9"), b"629999\xff\xff\r\nT|1|1|" + b"0" * 64 + b"\r\n"):
        with pytest.raises(Unreadable) as caught:
            make_adapter().parse(artefact(content))
        assert "629999" not in str(caught.value)
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("status", "code", "booked", "proof", "reason"),
    [
        ("S", "0000", "20261125|H1", Proof.CREDITED, None),
        ("S", "3031", "20261125|H1", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("S", "", "20261125|H1", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("S", "0000", "|H1", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("S", "0000", "20261125|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("S", "0000", "20261131|H1", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("F", "3018", "|", Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        ("F", "0000", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("F", "3056", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("F", "3051", "|", Proof.IN_DOUBT, Reason.DUPLICATE),
        ("F", "3028", "|", Proof.IN_PROCESS, Reason.BANK_BUSY),
        ("F", "8888", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("F", "", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("P", "2007", "|", Proof.IN_PROCESS, Reason.BANK_BUSY),
        ("P", "3031", "|", Proof.IN_PROCESS, Reason.BANK_BUSY),
        ("U", "3999", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("U", "3031", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("R", "3056", "20261127|H9", Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT),
        ("R", "3018", "20261127|H9", Proof.RETURNED, Reason.ACCOUNT_CLOSED),
        ("R", "8888", "20261127|H9", Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT),
        ("R", "3056", "|", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("X", "0000", "20261125|H1", Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
def test_line_statuses(status: str, code: str, booked: str, proof: Proof, reason: Reason | None) -> None:
    """Status, code and booking must agree before a line is credited, rejected or returned; else it is doubt."""
    (evidence,) = make_adapter().parse(artefact(result(row(1, 100, status, code, booked))))
    assert (evidence.proof, evidence.reason, evidence.code, evidence.amount_fen) == (proof, reason, code, 100)


def test_bank_text_is_kept_without_personal_numbers() -> None:
    """The bank's words are kept in clear, so account and ID numbers in them are taken out, and what does not print."""
    text = "账户6299990000000000012户名不符 65999919800101002X\u200b\ue123 3次"
    (evidence,) = make_adapter().parse(artefact(result(row(1, 100, "F", "3031", "|", text=text))))
    assert evidence.text == "账户*户名不符 * 3次"


# What DOMAIN section 3 says, written out once more; "not final" and "ask first" are what must not become a failure.
LINE_CODES = {
    Reason.ACCOUNT_NOT_FOUND: (Proof.REJECTED, "3004 3009 3022 3030"),
    Reason.NAME_MISMATCH: (Proof.REJECTED, "3031"),
    Reason.ID_MISMATCH: (Proof.REJECTED, "3063"),
    Reason.ACCOUNT_CLOSED: (Proof.REJECTED, "3018 3039"),
    Reason.ACCOUNT_FROZEN: (Proof.REJECTED, "3017 3020"),
    Reason.ACCOUNT_DORMANT: (Proof.REJECTED, "3057"),
    Reason.CARD_LOST_OR_EXPIRED: (Proof.REJECTED, "3006 3007 3010 3016"),
    Reason.SSCARD_NOT_ACTIVATED: (Proof.REJECTED, "3037"),
    Reason.ACCOUNT_CLASS_LIMIT: (Proof.REJECTED, "3013 3055"),
    Reason.ACCOUNT_TYPE: (Proof.REJECTED, "3034 3038 3041 3097"),
    Reason.BANK_CODE_INVALID: (Proof.REJECTED, "3099"),
    Reason.AMOUNT: (Proof.REJECTED, "3014 3040"),
    Reason.DUPLICATE: (Proof.IN_DOUBT, "3051"),
    Reason.RETURNED_AFTER_CREDIT: (Proof.RETURNED, "3056"),
    Reason.FUNDS_SHORT: (Proof.NOT_TAKEN, "3008"),
    Reason.FORMAT: (Proof.NOT_TAKEN, "1000 1001 3058"),
    Reason.NOT_EXECUTED: (Proof.ABSENT, "1002"),
    Reason.BANK_BUSY: (Proof.IN_PROCESS, "2000 2007 3028"),
    Reason.UNKNOWN: (Proof.IN_DOUBT, "3999 9999 CICS"),
}


def test_code_table_is_total_and_has_no_default() -> None:
    """Every code of the manual has its proof and reason; every other four-digit code has none."""
    expected = {code: (proof, reason) for reason, (proof, codes) in LINE_CODES.items() for code in codes.split()}
    classify = make_adapter().classify
    for number in range(10_000):
        assert classify(f"{number:04d}") == expected.get(f"{number:04d}")
    assert classify("CICS") == classify("") == (Proof.IN_DOUBT, Reason.UNKNOWN)


def ack(text: str, name: str = f"20261124/{STEM}.ack") -> Artefact:
    return Artefact.of(name, text.encode("gb18030"))


@pytest.mark.parametrize(
    ("code", "proof", "reason"),
    [
        ("0000", Proof.RECEIVED, None),
        ("F001", Proof.NOT_TAKEN, Reason.FORMAT),
        ("F002", Proof.NOT_TAKEN, Reason.FORMAT),
        ("F003", Proof.RECEIVED, None),
        ("F004", Proof.NOT_TAKEN, Reason.FORMAT),
        ("F005", Proof.NOT_TAKEN, Reason.SIGNATURE),
        ("F006", Proof.NOT_TAKEN, Reason.FORMAT),
        ("F007", Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        ("F008", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("9999", Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
def test_acknowledgements(code: str, proof: Proof, reason: Reason | None) -> None:
    """Each file code is evidence about the whole submission; an unknown one is doubt, never a refusal."""
    (evidence,) = make_adapter().parse(ack(f"DF202611240001|00|{code}|文件\r\n"))
    assert (evidence.proof, evidence.reason, evidence.code) == (proof, reason, code)
    assert (evidence.submission, evidence.reference) == ("DF202611240001", None)


def test_sample_acknowledgement_is_read_and_cut_short_is_not() -> None:
    """The sample proves receipt; cut at any byte it proves nothing."""
    content = (SAMPLES / f"{STEM}.ack").read_bytes()
    (evidence,) = make_adapter().parse(Artefact.of(f"20261124/{STEM}.ack", content))
    assert (evidence.proof, evidence.text) == (Proof.RECEIVED, "文件已接收")
    for length in range(len(content)):
        with pytest.raises(Unreadable):
            make_adapter().parse(Artefact.of(f"20261124/{STEM}.ack", content[:length]))


@pytest.mark.parametrize(
    "text",
    [
        "DF202611240002|00|0000|x\r\n",
        "DF202611240001|01|0000|x\r\n",
        "DF202611240001|00|0000|x\r\nDF202611240001|00|0000|x\r\n",
        "DF202611240001|00|0000|x|y\r\n",
        "DF202611240001|00|0000|" + "x" * 5_000 + "\r\n",
    ],
)
def test_other_acknowledgements_are_unreadable(text: str) -> None:
    """An acknowledgement of another batch, of two, with a field too many or without end is no acknowledgement."""
    with pytest.raises(Unreadable):
        make_adapter().parse(ack(text))
