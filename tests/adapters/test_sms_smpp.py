"""SMPP 3.4 against a hand-written centre: bytes by the specification, receipts matched, nothing sent twice."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.sms.contract import SmsMessage, SmsOutcome, SmsStatus
from adapters.sms.link.provider import BillsReceiver, Sender
from adapters.sms.link.session import Malformed
from adapters.sms.smpp import codec
from adapters.sms.smpp import provider as smpp
from schemas.masked import Phone

TEXT = "【某某农商银行】您好"


def pdu(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, status, sequence) + body


def receipt(sequence: int, text: bytes, destination: bytes, tlvs: bytes = b"") -> bytes:
    head = b"\0\1\1" + b"8613800000001\0" + b"\0\1" + destination + b"\0" + b"\x04\0\0" + b"\0\0" + bytes(4)
    return pdu(5, sequence, head + bytes((len(text),)) + text + tlvs)


class Centre:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int, bytes]] = []
        self.status: int | None = 0
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, command, _, sequence = struct.unpack(">IIII", await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                self.seen.append((command, sequence, body))
                if command == 9:
                    writer.write(pdu(0x80000009, sequence, b"CENTRE\0"))
                elif command == 4 and self.status is not None:
                    writer.write(pdu(0x80000004, sequence, b"M-1\0" if not self.status else b"", self.status))
                elif command in (6, 0x15):
                    writer.write(pdu(0x80000000 | command, sequence))


def settings(directory: Path, port: int, **changes: Any) -> smpp.SmppSettings:
    (directory / "smpp.password").write_bytes(b"secret08\n")
    sound = {
        "host": "127.0.0.1",
        "port": port,
        "system_id": "payout",
        "password_file": directory / "smpp.password",
        "service_number": "10690001",
        "limits": {"connect_seconds": 1, "answer_seconds": 1, "idle_seconds": 1, "longest_backoff_seconds": 1},
    }
    return smpp.SmppSettings.model_validate(sound | changes)


async def test_a_message_goes_and_its_receipt_comes_back(tmp_path: Path) -> None:
    """Bind, submit field by field, receipt by digits and by id, answered only once confirmed, unbind."""
    centre = Centre()
    server = await asyncio.start_server(centre.serve, "127.0.0.1", 0)
    sut = smpp.SmppProvider("smpp", settings(tmp_path, server.sockets[0].getsockname()[1]))
    (result,) = await sut.send("1", [SmsMessage("a", Phone("13800000001"), TEXT, 70_000)])
    assert (result.outcome, result.part_ids) == (SmsOutcome.ACCEPTED, ("M-1",))
    bind, submit = centre.seen
    assert bind[2] == b"payout\0secret08\0\0\x34\0\0\0"
    content = TEXT.encode("utf-16-be")
    head = b"\0" + b"\0\1" + b"1069000100070000\0" + b"\1\1" + b"8613800000001\0" + bytes(3) + b"\0\0" + b"\1\0\x08\0"
    assert submit[2] == head + bytes((len(content),)) + content + struct.pack(">HHH", 0x204, 2, 70_000 % 65536)
    assert centre.writer is not None
    text = b"id:M-1 sub:001 dlvrd:001 submit date:2611241000 done date:2611241000 stat:DELIVRD err:000 text:"
    centre.writer.write(receipt(5, text, b"1069000100070000"))
    async with asyncio.timeout(5):
        while not (reports := await sut.take_reports(10)):
            pass
    assert (reports[0].provider_id, reports[0].status) == ("M-1", SmsStatus.DELIVERED)
    assert (reports[0].serial, reports[0].modulus) == (70_000, 10**8)
    assert [command for command, _, _ in centre.seen] == [9, 4]
    await sut.confirm_reports(1)
    await sut.close()
    assert centre.seen[2][:2] == (0x80000005, 5)
    assert centre.seen[-1][0] == 6
    server.close()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(None, SmsOutcome.UNKNOWN), (0x0B, SmsOutcome.REFUSED), (0xFF, SmsOutcome.UNKNOWN)],
)
async def test_only_a_listed_status_is_a_refusal(tmp_path: Path, status: int | None, outcome: SmsOutcome) -> None:
    """No answer, or one that no table lists, is unknown; the message is written once."""
    centre = Centre()
    centre.status = status
    server = await asyncio.start_server(centre.serve, "127.0.0.1", 0)
    sut = smpp.SmppProvider("smpp", settings(tmp_path, server.sockets[0].getsockname()[1]))
    (result,) = await sut.send("1", [SmsMessage("a", Phone("13800000001"), TEXT, 1)])
    assert result.outcome is outcome
    assert [command for command, _, _ in centre.seen].count(4) == 1
    await sut.close()
    server.close()


def test_a_receipt_is_matched_by_its_optional_parameters(tmp_path: Path) -> None:
    """receipted_message_id, message_state and user_message_reference, where the text and the digits say nothing."""
    dialect = smpp.Smpp(settings(tmp_path, 1), "x", Sender("10690001", 8))
    tlvs = (
        struct.pack(">HHH", 0x204, 2, 4464) + struct.pack(">HH", 0x1E, 4) + b"M-9\0" + struct.pack(">HHB", 0x427, 1, 5)
    )
    report = dialect.report(dialect.read(receipt(1, b"", b"1069", tlvs)))
    assert report is not None
    assert (report.provider_id, report.status) == ("M-9", SmsStatus.UNDELIVERED)
    assert (report.serial, report.modulus) == (4464, 65536)


def test_what_is_no_pdu_is_malformed() -> None:
    """A wrong length, an unknown command, a body that ends in the middle of a field."""
    for frame in (pdu(5, 1)[:-1], pdu(0x77, 1), pdu(5, 1, b"\0\1")):
        with pytest.raises(Malformed):
            codec.read(frame)


def test_a_submit_without_a_receipt_never_leaves() -> None:
    """registered_delivery 0, or another coding, is refused from the finished bytes."""
    sound = {"registered_delivery": 1, "data_coding": 8, "source_addr": "1", "destination_addr": "2"}
    smpp.assert_reported(codec.write("submit_sm", 1, **sound, short_message=b"xx"))  # type: ignore[arg-type]
    for broken in ({"registered_delivery": 0}, {"data_coding": 0}):
        with pytest.raises(BillsReceiver):
            smpp.assert_reported(codec.write("submit_sm", 1, **{**sound, **broken}, short_message=b"xx"))  # type: ignore[arg-type]


def test_nothing_is_cut_to_fit_its_field() -> None:
    """The library would cut; a value that is too long is refused instead."""
    with pytest.raises(ValueError, match="destination_addr"):
        codec.write("submit_sm", 1, destination_addr="1" * 21)


def test_without_the_extra_the_configuration_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The module loads without the library; only building the provider needs it, and says so."""
    monkeypatch.setitem(__import__("sys").modules, "smpplib.smpp", None)
    with pytest.raises(ValueError, match="optional extra"):
        smpp.SmppProvider("smpp", settings(tmp_path, 1))
