"""The HTTPS bank's server: mTLS, signed requests and answers, submissions and queries, and the faults of both."""

from __future__ import annotations

import asyncio
import gzip
import ssl

from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bank import json_format as form
from tests.bank.json_desk import JsonDesk
from tests.bank.json_queries import Answer, Queries
from tests.bank.json_signing import Gate
from tests.bank.limits import OUTSIDE_HOURS, TOO_FAST, Limits
from tests.bank.model import Submission, Upload

MAX_BODY_BYTES = 64 * 1024 * 1024
HOSTILE_BYTES = 32 * 1024 * 1024
RATE_LIMITED = "rate_limited"
SERVER_ERRORS = (500, 502, 503, 504)
CALLBACK_FIRST_SECONDS = 10.0
LONGEST_RETRY_AFTER_SECONDS = 3600


class _Dropped(Exception):
    """The connection is to be cut without an answer."""


class JsonServer:
    """One listening bank."""

    def __init__(self, desk: JsonDesk) -> None:
        self.desk = desk
        self.book = desk.book
        config, self.json = desk.book.config, desk.json
        self._gate = Gate(config.path(self.json.gateway_public_key), self.json.app_id)
        key = bytes.fromhex(config.path(self.json.id_cipher_key).read_text().strip())
        self._cipher = AESGCM(key)
        self._queries = Queries(desk.book)
        self._limits = Limits(desk.book)

    async def serve(self) -> tuple[web.AppRunner, int]:
        """Listen; returns what to clean up, and the port."""
        config = self.book.config
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.path(self.json.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(config.path(self.json.certificate), config.path(self.json.key))
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, config.host, config.port, ssl_context=context)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            return await self._judge(request, body)
        except _Dropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _judge(self, request: web.Request, body: bytes) -> web.StreamResponse:
        problem = self._gate.problem(request.method, request.raw_path, request.headers, body)
        if problem:
            if request.method == "POST":
                self.book.arrive(_unread(body), 0, "refused", "SIGNATURE", None)
                self.book.commit()
            return self._signed(request, Answer(401, {"code": "SIGNATURE"}))
        if request.method == "POST" and request.raw_path == "/v1/batches":
            return await self._submit(request, body)
        if request.method != "GET":
            return self._signed(request, Answer(405, {"code": "METHOD"}))
        if self._limits.query_too_fast(request.raw_path):
            self.book.commit()
            return self._signed(request, Answer(429, {"code": "RATE_LIMITED"}))
        fault = self._queries.fault(request.raw_path)
        if fault in ("query_timeout", "query_drop"):
            await self._cut(hang=fault == "query_timeout")
        if fault == "query_5xx":
            return self._signed(request, Answer(503, {"code": "UNAVAILABLE"}))
        if fault == "query_garbage":
            return web.Response(status=200, text="System busy, please try later")
        answer = self._queries.answer(request.path, request.query, fault)
        if self.book.ledger.dirty:
            self.book.commit()
        return self._signed(request, answer)

    def _signed(self, request: web.Request, answer: Answer, wrong: bool = False) -> web.Response:
        body = form.encode(answer.body)
        nonce = request.headers.get("X-Nonce", "")
        headers = self.desk.signer.headers(str(answer.status), request.raw_path, body + b" " * wrong, nonce)
        if answer.status == 429:
            closed_seconds = self._limits.closed_ms // 1000 if request.method == "POST" else 0
            headers["Retry-After"] = str(max(1, min(closed_seconds, LONGEST_RETRY_AFTER_SECONDS)))
        return web.Response(status=answer.status, body=body, headers=headers, content_type="application/json")

    async def _cut(self, hang: bool) -> None:
        if hang:
            await asyncio.sleep(self.book.config.hang_real_seconds)
        raise _Dropped

    # -- submissions

    async def _submit(self, request: web.Request, body: bytes) -> web.StreamResponse:
        try:
            upload = form.parse_batch(body, self._cipher)
        except form.Malformed as problem:
            return self._refuse(request, _unread(body), 400, "FORMAT", str(problem))
        too_much = len(upload.items) > self.book.config.max_lines or self._limits.too_big(body)
        if too_much or request.headers.get("Idempotency-Key") != upload.batch:
            return self._refuse(request, upload, 400, "FORMAT", "head")
        if self.json.debit_accounts and upload.debit_account not in self.json.debit_accounts:
            return self._refuse(request, upload, 400, "FORMAT", "debtor")
        transmission = self.book.transmission(upload.batch)
        limit = self._limits.submission()
        if limit:
            return await self._lose(request, upload, transmission, limit)
        fault = self.book.programme.submission(upload.batch, transmission) or ""
        if fault == RATE_LIMITED or fault.endswith("_before_accept"):
            return await self._lose(request, upload, transmission, fault)
        verdict = self.book.take(upload, transmission, fault)
        if verdict.verdict == "refused":
            self.book.answer(verdict.n, upload.batch, "NOT_TAKEN", "FUNDS_SHORT", "reply")
            self.book.commit()
            return self._signed(request, Answer(402, {"code": "FUNDS_SHORT"}))
        if verdict.verdict == "duplicate" and verdict.submission is not None:
            self.book.answer(verdict.n, upload.batch, "DUPLICATE", "DUPLICATE", "reply")
            self.book.commit()
            return self._signed(request, Answer(409, {"code": "DUPLICATE", "digest": verdict.submission.digest}))
        assert verdict.submission is not None  # taken
        return await self._reply(request, verdict.submission, fault)

    def _refuse(self, request: web.Request, upload: Upload, status: int, code: str, detail: str) -> web.Response:
        n = self.book.arrive(upload, self.book.transmission(upload.batch), "refused", code, None)
        self.book.answer(n, upload.batch, "NOT_TAKEN", code, "reply")
        self.book.commit()
        return self._signed(request, Answer(status, {"code": code, "detail": detail}))

    async def _lose(self, request: web.Request, upload: Upload, transmission: int, fault: str) -> web.StreamResponse:
        """Nothing is taken; a 429 says so, everything else leaves the gateway in doubt."""
        limited = fault in (RATE_LIMITED, TOO_FAST, OUTSIDE_HOURS)
        n = self.book.arrive(upload, transmission, "refused" if limited else "lost", fault.upper(), fault)
        self.book.fault(fault, upload.batch, n)
        if limited:
            self.book.answer(n, upload.batch, "NOT_TAKEN", "RATE_LIMITED", "reply")
        self.book.commit()
        if limited:
            return self._signed(request, Answer(429, {"code": "RATE_LIMITED"}))
        if fault == "http_5xx_before_accept":
            return self._signed(request, self._server_error(upload.batch))
        await self._cut(hang=fault == "timeout_before_accept")
        raise _Dropped

    def _server_error(self, batch: str) -> Answer:
        status = SERVER_ERRORS[self.book.programme.draw("status", batch) % len(SERVER_ERRORS)]
        return Answer(status, {"code": "UNAVAILABLE"})

    async def _reply(self, request: web.Request, taken: Submission, fault: str) -> web.StreamResponse:
        """The submission is in the book; what is answered is the fault's business."""
        batch = taken.batch
        accepted = Answer(202, {"bankBatchId": f"B9{taken.n:09d}", "batchNo": batch, "code": "ACCEPTED"})
        if fault:
            self.book.fault(fault, batch, taken.n)
        told = {"": "RECEIVED", "callback_before_reply": "RECEIVED", "conflict_409_after_accept": "DUPLICATE"}.get(
            fault
        )
        if told is not None:
            self.book.answer(taken.n, batch, told, "DUPLICATE" if told == "DUPLICATE" else "ACCEPTED", "reply")
        self.book.commit()
        if fault == "callback_before_reply":
            await self._call_back_first(taken)
        if fault in ("", "callback_before_reply"):
            return self._signed(request, accepted)
        if fault.startswith("hostile_"):
            return await self._hostile(request, fault)
        if fault == "http_5xx_after_accept":
            return self._signed(request, self._server_error(batch))
        if fault.startswith("conflict_409"):
            digest = taken.digest if fault == "conflict_409_after_accept" else taken.digest[::-1]
            return self._signed(request, Answer(409, {"code": "DUPLICATE", "digest": digest}))
        if fault == "garbage_answer":
            return web.Response(status=200, text="System busy, please try later")
        if fault == "unsigned_answer":
            return self._signed(request, accepted, wrong=True)
        # Also not_found_until_settled and hidden: a gateway that was told 202 would not ask whether it was taken.
        await self._cut(hang=fault == "timeout_after_accept")
        raise _Dropped

    async def _call_back_first(self, taken: Submission) -> None:
        self.book.pass_due()
        waited = 0.0
        while self.desk.callbacks.outstanding.get(taken.n) and waited < CALLBACK_FIRST_SECONDS:
            await asyncio.sleep(0.05)
            waited += 0.05

    async def _hostile(self, request: web.Request, fault: str) -> web.StreamResponse:
        if fault == "hostile_redirect":
            answer = self._signed(request, Answer(307, {"code": "MOVED"}))
            answer.headers["Location"] = "https://127.0.0.1:9/elsewhere"
            return answer
        if fault == "hostile_gzip_bomb":
            bomb = gzip.compress(bytes(HOSTILE_BYTES), 9)
            return web.Response(status=202, body=bomb, headers={"Content-Encoding": "gzip"})
        slow = fault == "hostile_slow"
        stream = web.StreamResponse(status=202)
        stream.content_length = HOSTILE_BYTES
        await stream.prepare(request)
        try:
            for _ in range(self.book.config.hang_real_seconds * 2 if slow else HOSTILE_BYTES // 65536):
                await stream.write(b" " if slow else b" " * 65536)
                await asyncio.sleep(0.5 if slow else 0)
        except ConnectionError:
            raise _Dropped from None
        if slow:
            raise _Dropped
        await stream.write_eof()
        return stream


def _unread(body: bytes) -> Upload:
    """An arrival that could not be read."""
    return Upload("", "POST /v1/batches", body, form.digest(body), "", "", 0, [])
