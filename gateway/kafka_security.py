"""How a client of ours meets Kafka: TLS, its own certificate, SASL; and why a broker would not have it, in plain words.

Secrets stand in files and are read for each new client, so that a client made after a rotation uses the new ones.
aiokafka swallows the reason of a failed start ("Unable to bootstrap"), so ``why_refused`` connects once more and asks:
one connection without a record, harmless to repeat. Words here never hold a secret, nor what a broker wrote.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, Final

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from adapters.wire.clear import beyond_loopback
from gateway.config import KafkaSection
from gateway.log import quotable

_ASK_SECONDS: Final = 5


@quotable
class KafkaRefused(Exception):
    """Kafka cannot be used. The message says why, in our own words."""


def client_arguments(section: KafkaSection) -> dict[str, Any]:
    """What aiokafka's clients take beside the servers. KafkaRefused names a file that cannot be used."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": section.bootstrap_servers,
        "security_protocol": section.security_protocol,
    }
    if section.tls:
        arguments["ssl_context"] = _context(section)
    if section.sasl:
        arguments["sasl_mechanism"] = section.sasl_mechanism
        arguments["sasl_plain_username"] = section.sasl_username
        arguments["sasl_plain_password"] = _password(section)
    return arguments


def _context(section: KafkaSection) -> ssl.SSLContext:
    """At least TLS 1.2; the broker's chain and host name are checked against ``ca_file`` alone."""
    # Not create_default_context(): that one writes session keys to wherever SSLKEYLOGFILE points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=section.ca_file)
    except (OSError, ssl.SSLError):
        raise KafkaRefused("kafka.ca_file holds no certificate") from None
    if section.certificate_file is not None:
        try:
            # Without a password given, OpenSSL would ask for one on the terminal: an encrypted key is a fault instead.
            context.load_cert_chain(section.certificate_file, section.private_key_file, password="")
        except (OSError, ssl.SSLError, ValueError):
            raise KafkaRefused("kafka.certificate_file and kafka.private_key_file are no usable pair") from None
    return context


def _password(section: KafkaSection) -> str:
    try:
        file = section.sasl_password_file
        text = "" if file is None else file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError):
        raise KafkaRefused("kafka.sasl_password_file cannot be read") from None
    if not text:
        raise KafkaRefused("kafka.sasl_password_file is empty")
    return text


def look_where_it_leads(section: KafkaSection, brokers: Iterable[Any]) -> tuple[str, ...]:
    """Hosts beyond this machine to which a broker on this one sends us on, in the clear.

    To be called with what a started client has learned, before any record travels: records go to where the brokers
    say that they are, whatever ``bootstrap_servers`` names. KafkaRefused for a login without TLS, which the
    configuration allows on this machine alone.
    """
    if section.tls or not section.on_loopback:
        return ()
    hosts = beyond_loopback(*sorted({str(broker.host) for broker in brokers}))
    if hosts and section.sasl:
        raise KafkaRefused(f"the broker on this machine sends us on to {', '.join(hosts)}: no login there without TLS")
    return hosts


async def why_refused(section: KafkaSection) -> KafkaRefused | None:
    """Why no server lets us in, from the first that says something definite; None when one does or nothing is."""
    arguments = client_arguments(section)
    arguments.pop("bootstrap_servers")
    for server in section.bootstrap_servers.split(","):
        host, _, port = server.rpartition(":")
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                connection = await create_conn(
                    host.strip("[]"), int(port), request_timeout_ms=_ASK_SECONDS * 1000, **arguments
                )
        except (OSError, KafkaError, TimeoutError) as error:
            words = _words(error, section)
            if words is not None:
                return KafkaRefused(words)
        else:
            connection.close()
            return None
    return None


def _words(error: BaseException, section: KafkaSection) -> str | None:
    """What a failed connection proves; None for a server that is simply away."""
    match error:
        case ssl.SSLCertVerificationError():
            # OpenSSL's own words: they name at most the host, which is ours.
            return f"the broker's certificate is not accepted: {error.verify_message}"
        case ssl.SSLError():
            return f"no TLS with the broker ({error.reason or 'ended'}): does its port speak TLS, does it know our CA?"
        case UnsupportedSaslMechanismError():
            return f"the broker does not offer {section.sasl_mechanism}"
        case IllegalSaslStateError():
            return "the broker does not expect a user name on this port"
        case AuthenticationFailedError() | SaslAuthenticationFailed():
            return "the broker refused the user name or the password"
        case KafkaConnectionError() | ConnectionResetError() if section.tls:
            return "the broker ended the connection: does its port speak TLS, and does it know our certificate?"
        case KafkaConnectionError() | ConnectionResetError():
            return "the broker ended the connection: does its port expect TLS?"
    return None
