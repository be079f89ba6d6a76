"""A gateway played by hand, for the bank's own tests: uploads and requests written straight from the manuals."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bank.certificates import Certificates
from tests.bank.json_signing import Signer

ORG = "402XJ0001"
DEBIT = "6599990000000017"


def account(number: int) -> str:
    return f"629999000000{number:07d}"


def reference(number: int) -> str:
    return f"01JDF7ABCDEFGHJKMNPQ{number:06d}"


def batch_number(number: int) -> str:
    return f"DF20261124{number:010d}"


@dataclass
class Payment:
    """One line to send."""

    number: int
    fen: int = 12_345
    name: str = "张珅"
    account: str = ""
    reference: str = ""
    id_no: str = "659999198001010021"

    def __post_init__(self) -> None:
        self.account = self.account or account(self.number)
        self.reference = self.reference or reference(self.number)


def payments(count: int, start: int = 1) -> list[Payment]:
    return [Payment(number) for number in range(start, start + count)]


def sm3(data: bytes) -> str:
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize().hex()


def batch_file(batch: str, lines: list[Payment], date: str = "20261124") -> bytes:
    """A batch file of the file bank."""
    total = sum(line.fen for line in lines)
    head = f"H|1.0|{ORG}|{batch}|00|{date}|AG0801|{DEBIT}|某某县财政局惠民惠农补贴专户|{len(lines)}|{total}|CNY|SM3\r\n"
    rows = "".join(
        f"D|{number:06d}|{line.reference}|{line.account}|{line.name}|01|{line.id_no}|{line.fen}"
        "|XJ-NY-01|耕地地力保护补贴|2026\r\n"
        for number, line in enumerate(lines, 1)
    )
    body = (head + rows).encode("gb18030")
    return body + f"T|{len(lines)}|{total}|{sm3(body)}\r\n".encode()


def file_name(batch: str) -> str:
    return f"DF_{ORG}_{batch}_00.txt"


def ok(data: bytes) -> bytes:
    return f"{len(data)}|{sm3(data)}".encode()


def drop(directory: Path, batch: str, data: bytes, seal: bytes | None = None, date: str = "20261124") -> Path:
    """Put an upload where SFTP would have put it."""
    folder = directory / "sftp" / "up" / date
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(batch)
    path.write_bytes(data)
    path.with_name(path.name + ".ok").write_bytes(ok(data) if seal is None else seal)
    return path


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def batch_json(batch: str, lines: list[Payment], cipher_key: bytes) -> bytes:
    """A submission to the HTTPS bank."""
    cipher = AESGCM(cipher_key)
    items = []
    for line in lines:
        nonce = hashlib.sha256(line.reference.encode()).digest()[:12]
        box = nonce + cipher.encrypt(nonce, line.id_no.encode(), line.reference.encode())
        items.append(
            {
                "accountKind": "CARD",
                "accountName": line.name,
                "accountNo": line.account,
                "amount": yuan(line.fen),
                "idNoCipher": "AES-256-GCM:" + base64.b64encode(box).decode(),
                "idType": "01",
                "ref": line.reference,
            }
        )
    whole = {
        "batchNo": batch,
        "currency": "CNY",
        "debtor": {"accountNo": DEBIT, "name": "某某县财政局惠民惠农补贴专户"},
        "instructionCount": len(lines),
        "items": items,
        "purpose": {"code": "XJ-WJ-01", "text": "家庭奖励扶助"},
        "totalAmount": yuan(sum(line.fen for line in lines)),
        "valueDate": "2026-11-24",
    }
    return json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


@dataclass
class Reply:
    """What came back; `raw` is what the bank signed."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""


class Client:
    """Signs and sends requests as the gateway would; one connection each, nothing is ever sent twice."""

    def __init__(self, paths: Certificates, port: int) -> None:
        self.paths = paths
        self.signer = Signer(paths.gateway_signing)
        self.cipher_key = bytes.fromhex(paths.id_cipher_key.read_text())
        self.base = f"https://localhost:{port}"
        self.tls = ssl.create_default_context(cafile=paths.ca)
        self.tls.load_cert_chain(paths.client, paths.client_key)

    async def post(self, batch: str, lines: list[Payment], **changes: str) -> Reply:
        body = batch_json(batch, lines, self.cipher_key)
        return await self.request("POST", "/v1/batches", body, {"Idempotency-Key": batch, **changes})

    async def get(self, path: str) -> Reply:
        return await self.request("GET", path, b"", {})

    async def request(self, method: str, path: str, body: bytes, more: dict[str, str]) -> Reply:
        headers = self.signer.headers(method, path, body)
        headers |= {"X-App-Id": "payout-gateway", "X-Request-Id": secrets.token_hex(8), **more}
        connector = aiohttp.TCPConnector(ssl=self.tls, force_close=True)
        session = aiohttp.ClientSession(self.base, connector=connector, auto_decompress=False)
        session._retry_connection = False  # a GET whose connection was dropped would be sent twice
        timeout = aiohttp.ClientTimeout(total=30)
        async with session, session.request(
            method, path, data=body, headers=headers, allow_redirects=False, timeout=timeout
        ) as answer:  # fmt: skip
            raw = await answer.read()
            signed = answer.content_type == "application/json"
            return Reply(answer.status, json.loads(raw) if signed else {}, dict(answer.headers), raw)


@dataclass
class XmlReply:
    """A document of the front-end machine: its fields, and whether its MAC is right."""

    head: dict[str, str]
    body: dict[str, str]
    items: list[dict[str, str]]
    genuine: bool

    @property
    def code(self) -> str:
        return self.head["RETCODE"]

    def column(self, name: str) -> list[str]:
        return [item[name] for item in self.items]


@dataclass
class Scribe:
    """Writes documents to the front-end machine and reads what comes back."""

    key: bytes
    encoding: str = "GBK"
    channel: str = "YKT01"
    corporation: str = "65999901"
    asked: int = 10**19

    def document(self, trade: str, number: str, body: str, **changes: str) -> bytes:
        """`changes` replace fields of HEAD; the MAC is right unless it is one of them."""
        inner = body.encode(self.encoding)
        head = {"TRCODE": trade, "VERSION": "1.0", "CHANNEL": self.channel, "CORPNO": self.corporation}
        head |= {"REQSEQ": number, "REQDATE": "20261124", "REQTIME": "101530", "RESEND": "N", "MAC": self.mac(inner)}
        fields = "".join(f"<{name}>{value}</{name}>" for name, value in (head | changes).items())
        start = f'<?xml version="1.0" encoding="{self.encoding}"?><BANK><HEAD>{fields}</HEAD>'
        return start.encode(self.encoding) + inner + b"</BANK>"

    def mac(self, body: bytes) -> str:
        made = hmac.HMAC(self.key, hashes.SM3())
        made.update(body)
        return made.finalize().hex()

    def batch(self, batch: str, lines: list[Payment], more: dict[str, str] | None = None, **changes: str) -> bytes:
        """A submission; `more` replaces fields of BODY."""
        body = {"BATCHNO": batch, "PAYACC": DEBIT, "PAYNAME": "某某县财政局惠民惠农补贴专户", "SUMMARY": "边民补助"}
        body |= {"TOTALNUM": str(len(lines)), "TOTALAMT": yuan(sum(line.fen for line in lines)), "PART": "1/1"}
        listed = "".join(self.item(place, line) for place, line in enumerate(lines, 1))
        fields = "".join(f"<{name}>{value}</{name}>" for name, value in (body | (more or {})).items())
        whole = f"<BODY>{fields}<LIST>{listed}</LIST></BODY>"
        return self.document("DF1001", batch.removeprefix("DF"), whole, **changes)

    def item(self, place: int, line: Payment) -> str:
        return (
            f"<ITEM><SEQ>{place}</SEQ><REF>{line.reference}</REF><ACCNO>{line.account}</ACCNO>"
            f"<ACCNAME>{line.name}</ACCNAME><IDTYPE>01</IDTYPE><IDNO>{line.id_no}</IDNO>"
            f"<AMT>{yuan(line.fen)}</AMT></ITEM>"
        )

    def question(self, trade: str, **fields: str) -> bytes:
        self.asked += 1
        body = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        return self.document(trade, str(self.asked), f"<BODY>{body}</BODY>" if body else "<BODY/>")

    def read(self, document: bytes) -> XmlReply:
        """Raises what the parser raises for anything that is no document."""
        declaration, _, rest = document.partition(b"?>")
        assert declaration.endswith(f'encoding="{self.encoding}"'.encode())
        root = ET.fromstring(rest.decode(self.encoding))
        head, body = ({field.tag: field.text or "" for field in part} for part in root)
        items = [{field.tag: field.text or "" for field in item} for item in root.iter("ITEM")]
        signed = rest[rest.index(b"<BODY") : rest.index(b"</BANK>")]
        return XmlReply(head, body, items, head["MAC"] == self.mac(signed))


HEADERS = {"digits8": "{:08d}", "spaces8": "{:<8d}", "flag1_6": "0{:<6d}"}


@dataclass
class XmlClient:
    """Frames over one connection each; nothing is ever sent twice."""

    port: int
    scribe: Scribe
    framing: str = "digits8"
    tls: ssl.SSLContext | None = None

    async def send(self, *documents: bytes) -> list[XmlReply]:
        """Send documents one after another on one connection, then read as many answers."""
        return [self.scribe.read(document) for document in await self.exchange(*documents)]

    async def exchange(self, *documents: bytes) -> list[bytes]:
        """As `send`, but the answers as bytes. Raises asyncio.IncompleteReadError where one is missing."""
        header = HEADERS[self.framing]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, limit=2**20)
        try:
            for document in documents:
                writer.write(header.format(len(document)).encode() + document)
            answers = []
            for _ in documents:
                came = await reader.readexactly(len(header.format(0)))
                answers.append(await reader.readexactly(int(came[1:] if self.framing == "flag1_6" else came)))
            return answers
        finally:
            writer.close()
