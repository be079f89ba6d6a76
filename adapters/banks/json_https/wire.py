"""The channel of this profile: requests signed over the bytes sent, answers believed only with the bank's signature.

An answer is bound to its question by the nonce that it echoes and by the path inside the signed string, so an old or
foreign answer cannot be played back. The algorithm is pinned by configuration: what a header claims is compared, never
followed. Timestamps are real time, because skew is a property of the channel.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final

from adapters.banks.json_https.keys import Signer, Verifier
from adapters.contract import CallbackRefused
from adapters.wire.http import AnswerUnusable, HttpAnswer, HttpWire

SKEW_SECONDS: Final = 300
_NONCE = re.compile(r"[0-9a-fA-F]{32}")
_TIMESTAMP = re.compile(r"[0-9]{10}")
_SIGNED_HEADERS: Final = ("x-timestamp", "x-nonce", "x-sign-alg", "x-signature")
_SIGNATURE_LENGTH: Final = 4096  # characters; bounds the work spent on a stranger's header


def string_to_sign(first: str, target: str, timestamp: str, nonce: str, digest: str) -> bytes:
    """``first`` is the method of a request or the status of an answer; ``digest`` is the body's, in the key's hash."""
    return f"{first}\n{target}\n{timestamp}\n{nonce}\n{digest}".encode()


def unix_seconds() -> int:
    return int(time.time())


class SignedChannel:
    """Asks over an ``HttpWire`` with our signature, and hands on nothing that the bank did not sign."""

    def __init__(
        self, app_id: str, signer: Signer, verifier: Verifier, wall_seconds: Callable[[], int] = unix_seconds
    ) -> None:
        self._app_id = app_id
        self._signer = signer
        self._verifier = verifier
        self._wall_seconds = wall_seconds

    async def get(self, wire: HttpWire, target: str, label: str) -> HttpAnswer:
        return await self._ask(wire, "GET", target, label, None, {})

    async def post(self, wire: HttpWire, target: str, label: str, body: bytes, idempotency_key: str) -> HttpAnswer:
        headers = {"Content-Type": "application/json; charset=utf-8", "Idempotency-Key": idempotency_key}
        return await self._ask(wire, "POST", target, label, body, headers)

    async def _ask(
        self, wire: HttpWire, method: str, target: str, label: str, body: bytes | None, more: Mapping[str, str]
    ) -> HttpAnswer:
        nonce = secrets.token_hex(16)
        timestamp = str(self._wall_seconds())
        message = string_to_sign(method, target, timestamp, nonce, self._signer.digest(body or b""))
        headers = {
            **more,
            "X-App-Id": self._app_id,
            "X-Timestamp": timestamp,
            "X-Nonce": nonce,
            "X-Request-Id": secrets.token_hex(16),
            "X-Sign-Alg": self._signer.algorithm,
            "X-Signature": base64.b64encode(self._signer.sign(message)).decode("ascii"),
        }
        answer = await wire.ask(method, target, label=label, headers=headers, body=body)
        self._check_answer(answer, target, nonce)
        return answer

    def _check_answer(self, answer: HttpAnswer, target: str, nonce: str) -> None:
        # No check of its age: nobody but the bank can sign our nonce, and we made it for this question.
        if "x-signature" not in answer.headers:
            raise AnswerUnusable("UNSIGNED")
        if answer.headers.get("x-nonce") != nonce:
            raise AnswerUnusable("WRONG_NONCE")
        fault = self._signature_fault(str(answer.status), target, answer.headers, answer.body)
        if fault:
            raise AnswerUnusable(fault)

    def check_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> None:
        """The bank's signature over a request to us, its age and its form. Raises CallbackRefused."""
        pairs = [(key.lower(), value) for key, value in headers.items()]  # of a multidict, only items() shows them all
        if any([key for key, _ in pairs].count(name) > 1 for name in _SIGNED_HEADERS):
            raise CallbackRefused("REPEATED_HEADER")  # says two things, and the other reader may take the other one
        lower = dict(pairs)
        if method != "POST":
            raise CallbackRefused("METHOD")
        if "x-signature" not in lower:
            raise CallbackRefused("UNSIGNED")
        if _NONCE.fullmatch(lower.get("x-nonce", "")) is None:
            raise CallbackRefused("NONCE")
        fault = self._signature_fault(method, path, lower, body)
        if fault:
            raise CallbackRefused(fault)
        sent = dt.datetime.fromtimestamp(int(lower["x-timestamp"]), dt.UTC)
        if abs(wall - sent) > dt.timedelta(seconds=SKEW_SECONDS):
            raise CallbackRefused("STALE" if sent < wall else "FROM_THE_FUTURE")

    def _signature_fault(self, first: str, target: str, headers: Mapping[str, str], body: bytes) -> str:
        """Why the signature does not hold, or ""."""
        if headers.get("x-sign-alg") != self._verifier.algorithm:
            return "WRONG_ALGORITHM"
        timestamp = headers.get("x-timestamp", "")
        if _TIMESTAMP.fullmatch(timestamp) is None:
            return "TIMESTAMP"
        text = headers.get("x-signature", "")
        if len(text) > _SIGNATURE_LENGTH:
            return "BAD_SIGNATURE"
        try:
            signature = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return "BAD_SIGNATURE"
        message = string_to_sign(first, target, timestamp, headers.get("x-nonce", ""), self._verifier.digest(body))
        return "" if self._verifier.verify(message, signature) else "BAD_SIGNATURE"
