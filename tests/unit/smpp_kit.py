"""SMPP 3.4 as octets, built by hand in the order of the specification."""

from __future__ import annotations

import struct
from typing import Any

from tests.unit.centre_kit import ACCOUNT, PHONE, SECRET, SIGNATURE, SOURCE, Here, Line

TEXT = f"【{SIGNATURE}】您尾号0019账户11月25日入账1234.56元。本短信免费。"
TRANSCEIVER, TRANSMITTER, RECEIVER = 9, 2, 1


def head(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, status, sequence) + body


def bind(command: int = TRANSCEIVER, *, account: str = ACCOUNT, secret: bytes = SECRET) -> bytes:
    body = account.encode() + b"\0" + secret + b"\0" + b"\0" + b"\x34\0\0" + b"\0"
    return head(command, 0, 1, body)


def submit_sm(sequence: int, text: str | bytes = TEXT, **changes: Any) -> bytes:
    """A submit_sm, parameter after parameter in the order of the specification."""
    field: dict[str, Any] = {
        "source_addr": SOURCE, "destination_addr": PHONE, "esm_class": 0, "schedule": b"\0", "registered_delivery": 1,
        "data_coding": 8, "options": b"",
    } | changes  # fmt: skip
    content = text.encode("utf-16-be") if isinstance(text, str) else text
    body = b"\0" + b"\0\0" + field["source_addr"].encode() + b"\0"
    body += b"\1\1" + field["destination_addr"].encode() + b"\0"
    body += bytes([field["esm_class"], 0, 0]) + field["schedule"] + b"\0"
    body += bytes([field["registered_delivery"], 0, field["data_coding"], 0, len(content)]) + content
    return head(4, 0, sequence, body + field["options"])


async def bound(here: Here, command: int = TRANSCEIVER) -> Line:
    line = await here.line("smpp")
    line.send(bind(command))
    answer = await line.pdu()
    assert answer == head(command | 0x80000000, 0, 1, b"SMSC\0" + b"\x02\x10\0\1\x34")
    return line


def heard(deliver: bytes, status: int = 0) -> bytes:
    assert deliver[4:8] == b"\0\0\0\5"
    return head(0x80000005, status, int.from_bytes(deliver[12:16]), b"\0")
