"""The simulated banks' own parsers and encoders, against the sample files of the four wires."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bank import hand, json_format, rcc_format
from tests.bank.file_desk import Refused
from tests.bank.model import FAILED, PAID, RETURNED, Line, Submission
from tests.bank.programme import Plan

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "rcc_file"
STEM = "DF_402XJ0001_DF202611240001_00"
KEY = bytes(range(32))
SECOND_LINE = '{"batchNo":"DF202611240003","code":"ACCEPTED","bankBatchId":"B9000000017"}'


def _line(number: int, fen: int, status: str, host: str = "", reason: str = "", date: str = "20261125") -> Line:
    submission = Submission(1, "B", "", "", 0, 0, 0, fen, "")
    tail = ("12", "20", "38")[number - 1]
    reference = f"01JDF7ABCDEFGHJKMNPQRSTV{number:02d}"
    line = Line(submission, number, reference, f"62999900000000000{tail}", fen, Plan("accept", 0, reason))
    line.status, line.host_ref, line.paid_fen = status, host, fen if host else 0
    line.post_date = date if host else ""
    return line


def _rows(*lines: Line) -> list[rcc_format.ResultRow]:
    return [rcc_format.result_row(line, line.reference) for line in lines]


def test_the_sample_upload_is_read_to_the_last_field() -> None:
    """The bank reads the sample batch file, interpunct and two-byte characters ending in the separator included."""
    file = rcc_format.parse_batch((SAMPLES / f"{STEM}.txt").read_bytes())
    assert (file.org, file.batch, file.seq, file.date) == ("402XJ0001", "DF202611240001", "00", "20261124")
    assert (file.debit_account, file.total_fen) == ("6599990000000017", 271_506)
    assert [item.name for item in file.items] == ["阿依古丽·买买提", "张珅", "古丽娜尔·阿卜杜热合曼"]
    assert [item.amount_fen for item in file.items] == [123_456, 88_050, 60_000]
    assert file.items[1] == (2, "01JDF7ABCDEFGHJKMNPQRSTV02", "6299990000000000020", "张珅", *file.items[1][4:])
    assert {item.programme for item in file.items} == {"XJ-NY-01"}
    assert {item.period for item in file.items} == {"2026"}


def test_the_seals_are_the_samples() -> None:
    """Size and SM3 of every sample file equal the `.ok` beside it."""
    for name in (f"{STEM}.txt", f"{STEM}.01.res", f"{STEM}.02.res"):
        assert rcc_format.seal((SAMPLES / name).read_bytes()) == (SAMPLES / f"{name}.ok").read_bytes()


def test_result_files_equal_the_samples_byte_for_byte() -> None:
    """Result, return and acknowledgement come out as the samples stand."""
    paid = [_line(1, 123_456, PAID, "H20261125000001"), _line(3, 60_000, PAID, "H20261125000003")]
    failed = _line(2, 88_050, FAILED, reason="NAME_MISMATCH")
    returned = _line(3, 60_000, RETURNED, "H20261127000009", date="20261127")
    head = ("402XJ0001", "DF202611240001", "00")
    first = rcc_format.result(*head, "20261125", _rows(paid[0], failed, paid[1]))
    assert first == (SAMPLES / f"{STEM}.01.res").read_bytes()
    second = rcc_format.result(*head, "20261127", _rows(returned))
    assert second == (SAMPLES / f"{STEM}.02.res").read_bytes()
    ack = rcc_format.acknowledgement("DF202611240001", "00", "0000")
    assert ack == (SAMPLES / f"{STEM}.ack").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b"|271506|CNY", b"|271507|CNY", "F002"),
        (b"|3|271506|CNY", b"|2|271506|CNY", "F002"),
        (b"D|000002", b"D|000003", "F001"),
        (b"|123456|", b"|0|", "F001"),
        (b"|CNY|", b"|USD|", "F001"),
        (b"TV02|", b"TV01|", "F001"),
        (b"|2026\r\n", b"\xb2\xb9\xcc\xf9\xcc\xf9|2026\r\n", "F001"),
        (b"\r\nD|000003", b"\nD|000003", "F001"),
        (b"\xab", b"\xff", "F001"),
    ],
)
def test_a_file_with_one_fault_is_refused_with_its_code(old: bytes, new: bytes, code: str) -> None:
    """Each kind of fault has the file code of the manual, even under a correct digest."""
    whole = (SAMPLES / f"{STEM}.txt").read_bytes()
    body = whole[: whole.index(b"T|3|")].replace(old, new, 1)
    assert body != whole[: whole.index(b"T|3|")]
    with pytest.raises(Refused) as refused:
        rcc_format.parse_batch(body + f"T|3|271506|{hand.sm3(body)}\r\n".encode())
    assert refused.value.code == code


def test_a_file_cut_or_altered_is_refused() -> None:
    """A trailer whose digest does not match, or none, is never taken."""
    whole = (SAMPLES / f"{STEM}.txt").read_bytes()
    with pytest.raises(Refused, match="F005"):
        rcc_format.parse_batch(whole.replace(b"123456", b"123457"))
    for length in range(0, len(whole), 7):
        with pytest.raises(Refused):
            rcc_format.parse_batch(whole[:length])


def test_a_request_is_read_and_its_ids_decrypted() -> None:
    """The bank reads a submission in the sample's form and opens every sealed ID number."""
    lines = hand.payments(2)
    upload = json_format.parse_batch(hand.batch_json("DF1", lines, KEY), AESGCM(KEY))
    assert [(item.account, item.name, item.id_no) for item in upload.items] == [
        (line.account, line.name, line.id_no) for line in lines
    ]
    assert (upload.batch, upload.total_fen, upload.debit_account) == ("DF1", 2 * 12_345, hand.DEBIT)
    assert upload.programme == "XJ-WJ-01"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"totalAmount":"246.90"', '"totalAmount":"246.91"'),
        ('"instructionCount":2', '"instructionCount":3'),
        ('"amount":"123.45"', '"amount":"123.4"'),
        ('"amount":"123.45"', '"amount":123.45'),
        ("AES-256-GCM:", "AES-256-GCM:A"),
        ('"ref":"01JDF7ABCDEFGHJKMNPQ000001"', '"ref":"01JDF7ABCDEFGHJKMNPQ000002"'),
        ('"currency":"CNY",', ""),
        ('"accountKind":"CARD"', '"accountKind":"CASH"'),
    ],
)
def test_a_request_with_one_fault_is_malformed(old: str, new: str) -> None:
    """Wrong totals, amounts that are no plain yuan, a foreign cipher text, repeated references: nothing is taken."""
    body = hand.batch_json("DF1", hand.payments(2), KEY).decode()
    assert old in body
    with pytest.raises(json_format.Malformed):
        json_format.parse_batch(body.replace(old, new, 1).encode(), AESGCM(KEY))


def test_items_and_events_have_the_form_of_the_samples() -> None:
    """A page item and both sample callbacks come out byte for byte."""
    paid = _line(1, 88_050, PAID, "B9-1", date="20261124")
    paid.reference = "01JDF7CDEFGHJKMNPQRSTVWX01"
    assert json_format.event("evt_0001", "DF202611240003", [json_format.item(paid)]).decode() == (
        '{"batchNo":"DF202611240003","eventId":"evt_0001","items":[{"amount":"880.50","bankRef":"B9-1",'
        '"postDate":"2026-11-24","ref":"01JDF7CDEFGHJKMNPQRSTVWX01","status":"SUCCESS"}],"type":"ITEMS_FINAL"}'
    )
    failed = _line(2, 88_050, FAILED, reason="NAME_MISMATCH")
    failed.reference = "01JDF7CDEFGHJKMNPQRSTVWX09"
    assert json_format.event("evt_0002", "DF202611240009", [json_format.item(failed)]).decode() == (
        '{"batchNo":"DF202611240009","eventId":"evt_0002","items":[{"amount":"880.50","reason":"账号户名不符",'
        '"reasonCode":"ACCT_NAME_MISMATCH","ref":"01JDF7CDEFGHJKMNPQRSTVWX09","status":"FAILED"}],"type":"ITEMS_FINAL"}'
    )
    accepted = json_format.encode(json.loads(SECOND_LINE)).decode()
    assert accepted == '{"bankBatchId":"B9000000017","batchNo":"DF202611240003","code":"ACCEPTED"}'
