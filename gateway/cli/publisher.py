"""Publishes signed records to the inbound topics: acknowledged by all replicas, or told to be in doubt.

The bytes of a message are fixed before the first try. A publish that timed out may have arrived; sending the same bytes
again is always safe, because the gateway counts identical bytes under a known id as nothing new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from gateway.approval import HEADER_NAME, SigningKey, sign
from gateway.cli.terminal import CommandFailed, business_clock, say_error
from gateway.config import KafkaSection
from gateway.kafka_security import KafkaRefused, client_arguments, look_where_it_leads, why_refused
from schemas.codec import MOST_BYTES
from schemas.v1 import INBOUND_TOPICS, Kind

_TOPIC_PREFIX: Final = "payout."
_CONTACT_SECONDS = 20
_PUBLISH_SECONDS = 30
_STOP_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record. Its value carries personal data and does not print."""

    kind: Kind
    key: bytes
    value: bytes = field(repr=False)


async def publish_all(
    records: Iterable[Outgoing], kafka: KafkaSection, audience: str, key: SigningKey, kid: str
) -> int:
    """Sign and publish, one after the other; how many. CommandFailed says how far it got."""
    clock = business_clock()
    # What it would print is told below in one line, and at DEBUG it would print the records.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        arguments = client_arguments(kafka)
    except KafkaRefused as refused:
        raise CommandFailed(str(refused)) from None
    producer = AIOKafkaProducer(
        **arguments,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=_PUBLISH_SECONDS * 1000,
        # The producer's own overhead comes on top of the largest message.
        max_request_size=max(MOST_BYTES.values()) + 65_536,
    )
    try:
        try:
            async with asyncio.timeout(_CONTACT_SECONDS):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            why = await why_refused(kafka) or type(error).__name__
            raise CommandFailed(f"no Kafka answers at {kafka.bootstrap_servers} ({why}): nothing was sent") from None
        _warn_where_it_leads(kafka, producer)
        count = 0
        for record in records:
            topic = kafka.topic_prefix + INBOUND_TOPICS[record.kind].removeprefix(_TOPIC_PREFIX)
            signature = sign(record.value, record.kind, key, kid, audience, clock.now()).encode("ascii")
            try:
                # The idempotent producer has no timeout of its own.
                async with asyncio.timeout(_PUBLISH_SECONDS):
                    await producer.send_and_wait(topic, record.value, record.key, headers=[(HEADER_NAME, signature)])
            except (KafkaError, OSError, TimeoutError) as error:
                raise CommandFailed(
                    f"publishing to {topic} failed ({type(error).__name__}) after {count} messages",
                    "whether this one arrived is not known; to run the same command again is safe",
                ) from None
            count += 1
        return count
    finally:
        await _stop(producer)


def _warn_where_it_leads(kafka: KafkaSection, producer: AIOKafkaProducer) -> None:
    """Before the first list leaves. CommandFailed where a login would go on to another machine without TLS."""
    try:
        hosts = look_where_it_leads(kafka, producer.client.cluster.brokers())
    except KafkaRefused as refused:
        raise CommandFailed(f"{refused}; nothing was sent") from None
    for host in hosts:
        say_error(f"warning: kafka: the list travels unencrypted to {host}, where the broker sends us on to")


async def _stop(producer: AIOKafkaProducer) -> None:
    """``stop`` can hang for ever; every record was acknowledged or reported, so leaving is safe."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, OSError, TimeoutError):
        return
