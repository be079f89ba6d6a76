"""Plays the bank of signed JSON for ``gateway adapter check``, from exchanges recorded in ``recorded/``.

Signing, sealing and reading are written anew from BANK.md: nothing here comes from the adapter's own modules.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.conformance import Golden, HttpReply, Kind, Occasion, Received, ReceivedLine, Request, Site, Told
from adapters.conformance.recorded import Recorded
from adapters.contract import Line, Submission
from schemas.masked import AccountNumber, IdNumber, PersonName

_FOLDER: Final = Path(__file__).parent / "recorded"
_RSA: Final = "RSA-PSS-SHA256"
_ID_KEY: Final = "0123456789abcdef" * 4
_BATCH: Final = re.compile(r"/v1/batches/[0-9A-Z]+")
_PAGE: Final = 25  # items: fewer than the kit's longest list has
_CALLBACKS: Final = "/callbacks/json_https"

Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class JsonHttpsRehearsal:
    kind = Kind.HTTP

    def __init__(self) -> None:
        self._recorded = Recorded(_FOLDER)
        self._keys: dict[tuple[str, str], Key] = {}  # owner and algorithm: made when first needed, kept for the run
        self._algorithm = _RSA

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        ours = configured.get("signing_algorithm", _RSA)
        self._algorithm = configured.get("bank_signing_algorithm", _RSA)
        signing, public, id_key = (site.folder / name for name in ("signing.pem", "bank.pem", "id.key"))
        signing.write_bytes(
            self._key("gateway", ours).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        public.write_bytes(
            self._key("bank", self._algorithm)
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        id_key.write_text(_ID_KEY + "\n", encoding="ascii")
        return {
            "app_id": "payout-gateway",
            "callback_url": "https://gateway.example.invalid/callbacks/bank-c",
            **configured,
            "base_url": site.origin,
            "tls": site.tls(),
            "http": {**configured.get("http", {}), **site.http()},
            "signing_algorithm": ours,
            "signing_key_file": str(signing),
            "bank_signing_algorithm": self._algorithm,
            "bank_public_key_file": str(public),
            "id_cipher_key_file": str(id_key),
            "items_per_page": _PAGE,
        }

    def read(self, request: Request) -> Received | None:
        if request.method == "GET":
            return None
        if (request.method, request.target) != ("POST", "/v1/batches"):
            raise ValueError("nothing else is sent to this bank")
        batch = json.loads(request.body.decode("utf-8"))
        if request.headers.get("idempotency-key") != batch["batchNo"]:
            raise ValueError("the idempotency key is not the number of the batch")
        lines = tuple(
            ReceivedLine(item["ref"], item["accountNo"], item["accountName"], _fen(item["amount"]), _opened(item))
            for item in batch["items"]
        )
        total_fen, debited = _fen(batch["totalAmount"]), batch["debtor"]["accountNo"]
        return Received(batch["batchNo"], batch["instructionCount"], total_fen, lines, request.body, debited)

    def answer(self, told: Told) -> HttpReply:
        request = told.request
        if request is None:
            raise ValueError("this bank speaks when it is asked")
        path = request.target.partition("?")[0]
        if request.method == "POST" or told.submission is None:
            digest = hashlib.sha256(request.body).hexdigest()
            reply = self._recorded.http(told.occasion.value, told, digest=digest)
        elif _BATCH.fullmatch(path):
            reply = self._recorded.http("head", told, status=_status(told))
        else:
            reply = self._page(told, request.target)
        signed = self._signed(told, str(reply.status), request.target, request.headers.get("x-nonce", ""), reply.body)
        return HttpReply(reply.status, reply.body, {**reply.headers, **signed})

    def _page(self, told: Told, target: str) -> HttpReply:
        """The items after the cursor, which is the number of the last one; as many as were asked for."""
        asked = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        start, limit = int(asked["after"] or "0"), int(asked["limit"])
        page = told.lines[start : start + limit]
        after = f'"{start + limit}"' if start + limit < len(told.lines) else "null"
        return self._recorded.http("items", dataclasses.replace(told, lines=page), next=after)

    def callback(self, told: Told) -> Request:
        body = self._recorded.content("callback", told)
        headers = self._signed(told, "POST", _CALLBACKS, secrets.token_hex(16), body)
        return Request(Kind.HTTP, "POST", _CALLBACKS, headers, body)

    def forged(self, told: Told) -> dict[str, HttpReply]:
        true = self.answer(told)
        unsigned = {name: value for name, value in true.headers.items() if name != "X-Signature"}
        asked = told.request
        if asked is None:
            raise ValueError("this bank speaks when it is asked")
        nonce = asked.headers.get("x-nonce", "")
        signed = self._signed(told, str(true.status), asked.target, nonce, true.body, owner="stranger")
        return {
            "no signature": HttpReply(true.status, true.body, unsigned),
            "the signature of another key": HttpReply(true.status, true.body, {**true.headers, **signed}),
            "a body changed under its signature": HttpReply(true.status, true.body + b" ", true.headers),
        }

    def is_bound(self, request: Request) -> bool:
        """The nonce of every request is in the signature of its answer."""
        return True

    def golden(self) -> Golden:
        """``recorded/batch.json`` is the sample of the manual; only the sealed ID number is not in it."""
        reference, id_no = "01JDF7CDEFGHJKMNPQRSTVWX01", "659999199001010012"
        line = Line(
            reference=reference,
            name=PersonName("张珅"),
            id_type="01",
            id_no=IdNumber(id_no),
            account=AccountNumber("6299990000000000020"),
            account_kind="SSCARD",
            bank_no="403881000017",
            amount_fen=88_050,
            programme="XJ-WJ-01",
            purpose="家庭奖励扶助",
            period="2026",
        )
        head = Submission(
            reference="DF202611240003",
            county="659999",
            debit_account=AccountNumber("6599990000000017"),
            debit_name="某某县财政局惠民惠农补贴专户",
            programme="XJ-WJ-01",
            purpose="家庭奖励扶助",
            period="2026",
        )
        nonce = hmac.digest(bytes.fromhex(_ID_KEY), reference.encode(), "sha256")[:12]
        sealed = nonce + AESGCM(bytes.fromhex(_ID_KEY)).encrypt(nonce, id_no.encode(), reference.encode())
        payload = (_FOLDER / "batch.json").read_bytes().replace(b"<base64>", base64.b64encode(sealed))
        return Golden(head, (line,), dt.datetime(2026, 11, 24, 10, 0, tzinfo=ZoneInfo("Asia/Shanghai")), payload)

    def _key(self, owner: str, algorithm: str) -> Key:
        key = self._keys.get((owner, algorithm))
        if key is None:
            made = (
                rsa.generate_private_key(65_537, 2_048) if algorithm == _RSA else ed25519.Ed25519PrivateKey.generate()
            )
            key = self._keys[owner, algorithm] = made
        return key

    def _signed(
        self, told: Told, first: str, target: str, nonce: str, body: bytes, owner: str = "bank"
    ) -> dict[str, str]:
        timestamp = str(int(told.wall.timestamp()))
        text = "\n".join((first, target, timestamp, nonce, hashlib.sha256(body).hexdigest())).encode()
        key = self._key(owner, self._algorithm)
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        else:
            signature = key.sign(text)
        return {
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Sign-Alg": self._algorithm,
            "X-Signature": base64.b64encode(signature).decode(),
        }


def _status(told: Told) -> str:
    if told.occasion is Occasion.TAKEN:
        return "ACCEPTED"
    whole = told.submission is not None and len(told.lines) == told.submission.count
    return "DONE" if whole else "PROCESSING"


def _fen(text: str) -> int:
    if re.fullmatch(r"[0-9]+\.[0-9]{2}", text) is None:
        raise ValueError("an amount has two decimals")
    return int(Decimal(text) * 100)


def _opened(item: dict[str, str]) -> str:
    """The ID number inside the item, bound to its reference."""
    sealed = base64.b64decode(item["idNoCipher"].removeprefix("AES-256-GCM:"), validate=True)
    try:
        opened = AESGCM(bytes.fromhex(_ID_KEY)).decrypt(sealed[:12], sealed[12:], item["ref"].encode())
    except InvalidTag:
        raise ValueError("an ID number that is not sealed for this reference") from None
    return opened.decode("ascii")
