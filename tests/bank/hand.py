"""A gateway played by hand, for the bank's own tests: uploads and requests written straight from the manuals."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives import hashes
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
