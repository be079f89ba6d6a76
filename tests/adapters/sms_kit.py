"""What the SMS adapter's tests share: a scripted provider, calls, and callbacks signed as the real one signs them."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from adapters.sms.contract import SmsMessage
from adapters.sms.http_batch import HttpBatchSettings
from schemas.masked import Phone

KEY = b"a-test-key-of-thirty-two-bytes-x"
NOW = dt.datetime(2026, 11, 24, 2, 0, tzinfo=dt.UTC)
SIGNATURE = "【某某农商银行】"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Scripted:
    """A provider that answers as told and remembers every request that reached it."""

    answer: Handler
    seen: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((f"{request.method} {request.raw_path}", await request.read(), dict(request.headers)))
        return await self.answer(request)

    def call(self) -> dict[str, Any]:
        """The one call that arrived."""
        ((_, body, _),) = self.seen
        return dict(json.loads(body))


async def accept(request: web.Request) -> web.StreamResponse:
    call = await request.json()
    results = [{"ref": m["ref"], "code": "OK", "msgId": f"M-{m['ref']}"} for m in call["messages"]]
    return web.json_response({"code": "OK", "results": results})


def answering(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(body=raw, status=status, headers=headers)

    return answer


async def drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


def settings(directory: Path, origin: str, **changes: Any) -> HttpBatchSettings:
    key_file = directory / "sms.key"
    key_file.write_bytes(KEY + b"\n")
    limits = {
        "connect_timeout_milliseconds": 300,
        "silence_timeout_milliseconds": 400,
        "total_timeout_milliseconds": 800,
        "max_answer_bytes": 20_000,
    }
    sound = {"origin": origin, "account": "bank", "key_file": key_file, "limits": limits}
    return HttpBatchSettings.model_validate(sound | changes)


def message(ref: str, phone: str = "13800000001", text: str = SIGNATURE + "测试") -> SmsMessage:
    return SmsMessage(ref, Phone(phone), text)


def messages(count: int) -> list[SmsMessage]:
    return [message(f"1042-{line}-1-ARRIVAL") for line in range(1, count + 1)]


def signed(body: bytes, at: dt.datetime = NOW, key: bytes = KEY) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        "X-Timestamp": timestamp,
        "X-Signature": hmac.new(key, f"{timestamp}\n".encode() + body, hashlib.sha256).hexdigest(),
    }


def reports(*items: dict[str, str]) -> bytes:
    return json.dumps({"reports": list(items)}).encode()


DELIVERED = {"ref": "1042-1-1-ARRIVAL", "msgId": "M1", "batchId": "7", "status": "DELIVRD", "billed": "SENDER"}
