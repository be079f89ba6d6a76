"""Every channel of the gateway as one call: reach a peer at this port and try to tell it the canary."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.sms.cmpp.provider import CmppProvider, CmppSettings
from adapters.sms.http_batch import HttpBatch
from adapters.sms.link.provider import LinkProvider
from adapters.sms.smpp.provider import SmppProvider, SmppSettings
from adapters.wire.http import HttpLimits, HttpTransport, TlsFiles, client_tls
from adapters.wire.tcp import Framing, TcpSettings, TcpTransport
from gateway.config import KafkaSection
from gateway.kafka import Outlet
from gateway.store.engine import Engine
from tests.adapters.http_kit import post
from tests.adapters.pki_kit import Authority
from tests.adapters.sms_kit import SIGNATURE, message, settings

# In the payload, or in the login before it: short enough for the account of a CMPP centre, six characters at most.
CANARY: Final = "cnry81"
QUICK: Final = {"connect_timeout_milliseconds": 1_500, "silence_timeout_milliseconds": 1_600}
TOTAL: Final = {**QUICK, "total_timeout_milliseconds": 2_000}


@dataclass(frozen=True, slots=True)
class Channel:
    """``use`` raises one of ``errors`` when the peer is refused. ``starts_tls``: TLS is asked for in the clear."""

    use: Callable[[int, Authority, Path], Awaitable[object]]
    errors: tuple[str, ...]
    starts_tls: bool = False


def _files(authority: Authority) -> TlsFiles:
    pem = authority.issue("gateway", client=True)
    return TlsFiles(ca_file=authority.file, certificate_file=pem.certificate, private_key_file=pem.key)


async def _https_bank(port: int, authority: Authority, folder: Path) -> object:
    limits = HttpLimits.model_validate(TOTAL)
    transport = HttpTransport(f"https://localhost:{port}", limits, client_tls(_files(authority)))
    try:
        async with transport.wire() as wire:
            return await post(wire, CANARY.encode())
    finally:
        await transport.close()


async def _framed_tcp(port: int, authority: Authority, folder: Path) -> object:
    given: dict[str, Any] = {"host": "localhost", "port": port, "framing": Framing.DIGITS8, "tls": _files(authority)}
    transport = TcpTransport(TcpSettings.model_validate(given | TOTAL))
    try:
        async with transport.wire() as wire:
            return await wire.send(CANARY.encode(), label="x")
    finally:
        await transport.close()


async def _sms_http(port: int, authority: Authority, folder: Path) -> object:
    provider = HttpBatch("sms", settings(folder, f"https://localhost:{port}", ca_file=authority.file, limits=TOTAL))
    try:
        return await provider.send("7", [message("1042-1-1-ARRIVAL", text=SIGNATURE + CANARY)])
    finally:
        await provider.close()


def _centre(port: int, authority: Authority, folder: Path, *, tls: bool) -> dict[str, Any]:
    """What settings of both protocols to SMS centres have; a refused one costs the shortest wait that there is."""
    secret = folder / "centre-secret"
    secret.write_text(CANARY + "\n")
    given: dict[str, Any] = {"host": "localhost", "port": port, "service_number": "1069012345"}
    given["limits"] = {"connect_seconds": 1, "answer_seconds": 1}
    return given | ({"ca_file": authority.file} if tls else {})


async def _told(provider: LinkProvider) -> object:
    try:
        return await provider.send("7", [message("1042-1-1-ARRIVAL", text=SIGNATURE + CANARY)])
    finally:
        await provider.close()


async def _cmpp(port: int, authority: Authority, folder: Path, *, tls: bool = True) -> object:
    given = _centre(port, authority, folder, tls=tls)
    given |= {"source_addr": CANARY, "secret_file": folder / "centre-secret"}
    return await _told(CmppProvider("cmpp", CmppSettings.model_validate(given)))


async def _smpp(port: int, authority: Authority, folder: Path, *, tls: bool = True) -> object:
    given = _centre(port, authority, folder, tls=tls)
    given |= {"system_id": "payout", "password_file": folder / "centre-secret"}
    return await _told(SmppProvider("smpp", SmppSettings.model_validate(given)))


async def _postgresql(port: int, authority: Authority, folder: Path) -> object:
    dsn = f"postgresql://gateway:{CANARY}@localhost:{port}/payout?sslmode=verify-full&sslrootcert={authority.file}"
    engine = await Engine.open(dsn, max_connections=1)
    await engine.close()
    return engine


async def _kafka(port: int, authority: Authority, folder: Path, **more: Any) -> None:
    pem = _files(authority)
    facts: dict[str, Any] = {
        "bootstrap_servers": f"localhost:{port}",
        "security_protocol": "SSL",
        "ca_file": pem.ca_file,
        "publish_timeout_seconds": 2,
    }
    outlet = Outlet(KafkaSection.model_validate({**facts, **more}))
    try:
        await outlet.publish(0, [("receipts", "key", CANARY.encode())])
    finally:
        await outlet.stop()


async def _kafka_mutual(port: int, authority: Authority, folder: Path) -> None:
    pem = _files(authority)
    await _kafka(port, authority, folder, certificate_file=pem.certificate_file, private_key_file=pem.private_key_file)


async def _kafka_sasl(port: int, authority: Authority, folder: Path) -> None:
    password = folder / "kafka-password"
    password.write_text(CANARY + "\n")
    await _kafka(
        port,
        authority,
        folder,
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="gateway",
        sasl_password_file=password,
    )


CHANNELS: Final[dict[str, Channel]] = {
    "Kafka, TLS": Channel(_kafka, ("PublishInDoubt", "KafkaRefused")),
    "Kafka, mutual TLS": Channel(_kafka_mutual, ("PublishInDoubt", "KafkaRefused")),
    "Kafka, SASL in TLS": Channel(_kafka_sasl, ("PublishInDoubt", "KafkaRefused")),
    "PostgreSQL, verify-full": Channel(_postgresql, ("StoreUnavailable",), starts_tls=True),
    "HTTPS bank": Channel(_https_bank, ("NotReached",)),
    "framed TCP bank": Channel(_framed_tcp, ("NotReached",)),
    "SMS over HTTPS": Channel(_sms_http, ("NotSent",)),
    "SMS by CMPP, TLS": Channel(_cmpp, ("NotSent",)),
    "SMS by SMPP, TLS": Channel(_smpp, ("NotSent",)),
}
# The same two as they are without a `ca_file`: what the witness would hear of a login in the clear.
UNPROTECTED: Final = {
    "SMS by CMPP": functools.partial(_cmpp, tls=False),
    "SMS by SMPP": functools.partial(_smpp, tls=False),
}
