"""The simulated front-end machine as a process: frames, TLS, answers that break off, and kill -9."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand
from tests.bank.certificates import Certificates, prepare
from tests.bank.hand import HEADERS, Scribe, XmlClient
from tests.bank.process import BankProcess, until
from tests.bank.xml_format import FRAMINGS, Unreadable

Make = Callable[..., BankProcess]
GONE = (ConnectionError, asyncio.IncompleteReadError)
BATCH = hand.batch_number(1)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of keys for all banks of this module."""
    made = tmp_path_factory.mktemp("keys")
    prepare(made)
    return made


@pytest.fixture
def make(tmp_path: Path, keys: Path) -> Iterator[Make]:
    made: list[BankProcess] = []

    def one(**settings: Any) -> BankProcess:
        made.append(BankProcess(tmp_path / str(len(made)), "xml_tcp", hang_real_seconds=1, **settings))
        made[-1].borrow_keys(keys)
        made[-1].begin()
        return made[-1]

    yield one
    for bank in made:
        bank.child.kill()


def _client(bank: BankProcess, **given: Any) -> XmlClient:
    return XmlClient(bank.port, Scribe(Certificates(bank.disk).mac_key.read_bytes()), **given)


async def _raw(port: int, *pieces: bytes) -> bytes:
    """What comes back for these bytes until the bank closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("framing", HEADERS)
async def test_each_header_carries_a_conversation(make: Make, framing: str) -> None:
    """Several frames on one connection, sent at once, are answered in order, under each of the three headers."""
    bank = make(xml_tcp={"framing": framing})
    client = _client(bank, framing=framing)
    write = client.scribe
    documents = [
        write.batch(BATCH, hand.payments(3)),
        write.question("DF1002", BATCHNO=BATCH),
        write.question("DF9999"),
    ]
    replies = await client.send(*documents)
    assert [(reply.head["TRCODE"], reply.code, reply.genuine) for reply in replies] == [
        ("DF1001", "0000", True),
        ("DF1002", "0000", True),
        ("DF9999", "0000", True),
    ]
    await until(lambda: bank.column("SELECT count(*) FROM credits") == [3])
    assert bank.child.stop() == 0


@pytest.mark.parametrize(
    ("framing", "headers"),
    [
        ("digits8", [b"      12", b"+0000012", b"00000000", b"01048577", "٠٠٠٠".encode(), b"GET / HT"]),
        ("spaces8", [b"      12", b"00000012", b"12 3    ", b"0       ", b"1048577 "]),
        ("flag1_6", [b"112    ", b"0     12", b"0000012", b"00     ", b" 12    "]),
    ],
)
async def test_a_header_out_of_form_ends_the_conversation(make: Make, framing: str, headers: list[bytes]) -> None:
    """Signs, wrong padding, another flag, nothing, more than the most: closed without a word, and the bank lives."""
    bank = make(xml_tcp={"framing": framing})
    for header in headers:
        with pytest.raises(Unreadable):
            FRAMINGS[framing].length(header)
        assert await _raw(bank.port, header + b" " * 20) == b""
    assert [reply.code for reply in await _client(bank, framing=framing).send(Scribe(b"").question("DF9999"))] == [
        "3058"
    ]


async def test_a_frame_in_drops_is_read_and_half_a_frame_is_not(make: Make) -> None:
    """A frame may come byte by byte; one that never ends was never received."""
    bank = make()
    write = _client(bank).scribe
    document = write.batch(BATCH, hand.payments(1))
    frame = HEADERS["digits8"].format(len(document)).encode() + document
    reader, writer = await asyncio.open_connection("127.0.0.1", bank.port)
    writer.write(frame[:-1])
    await writer.drain()
    writer.close()
    assert not bank.rows("SELECT * FROM submissions")
    reader, writer = await asyncio.open_connection("127.0.0.1", bank.port)
    for place in range(0, len(frame), 50):
        writer.write(frame[place : place + 50])
        await writer.drain()
        await asyncio.sleep(0)
    length = int(await reader.readexactly(8))
    assert write.read(await reader.readexactly(length)).code == "0000"
    writer.close()


async def test_mutual_tls_lets_nobody_else_in(make: Make) -> None:
    """With TLS the gateway's certificate is needed; none, a stranger's, or plain text get no answer."""
    bank = make(xml_tcp={"tls": True, "encoding": "GB18030"})
    paths = prepare(bank.disk)
    client = _client(bank)
    client.scribe.encoding = "GB18030"
    for chain in ((paths.client, paths.client_key), None, (paths.stranger_client, paths.stranger_client_key)):
        client.tls = ssl.create_default_context(cafile=paths.ca)
        if chain:
            client.tls.load_cert_chain(*chain)
        document = client.scribe.question("DF9999")
        if chain and chain[0] == paths.client:
            assert [reply.code for reply in await client.send(document)] == ["0000"]
        else:
            with pytest.raises((*GONE, ssl.SSLError)):
                await client.send(document)
    client.tls = None
    with pytest.raises((*GONE, ValueError)):
        await client.send(client.scribe.question("DF9999"))


BROKEN = {
    "timeout_after_accept": 0,
    "drop_after_accept": 0,
    "timeout_before_accept": 0,
    "short_answer": 100,
    "garbage_answer": 20,
    "hostile_oversize": 2**24,
    "hostile_slow": 1,
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_an_answer_can_break_off_on_the_wire(make: Make, fault: str) -> None:
    """Nothing, half a frame, plain text, far too much, a few bytes: no reader gets a document out of it."""
    bank = make(programme={"submissions": {"*": [fault]}})
    write = _client(bank).scribe
    document = write.batch(BATCH, hand.payments(1))
    came = await _raw(bank.port, HEADERS["digits8"].format(len(document)).encode() + document)
    assert (len(came) >= BROKEN[fault]) if BROKEN[fault] else came == b""
    if fault == "short_answer":
        assert 8 + int(came[:8]) > len(came)
    elif fault == "garbage_answer":
        assert came.startswith(b"System busy")
    elif fault == "hostile_oversize":
        assert came.startswith(b"99999999 ")
    assert bank.column("SELECT fault FROM faults") == [fault]
    replies = await _client(bank).send(write.batch(BATCH, hand.payments(1), RESEND="Y"))
    assert [reply.code for reply in replies] == ["0000"]


async def test_questions_break_off_too(make: Make) -> None:
    """Half a frame, and a text in a frame, instead of the list of returns."""
    asked = {"PAYACC": hand.DEBIT, "STARTDATE": "00010101", "ENDDATE": "99991231", "START": "1", "COUNT": "500"}
    short = make(programme={"rates": {"query_short": 10_000}})
    with pytest.raises(GONE):
        await _client(short).send(_client(short).scribe.question("DF1004", **asked))
    garbled = make(programme={"rates": {"query_garbage": 10_000}})
    (came,) = await _client(garbled).exchange(_client(garbled).scribe.question("DF1004", **asked))
    assert came.decode("gbk").startswith("系统忙")


async def test_a_silent_client_is_let_go(make: Make) -> None:
    """A connection on which nothing is asked is closed by the bank after its idle time."""
    bank = make(xml_tcp={"idle_real_seconds": 1})
    assert await _raw(bank.port, b"0000") == b""


async def test_kill_9_after_accepting_pays_once(make: Make) -> None:
    """Killed at any moment around its answers, the bank pays what it has once and knows it afterwards."""
    bank = make(synchronous="FULL", processing_seconds=300)
    for number in range(1, 6):
        client = _client(bank)
        document = client.scribe.batch(hand.batch_number(number), hand.payments(200, start=number * 1000))
        assert [reply.code for reply in await client.send(document)] == ["0000"]
        await asyncio.sleep(0.1 * number)
        bank.child.kill()
        await bank.start()
    await until(lambda: bank.column("SELECT count(*) FROM credits") == [1000])
    client = _client(bank)
    for number in range(1, 6):
        (reply,) = await client.send(client.scribe.question("DF1002", BATCHNO=hand.batch_number(number)))
        assert set(reply.column("STATUS")) == {"2"}
        assert len(reply.items) == 200
    assert bank.rows("SELECT count(*), count(DISTINCT reference) FROM credits") == [(1000, 1000)]
