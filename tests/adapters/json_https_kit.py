"""A deliberately dumb bank for ``json_https``: over mutual TLS it says what it is told to, signed by its own code."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import gmalg
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from multidict import CIMultiDict

from adapters.banks.json_https import PROFILE, JsonHttpsBank, JsonHttpsSettings
from adapters.contract import Line, Rendered, Submission
from adapters.sm2 import Sm2PrivateKey
from adapters.wire.http import HttpTransport
from schemas.masked import AccountNumber, IdNumber, PersonName
from tests.adapters.pki_kit import Authority

ID_KEY = "0123456789abcdef" * 4
CALLBACK_URL = "https://gateway.example.invalid/callbacks/bank-c"
AT = dt.datetime(2026, 11, 24, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai"))
BATCH = "DF202611240003"
REF = "01JDF7CDEFGHJKMNPQRSTVWX0{}"
Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | Sm2PrivateKey


def sign(key: Key, message: bytes) -> str:
    if isinstance(key, Sm2PrivateKey):  # gmalg from end to end, its own SM3 too: nothing of the adapter's
        raw = gmalg.SM2(key.number.to_bytes(32, "big"), b"1234567812345678")
        r, s = (int.from_bytes(number, "big") for number in raw.sign(message))
        return base64.b64encode(encode_dss_signature(r, s)).decode()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return base64.b64encode(key.sign(message)).decode()
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return base64.b64encode(key.sign(message, pss, hashes.SHA256())).decode()


def algorithm(key: Key) -> str:
    if isinstance(key, Sm2PrivateKey):
        return "SM2-SM3"
    return "ED25519" if isinstance(key, ed25519.Ed25519PrivateKey) else "RSA-PSS-SHA256"


def message(first: str, target: str, timestamp: str, nonce: str, body: bytes, key: Key | None = None) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    if isinstance(key, Sm2PrivateKey):
        sm3 = gmalg.SM3()
        sm3.update(body)
        digest = sm3.value().hex()
    return f"{first}\n{target}\n{timestamp}\n{nonce}\n{digest}".encode()


def dump(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


@dataclass
class Reply:
    """One answer and what is wrong with it. ``body`` is JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    signed: bool = True
    key: Key | None = None  # a stranger's
    nonce: str | None = None  # instead of the echo
    target: str | None = None  # signed for another path
    signed_status: int | None = None  # signed for another status
    signed_body: bytes | None = None  # signed over another body
    claims: str | None = None  # another algorithm's name
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    stall: bool = False


@dataclass
class Seen:
    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes


class DumbBank:
    """Answers each method and path from its own queue of replies, the last of them for ever."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.replies: dict[tuple[str, str], list[Reply]] = {}
        self.seen: list[Seen] = []
        self.over = asyncio.Event()

    def says(self, method: str, path: str, *replies: Reply) -> None:
        self.replies[method, path] = list(replies)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.raw_path, CIMultiDict(request.headers), body))
        queue = self.replies[request.method, request.raw_path.partition("?")[0]]
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if reply.hang_up:
            assert request.transport is not None
            request.transport.abort()
        if reply.stall:
            await self.over.wait()
        answer = reply.body if isinstance(reply.body, bytes) else dump(reply.body)
        headers = {**self._signature(reply, request, answer), **reply.headers} if reply.signed else reply.headers
        return web.Response(status=reply.status, body=answer, headers=headers)

    def _signature(self, reply: Reply, request: web.BaseRequest, body: bytes) -> dict[str, str]:
        key = reply.key or self.key
        timestamp = str(int(time.time()))
        nonce = request.headers["X-Nonce"] if reply.nonce is None else reply.nonce
        text = message(
            str(reply.signed_status or reply.status),
            reply.target or request.raw_path,
            timestamp,
            nonce,
            body if reply.signed_body is None else reply.signed_body,
            key,
        )
        return {
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Sign-Alg": reply.claims or algorithm(key),
            "X-Signature": sign(key, text),
        }


def private_pem(key: Key) -> bytes:
    if isinstance(key, Sm2PrivateKey):
        return key.to_pem()
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def public_pem(key: Key) -> bytes:
    if isinstance(key, Sm2PrivateKey):
        return key.public.to_pem()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


@dataclass
class Keys:
    """Everything both sides need, made once for a module of tests."""

    folder: Path
    authority: Authority
    gateway: Key
    bank: Key
    stranger: Key

    @classmethod
    def make(cls, folder: Path, *, ed: bool = False, sm2: bool = False) -> Keys:
        def new() -> Key:
            if sm2:
                return Sm2PrivateKey.generate()
            return ed25519.Ed25519PrivateKey.generate() if ed else rsa.generate_private_key(65537, 2048)

        keys = cls(folder, Authority(folder, "bank-ca"), new(), new(), new())
        keys.authority.issue("gateway", client=True)
        (folder / "signing.pem").write_bytes(private_pem(keys.gateway))
        (folder / "bank.pem").write_bytes(public_pem(keys.bank))
        (folder / "id.key").write_text(ID_KEY + "\n")
        return keys

    def settings(self, *, port: int = 1, **more: Any) -> JsonHttpsSettings:
        """As a configuration file would give them: names relative to its directory."""
        given = {
            "base_url": f"https://localhost:{port}",
            "app_id": "payout-gateway",
            "tls": {
                "ca_file": "bank-ca.pem",
                "certificate_file": "bank-ca-gateway.pem",
                "private_key_file": "bank-ca-gateway.key",
            },
            "signing_algorithm": algorithm(self.gateway),
            "signing_key_file": "signing.pem",
            "bank_signing_algorithm": algorithm(self.bank),
            "bank_public_key_file": "bank.pem",
            "id_cipher_key_file": "id.key",
            "callback_url": CALLBACK_URL,
            **more,
        }
        return JsonHttpsSettings.model_validate(given, context={"base": self.folder})

    def adapter(self, **more: Any) -> JsonHttpsBank:
        adapter = PROFILE.adapter("bank_c", self.settings(**more))
        assert isinstance(adapter, JsonHttpsBank)
        return adapter


@dataclass
class World:
    bank: DumbBank
    adapter: JsonHttpsBank
    transport: HttpTransport


@contextlib.asynccontextmanager
async def world(keys: Keys, **more: Any) -> AsyncIterator[World]:
    """The dumb bank listening, and the adapter configured to talk to it."""
    bank = DumbBank(keys.bank)
    runner = web.ServerRunner(web.Server(bank.handle), shutdown_timeout=0)
    await runner.setup()
    context = keys.authority.server_context(keys.authority.issue("localhost"))
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    transport = PROFILE.transport(keys.settings(port=port, **more))
    try:
        yield World(bank, keys.adapter(**more), transport)
    finally:
        bank.over.set()
        await transport.close()
        await runner.cleanup()


def line(number: int = 1, amount_fen: int = 88050, name: str = "张珅") -> Line:
    return Line(
        reference=REF.format(number),
        name=PersonName(name),
        id_type="01",
        id_no=IdNumber("659999199001010012"),
        account=AccountNumber("6299990000000000020"),
        account_kind="SSCARD",
        bank_no="403881000017",
        amount_fen=amount_fen,
        programme="XJ-WJ-01",
        purpose="家庭奖励扶助",
        period="2026",
    )


SUBMISSION = Submission(
    reference=BATCH,
    county="659999",
    debit_account=AccountNumber("6599990000000017"),
    debit_name="某某县财政局惠民惠农补贴专户",
    programme="XJ-WJ-01",
    purpose="家庭奖励扶助",
    period="2026",
)


def rendered(adapter: JsonHttpsBank, lines: int = 3) -> Rendered:
    return adapter.render(SUBMISSION, [line(number) for number in range(1, lines + 1)], AT)


def item(number: int = 1, status: str = "SUCCESS", **more: Any) -> dict[str, Any]:
    """An item as the samples have it; a field given as None is left out."""
    base: dict[str, Any] = {"ref": REF.format(number), "status": status, "amount": "880.50"}
    if status in ("SUCCESS", "RETURNED"):
        base |= {"bankRef": f"B9-{number}", "postDate": "2026-11-24"}
    return {key: value for key, value in (base | more).items() if value is not None}


def head(status: str = "DONE", count: int = 3, total: str = "2641.50") -> dict[str, Any]:
    return {"batchNo": BATCH, "status": status, "instructionCount": count, "totalAmount": total}


def page(*items: dict[str, Any], after: str | None = None) -> dict[str, Any]:
    return {"batchNo": BATCH, "items": list(items), "next": after}
