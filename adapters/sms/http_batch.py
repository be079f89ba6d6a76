"""The HTTP batch provider: up to 100 personal messages in one signed POST, reports by question and by callback.

Two facts of this provider decide the code. It does *not* deduplicate, not even by batch id: a call is posted once, and
anything but a clear answer is UNKNOWN. And it asks who pays: every call says ``"billing": "SENDER"``.

Requests are signed with HMAC-SHA256 over ``METHOD\\npath?query\\ntimestamp\\nhex(sha256(body))``, callbacks by the
provider over ``timestamp\\nbody``; the two forms cannot be taken for each other, so one key serves both.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from yarl import URL

from adapters.contract import CallbackRefused, NotFound
from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    NotTaken,
    SmsCapabilities,
    SmsMessage,
    SmsOutcome,
    SmsProfile,
    SmsReport,
    SmsResult,
    SmsStatus,
    check_call,
    mobile,
)
from adapters.wire.http import HttpAnswer, HttpFault, HttpLimits, HttpTransport, KeyFile, TlsFiles, client_tls

MAX_MESSAGES = 100
MAX_REPORTS = 1000
MIN_KEY_BYTES = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

# The provider's manual. A word that stands in no table is no answer: UNKNOWN for a message, PENDING for a report.
REFUSALS = frozenset({"BAD_NUMBER", "BLOCKED", "TEXT", "BILLS_RECEIVER"})
NOT_TAKEN = frozenset({"THROTTLED", "KEY", "FORMAT", "TOO_MANY", "SIGNATURE", "BILLS_RECEIVER"})
PASSES_BY_ITSELF = frozenset({"THROTTLED"})
STATUSES = {
    "DELIVRD": SmsStatus.DELIVERED,
    "UNDELIV": SmsStatus.UNDELIVERED,
    "EXPIRED": SmsStatus.UNDELIVERED,
    "REJECTD": SmsStatus.UNDELIVERED,
    "ACCEPTD": SmsStatus.PENDING,
}

_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_RETRY_AFTER = re.compile(r"[0-9]{1,5}")


class HttpBatchSettings(BaseModel):
    """One provider's section of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origin: str  # https://host[:port]; plain http to this machine only
    account: str = Field(min_length=1, max_length=64)
    key_file: KeyFile  # the shared HMAC key, at least 16 bytes; a final line break is not part of it
    ca_file: KeyFile | None = None  # https where the provider asks for no certificate of ours
    tls: TlsFiles | None = None  # https where it does
    limits: HttpLimits = HttpLimits(max_answer_bytes=1 << 20)
    max_callback_bytes: int = Field(default=1 << 20, ge=1024, le=16 << 20)
    settling_seconds: int = Field(default=600, ge=0, le=86_400)  # gateway-clock seconds; see never_seen_is_proof
    callback_skew_seconds: int = Field(default=300, ge=1, le=3600)  # real seconds, to either side

    @field_validator("origin")
    @classmethod
    def _closed_channel(cls, origin: str) -> str:
        url = URL(origin)
        if not url.host or url.scheme not in ("http", "https") or url != url.origin():
            raise ValueError("origin is scheme, host and port, and nothing else")
        if url.scheme == "http" and url.host not in _LOOPBACK:
            raise ValueError("plain http is for this machine only")
        return origin

    @model_validator(mode="after")
    def _tls_with_https(self) -> Self:
        named = (self.ca_file is not None) + (self.tls is not None)
        if named != (1 if self.origin.startswith("https:") else 0):
            raise ValueError("https needs either ca_file or tls, plain http has neither")
        return self

    def tls_context(self) -> ssl.SSLContext | None:
        if self.tls is not None:
            return client_tls(self.tls)
        if self.ca_file is None:
            return None
        # Not create_default_context(): that one writes session keys to wherever SSLKEYLOGFILE points.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cafile=self.ca_file)
        return context


M = TypeVar("M", bound=BaseModel)
_Text = Annotated[str, Field(min_length=1, max_length=64)]


class _Unclear(Exception):
    """No clear answer, and why, as a code; whether that means UNKNOWN or NoAnswer is the caller's to say."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Result(_Strict):
    ref: _Text
    code: _Text
    msgId: _Text | None = None  # noqa: N815 - the provider's spelling


class _Answer(_Strict):
    code: _Text
    results: list[_Result] = Field(default=[], max_length=MAX_MESSAGES)


class _Report(_Strict):
    msgId: _Text  # noqa: N815 - the provider's spelling
    status: _Text
    ref: _Text | None = None
    billed: _Text | None = None
    batchId: _Text | None = None  # noqa: N815 - the provider's spelling

    def read(self, batch_id: str | None) -> SmsReport:
        if batch_id not in (None, self.batchId or batch_id):
            raise _Unclear("FOREIGN_BATCH")
        billed = Billed(self.billed) if self.billed in tuple(Billed) else None
        status = STATUSES.get(self.status, SmsStatus.PENDING)
        return SmsReport(self.ref, self.msgId, status, billed, self.batchId or batch_id)


class _Reports(_Strict):
    reports: list[_Report] = Field(max_length=MAX_REPORTS)

    def read(self, batch_id: str | None = None) -> list[SmsReport]:
        """All reports; of ``batch_id`` only, where a question named it."""
        return [report.read(batch_id) for report in self.reports]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _read(model: type[M], body: bytes) -> M:
    """``body`` as ``model``, or _Unclear: JSON with nothing twice, nothing missing and nothing added."""
    try:
        return model.model_validate(json.loads(body.decode("utf-8"), object_pairs_hook=_once))
    except (ValueError, RecursionError):  # ValidationError, UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise _Unclear("UNREADABLE") from None


def _read_key(path: Path) -> bytes:
    key = path.read_bytes().rstrip(b"\r\n")
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"the SMS key has fewer than {MIN_KEY_BYTES} bytes")
    return key


def _unix_seconds() -> int:
    return time.time_ns() // 1_000_000_000


class HttpBatch:
    """``SmsProvider`` over the HTTP batch interface. One instance serves one account."""

    def __init__(self, name: str, settings: HttpBatchSettings, unix_seconds: Callable[[], int] = _unix_seconds) -> None:
        self._name = name
        self._settings = settings
        self._unix_seconds = unix_seconds
        self._key = _read_key(settings.key_file)
        self._transport = HttpTransport(settings.origin, settings.limits, settings.tls_context())

    @property
    def name(self) -> str:
        return self._name

    def capabilities(self) -> SmsCapabilities:
        return SmsCapabilities(
            max_messages=MAX_MESSAGES,
            idempotent=False,
            not_found=NotFound.AUTHORITATIVE,
            settling_seconds=self._settings.settling_seconds,
        )

    async def close(self) -> None:
        await self._transport.close()

    async def send(self, batch_id: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        signature = check_call(batch_id, messages, self.capabilities())
        numbers = {message.ref: number for message in messages if (number := mobile(message.phone)) is not None}
        outgoing = [message for message in messages if message.ref in numbers]
        answered: dict[str, SmsResult] = {}
        if outgoing:
            body = self._render(batch_id, signature, outgoing, numbers)
            answered = await self._post(body, frozenset(numbers))
        return [
            answered.get(message.ref) or SmsResult(message.ref, "NO_MOBILE", None, SmsOutcome.REFUSED)
            for message in messages
        ]

    async def reports(self, batch_id: str) -> list[SmsReport]:
        try:
            answer = await self._ask("GET", f"/sms/reports?batchId={quote(batch_id, safe='')}", None)
            if answer.status == 200:
                return _read(_Reports, answer.body).read(batch_id)
            if answer.status == 404 and _read(_Answer, answer.body).code == "NOT_FOUND":
                raise NeverSeen(batch_id)
        except NotSent as problem:
            raise NoAnswer(problem.code) from None
        except _Unclear as problem:
            raise NoAnswer(problem.code) from None
        raise NoAnswer(f"HTTP_{answer.status}")

    def verify_report_callback(self, headers: Mapping[str, str], body: bytes, wall: dt.datetime) -> list[SmsReport]:
        if len(body) > self._settings.max_callback_bytes:
            raise CallbackRefused("OVERSIZE")
        named = {name.lower(): value for name, value in headers.items()}
        timestamp, signature = named.get("x-timestamp", ""), named.get("x-signature", "")
        if not timestamp or not signature:
            raise CallbackRefused("UNSIGNED")
        # A header may hold bytes that are no text; "replace" makes them a wrong signature instead of an error.
        expected = self._hmac(timestamp.encode("ascii", "replace") + b"\n" + body)
        if not hmac.compare_digest(expected.encode(), signature.lower().encode("ascii", "replace")):
            raise CallbackRefused("BAD_SIGNATURE")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise CallbackRefused("FORM")
        age_seconds = int(wall.timestamp()) - int(timestamp)
        if abs(age_seconds) > self._settings.callback_skew_seconds:
            raise CallbackRefused("STALE" if age_seconds > 0 else "FROM_THE_FUTURE")
        try:
            return _read(_Reports, body).read()
        except _Unclear:
            raise CallbackRefused("FORM") from None

    def _render(
        self, batch_id: str, signature: str, messages: Sequence[SmsMessage], numbers: Mapping[str, str]
    ) -> bytes:
        call = {
            "account": self._settings.account,
            "batchId": batch_id,
            "billing": Billed.SENDER.value,
            "signature": signature,
            "messages": [{"ref": m.ref, "phone": numbers[m.ref], "text": m.text} for m in messages],
        }
        try:
            return json.dumps(call, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        except UnicodeEncodeError:  # its ``object`` is the whole call
            raise ValueError("a text holds half a surrogate pair") from None

    async def _post(self, body: bytes, refs: frozenset[str]) -> dict[str, SmsResult]:
        """Post once. Every ref has a result; only what the answer clearly says is not UNKNOWN."""
        try:
            reply = await self._ask("POST", "/sms/batch", body)
            results = self._results(reply)
        except _Unclear as problem:
            return {ref: SmsResult(ref, problem.code, None, SmsOutcome.UNKNOWN) for ref in refs}
        said = Counter(result.ref for result in results)
        if not refs.issuperset(said):  # an answer to somebody else's question answers none of ours
            return {ref: SmsResult(ref, "FOREIGN_REF", None, SmsOutcome.UNKNOWN) for ref in refs}
        clear = {result.ref: _judge(result) for result in results if said[result.ref] == 1}
        return {ref: clear.get(ref) or SmsResult(ref, "MISSING", None, SmsOutcome.UNKNOWN) for ref in refs}

    def _results(self, reply: HttpAnswer) -> list[_Result]:
        """What a reply says message by message; NotTaken where the manual lists its word as "took nothing"."""
        answer = _read(_Answer, reply.body)
        if 400 <= reply.status < 500 and answer.code in NOT_TAKEN:
            retry_after = reply.headers.get("retry-after", "")
            after = int(retry_after) if _RETRY_AFTER.fullmatch(retry_after) else None
            raise NotTaken(answer.code, hold=answer.code not in PASSES_BY_ITSELF, retry_after_seconds=after)
        if reply.status != 200 or answer.code != "OK":
            raise _Unclear(f"HTTP_{reply.status}")
        return answer.results

    async def _ask(self, method: str, target: str, body: bytes | None) -> HttpAnswer:
        """One request, one reply. NotSent before the point of no return, _Unclear after it, no second try."""
        timestamp = str(self._unix_seconds())
        digest = hashlib.sha256(body or b"").hexdigest()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "X-Account": self._settings.account,
            "X-Timestamp": timestamp,
            "X-Signature": self._hmac(f"{method}\n{target}\n{timestamp}\n{digest}".encode()),
        }
        async with self._transport.wire() as wire:
            try:
                return await wire.ask(method, target, label="sms", headers=headers, body=body)
            except HttpFault as fault:
                code = fault.code
            except Exception as fault:  # a fault of the library is still on one side of the point of no return
                code = type(fault).__name__
            raise _Unclear(code) if wire.crossed else NotSent(code)

    def _hmac(self, content: bytes) -> str:
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()


def _judge(result: _Result) -> SmsResult:
    if result.code == "OK" and result.msgId is not None:
        return SmsResult(result.ref, result.code, result.msgId, SmsOutcome.ACCEPTED)
    if result.code in REFUSALS:
        return SmsResult(result.ref, result.code, result.msgId, SmsOutcome.REFUSED)
    # A word no table lists is not passed on as it is: what is logged and counted comes from closed sets.
    return SmsResult(result.ref, "UNLISTED", result.msgId, SmsOutcome.UNKNOWN)


PROFILE = SmsProfile("http_batch", HttpBatchSettings, HttpBatch)
