"""The framed TCP wire against raw sockets: where the point of no return lies, and what bounds a conversation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.contract import Artefact, NoTurn, Turn
from adapters.wire.tcp import (
    AnswerLost,
    AnswerUnusable,
    Framing,
    NotReached,
    StaleConnection,
    TcpFault,
    TcpSettings,
    TcpTransport,
    TurnRefused,
)
from adapters.wire.tls import TlsFiles
from tests.adapters.http_kit import reset
from tests.adapters.pki_kit import Authority
from tests.adapters.tcp_kit import ANSWER, PAY, SHORT, RawServer, answering, ask, frame, send, transport_to, wire_to

# Framing


@pytest.mark.parametrize(
    ("framing", "size", "header"),
    [
        (Framing.DIGITS8, 1157, b"00001157"),
        (Framing.DIGITS8, 99_999_999, b"99999999"),
        (Framing.SPACES8, 1157, b"1157    "),
        (Framing.SPACES8, 99_999_999, b"99999999"),
        (Framing.FLAG1_6, 1157, b"01157  "),
        (Framing.FLAG1_6, 999_999, b"0999999"),
    ],
)
def test_headers_say_the_bytes(framing: Framing, size: int, header: bytes) -> None:
    """Each of the three headers is written and read as its bank documents it."""
    assert framing.header(size) == header
    assert framing.size(header) == size
    assert len(header) == framing.header_bytes


@pytest.mark.parametrize("framing", list(Framing))
def test_sizes_beyond_a_header_are_refused(framing: Framing) -> None:
    """Nothing, less than nothing and more than the header can say is no frame."""
    for size in (0, -1, framing.greatest_size + 1):
        with pytest.raises(ValueError, match="does not fit its header"):
            framing.header(size)


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        (Framing.DIGITS8, b"1157    "),
        (Framing.DIGITS8, b"    1157"),
        (Framing.DIGITS8, b"0x001157"),
        (Framing.DIGITS8, b"+0001157"),
        (Framing.DIGITS8, b"0000115"),
        (Framing.DIGITS8, b"000_1157"),
        (Framing.SPACES8, b"    1157"),
        (Framing.SPACES8, b"11 57   "),
        (Framing.SPACES8, b"        "),
        (Framing.SPACES8, b"1157\t   "),
        (Framing.SPACES8, b"1157\n\n\n\n"),
        (Framing.FLAG1_6, b"11157  "),
        (Framing.FLAG1_6, b" 1157  "),
        (Framing.FLAG1_6, b"0      "),
        (Framing.FLAG1_6, b"0  1157"),
        (Framing.FLAG1_6, b""),
    ],
)
def test_bytes_that_are_no_header_are_none(framing: Framing, header: bytes) -> None:
    """Another alignment, another flag, signs, letters and other blanks are not guessed at."""
    assert framing.size(header) is None


# Before the first byte


async def test_refused_port_is_not_crossed() -> None:
    """A port that nobody listens on: nothing left this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = TcpSettings(host="localhost", port=free.getsockname()[1], framing=Framing.DIGITS8)
        async with TcpTransport(settings).wire() as wire:
            with pytest.raises(NotReached, match="CONNECT"):
                await send(wire)
            assert not wire.crossed


async def test_unknown_name_is_not_crossed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank's name that does not resolve: nothing left this machine."""

    async def resolve(*args: object, **kwargs: object) -> object:
        raise socket.gaierror

    monkeypatch.setattr(asyncio, "open_connection", resolve)
    async with wire_to(answering(ANSWER)) as wire:
        with pytest.raises(NotReached, match="NAME"):
            await send(wire)
        assert not wire.crossed


async def test_handshake_that_hangs_is_not_crossed(tmp_path: Path) -> None:
    """A peer that never answers the TLS greeting, or answers with nonsense, gets no byte of the frame."""
    authority = Authority(tmp_path, "bank-ca")
    pem = authority.issue("gateway", client=True)
    files = TlsFiles(ca_file=authority.file, certificate_file=pem.certificate, private_key_file=pem.key)
    arrived = bytearray()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            arrived.extend(chunk)

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.extend(await reader.read(4096))
        writer.write(ANSWER)
        await writer.drain()

    for step, code, bound in ((hang, "TIMEOUT", 300), (nonsense, "TLS", 2_000)):
        async with wire_to(RawServer(step), tls=files, connect_timeout_milliseconds=bound) as wire:
            with pytest.raises(NotReached, match=code):
                await send(wire)
            assert not wire.crossed
    assert arrived
    assert b"canary" not in arrived


async def test_crossed_turns_before_the_first_byte() -> None:
    """Not crossed while connecting; crossed when the bank has seen the first byte, and before it answers."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        arrived.set()
        await go_on.wait()
        writer.write(ANSWER)
        await writer.drain()

    async with wire_to(RawServer(step)) as wire:
        crossed = [wire.crossed]
        sending = asyncio.create_task(send(wire))
        await arrived.wait()
        crossed.append(wire.crossed)
        go_on.set()
        assert await sending == b"ok"
    assert crossed == [False, True]


async def test_crossed_is_set_when_the_write_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that raises may have left bytes behind: the wire has crossed by then."""

    def write(self: asyncio.StreamWriter, data: bytes) -> None:
        raise ConnectionResetError

    async with wire_to(answering(ANSWER)) as wire:
        monkeypatch.setattr(asyncio.StreamWriter, "write", write)
        with pytest.raises(AnswerLost, match="BROKEN"):
            await send(wire)
        assert wire.crossed


async def test_a_question_never_crosses() -> None:
    """Whatever becomes of a question, answered or not, the wire has not crossed."""
    async with wire_to(answering(ANSWER, b"")) as wire:
        assert await ask(wire) == b"ok"
        with pytest.raises(AnswerLost):
            await ask(wire)
        assert not wire.crossed


# After it


@pytest.mark.parametrize(
    ("answer", "fault", "code"),
    [
        (b"", AnswerLost, "CLOSED"),
        (b"0000", AnswerLost, "CLOSED"),
        (b"00000002o", AnswerLost, "CLOSED"),
        (b"garbage canary", AnswerUnusable, "BAD_HEADER"),
        (b"00000000", AnswerUnusable, "BAD_HEADER"),
        (b"00002001canary", AnswerUnusable, "OVERSIZE"),
        (b"99999999canary", AnswerUnusable, "OVERSIZE"),
    ],
)
async def test_answers_that_are_none(answer: bytes, fault: type[TcpFault], code: str) -> None:
    """A cut, unframed, empty or oversize answer is told apart by a code, crossed, and quoted nowhere."""
    async with wire_to(answering(answer)) as wire:
        with pytest.raises(fault, match=code) as caught:
            await send(wire)
        assert wire.crossed
        assert "canary" not in "".join(traceback.format_exception(caught.value))
        assert [a.name for a in wire.artefacts] == (["x.partial"] if answer else [])


async def test_reset_is_lost() -> None:
    """A connection reset after the frame arrived: crossed, and lost."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frame(reader)
        reset(writer)

    async with wire_to(RawServer(step)) as wire:
        with pytest.raises(AnswerLost):
            await send(wire)
        assert wire.crossed


async def test_silence_ends() -> None:
    """Silence before the answer and within it is ended by the silence timeout; a drip by the total one."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frame(reader)
        writer.write(b"0000")
        await reader.read()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frame(reader)
        writer.write(b"00001000")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.02)

    bounds = {"connect_timeout_milliseconds": 300, "total_timeout_milliseconds": 500}
    async with wire_to(RawServer(silent), **bounds, silence_timeout_milliseconds=200) as wire:
        with pytest.raises(AnswerLost, match="SILENCE"):
            await send(wire)
        assert wire.crossed
    async with wire_to(RawServer(drip), **bounds, silence_timeout_milliseconds=400) as wire:
        with pytest.raises(AnswerLost, match="TIMEOUT"):
            await send(wire)
        assert wire.crossed


async def test_a_bank_that_does_not_read_ends_too() -> None:
    """A frame that nobody takes off the wire is ended by the silence timeout."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    bounds = {"silence_timeout_milliseconds": 300, "max_frame_bytes": 16 * 1024 * 1024}
    async with wire_to(RawServer(step), **bounds) as wire:
        with pytest.raises(AnswerLost, match="SILENCE"):
            await send(wire, b"x" * 16 * 1024 * 1024)
        assert wire.crossed


async def test_too_large_a_frame_stays_here() -> None:
    """What is beyond the bound is not even connected for."""
    server = answering(ANSWER)
    async with wire_to(server) as wire:
        with pytest.raises(ValueError, match="larger than the bound"):
            await send(wire, b"x" * 2_001)
        assert not wire.crossed
    assert server.connections == 0


async def test_cancelling_closes_the_connection() -> None:
    """A conversation that the core gives up leaves no connection behind, and the wire says that it had crossed."""
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frame(reader)
        arrived.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with wire_to(RawServer(step)) as wire:
        sending = asyncio.create_task(send(wire))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert wire.crossed
        await asyncio.wait_for(ended.wait(), 2)


# Connections


async def test_what_may_pay_has_its_own_connection() -> None:
    """Questions share a connection; each frame that may pay travels over a new one, and none is kept after it."""
    server = answering(ANSWER, ANSWER, ANSWER, ANSWER)
    async with transport_to(server) as transport:
        for expected in (1, 1, 2, 2, 3):
            async with transport.wire() as wire:
                await (send(wire) if expected > server.connections and server.connections else ask(wire))
            assert server.connections == expected
            assert len(transport._idle) == 1


async def test_nothing_is_kept_where_nothing_may_be() -> None:
    """With keep-alive 0, and after the transport is closed, every question has its own connection or none."""
    server = answering(ANSWER, ANSWER)
    async with transport_to(server, keep_alive_milliseconds=0) as transport:
        async with transport.wire() as wire:
            await ask(wire)
            await ask(wire)
        assert server.connections == 2
        await transport.close()
        async with transport.wire() as wire:
            with pytest.raises(NotReached, match="CLOSED"):
                await ask(wire)


async def test_an_answer_that_is_not_accepted_ends_the_connection() -> None:
    """A connection whose answer the caller refuses is not used again."""
    server = answering(ANSWER, ANSWER)

    def refuse(artefact: Artefact) -> None:
        raise AnswerUnusable("WRONG")

    async with wire_to(server) as wire:
        with pytest.raises(AnswerUnusable, match="WRONG"):
            await wire.ask(PAY, refuse, label="x")
        assert await ask(wire) == b"ok"
    assert server.connections == 2


async def test_unasked_bytes_end_the_connection() -> None:
    """A late or second answer on a kept connection is not read as the answer to the next question."""
    server = answering(ANSWER + b"00000003bad", ANSWER)
    async with wire_to(server) as wire:
        for _ in range(2):
            assert await ask(wire) == b"ok"
    assert server.connections == 2


async def test_a_stale_connection_is_told_apart() -> None:
    """A kept connection that ends under a question is StaleConnection; a new one that ends is merely lost."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await frame(reader)
        if server.connections == 1:
            writer.write(ANSWER)
            await frame(reader)

    server = RawServer(step)
    async with wire_to(server) as wire:
        assert await ask(wire) == b"ok"
        with pytest.raises(StaleConnection):
            await ask(wire)
        with pytest.raises(AnswerLost) as caught:
            await ask(wire)
        assert not isinstance(caught.value, StaleConnection)


async def test_connections_are_bounded() -> None:
    """No more connections are open at once than agreed; the others wait their turn, and may wait in vain."""
    open_now, most = 0, 0

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await frame(reader)
        await asyncio.sleep(0.01)
        open_now -= 1
        writer.write(ANSWER)
        await writer.drain()

    async def one(transport: TcpTransport) -> bytes:
        async with transport.wire() as wire:
            return await send(wire)

    async with transport_to(RawServer(step), max_connections=2) as transport:
        assert await asyncio.gather(*(one(transport) for _ in range(8))) == [b"ok"] * 8
    assert most == 2


async def test_each_question_takes_its_turn_and_a_payment_takes_none() -> None:
    """Turns are taken one by one before a question's first byte, from those of its own conversation."""
    taken: list[str] = []
    names = iter("ab")

    def conversation() -> Turn:
        name = next(names)

        async def turn() -> None:
            taken.append(name)

        return turn

    async with transport_to(answering(*[ANSWER] * 5)) as transport:
        transport.take_turns_from(conversation)
        async with transport.wire() as wire:
            await send(wire)
            assert taken == []
            await ask(wire)
            await ask(wire)
        async with transport.wire() as wire:
            await ask(wire)
            await send(wire)
    assert taken == ["a", "a", "b"]


async def test_a_question_without_a_turn_is_not_put_and_crosses_nothing() -> None:
    """Where the login's pace leaves no turn, not a byte leaves: before a payment that proves "nothing was sent"."""

    async def turn() -> None:
        raise NoTurn

    server = answering(ANSWER)
    async with transport_to(server) as transport:
        transport.take_turns_from(lambda: turn)
        async with transport.wire() as wire:
            with pytest.raises(TurnRefused) as refused:
                await ask(wire)
            assert isinstance(refused.value, NotReached)
            assert isinstance(refused.value, NoTurn)
            assert not wire.crossed
    assert server.connections == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"framing": "digits9"},
        {"port": 0},
        {"host": ""},
        {"connect_timeout_milliseconds": 3_000},
        {"silence_timeout_milliseconds": 3_001},
        {"max_frame_bytes": 1},
        {"password": "x"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    """A timeout that can never fire, an unknown framing or key: refused when the configuration is read."""
    good = {"host": "localhost", "port": 1, "framing": "digits8", **SHORT}
    TcpSettings.model_validate(good)
    with pytest.raises(ValidationError):
        TcpSettings.model_validate(good | wrong)
