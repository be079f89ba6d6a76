"""The HTTP wire against raw sockets: where the point of no return lies, and what is never done on its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization

from adapters.wire.http import AnswerLost, AnswerUnusable, NotReached, TlsFiles, client_tls
from tests.adapters.http_kit import OK, SHORT, RawServer, answered_with, client, post, reset, serving, wire_to
from tests.adapters.pki_kit import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "bank-ca")


# Before the first byte


async def test_refused_port_is_not_crossed() -> None:
    """A port that nobody listens on: nothing left this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with wire_to(free.getsockname()[1]) as wire:
            with pytest.raises(NotReached):
                await post(wire)
            assert not wire.crossed


async def test_unknown_name_is_not_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank's name that does not resolve: nothing left this machine."""

    async def resolve(self: object, *args: object, **kwargs: object) -> list[object]:
        raise OSError("no such name")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    async with wire_to(1, host="bank.example.invalid") as wire:
        with pytest.raises(NotReached, match="NAME"):
            await post(wire)
        assert not wire.crossed


async def test_handshake_that_hangs_is_not_crossed(authority: Authority) -> None:
    """A peer that takes the connection and never answers the TLS greeting: the connect timeout ends it, uncrossed."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    limits = SHORT.model_copy(update={"connect_timeout_milliseconds": 200})
    async with serving(RawServer(hang)) as port, wire_to(port, limits, client(authority)) as wire:
        with pytest.raises(NotReached, match="TIMEOUT"):
            await post(wire)
        assert not wire.crossed


async def test_failed_handshake_is_not_crossed(authority: Authority) -> None:
    """A peer that answers the TLS greeting with nonsense gets no byte of the request."""
    arrived = bytearray()

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        arrived.extend(await reader.read(4096))

    async with serving(RawServer(nonsense)) as port, wire_to(port, tls=client(authority)) as wire:
        with pytest.raises(NotReached):
            await post(wire, b"canary")
        assert not wire.crossed
    assert arrived
    assert b"canary" not in arrived


@pytest.mark.parametrize("case", ["other host", "strange authority", "TLS 1.1"])
async def test_wrong_certificate_or_version_is_not_crossed(case: str, authority: Authority, tmp_path: Path) -> None:
    """A server that cannot prove that it is the bank, or only speaks an old TLS, never sees the request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)

    server = RawServer(answer)
    stranger = Authority(tmp_path, "stranger-ca")
    pem = (stranger if case == "strange authority" else authority).issue(
        "other.example.invalid" if case == "other host" else "localhost"
    )
    context = authority.server_context(pem)
    if case == "TLS 1.1":
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(server, context) as port, wire_to(port, tls=client(authority)) as wire:
        with pytest.raises(NotReached):
            await post(wire)
        assert not wire.crossed
    assert server.requests == []


@pytest.mark.parametrize(
    ("version", "crossed"), [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)], ids=["1.2", "1.3"]
)
async def test_refusal_of_our_certificate(
    version: ssl.TLSVersion, crossed: bool, authority: Authority, tmp_path: Path
) -> None:
    """Refused in the handshake (TLS 1.2) it is uncrossed; TLS 1.3 refuses after we began to send: that is doubt."""
    server = RawServer(lambda reader, writer: asyncio.sleep(0))
    context = authority.server_context(authority.issue("localhost"), newest=version)
    tls = client(authority, Authority(tmp_path, "stranger-ca"))
    async with serving(server, context) as port, wire_to(port, tls=tls) as wire:
        with pytest.raises(AnswerLost if crossed else NotReached):
            await post(wire)
        assert wire.crossed is crossed
    assert server.connections == 0  # the bank's program never saw it, in either version


def test_an_encrypted_key_is_a_fault_and_no_question_on_the_terminal(tmp_path: Path) -> None:
    """OpenSSL would ask whoever sits there, and a gateway that nobody sits at would stand still."""
    authority = Authority(tmp_path, "bank-ca")
    pem = authority.issue("gateway", client=True)
    key = serialization.load_pem_private_key(pem.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"canary-password")
    pem.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    files = TlsFiles(ca_file=authority.file, certificate_file=pem.certificate, private_key_file=pem.key)
    with pytest.raises((OSError, ValueError)):
        client_tls(files)


async def test_mutual_tls_carries_the_request(authority: Authority) -> None:
    """With the right certificates on both sides the very bytes arrive, and that is crossed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await writer.drain()

    server = RawServer(answer)
    context = authority.server_context(authority.issue("localhost"))
    async with serving(server, context) as port, wire_to(port, tls=client(authority)) as wire:
        assert await post(wire, b"pay" * 100_000) == b"ok"
        assert wire.crossed
    assert server.requests[0].endswith(b"\r\n\r\n" + b"pay" * 100_000)


# After the first byte


@pytest.mark.parametrize("when", ["on accept", "after the first byte", "after the request", "in the answer's head"])
async def test_reset_is_crossed(when: str) -> None:
    """A connection reset once it stands may have delivered the request: crossed."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if when == "after the first byte":
            await reader.readexactly(1)
        elif when != "on accept":
            await server.request(reader)
        if when == "in the answer's head":
            writer.write(b"HTTP/1.1 202 Acc")
            await writer.drain()
        reset(writer)

    server = RawServer(step)
    async with serving(server) as port, wire_to(port) as wire:
        with pytest.raises(AnswerLost, match="BROKEN"):
            await post(wire, b"x" * 100_000)
        assert wire.crossed
        assert wire.artefacts == ()


async def test_half_answer_is_lost_and_kept() -> None:
    """An answer that breaks off is no answer; what came of it is kept, marked as partial."""
    _, wire, fault = await answered_with(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n0123456789")
    assert isinstance(fault, AnswerLost)
    assert wire.crossed
    assert [(kept.name, kept.content) for kept in wire.artefacts] == [("x.202.partial", b"0123456789")]


async def test_silence_is_crossed() -> None:
    """A peer that takes the request and says nothing: the silence timeout ends it, crossed."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    limits = SHORT.model_copy(update={"silence_timeout_milliseconds": 200})
    async with serving(RawServer(hang)) as port, wire_to(port, limits) as wire:
        with pytest.raises(AnswerLost, match="SILENCE"):
            await post(wire)
        assert wire.crossed


async def test_dripping_answer_ends() -> None:
    """A peer that drips a byte at a time keeps the silence timeout quiet; the total timeout ends it."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.02)

    server = RawServer(drip)
    limits = SHORT.model_copy(update={"total_timeout_milliseconds": 900, "connect_timeout_milliseconds": 800})
    async with serving(server) as port, wire_to(port, limits) as wire:
        with pytest.raises(AnswerLost, match="TIMEOUT"):
            await post(wire)
        assert wire.crossed


async def test_cancelled_request_stays_crossed() -> None:
    """A caller that gives up while the bank works leaves the wire crossed: giving up proves nothing."""
    arrived = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        arrived.set()
        await reader.read()

    server = RawServer(hang)
    async with serving(server) as port, wire_to(port) as wire:
        asking = asyncio.create_task(post(wire))
        await arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert wire.crossed


# What is never done on its own


async def test_dropped_read_is_not_sent_again() -> None:
    """A GET whose kept connection breaks is not repeated by the library; the control shows that it would be."""

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(OK)
        await writer.drain()
        await server.request(reader)

    server = RawServer(answer_the_first)
    async with serving(server) as port:
        async with wire_to(port) as wire:
            await wire.ask("GET", "/a", label="a", headers={})
            with pytest.raises(AnswerLost):
                await wire.ask("GET", "/b", label="b", headers={})
        assert [raw.split()[1] for raw in server.requests] == [b"/a", b"/b"]
        server.requests.clear()
        async with aiohttp.ClientSession() as careless:
            for path in ("/a", "/b"):
                async with careless.get(f"http://localhost:{port}{path}") as answer:
                    await answer.read()
        assert [raw.split()[1] for raw in server.requests] == [b"/a", b"/b", b"/b"]


async def test_paying_requests_do_not_share_connections() -> None:
    """Reads share a connection; each paying request has its own, so that none meets a connection about to close."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await server.request(reader):
            writer.write(OK)
            await writer.drain()

    server = RawServer(step)
    async with serving(server) as port, wire_to(port) as wire:
        for _ in range(3):
            await wire.ask("GET", "/a", label="a", headers={})
        assert server.connections == 1
        for _ in range(3):
            await post(wire)
        assert server.connections == 4


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
async def test_redirect_is_unusable(status: int) -> None:
    """A redirect is followed nowhere: it is an answer that says nothing."""
    server, wire, fault = await answered_with(
        f"HTTP/1.1 {status} Elsewhere\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert isinstance(fault, AnswerUnusable)
    assert fault.code == "REDIRECT"
    assert wire.crossed
    assert len(server.requests) == 1


async def test_request_is_sent_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signed target is not quoted anew; no cookie comes back, no compression is asked for, no proxy is used."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        more = b"\r\nSet-Cookie: a=b\r\nX-Two: 1\r\nX-Two: 2\r\nX-One: 1\r\n\r\n"
        while await server.request(reader):
            writer.write(OK.replace(b"\r\n\r\n", more))
            await writer.drain()

    server = RawServer(step)
    async with serving(server) as port, wire_to(port) as wire:
        target = "/a%2Fb/%41?after=x%3D&limit=500"
        await wire.ask("GET", target, label="x", headers={})
        answer = await wire.ask("GET", target, label="x", headers={"X-Nonce": "n"})
    head = server.requests[1].lower()
    assert server.requests[1].startswith(b"GET /a%2Fb/%41?after=x%3D&limit=500 HTTP/1.1\r\n")
    assert b"accept-encoding: identity" in head
    assert b"x-nonce: n" in head
    assert b"cookie" not in head
    assert answer.headers["x-one"] == "1"
    assert "x-two" not in answer.headers  # it said two things
