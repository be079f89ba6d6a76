"""S2, channels: to whoever is not who it should be nothing is told, and whoever is not who it says is not believed.

One table: every channel that the gateway opens, against every kind of false peer. The peer itself is the witness: it
keeps each byte that it was told inside TLS and in the clear. Beside it: redirects, changed host keys, and what knocks
at our own door (callbacks of banks and of the SMS centre). What a broker with strict ports says to *our* wrong
certificate or password is in `tests/unit/test_kafka_security.py`, on Apache Kafka.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import asyncssh
import pytest
from pydantic import ValidationError

from adapters.contract import CallbackRefused
from adapters.sms.cmpp import provider as cmpp
from adapters.sms.contract import NotSent
from adapters.sms.http_batch import HttpBatch
from adapters.sms.smpp import provider as smpp
from adapters.wire import http, tcp
from adapters.wire.http import AnswerUnusable
from adapters.wire.sftp import HostKeyRefused, SftpTransport, SftpUnreachable
from gateway import kafka_security
from gateway.config import KafkaSection
from gateway.store.engine import Engine, StoreUnavailable
from tests.adapters.http_kit import RawServer, client, post, serving, wire_to
from tests.adapters.json_https_kit import Keys
from tests.adapters.pki_kit import Authority
from tests.adapters.sftp_kit import Bank, new_bank
from tests.adapters.sftp_kit import serving as serving_sftp
from tests.adapters.sms_kit import NOW, settings
from tests.adapters.test_json_https_callback import PATH, SAMPLE, WALL, Call
from tests.adapters.test_sms_callbacks import _forgeries
from tests.storm.channels import CANARY, CHANNELS, UNPROTECTED
from tests.storm.hostile_peer import PARTS, Witness, peer
from tests.storm.scale import figure
from tests.world import postgres
from tests.world.postgres import EmbeddedPostgres

FALSE = [part for part in PARTS if part != "itself"]
PINS = ("changed", "changed, another kind", "none", "of another port", "of another host", "revoked", "of an authority")
REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture(scope="module")
def witness() -> Witness:
    """One for all tests here: the row's figure is what it has seen."""
    return Witness()


@pytest.mark.parametrize("part", FALSE)
@pytest.mark.parametrize("name", CHANNELS)
async def test_a_false_peer_is_refused_and_told_nothing(
    name: str, part: str, authority: Authority, tmp_path: Path, witness: Witness
) -> None:
    """No byte inside TLS, and neither payload nor password in the clear: refused before, in the channel's own words."""
    channel = CHANNELS[name]
    async with peer(part, authority, tmp_path, starts_tls=channel.starts_tls) as false:
        with pytest.raises(Exception) as refused:  # its class is what is looked at
            await channel.use(false.port, authority, tmp_path)
    witness.heard(false)
    assert type(refused.value).__name__ in channel.errors
    assert CANARY not in str(refused.value)
    assert false.connections >= 1
    assert bytes(false.told) == b""
    assert CANARY.encode() not in false.raw
    witness.refused[part] += 1


@pytest.mark.parametrize("name", CHANNELS)
async def test_the_right_peer_is_told(name: str, authority: Authority, tmp_path: Path) -> None:
    """The control of the witness: with the right certificate the same call begins to speak, and the peer hears it."""
    channel = CHANNELS[name]
    async with peer("itself", authority, tmp_path, starts_tls=channel.starts_tls) as right:
        with contextlib.suppress(Exception):  # it answers nothing, so every call ends badly
            await channel.use(right.port, authority, tmp_path)
        assert right.told


@pytest.mark.parametrize("name", UNPROTECTED)
async def test_a_login_in_the_clear_would_be_heard(name: str, authority: Authority, tmp_path: Path) -> None:
    """The control of "in the clear": without TLS the same call tells its account or its password to whoever listens."""
    async with peer("plain text", authority, tmp_path) as false:
        with pytest.raises(NotSent):
            await UNPROTECTED[name](false.port, authority, tmp_path)
        assert CANARY.encode() in false.raw


CARELESS = ("Kafka, TLS", "HTTPS bank", "framed TCP bank", "SMS by CMPP, TLS", "SMS by SMPP, TLS")


@pytest.mark.parametrize("name", CARELESS)
async def test_a_build_that_does_not_look_at_certificates_is_caught(
    name: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: chains and names unchecked, and a stranger is told the payload, or what leads to it."""

    def careless(make: Callable[..., ssl.SSLContext]) -> Callable[..., ssl.SSLContext]:
        def made(*arguments: Any) -> ssl.SSLContext:
            context = make(*arguments)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context

        return made

    makers = ((http, "mutual_tls"), (tcp, "mutual_tls"), (kafka_security, "_context"), (cmpp, "tls_of"), (smpp, "_tls"))
    for module, maker in makers:
        monkeypatch.setattr(module, maker, careless(getattr(module, maker)))
    async with peer("stranger", authority, tmp_path) as false:
        with pytest.raises(Exception):  # noqa: B017
            await CHANNELS[name].use(false.port, authority, tmp_path)
        assert false.told


@pytest.mark.parametrize("status", REDIRECTS)
async def test_a_redirect_is_not_followed(status: int, authority: Authority, tmp_path: Path, witness: Witness) -> None:
    """The bank itself, or somebody in its place, names another place to go to: nobody goes there."""
    async with peer("itself", authority, tmp_path) as elsewhere:

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await server.request(reader)
            place = f"https://localhost:{elsewhere.port}/v1"
            writer.write(f"HTTP/1.1 {status} X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()

        server = RawServer(redirect)
        context = authority.server_context(authority.issue("localhost"))
        async with serving(server, context) as port, wire_to(port, tls=client(authority)) as wire:
            with pytest.raises(AnswerUnusable, match="REDIRECT"):
                await post(wire, CANARY.encode())
            assert wire.crossed
        witness.heard(elsewhere)
        assert len(server.requests) == 1
        assert elsewhere.connections == 0
        witness.refused["redirect"] += 1


def _pins(bank: Bank) -> dict[str, str]:
    other, elsewhere = asyncssh.generate_private_key("ssh-ed25519"), bank.known_hosts(bank.host_key)
    return {
        "changed": bank.known_hosts(other),
        "changed, another kind": bank.known_hosts(asyncssh.generate_private_key("ecdsa-sha2-nistp256")),
        "none": "",
        "of another port": elsewhere.replace(f":{bank.port} ", f":{bank.port + 1} "),
        "of another host": elsewhere.replace("127.0.0.1", "127.0.0.2"),
        "revoked": f"@revoked {elsewhere}",
        "of an authority": f"@cert-authority {elsewhere}",
    }


@pytest.mark.parametrize("pin", PINS)
async def test_an_sftp_server_without_the_pinned_key_gets_no_login(pin: str, tmp_path: Path, witness: Witness) -> None:
    """Neither user name nor password nor a byte of a file."""
    async with serving_sftp(new_bank(tmp_path)) as bank:
        given = bank.settings()
        (tmp_path / "known_hosts").write_text(_pins(bank)[pin], encoding="ascii")
        transport = SftpTransport(given)
        with pytest.raises((HostKeyRefused, SftpUnreachable)):
            async with transport.wire() as wire:
                await wire.stage("up/X.txt", CANARY.encode())
        await transport.close()
        witness.peers += bank.connections
        witness.told += len(bank.logins) + len(bank.log)
        assert bank.connections == 1
        assert (bank.logins, bank.log) == ([], [])
        witness.refused["host key"] += 1


async def test_the_pinned_key_lets_the_file_through(tmp_path: Path) -> None:
    """The control: the same server with the right pin has the login and the file."""
    async with serving_sftp(new_bank(tmp_path)) as bank:
        transport = SftpTransport(bank.settings())
        async with transport.wire() as wire:
            await wire.stage("up/X.txt", CANARY.encode())
        await transport.close()
        assert bank.logins
        assert bank.done("create")


# --- Who knocks at our door -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgery", _forgeries())
def test_a_forged_sms_report_is_refused(forgery: str, tmp_path: Path, witness: Witness) -> None:
    """No, wrong, old, early, altered, oversize, unread: none is believed."""
    headers, body, reason = _forgeries()[forgery]
    with pytest.raises(CallbackRefused, match=reason):
        HttpBatch("sms", settings(tmp_path, "http://127.0.0.1:1")).verify_report_callback(headers, body, NOW)
    witness.refused["forged SMS report"] += 1


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


BANK_FORGERIES = {
    "no signature": "UNSIGNED",
    "a stranger's key": "BAD_SIGNATURE",
    "our own key": "BAD_SIGNATURE",
    "no algorithm": "WRONG_ALGORITHM",
    "other bytes": "BAD_SIGNATURE",
    "another bank's path": "BAD_SIGNATURE",
    "old": "STALE",
    "early": "FROM_THE_FUTURE",
}


@pytest.mark.parametrize("forgery", BANK_FORGERIES)
def test_a_forged_bank_callback_is_refused(forgery: str, keys: Keys, witness: Witness) -> None:
    """What a bank may say to us is believed from its key, for this path, of this moment only."""
    call = Call(keys, age_seconds={"old": 301, "early": -301}.get(forgery, 0))
    signer = {"a stranger's key": keys.stranger, "our own key": keys.gateway}.get(forgery)
    headers = call.headers(signer)
    if forgery == "no signature":
        del headers["X-Signature"]
    elif forgery == "no algorithm":
        headers["X-Sign-Alg"] = "none"
    path = "/callbacks/bank_d" if forgery == "another bank's path" else PATH
    body = SAMPLE + b" " * (forgery == "other bytes")
    with pytest.raises(CallbackRefused, match=BANK_FORGERIES[forgery]):
        keys.adapter().verify_callback("POST", path, headers, body, WALL)
    assert keys.adapter().verify_callback("POST", PATH, Call(keys).headers(), SAMPLE, WALL)  # the control
    witness.refused["forged bank callback"] += 1


def test_sasl_in_the_clear_is_refused_by_the_configuration(witness: Witness) -> None:
    """A password does not travel to another machine without TLS, whatever is configured."""
    facts = {"bootstrap_servers": "kafka.example.invalid:9092", "security_protocol": "SASL_PLAINTEXT"}
    sasl = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u", "sasl_password_file": "p"}
    with pytest.raises(ValidationError):
        KafkaSection.model_validate(facts | sasl)
    witness.refused["configuration"] += 1


# --- A real PostgreSQL that speaks TLS --------------------------------------------------------------------------------


def _server_with_tls() -> Path | None:
    """The binaries of an installed PostgreSQL; the wheel's is built without TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@pytest.fixture
def tls_server(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """An installed PostgreSQL with the certificate of "localhost"."""
    installed = _server_with_tls()
    if installed is None:
        pytest.skip("no PostgreSQL with TLS is installed (Debian's package `postgresql` has it)")
    pem = authority.issue("localhost")
    place = tmp_path / "tls"
    place.mkdir()
    for source in (pem.certificate, pem.key):
        target = place / source.name
        shutil.copyfile(source, target)
        target.chmod(0o600)
        if os.geteuid() == 0:
            user = pwd.getpwnam(postgres.SERVER_USER)
            os.chown(target, user.pw_uid, user.pw_gid)
    monkeypatch.setattr(postgres, "binaries", lambda: installed)
    files = {"ssl_cert_file": str(place / pem.certificate.name), "ssl_key_file": str(place / pem.key.name)}
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"ssl": "on", **files})
    server.start()
    yield server
    server.stop()


async def test_a_real_postgresql_is_verified_in_full(
    tls_server: EmbeddedPostgres, authority: Authority, tmp_path: Path, witness: Witness
) -> None:
    """With the right authority and name the session is encrypted; with either wrong there is none."""
    stranger = Authority(tmp_path, "stranger").file
    right = tls_server.dsn().replace("127.0.0.1", "localhost")
    verified = f"{right}?sslmode=verify-full&sslrootcert={authority.file}"
    connection = await asyncpg.connect(verified)
    assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    newest = connection.get_server_version().major
    await connection.close()
    for wrong in (f"{right}?sslmode=verify-full&sslrootcert={stranger}", verified.replace("localhost", "127.0.0.1")):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await Engine.open(wrong, max_connections=1)
        witness.refused["a real PostgreSQL"] += 1
    if newest < 18:  # who is let in by TLS is still asked its version
        with pytest.raises(StoreUnavailable, match="18 is needed"):
            await Engine.open(verified, max_connections=1, migrated=False)


def test_what_the_row_says_is_what_was_seen(witness: Witness, request: pytest.FixtureRequest) -> None:
    """The figure: refusals as they happened, of every falsehood of the tables, and bytes as false peers heard them."""
    table = {part: len(CHANNELS) for part in FALSE} | {
        "redirect": len(REDIRECTS),
        "host key": len(PINS),
        "forged SMS report": len(_forgeries()),
        "forged bank callback": len(BANK_FORGERIES),
        "configuration": 1,
    }
    asked_for = {item.name.partition("[")[0] for item in request.session.items if item.path == request.path}
    if not {name for name in globals() if name.startswith("test_")} <= asked_for:
        pytest.skip("only some tests of the row were asked for: what they saw is no figure of the row")
    seen = {name: count for name, count in witness.refused.items() if name != "a real PostgreSQL"}  # may be absent
    figure(
        "S2",
        channels=len(CHANNELS) + 3,
        refusals=witness.refused.total(),
        refused=dict(witness.refused),
        false_peers=witness.peers,
        told=witness.told,
        in_clear=dict(witness.in_clear),
    )
    assert seen == table
    assert witness.told == 0
    assert witness.peers == len(FALSE) * len(CHANNELS) + len(PINS)
