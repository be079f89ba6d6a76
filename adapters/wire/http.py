"""One conversation over HTTP: bounded, never redirected, never re-sent, and sure about what may have left this machine.

Theory of operation
-------------------

``HttpWire.crossed`` turns True when aiohttp hands a connection to the request (its signals "connection created", which
comes after the TLS handshake, and "connection reused"): nothing is awaited between that and the first byte. So a name
that does not resolve, a refused port, a failed handshake or a wrong certificate leave it False; everything later
leaves it True. One thing looks earlier than it is: in TLS 1.3 the client ends its handshake first, starts to send, and
only then learns that the bank refused *its* certificate. That counts as doubt, because by then a broken connection is
often all there is to see; once the certificate is mended, the bank is asked and says that it has nothing.

aiohttp sends GET, PUT and DELETE a second time when a connection breaks, unless the fault is not one of its own kinds:
``_send_once`` turns it into ours. Requests that may pay (anything but GET) never use a kept connection, because a
bank that closes an idle one at the wrong moment would leave a needless doubt.

Nothing of an answer is ever put into an exception: bodies hold personal data.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, Self

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, model_validator
from yarl import URL

from adapters.contract import Artefact, NoTurn, Turn, unpaced
from adapters.wire.tls import KeyFile, TlsFiles, mutual_tls

__all__ = [
    "AnswerLost",
    "AnswerUnusable",
    "HttpAnswer",
    "HttpFault",
    "HttpLimits",
    "HttpTransport",
    "HttpWire",
    "KeyFile",
    "NotReached",
    "TlsFiles",
    "client_tls",
]

_CHUNK_BYTES: Final = 64 * 1024
_OWN_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "payout-gateway"}


class HttpFault(Exception):
    """No usable answer. ``code`` is a short name from a closed set, fit for a metric."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotReached(HttpFault):
    """No connection came about: not a byte of the request left this machine."""


class TurnRefused(NotReached, NoTurn):
    """The login's pace left no turn for this question."""


class AnswerLost(HttpFault):
    """The connection broke or fell silent after the request may have left."""


class AnswerUnusable(HttpFault):
    """Something was answered that this client does not accept, whatever it says."""


class HttpLimits(BaseModel):
    """How long and how much; real time, because the health of a channel is no business time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_timeout_milliseconds: int = Field(5_000, ge=1, le=60_000)  # name, connection and TLS handshake
    silence_timeout_milliseconds: int = Field(20_000, ge=1, le=300_000)  # to the first byte, and between two
    total_timeout_milliseconds: int = Field(60_000, ge=1, le=600_000)
    max_answer_bytes: int = Field(4 * 1024 * 1024, ge=1, le=64 * 1024 * 1024)
    max_connections: int = Field(8, ge=1, le=100)
    keep_alive_milliseconds: int = Field(10_000, ge=1, le=60_000)  # shorter than the bank's, for reads only

    @model_validator(mode="after")
    def _each_timeout_can_fire(self) -> Self:
        if self.connect_timeout_milliseconds >= self.total_timeout_milliseconds:
            raise ValueError("connect_timeout_milliseconds must be less than total_timeout_milliseconds")
        if self.silence_timeout_milliseconds > self.total_timeout_milliseconds:
            raise ValueError("silence_timeout_milliseconds must not exceed total_timeout_milliseconds")
        return self


def client_tls(files: TlsFiles) -> ssl.SSLContext:
    """Mutual TLS for HTTP/1.1."""
    return mutual_tls(files, ["http/1.1"])


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer of any status but a redirect; header names in lower case, repeated ones left out."""

    status: int
    headers: Mapping[str, str]
    artefact: Artefact

    @property
    def body(self) -> bytes:
        return self.artefact.content


class HttpTransport:
    """The connections to one origin. ``tls`` is required for ``https`` and refused for ``http``."""

    def __init__(self, origin: str, limits: HttpLimits, tls: ssl.SSLContext | None = None) -> None:
        url = URL(origin)
        if url.scheme not in ("http", "https") or url != url.origin():
            raise ValueError("an origin is scheme, host and port, and nothing else")
        if (url.scheme == "https") != (tls is not None):
            raise ValueError("https needs a TLS context, http has none")
        self._origin = str(url.origin()).rstrip("/")
        self._limits = limits
        self._tls = tls
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._conversation: Callable[[], Turn] = unpaced

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[HttpWire]:
        yield HttpWire(self, self._conversation())

    def take_turns_from(self, conversation: Callable[[], Turn]) -> None:
        self._conversation = conversation

    async def close(self) -> None:
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    @property
    def limits(self) -> HttpLimits:
        return self._limits

    def url(self, target: str) -> URL:
        """``target`` (path and query) exactly as given: it is signed, so it must not be quoted anew."""
        if not target.startswith("/"):
            raise ValueError("a request target starts with /")
        return URL(self._origin + target, encoded=True)

    def session(self, method: str) -> aiohttp.ClientSession:
        keeps = method == "GET"
        session = self._sessions.get(keeps)
        if session is None:
            session = self._sessions[keeps] = self._new_session(keeps=keeps)
        return session

    def _new_session(self, *, keeps: bool) -> aiohttp.ClientSession:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            limit=limits.max_connections,
            ssl=self._tls or True,
            force_close=not keeps,
            keepalive_timeout=limits.keep_alive_milliseconds / 1000 if keeps else None,
        )
        signals = aiohttp.TraceConfig()
        signals.on_connection_create_end.append(_connected)
        signals.on_connection_reuseconn.append(_connected)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=limits.total_timeout_milliseconds / 1000,
                connect=limits.connect_timeout_milliseconds / 1000,
                sock_read=limits.silence_timeout_milliseconds / 1000,
            ),
            auto_decompress=False,
            trust_env=False,
            trace_configs=[signals],
            middlewares=(_send_once,),
        )


class HttpWire:
    """One conversation: fresh ``crossed`` and ``artefacts``."""

    def __init__(self, transport: HttpTransport, turn: Turn) -> None:
        self._transport = transport
        self._turn = turn
        self._crossed = False
        self._artefacts: list[Artefact] = []

    @property
    def crossed(self) -> bool:
        return self._crossed

    @property
    def artefacts(self) -> Sequence[Artefact]:
        return tuple(self._artefacts)

    def connected(self) -> None:
        """The next thing that happens is the first byte of the request."""
        self._crossed = True

    async def ask(
        self,
        method: str,
        target: str,
        *,
        label: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        question: bool | None = None,
    ) -> HttpAnswer:
        """Send one request once. Raises NotReached, AnswerLost or AnswerUnusable; ``label`` names the artefact.

        A ``question`` (unless said, what is asked by GET) waits for its turn at the login.
        """
        if method == "GET" if question is None else question:
            try:
                await self._turn()
            except NoTurn:
                raise TurnRefused("NO_TURN") from None
        session = self._transport.session(method)
        url = self._transport.url(target)
        try:
            response = await session.request(
                method,
                url,
                headers={**headers, **_OWN_HEADERS},
                data=None if body is None else io.BytesIO(body),
                allow_redirects=False,
                trace_request_ctx=self,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            raise NotReached(_CONNECT_FAULTS.get(type(fault), "CONNECT")) from fault
        except aiohttp.ClientResponseError:
            self._crossed = True
            raise AnswerUnusable("NOT_HTTP") from None  # its message quotes the answer
        except TimeoutError as fault:
            raise (_late(fault) if self._crossed else NotReached("TIMEOUT")) from fault
        except (_Broken, aiohttp.ClientError, OSError) as fault:
            self._crossed = True
            raise AnswerLost("BROKEN") from fault
        self._crossed = True
        async with response:
            return await self._read(response, label)

    async def _read(self, response: aiohttp.ClientResponse, label: str) -> HttpAnswer:
        body = bytearray()
        complete = False
        try:
            complete = await _read_bounded(response, body, self._transport.limits.max_answer_bytes)
        except TimeoutError as late:
            raise _late(late) from late
        except (aiohttp.ClientError, OSError):
            raise AnswerLost("BROKEN") from None  # a framing error may quote what it could not read
        finally:
            name = f"{label}.{response.status}"
            artefact = Artefact.of(name if complete else f"{name}.partial", bytes(body))
            self._artefacts.append(artefact)
        if not complete:
            raise AnswerUnusable("OVERSIZE")
        _accept_form(response)
        return HttpAnswer(response.status, _single_headers(response), artefact)


def _late(fault: TimeoutError) -> AnswerLost:
    return AnswerLost("SILENCE" if isinstance(fault, aiohttp.SocketTimeoutError) else "TIMEOUT")


async def _read_bounded(response: aiohttp.ClientResponse, body: bytearray, limit: int) -> bool:
    """Fill ``body`` with at most ``limit`` bytes; False when there was more, and the connection is closed then."""
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        room = limit - len(body)
        body += chunk[:room]
        if len(chunk) > room:
            response.close()
            return False
    return True


def _accept_form(response: aiohttp.ClientResponse) -> None:
    """Refuse what must not be read any further, whatever it says."""
    if 300 <= response.status < 400:
        raise AnswerUnusable("REDIRECT")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AnswerUnusable("ENCODED")  # never inflated: a kilobyte may hold a gigabyte
    if response.content_length is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
        raise AnswerUnusable("UNFRAMED")  # a body that ends with the connection may have been cut unnoticed


def _single_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """A header that comes twice says two things, so it counts as absent."""
    headers = response.headers
    return {key.lower(): headers[key] for key in headers if len(headers.getall(key)) == 1}


class _Broken(Exception):
    """A broken connection in a form that aiohttp does not answer by sending again."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as fault:
        raise _Broken from fault


async def _connected(
    session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceConnectionCreateEndParams | aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.connected()


_CONNECT_FAULTS: Final[dict[type[Exception], str]] = {
    aiohttp.ConnectionTimeoutError: "TIMEOUT",
    aiohttp.ClientConnectorDNSError: "NAME",
    aiohttp.ClientConnectorCertificateError: "CERTIFICATE",
    aiohttp.ClientConnectorSSLError: "TLS",
}
