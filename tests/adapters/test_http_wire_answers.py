"""The HTTP wire against raw sockets: which answers it does not accept, and what its configuration must be."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.wire.http import AnswerLost, AnswerUnusable, HttpLimits, HttpTransport, TlsFiles
from tests.adapters.http_kit import CHUNKED, SHORT, RawServer, answered_with, client, post, serving, wire_to
from tests.adapters.pki_kit import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "bank-ca")


@pytest.mark.parametrize(
    ("code", "raw"),
    [
        ("OVERSIZE", b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001),
        (
            "OVERSIZE",
            CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\nx",
        ),
        ("ENCODED", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"),
        ("UNFRAMED", b"HTTP/1.1 200 OK\r\n\r\nok"),
        ("NOT_HTTP", b"SSH-2.0-canary\r\n\r\n"),
        ("NOT_HTTP", b"HTTP/1.1 200 OK\r\ncanary \x00 header\r\n\r\n"),
    ],
)
async def test_unusable_answers(code: str, raw: bytes) -> None:
    """Too much, compressed, without an end of its own, or no HTTP: refused, crossed, and never quoted."""
    _, wire, fault = await answered_with(raw)
    assert isinstance(fault, AnswerUnusable)
    assert fault.code == code
    assert wire.crossed
    assert all(len(kept.content) <= 1000 for kept in wire.artefacts)
    assert "canary" not in "".join(traceback.format_exception(fault))


async def test_answer_of_exactly_the_cap_is_read() -> None:
    """The cap is the largest answer that is read, not the smallest that is refused."""
    for raw in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000,
        CHUNKED + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n",
    ):
        _, wire, body = await answered_with(raw)
        assert body == b"x" * 1000
        assert wire.artefacts[0].name == "x.200"


async def test_compressed_bomb_is_never_inflated() -> None:
    """A bomb of zeros costs its compressed size: it is kept as it came and refused."""
    bomb = gzip.compress(bytes(500_000))
    assert len(bomb) < 1000
    raw = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    _, wire, fault = await answered_with(raw)
    assert isinstance(fault, AnswerUnusable)
    assert fault.code == "ENCODED"
    assert wire.artefacts[0].content == bomb


async def test_broken_framing_is_not_quoted() -> None:
    """A chunk that is none, in the middle of a body, breaks the answer, and what stood there appears in no error."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(CHUNKED + b"3\r\nabc\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)  # so that the client has begun to read the body
        writer.write(b"canary\r\nx\r\n")
        await writer.drain()

    server = RawServer(step)
    # The library notices nothing by itself, so the total timeout has to.
    limits = SHORT.model_copy(update={"total_timeout_milliseconds": 900, "connect_timeout_milliseconds": 800})
    async with serving(server) as port, wire_to(port, limits) as wire:
        with pytest.raises(AnswerLost) as caught:
            await post(wire)
    assert [(kept.name, kept.content) for kept in wire.artefacts] == [("x.200.partial", b"abc")]
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# Configuration


def test_tls_context_checks_the_bank(authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The context verifies name and chain, starts at TLS 1.2, and tells its keys to nobody."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    context = client(authority)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None


@pytest.mark.parametrize("origin", ["ftp://bank", "http://bank/path", "http://u:p@bank", "https://bank", "bank"])
def test_origin_is_an_origin(origin: str) -> None:
    """An origin with a path, credentials, another scheme, or https without certificates is refused at start."""
    with pytest.raises(ValueError):
        HttpTransport(origin, SHORT)


def test_limits_are_consistent() -> None:
    """A timeout that could never fire, or a name with a typing error, is refused."""
    for wrong in (
        {"connect_timeout_milliseconds": 5_000, "total_timeout_milliseconds": 5_000, "silence_timeout_milliseconds": 1},
        {"silence_timeout_milliseconds": 70_000},
        {"total_timeout_seconds": 3},
        {"max_answer_bytes": 0},
    ):
        with pytest.raises(ValidationError):
            HttpLimits.model_validate(wrong)


def test_key_files_start_from_the_configuration(authority: Authority, tmp_path: Path) -> None:
    """A relative file name starts from the configuration's directory, and a missing file is named as a fault."""
    pem = authority.issue("gateway", client=True)
    names = {
        "ca_file": authority.file.name,
        "certificate_file": pem.certificate.name,
        "private_key_file": pem.key.name,
    }
    files = TlsFiles.model_validate(names, context={"base": tmp_path})
    assert files.ca_file == authority.file
    with pytest.raises(ValidationError, match="is no file"):
        TlsFiles.model_validate(names, context={"base": tmp_path / "elsewhere"})
