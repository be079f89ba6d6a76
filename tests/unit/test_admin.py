"""The HTTP door: exact bytes in, problem+json out, a limit on everything, and nothing of the caller's comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from adapters.contract import CallbackRefused
from gateway import admin, metrics

CANARY = "659999199001011234"


@dataclass
class House:
    """Handlers that remember what reached them, and do what a test tells them."""

    ready: dict[str, str | None] = field(default_factory=lambda: {"database": None, "kafka": None})
    seen: list[tuple[str, str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    then: Callable[[], Awaitable[None]] | None = None

    def readiness(self) -> Mapping[str, str | None]:
        return self.ready

    async def bank_callback(self, bank: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.seen.append((bank, method, path, headers, body))
        if self.then is not None:
            await self.then()

    async def sms_report(self, provider: str, headers: Mapping[str, str], body: bytes) -> None:
        await self.bank_callback(provider, "POST", "", headers, body)


@dataclass
class Door:
    """A running server with its handlers and one client."""

    house: House
    port: int
    client: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """One request; an error must be a problem+json without the Server header and without the canary."""
        async with self.client.request(method, self.url(path), **options) as response:
            text = await response.text()
            assert "Server" not in response.headers
            assert CANARY not in text + str(response.headers)
            body = json.loads(text) if "json" in response.content_type and text else {}
            if response.status >= 400 and method != "HEAD":
                assert response.content_type == "application/problem+json"
                assert body["status"] == response.status
                assert {"type", "title", "code", "detail"} <= set(body)
            return response.status, body, response.headers

    async def raw(self, sent: bytes) -> bytes:
        """Bytes to the socket, and everything that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()


Opener = Callable[..., Awaitable[Door]]


@pytest.fixture
async def open_door() -> AsyncIterator[Opener]:
    servers: list[admin.Admin] = []
    async with aiohttp.ClientSession() as client:

        async def opened(**limits: int) -> Door:
            house = House()
            server = admin.build(house, admin.Limits(**limits))
            await server.start("127.0.0.1", 0)
            servers.append(server)
            return Door(house, server.port, client)

        yield opened
        for server in servers:
            await server.stop()


def raises(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def then() -> None:
        raise error

    return then


async def test_live_says_so_whatever_is_broken(open_door: Opener) -> None:
    """/live is 200 as long as the process answers, even when nothing else works."""
    door = await open_door()
    door.house.ready = {"database": "down"}
    assert (await door.ask("GET", "/live"))[:2] == (200, {"status": "live"})


async def test_ready_names_every_component_that_is_not(open_door: Opener) -> None:
    """/ready is 503 with each reason while a component cannot work, and 200 when all can; the gauge agrees."""
    door = await open_door()
    assert (await door.ask("GET", "/ready"))[:2] == (200, {"status": "ready"})
    door.house.ready = {"database": None, "kafka": "no broker", "bank a": f"refused {CANARY}"}
    status, body, _ = await door.ask("GET", "/ready")
    assert status == 503
    assert body["components"] == {"kafka": "no broker", "bank a": "refused [digits]"}
    assert metrics.REGISTRY.get_sample_value("payout_ready", {"component": "kafka"}) == 0
    assert metrics.REGISTRY.get_sample_value("payout_ready", {"component": "database"}) == 1


async def test_metrics_are_prometheus_text_and_fresh(open_door: Opener) -> None:
    """/metrics answers in Prometheus' text format, with readiness as of this moment."""
    door = await open_door()
    door.house.ready = {"probe_me": "asleep"}
    async with door.client.get(door.url("/metrics")) as response:
        assert response.headers["Content-Type"] == metrics.CONTENT_TYPE
        assert 'payout_ready{component="probe_me"} 0.0' in await response.text()


async def test_a_callback_is_handed_over_untouched(open_door: Opener) -> None:
    """Bank, method, raw target with query, headers in any case and the exact body bytes reach the handler; then 204."""
    door = await open_door()
    sent = b'{"a": 1,\r\n "b":"\xff\x00"}  '
    head = (
        f"POST /callbacks/json_https?x=%41&y HTTP/1.1\r\nHost: h\r\nx-SIGNATURE: s\r\nContent-Length: {len(sent)}\r\n"
    )
    answer = await door.raw(head.encode() + b"Connection: close\r\n\r\n" + sent)
    assert answer.startswith(b"HTTP/1.1 204 ")
    ((bank, method, path, headers, body),) = door.house.seen
    assert (bank, method, path, body) == ("json_https", "POST", "/callbacks/json_https?x=%41&y", sent)
    assert headers["X-Signature"] == "s"


async def test_a_compressed_body_is_not_unpacked(open_door: Opener) -> None:
    """A body that claims to be compressed reaches the handler as it is: no bomb, and the signature still fits."""
    door = await open_door()
    status, _, _ = await door.ask("POST", "/sms/reports/p", data=b"\x1f\x8bnot", headers={"Content-Encoding": "gzip"})
    assert (status, door.house.seen[0][0], door.house.seen[0][4]) == (204, "p", b"\x1f\x8bnot")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (CallbackRefused("SIGNATURE"), 401, "SIGNATURE"),
        (CallbackRefused("NOT_AGREED"), 403, "NOT_AGREED"),
        (CallbackRefused(f"no such person {CANARY}"), 401, "REFUSED"),
        (admin.UnknownSender(), 404, "NOT_FOUND"),
        (admin.Unavailable("database"), 503, "UNAVAILABLE"),
        (TimeoutError(), 503, "UNAVAILABLE"),
        (ValueError(CANARY), 500, "FAULT"),
    ],
)
@pytest.mark.parametrize("path", ["/callbacks/b", "/sms/reports/b"])
async def test_what_a_handler_raises_becomes_a_problem(
    open_door: Opener, path: str, error: Exception, status: int, code: str
) -> None:
    """Each refusal has its status and code; a fault of ours is 500 with a number, and no message is shown."""
    door = await open_door()
    door.house.then = raises(error)
    got, body, headers = await door.ask("POST", path, data=CANARY)
    assert (got, body["code"]) == (status, code)
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert ("Retry-After" in headers) == (status == 503)


async def test_refused_callbacks_are_counted_by_bank(open_door: Opener) -> None:
    """A refused callback counts for its bank; an unknown bank makes no series."""
    door = await open_door()
    labels = {"bank": "counted", "outcome": "refused"}
    door.house.then = raises(CallbackRefused("SIGNATURE"))
    await door.ask("POST", "/callbacks/counted", data=b"x")
    assert metrics.REGISTRY.get_sample_value("payout_callbacks_total", labels) == 1
    door.house.then = raises(admin.UnknownSender())
    await door.ask("POST", "/callbacks/stranger", data=b"x")
    assert b"stranger" not in metrics.exposition()


@pytest.mark.parametrize(
    "path",
    ["/", "/nothing", "/callbacks/", "/callbacks/a/b", "/callbacks/%61", "/callbacks/a.b", "/sms/reports/", "/live/",
     "/callbacks/" + "a" * 65, f"/{CANARY}", "/callbacks/../live"],
)  # fmt: skip
async def test_other_paths_are_not_found(open_door: Opener, path: str) -> None:
    """Only the five routes exist, matched on the raw path: no decoding, no normalising."""
    door = await open_door()
    answer = await door.raw(f"POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"application/problem+json" in answer
    assert CANARY.encode() not in answer
    assert door.house.seen == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/callbacks/b", "POST"), ("PUT", "/sms/reports/p", "POST"), ("POST", "/metrics", "GET, HEAD"),
     ("OPTIONS", "/live", "GET, HEAD")],
)  # fmt: skip
async def test_other_methods_are_refused(open_door: Opener, method: str, path: str, allow: str) -> None:
    """A wrong method is 405 and names the right ones."""
    door = await open_door()
    status, body, headers = await door.ask(method, path, data=b"x")
    assert (status, body["code"], headers["Allow"]) == (405, "METHOD", allow)


async def test_head_answers_like_get_without_a_body(open_door: Opener) -> None:
    """HEAD is for health checkers: the status of GET and nothing else."""
    door = await open_door()
    door.house.ready = {"kafka": "away"}
    assert (await door.ask("HEAD", "/ready"))[0] == 503
    assert (await door.ask("HEAD", "/live"))[0] == 200


async def test_an_oversize_body_is_refused_announced_or_not(open_door: Opener) -> None:
    """A body over the limit is 413, whether its length is announced or it just keeps coming; the limit itself fits."""
    door = await open_door(body_bytes=1000)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 300

    assert (await door.ask("POST", "/callbacks/b", data=b"x" * 1001))[:1] == (413,)
    assert (await door.ask("POST", "/callbacks/b", data=chunks()))[:1] == (413,)
    assert door.house.seen == []
    assert (await door.ask("POST", "/callbacks/b", data=b"x" * 1000))[:1] == (204,)


async def test_a_body_that_does_not_arrive_is_given_up(open_door: Opener) -> None:
    """A sender that announces a body and stops is answered 408 and disconnected."""
    door = await open_door(body_seconds=0)
    answer = await door.raw(b"POST /callbacks/b HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"TOO_SLOW" in answer
    assert door.house.seen == []


async def test_headers_that_do_not_arrive_are_given_up(open_door: Opener) -> None:
    """A connection whose request never becomes complete is closed."""
    door = await open_door(header_seconds=1)
    assert await door.raw(b"POST /callbacks/b HTTP/1.1\r\nHost: h\r\nX-Slow: ") == b""


async def test_a_handler_that_hangs_is_given_up(open_door: Opener) -> None:
    """A callback that cannot be stored in time is answered 503: come again."""
    door = await open_door(handling_seconds=0)
    door.house.then = asyncio.Event().wait  # type: ignore[assignment]
    status, body, headers = await door.ask("POST", "/callbacks/b", data=b"x")
    assert (status, body["code"], headers["Retry-After"]) == (503, "UNAVAILABLE", "5")


async def test_too_many_at_once_are_asked_to_come_again(open_door: Opener) -> None:
    """Beyond the limit a callback is 503 with Retry-After, health pages still answer, and a freed place counts."""
    door = await open_door(callbacks_at_once=1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await leave.wait()

    door.house.then = hold
    first = asyncio.create_task(door.ask("POST", "/callbacks/b", data=b"1"))
    await entered.wait()
    status, body, headers = await door.ask("POST", "/callbacks/b", data=b"2")
    assert (status, body["code"], headers["Retry-After"]) == (503, "TOO_MANY", "5")
    assert (await door.ask("GET", "/live"))[0] == 200
    leave.set()
    assert (await first)[0] == 204
    assert (await door.ask("POST", "/callbacks/b", data=b"3"))[0] == 204


async def test_connections_are_limited(open_door: Opener) -> None:
    """A connection beyond the limit is closed at once, the ones before it live on."""
    door = await open_door(connections=1)
    assert (await door.ask("GET", "/live"))[0] == 200  # this one is kept alive by the client
    assert await door.raw(b"") == b""
    assert (await door.ask("GET", "/live"))[0] == 200


async def test_two_signature_headers_are_refused(open_door: Opener) -> None:
    """A doubled X- header, which two readers might read differently, is 400 before any handler sees it."""
    door = await open_door()
    head = b"POST /callbacks/b HTTP/1.1\r\nHost: h\r\nX-Signature: a\r\nx-signature: b\r\nContent-Length: 1\r\n"
    answer = await door.raw(head + b"Connection: close\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"AMBIGUOUS_HEADER" in answer
    assert door.house.seen == []


@pytest.mark.parametrize(
    "sent",
    [
        CANARY.encode() + b"\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: h\r\nBad Header " + CANARY.encode() + b"\r\n\r\n",
        b"GET /" + CANARY.encode() * 600 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /live HTTP/9.9\r\nHost: " + CANARY.encode() + b"\r\n\r\n",
        b"POST /callbacks/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ"
        + CANARY.encode()
        + b"\r\n\r\n",
        b"POST /callbacks/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\n" + CANARY.encode(),
    ],
    ids=["not http", "bad header", "long line", "version", "bad chunk", "two lengths"],
)
async def test_bytes_that_are_not_http_get_a_problem_that_quotes_nothing(open_door: Opener, sent: bytes) -> None:
    """Malformed requests are answered 400 problem+json, without the offending bytes or a server name, and closed."""
    door = await open_door()
    answer = await door.raw(sent)
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b"application/problem+json" in answer
    assert CANARY.encode() not in answer
    assert b"Server:" not in answer
    assert door.house.seen == []


async def test_expectations_are_answered_without_quoting_them(open_door: Opener) -> None:
    """100-continue is granted before the body is read; any other expectation is 417."""
    door = await open_door()
    assert (await door.ask("POST", "/callbacks/b", data=b"x", expect100=True))[0] == 204
    status, body, _ = await door.ask("POST", "/callbacks/b", data=b"x", headers={"Expect": CANARY})
    assert (status, body["code"]) == (417, "EXPECTATION")


async def test_stop_lets_a_callback_finish(open_door: Opener) -> None:
    """A callback that is being stored when the server stops gets its answer, and nobody new is let in."""
    house = House()
    server = admin.build(house)
    await server.start("127.0.0.1", 0)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await leave.wait()

    house.then = hold
    async with aiohttp.ClientSession() as client:
        door = Door(house, server.port, client)
        pending = asyncio.create_task(door.ask("POST", "/callbacks/b", data=b"1"))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        leave.set()
        assert (await pending)[0] == 204
        await stopping
        with pytest.raises(aiohttp.ClientConnectionError):
            await door.ask("GET", "/live")


async def test_a_port_that_is_taken_is_an_error_at_start(open_door: Opener) -> None:
    """Two servers cannot share a port: the second start raises instead of listening nowhere."""
    door = await open_door()
    with pytest.raises(OSError, match="address"):
        await admin.build(House()).start("127.0.0.1", door.port)
