"""The HTTP batch side: signed calls of up to 100 messages, reports by question, callbacks until they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import hmac
import json
import re
from collections import Counter
from typing import Any

import aiohttp
from aiohttp import web

from tests.world import clock
from tests.world.sms.config import TAKES_NOTHING, Config
from tests.world.sms.fate import Programme, Taken
from tests.world.sms_ledger import Ledger, Row

MOST_MESSAGES = 100
MOST_REPORTS = 500
SKEW_SECONDS = 300


class Reporter:
    """Calls back when reports are due: some of them late, twice or never, in the order of their time."""

    def __init__(self, config: Config, key: bytes, ledger: Ledger, programme: Programme) -> None:
        self._config = config
        self._key = key
        self._ledger = ledger
        self._programme = programme
        self._due: list[tuple[int, int, Row]] = []
        self._pushed = 0
        self._news = asyncio.Event()
        for row, owed in ledger.unreported():
            self.expect(row, owed)

    def expect(self, row: Row, owed: int) -> None:
        if self._config.callback_url is None or row.callback_at_ms is None:
            return
        for again in range(owed):
            self._pushed += 1
            heapq.heappush(self._due, (row.callback_at_ms + again * 60_000, self._pushed, row))
        self._news.set()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=20, connect=2)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            while True:
                await self._wait()
                rows: list[Row] = []
                now = clock.now_ms()
                while self._due and self._due[0][0] <= now and len(rows) < MOST_REPORTS:
                    rows.append(heapq.heappop(self._due)[2])
                if rows:
                    await self._tell(session, rows)
                    await asyncio.sleep(self._config.callback_every_real_milliseconds / 1000)

    async def _wait(self) -> None:
        """Until the next report is due; an earlier one may be announced meanwhile."""
        self._news.clear()
        seconds = clock.real_seconds((self._due[0][0] - clock.now_ms()) / 1000) if self._due else None
        if seconds is None or seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for() of 3.11 can lose a cancellation
                    await self._news.wait()

    async def _tell(self, session: aiohttp.ClientSession, rows: list[Row]) -> None:
        """One callback, repeated until it is answered; a refusal is an answer."""
        body = json.dumps({"reports": [row.report(clock.now_ms()) for row in rows]}, separators=(",", ":")).encode()
        if self._programme.forges(rows[0].ref):
            status = await self._post(session, body.replace(b"DELIVRD", b"UNDELIV"), b"a key of somebody else")
            self._ledger.write("CALLBACK", "", "forged", code=str(status), count=len(rows), fault="callback_forged")
        while (status := await self._post(session, body, self._key)) >= 500 or status == 429:
            await asyncio.sleep(self._config.callback_retry_real_milliseconds / 1000)
        told = [row.msg_id for row in rows]
        verdict = "acknowledged" if status < 300 else "refused"
        self._ledger.write("CALLBACK", "", verdict, code=str(status), count=len(rows), reported=told)

    async def _post(self, session: aiohttp.ClientSession, body: bytes, key: bytes) -> int:
        """The HTTP status; 599 where there was none."""
        timestamp = str(clock.wall_ms() // 1000)
        signature = hmac.new(key, timestamp.encode() + b"\n" + body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Timestamp": timestamp, "X-Signature": signature}
        try:
            url = str(self._config.callback_url)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 599


class Refusal(Exception):
    """A call of which nothing is taken: HTTP status and code."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def read_call(body: bytes, config: Config) -> dict[str, Any]:
    """The call, if it has the documented form and may be taken at all."""
    try:
        call = json.loads(body)
        messages = call["messages"]
        sound = isinstance(call["batchId"], str) and isinstance(call["signature"], str)
        sound = sound and len(messages) > 0 and len({message["ref"] for message in messages}) == len(messages)
        for message in messages:
            for key in ("ref", "phone", "text"):
                message[key].encode()  # text, and no half of a surrogate pair
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refusal(400, "FORMAT") from None
    if not sound:
        raise Refusal(400, "FORMAT")
    if call.get("billing") != "SENDER":
        raise Refusal(400, "BILLS_RECEIVER")
    if len(messages) > MOST_MESSAGES:
        raise Refusal(400, "TOO_MANY")
    if config.signatures and call["signature"] not in config.signatures:
        raise Refusal(400, "SIGNATURE")
    return dict(call)


class Centre:
    """The HTTP side."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._key = config.key_file.read_bytes().rstrip(b"\r\n")
        self._programme = Programme(config)
        self.ledger = Ledger(config.directory, config.synchronous)
        self.reporter = Reporter(config, self._key, self.ledger, self._programme)
        self._arrivals = self.ledger.arrivals()
        self._queries: Counter[str] = Counter()

    def application(self) -> web.Application:
        application = web.Application(client_max_size=2 << 20)
        application.router.add_post("/sms/batch", self.take)
        application.router.add_get("/sms/reports", self.tell)
        return application

    def _authentic(self, request: web.Request, body: bytes) -> bool:
        timestamp = request.headers.get("X-Timestamp", "")
        if not re.fullmatch("[0-9]{1,11}", timestamp) or request.headers.get("X-Account") != self._config.account:
            return False
        age_ms = clock.wall_ms() - int(timestamp) * 1000
        signed = f"{request.method}\n{request.raw_path}\n{timestamp}\n{hashlib.sha256(body).hexdigest()}"
        expected = hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()
        given = request.headers.get("X-Signature", "").encode("ascii", "replace")
        return abs(age_ms) <= SKEW_SECONDS * 1000 and hmac.compare_digest(expected.encode(), given)

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            if not self._authentic(request, body):
                raise Refusal(401, "KEY")
            call = read_call(body, self._config)
        except Refusal as refusal:
            self.ledger.write("CALL", "", "refused", code=refusal.code)
            return web.json_response({"code": refusal.code}, status=refusal.status)
        batch_id, count = str(call["batchId"]), len(call["messages"])
        nth = self._arrivals[batch_id]
        self._arrivals[batch_id] += 1
        fault = self._programme.call(batch_id, nth)
        if fault == "throttle":
            self.ledger.write("CALL", batch_id, "refused", code="THROTTLED", count=count, fault=fault)
            return web.json_response({"code": "THROTTLED"}, status=429, headers={"Retry-After": "1"})
        if fault in TAKES_NOTHING:
            self.ledger.write("CALL", batch_id, "lost", count=count, fault=fault)
            return await self._fail(request, fault, b"")
        rows = self._deliver(call, nth, fault)
        answer = json.dumps({"code": "OK", "results": [row.result() for row in rows]}, separators=(",", ":")).encode()
        if fault:
            return await self._fail(request, fault, answer)
        return web.Response(body=answer, content_type="application/json")

    def _deliver(self, call: dict[str, Any], nth: int, fault: str) -> list[Row]:
        at_ms = clock.now_ms() + (self._config.accept_later_seconds * 1000 if fault == "accept_later" else 0)
        taken = Taken(self.ledger.n + 1, call["batchId"], nth, call["signature"], at_ms)
        rows = [self._programme.judge(taken, index, message) for index, message in enumerate(call["messages"])]
        self.ledger.write("CALL", taken.batch_id, "taken", code="OK", count=len(rows), fault=fault, messages=rows)
        for row in rows:
            self.reporter.expect(row, row.callbacks)
        return rows

    async def _fail(self, request: web.Request, fault: str, answer: bytes) -> web.StreamResponse:
        """Every way of not giving a clear answer."""
        if fault.startswith("error"):
            return web.Response(status=500 if answer else 503, text="temporarily out of order")
        if fault == "garble_after":
            return web.Response(body=answer[: len(answer) * 2 // 3], content_type="application/json")
        if fault.startswith("timeout"):
            await asyncio.sleep(self._config.hang_real_seconds)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)  # nobody reads it

    async def tell(self, request: web.Request) -> web.StreamResponse:
        if not self._authentic(request, b""):
            self.ledger.write("QUERY", "", "refused", code="KEY")
            return web.json_response({"code": "KEY"}, status=401)
        batch_id = request.query.get("batchId", "")
        self._queries[batch_id] += 1
        if fault := self._programme.query(batch_id, self._queries[batch_id]):
            self.ledger.write("QUERY", batch_id, "lost", fault=fault)
            return await self._fail(request, fault.removeprefix("query_"), b"")
        at_ms = clock.now_ms()
        if not (rows := self.ledger.batch(batch_id, at_ms)):
            self.ledger.write("QUERY", batch_id, "never_seen", code="NOT_FOUND")
            return web.json_response({"code": "NOT_FOUND"}, status=404)
        self.ledger.write("QUERY", batch_id, "answered", code="OK", count=len(rows))
        return web.json_response({"reports": [row.report(at_ms) for row in rows]})
