"""The gateway's HTTP side: liveness, readiness, metrics, banks' callbacks and SMS delivery reports.

Two of the five routes are open to other houses, so the door is kept narrow. The body is handed over exactly as it
arrived, because the signature is over those bytes; nothing that a caller sent comes back in an answer; and everything
has a limit: size, header and body time, handling time, callbacks at once, connections. Every error is a problem+json
(RFC 9457), also for bytes that are not HTTP at all.

The routes are matched here and not by an aiohttp ``Application``, whose own answers (an unknown ``Expect``, a malformed
request line) quote what was sent.

Answers: 204 the callback is stored; 401/403 refused, by code; 404 no such path, bank or provider; 503 with Retry-After
come again (too many at once, or the store is away). A bank that calls again after a lost answer is harmless: callbacks
are deduplicated by event.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from aiohttp import web

from adapters.contract import CallbackRefused
from gateway import log, metrics

_log = log.get_logger(__name__)

_CALLBACK = re.compile(r"/callbacks/([A-Za-z0-9_-]{1,64})")
_SMS_REPORT = re.compile(r"/sms/reports/([A-Za-z0-9_-]{1,64})")
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
# What is wrong with the message and not with the proof of its sender: 403; everything else is 401.
_FORBIDDEN = frozenset({"EVENT_ID", "FORM", "METHOD", "NOT_AGREED", "OVERSIZE", "REPLAYED", "UNREADABLE"})
_RETRY_AFTER_SECONDS = 5


class UnknownSender(Exception):
    """Raised by a handler: no bank or provider of that name takes callbacks here."""


class Unavailable(Exception):
    """Raised by a handler: it cannot store anything now; the sender shall come again."""


class Handlers(Protocol):
    """What the application puts behind the routes. A callback returns only when it is stored."""

    def readiness(self) -> Mapping[str, str | None]:
        """Every component by name, with None when it can work or a short reason why it cannot. Must not wait."""

    async def bank_callback(self, bank: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Verify and store one callback. ``path`` is the raw request target with its query. Raises CallbackRefused,
        UnknownSender or Unavailable; counts ``accepted`` and ``repeated`` (``refused`` is counted here)."""

    async def sms_report(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        """Verify and store one delivery report. Raises the same."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the door, in real seconds and bytes."""

    body_bytes: int = 1 << 20
    line_bytes: int = 8190  # request line, and each header field
    header_fields: int = 64
    header_seconds: int = 10  # also how long an idle connection is kept
    body_seconds: int = 10
    handling_seconds: int = 30
    callbacks_at_once: int = 32
    connections: int = 256


class _Problem(Exception):
    """An answer that is an error: status, code and words that are ours alone."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: dict[str, str] = more.pop("headers", {})
        self.more = more

    def response(self) -> web.Response:
        body = {
            "type": f"urn:payout-gateway:problem:{self.code.lower().replace('_', '-')}",
            "title": self.status.phrase,
            "status": int(self.status),
            "code": self.code,
            "detail": self.detail,
            **self.more,
        }
        return _answer(self.status, json.dumps(body).encode(), "application/problem+json", self.headers)


def _answer(status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> web.Response:
    common = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": content_type}
    return web.Response(status=status, body=body, headers={**common, **(headers or {})})


def _come_again(code: str, detail: str) -> _Problem:
    return _Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers={"Retry-After": str(_RETRY_AFTER_SECONDS)})


def _not_found() -> _Problem:
    return _Problem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is nothing here.")


class _Request(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """The last moment before the headers leave: what software this is concerns nobody outside."""
        response.headers.pop("Server", None)


class _Connection(web.RequestHandler):
    """aiohttp's connection, with our words for what is not HTTP and a bound on how many there are."""

    __slots__ = ("_limit", "_server")

    def __init__(self, server: _Server, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._server = server
        self._limit = server.limits.connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > self._limit:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Instead of aiohttp's page, which quotes the bytes it could not read."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has already begun")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _fault(exc)
        problem = _Problem(HTTPStatus.BAD_REQUEST, "MALFORMED", "This is not a well-formed HTTP request.")
        response = problem.response()
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, handler: Callable[[Any], Awaitable[web.StreamResponse]], limits: Limits) -> None:
        super().__init__(handler, request_factory=self._request)
        self.limits = limits

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return _Request(message, payload, protocol, writer, task, asyncio.get_running_loop())

    def __call__(self) -> web.RequestHandler:
        limits = self.limits
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.header_seconds,
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.header_fields,
            lingering_time=1,
            access_log=None,
            auto_decompress=False,  # the signature is over the bytes sent, and a bomb stays small
        )


def _fault(error: BaseException | None) -> web.Response:
    """A fault of ours: the caller gets a number, the log gets the same number and the exception."""
    fault = str(uuid.uuid4())
    _log.error("http request failed", reference=fault, exc_info=error)
    problem = _Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "FAULT",
        "The gateway failed; nothing is known to be stored.",
        instance=f"urn:uuid:{fault}",
    )
    response = problem.response()
    response.force_close()
    return response


class Admin:
    """The HTTP server: ``start`` it, read its ``port``, ``stop`` it. Made by ``build``."""

    def __init__(self, handlers: Handlers, limits: Limits) -> None:
        self._handlers = handlers
        self._limits = limits
        self._callbacks = 0
        self._pages = {"/live": self._live, "/ready": self._ready, "/metrics": self._metrics}
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Listen; with ``port`` 0 the system chooses, and ``port`` says what it chose."""
        runner = web.ServerRunner(_Server(self._handle, self._limits), shutdown_timeout=5)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=context)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self.port = runner, site.port

    async def stop(self) -> None:
        """Stop listening and let callbacks that are being stored finish, within five seconds."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._route(request)
        except _Problem as problem:
            response = problem.response()
            if request.can_read_body and not request.content.at_eof():
                response.force_close()  # an unread body would be taken for the next request's time
            return response
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            return _fault(error)

    async def _route(self, request: web.BaseRequest) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if page := self._pages.get(path):
            _only(request, "GET", "HEAD")
            return page()
        if match := _CALLBACK.fullmatch(path):
            _only(request, "POST")
            return await self._bank_callback(request, match[1])
        if match := _SMS_REPORT.fullmatch(path):
            _only(request, "POST")
            return await self._sms_report(request, match[1])
        raise _not_found()

    # --- our own pages ---

    def _live(self) -> web.Response:
        return _answer(HTTPStatus.OK, b'{"status": "live"}', "application/json")

    def _ready(self) -> web.Response:
        reasons = {name: log.plain(reason) for name, reason in self._readiness().items() if reason is not None}
        if reasons:
            raise _Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "NOT_READY", "Some components cannot work.", components=reasons
            )
        return _answer(HTTPStatus.OK, b'{"status": "ready"}', "application/json")

    def _metrics(self) -> web.Response:
        self._readiness()
        return _answer(HTTPStatus.OK, metrics.exposition(), metrics.CONTENT_TYPE)

    def _readiness(self) -> Mapping[str, str | None]:
        """Ask, and let the gauge say the same: an alert on it must not depend on who asked last."""
        readiness = self._handlers.readiness()
        for name, reason in readiness.items():
            metrics.READY.labels(component=name).set(reason is None)
        return readiness

    # --- what others send ---

    async def _bank_callback(self, request: web.BaseRequest, bank: str) -> web.Response:
        async def store(body: bytes) -> None:
            try:
                await self._handlers.bank_callback(bank, request.method, request.raw_path, request.headers, body)
            except CallbackRefused:
                metrics.CALLBACKS.labels(bank=bank, outcome="refused").inc()
                raise

        return await self._take(request, "bank", store)

    async def _sms_report(self, request: web.BaseRequest, provider: str) -> web.Response:
        async def store(body: bytes) -> None:
            await self._handlers.sms_report(provider, request.headers, body)

        return await self._take(request, "sms", store)

    async def _take(
        self, request: web.BaseRequest, kind: str, store: Callable[[bytes], Awaitable[None]]
    ) -> web.Response:
        async with self._place():
            _unambiguous(request)
            body = await self._body(request)
            try:
                async with asyncio.timeout(self._limits.handling_seconds):
                    await store(body)
            except UnknownSender:
                raise _not_found() from None
            except CallbackRefused as error:
                code = error.reason if _CODE.fullmatch(error.reason) else "REFUSED"
                _log.warning("callback refused", kind=kind, code=code, bytes=len(body))
                raise _refusal(code) from None
            except (Unavailable, TimeoutError) as error:
                _log.warning("callback cannot be stored now", kind=kind, error=error)
                raise _come_again("UNAVAILABLE", "It cannot be stored now; send it again.") from None
        return web.Response(status=HTTPStatus.NO_CONTENT)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places for callbacks, or a refusal before a byte of the body is read."""
        if self._callbacks >= self._limits.callbacks_at_once:
            raise _come_again("TOO_MANY", "Too many at once; send it again.")
        self._callbacks += 1
        try:
            yield
        finally:
            self._callbacks -= 1

    async def _body(self, request: web.BaseRequest) -> bytes:
        """The bytes as they arrived, within the limits of size and time."""
        limit = self._limits.body_bytes
        too_large = _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TOO_LARGE", "The body is too large.", limit=limit)
        if (request.content_length or 0) > limit:
            raise too_large
        body = bytearray()
        try:
            await _say_continue(request)
            async with asyncio.timeout(self._limits.body_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise _Problem(HTTPStatus.REQUEST_TIMEOUT, "TOO_SLOW", "The body did not arrive in time.") from None
        except web.RequestPayloadError:
            raise _Problem(HTTPStatus.BAD_REQUEST, "MALFORMED", "The body could not be read.") from None
        return bytes(body)


def _only(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise _Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "METHOD",
            "This path takes other methods.",
            headers={"Allow": ", ".join(methods)},
        )


def _unambiguous(request: web.BaseRequest) -> None:
    """A second signature or timestamp header could be read differently by two readers: refuse both."""
    # items(), because iterating over a multidict's keys shows each name once
    names = [name.lower() for name, _ in request.headers.items() if name.lower().startswith("x-")]
    if len(names) != len(set(names)):
        raise _Problem(HTTPStatus.BAD_REQUEST, "AMBIGUOUS_HEADER", "A header field is given twice.")


async def _say_continue(request: web.BaseRequest) -> None:
    expect = request.headers.get("Expect")
    if expect is None:
        return
    if expect.lower() != "100-continue":
        raise _Problem(HTTPStatus.EXPECTATION_FAILED, "EXPECTATION", "Only 100-continue can be expected.")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # an interim answer: the real one has not begun


def _refusal(code: str) -> _Problem:
    if code in _FORBIDDEN:
        return _Problem(HTTPStatus.FORBIDDEN, code, "The message is refused.")
    return _Problem(
        HTTPStatus.UNAUTHORIZED, code, "The sender could not be verified.", headers={"WWW-Authenticate": "Signature"}
    )


def build(handlers: Handlers, limits: Limits | None = None) -> Admin:
    """The HTTP server over the application's handlers; it listens after ``start``."""
    return Admin(handlers, limits or Limits())
