"""CMPP as octets, built by hand in the order of the specification, and what a customer reads from the answers."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from tests.unit.centre_kit import ACCOUNT, PHONE, SECRET, SIGNATURE, SOURCE, Here, Line, udh

TEXT = f"【{SIGNATURE}】您尾号0019账户11月25日入账1234.56元。本短信免费。"
LONG = f"【{SIGNATURE}】" + "补贴😀" * 40  # 168 units
TIMESTAMP = 1125093000


def head(command: int, sequence: int, body: bytes = b"") -> bytes:
    return struct.pack(">III", 12 + len(body), command, sequence) + body


def connect(version: int, *, account: str = ACCOUNT, secret: bytes = SECRET, timestamp: int = TIMESTAMP) -> bytes:
    proof = hashlib.md5(account.encode() + bytes(9) + secret + b"%010d" % timestamp).digest()
    return head(1, 1, account.encode() + proof + bytes([version]) + struct.pack(">I", timestamp))


def submit(sequence: int, text: str | bytes = TEXT, *, v3: bool = True, **changes: Any) -> bytes:
    """A SUBMIT, field after field in the order of the specification; ``changes`` are its fields in lower case."""
    field: dict[str, Any] = {
        "pk_total": 1, "pk_number": 1, "registered_delivery": 1, "service_id": "BT", "fee_user_type": 2,
        "tp_udhi": 0, "msg_fmt": 8, "msg_src": ACCOUNT, "fee_type": "01", "fee_code": "000000",
        "src_id": SOURCE + "42", "numbers": (PHONE,), "dest_type": 0,
    } | changes  # fmt: skip
    width = 32 if v3 else 21
    content = text.encode("utf-16-be") if isinstance(text, str) else text
    body = bytes(8) + bytes([field["pk_total"], field["pk_number"], field["registered_delivery"], 5])
    body += field["service_id"].encode().ljust(10, b"\0") + bytes([field["fee_user_type"]])
    body += bytes(width) + (b"\0" if v3 else b"")
    body += bytes([0, field["tp_udhi"], field["msg_fmt"]]) + field["msg_src"].encode().ljust(6, b"\0")
    body += field["fee_type"].encode().ljust(2, b"\0") + field["fee_code"].encode().ljust(6, b"\0")
    body += bytes(17) + bytes(17) + field["src_id"].encode().ljust(21, b"\0") + bytes([len(field["numbers"])])
    body += b"".join(number.encode().ljust(width, b"\0") for number in field["numbers"])
    body += (bytes([field["dest_type"]]) if v3 else b"") + bytes([len(content)]) + content
    return head(4, sequence, body + bytes(20 if v3 else 8))


def parts(text: str = LONG, reference: int = 7, **changes: Any) -> list[bytes]:
    """A long text as SUBMITs of 66 units each, which tears no pair of this text."""
    octets = text.encode("utf-16-be")
    step = 2 * 66
    cut = [octets[at : at + step] for at in range(0, len(octets), step)]
    return [
        submit(10 + n, udh(n, len(cut), reference) + each, tp_udhi=1, pk_total=len(cut), pk_number=n, **changes)
        for n, each in enumerate(cut, start=1)
    ]


async def bound(here: Here, version: int = 0x30) -> Line:
    line = await here.line("cmpp")
    line.send(connect(version))
    answer = await line.pdu()
    assert answer[12:-17] == bytes(4 if version == 0x30 else 1)
    return line


def result(answer: bytes) -> int:
    """Of a SUBMIT_RESP: what follows the Msg_Id, one octet or four."""
    assert answer[4:8] == b"\x80\0\0\4"
    return int.from_bytes(answer[20:])


def heard(deliver: bytes) -> bytes:
    """The answer to a DELIVER of 3.0: its own Msg_Id, Result 0."""
    assert deliver[4:8] == b"\0\0\0\5"
    return head(0x80000005, int.from_bytes(deliver[8:12]), deliver[12:20] + bytes(4))
