"""Kafka over TLS, with certificates and passwords: who is right gets in, who is not sends nothing and is told why.

The broker is the Apache Kafka of the JVM with strict ports; without Java 17 and Maven these tests are skipped.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from gateway import kafka_security, log
from gateway.approval import SigningKey
from gateway.cli.publisher import Outgoing, publish_all
from gateway.cli.terminal import CommandFailed
from gateway.config import KafkaSection
from gateway.kafka import Inbox, Outlet
from gateway.kafka_security import KafkaRefused, client_arguments, look_where_it_leads, why_refused
from gateway.receipts import PublishInDoubt
from schemas.v1 import Kind
from tests.unit.kafka_secured_kit import PASSWORD, Secured
from tests.unit.test_kafka import Desk
from tests.world.kafka_jvm import jvm_is_there

CA = {"security_protocol": "SSL", "ca_file": "ca.pem"}
SASL = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u", "sasl_password_file": "p"}
RECORD = ("receipts", "key", b"canary-receipt-73")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A strict broker, one for the module: it takes seconds to start."""
    if not jvm_is_there():
        pytest.skip("a Kafka with TLS and SASL needs Java 17 and Maven")
    made = Secured(tmp_path_factory.mktemp("secured"))
    made.broker.start()
    yield made
    made.broker.stop()


RIGHT: dict[str, Callable[[Secured], KafkaSection]] = {
    "mutual TLS": lambda s: s.tls(),
    "SCRAM in TLS": lambda s: s.login(),
    "PLAIN in TLS": lambda s: s.login("PLAIN"),
    "SCRAM on loopback": lambda s: s.scram_alone(),
}
WRONG: dict[str, tuple[Callable[[Secured], KafkaSection], str]] = {
    "wrong password": (lambda s: s.login(sasl_password_file=s.other_password()), "user name or the password"),
    "wrong password, PLAIN": (
        lambda s: s.login("PLAIN", sasl_password_file=s.other_password()),
        "user name or the password",
    ),
    "unknown user": (lambda s: s.login(sasl_username="nobody"), "user name or the password"),
    "unknown authority": (lambda s: s.login(ca_file=s.stranger.file), "certificate is not accepted: "),
    "wrong host name": (lambda s: s.tls(host="127.0.0.1"), "certificate is not accepted: .*127.0.0.1"),
    "strange client certificate": (lambda s: s.tls(client=s.unknown_client), "TLS"),
    "no client certificate": (
        lambda s: s.tls(certificate_file=None, private_key_file=None),
        "TLS",
    ),
    "plaintext to the TLS port": (lambda s: s.plaintext(s.tls_port), "does its port expect TLS"),
    "plaintext to the SASL port": (lambda s: s.plaintext(s.sasl_port), "does its port expect TLS"),
    "TLS to the plaintext port": (lambda s: s.tls(port=s.broker.port), "does its port speak TLS"),
    "no such mechanism": (
        lambda s: s.scram_alone(bootstrap_servers=f"127.0.0.1:{s.broker.port}"),
        "does not expect a user name|does not offer|ended the connection",
    ),
}


@pytest.mark.parametrize("way", RIGHT)
async def test_right_credentials_carry_records_both_ways(secured: Secured, way: str) -> None:
    """Producer and consumer get in by each way that is offered, and what is published arrives once and is read."""
    section = RIGHT[way](secured).model_copy(update={"topic_prefix": f"right{list(RIGHT).index(way)}."})
    outlet = Outlet(section)
    await outlet.publish(0, [RECORD, ("batches", "k", b"part")])
    await outlet.stop()
    assert await secured.arrived(section.topic_prefix + "receipts") == [RECORD[2]]
    desk = Desk()
    inbox = Inbox(section, desk.handlers(), desk.refuse)
    async with asyncio.timeout(60):
        while not desk.taken:
            await inbox.step()
    assert (desk.values(), inbox.fault) == ([b"part"], "")
    await inbox.stop()


@pytest.mark.parametrize("case", WRONG)
async def test_who_is_not_let_in_sends_nothing_loses_nothing_and_is_told_why(secured: Secured, case: str) -> None:
    """In doubt for the relay, whose record stays and goes later; nothing on the topic; a reason without a secret."""
    stream = io.StringIO()
    log.configure("DEBUG", stream)
    make, words = WRONG[case]
    topic = f"wrong{list(WRONG).index(case)}."
    section = make(secured).model_copy(update={"topic_prefix": topic, "publish_timeout_seconds": 4})
    outlet, desk = Outlet(section), Desk()
    with pytest.raises(PublishInDoubt):
        await outlet.publish(0, [RECORD])
    inbox = Inbox(section, desk.handlers(), desk.refuse)
    with pytest.raises(KafkaRefused, match=words) as refused:
        await inbox.step()
    assert (inbox.ready, inbox.fault) == (False, str(refused.value))
    told = f"{refused.value}{refused.value.__cause__}{stream.getvalue()}"
    assert not any(secret in told for secret in (PASSWORD, "canary-guess", "canary-receipt"))
    right = secured.login().model_copy(update={"topic_prefix": topic})
    outlet = Outlet(right)
    await outlet.publish(0, [("receipts", "key", b"only this")])
    await outlet.stop()
    assert await secured.arrived(topic + "receipts") == [b"only this"]


async def test_a_login_without_tls_is_not_followed_to_another_machine(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker on loopback, a forwarded port perhaps, says that it is elsewhere: no record goes there."""
    monkeypatch.setattr(kafka_security, "beyond_loopback", lambda *hosts: hosts)  # as if it were elsewhere
    section = secured.scram_alone().model_copy(update={"topic_prefix": "led."})
    desk = Desk()
    inbox = Inbox(section, desk.handlers(), desk.refuse)
    with pytest.raises(KafkaRefused, match="sends us on to"):
        await inbox.step()
    assert "no login there without TLS" in inbox.fault
    with pytest.raises(PublishInDoubt):
        await Outlet(section).publish(0, [RECORD])
    monkeypatch.undo()
    assert await _publish(secured, section, b"only this") == [b"only this"]


def test_only_what_is_in_the_clear_is_looked_after() -> None:
    """Within TLS the name in the certificate decides; beyond loopback the configuration itself is warned of."""
    elsewhere = [SimpleNamespace(host="kafka-1.example.invalid"), SimpleNamespace(host="127.0.0.1")]
    near = KafkaSection(bootstrap_servers="localhost:9092")
    assert look_where_it_leads(near, elsewhere) == ("kafka-1.example.invalid",)
    assert look_where_it_leads(near, elsewhere[1:]) == ()
    assert look_where_it_leads(KafkaSection(bootstrap_servers="kafka.example.invalid:9092"), elsewhere) == ()
    tls = KafkaSection.model_validate({"bootstrap_servers": "localhost:9092", **CA})
    assert look_where_it_leads(tls, elsewhere) == ()


async def _publish(secured: Secured, section: KafkaSection, value: bytes) -> list[bytes]:
    outlet = Outlet(section)
    await outlet.publish(0, [("receipts", "key", value)])
    await outlet.stop()
    return await secured.arrived(section.topic_prefix + "receipts")


async def test_the_commands_publish_the_same_way_and_say_why_they_cannot(secured: Secured) -> None:
    """`gateway publish` uses the configuration's TLS and SASL; refused, it says why and that nothing was sent."""
    order = Outgoing(Kind.ORDER, b"k", b"{}")
    key = SigningKey.generate("EdDSA")
    section = secured.login().model_copy(update={"topic_prefix": "command."})
    assert await publish_all([order], section, "payout-gateway", key, "k1") == 1
    wrong = section.model_copy(update={"sasl_password_file": secured.other_password()})
    with pytest.raises(CommandFailed, match=r"user name or the password\): nothing was sent"):
        await publish_all([order], wrong, "payout-gateway", key, "k1")
    assert await secured.arrived("command.orders") == [b"{}"]


async def test_a_client_made_anew_uses_the_secret_as_it_stands_in_its_file_then(
    secured: Secured, tmp_path: Path
) -> None:
    """Rotation without a stop: a wrong file is told as wrong, and the mended one is used at the next turn."""
    file = tmp_path / "password"
    file.write_text("not it")
    section = secured.login(sasl_password_file=file).model_copy(update={"topic_prefix": "rotate."})
    desk = Desk()
    inbox, outlet = Inbox(section, desk.handlers(), desk.refuse), Outlet(section)
    with pytest.raises(KafkaRefused):
        await inbox.step()
    file.write_text(PASSWORD)
    await outlet.publish(0, [("batches", "k", b"one")])
    await asyncio.wait_for(_until(inbox, desk, 1), 60)
    before = inbox._consumer
    inbox.renew()
    outlet.renew()
    await outlet.publish(0, [("batches", "k", b"two")])
    await asyncio.wait_for(_until(inbox, desk, 2), 60)
    assert (desk.values(), inbox._consumer is before) == ([b"one", b"two"], False)
    await inbox.stop()
    await outlet.stop()


async def _until(inbox: Inbox, desk: Desk, count: int) -> None:
    while len(desk.taken) < count:
        await inbox.step()


async def test_a_broker_that_is_away_is_no_refusal() -> None:
    """Nobody at the address: no reason is invented, and the client's own error stands."""
    assert await why_refused(KafkaSection(bootstrap_servers="127.0.0.1:1")) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"security_protocol": "SSL"}, "needs ca_file"),
        ({**CA, "certificate_file": "c.pem"}, "belong together"),
        ({"ca_file": "ca.pem"}, "PLAINTEXT does not use ca_file"),
        ({**SASL}, "PLAINTEXT does not use sasl_mechanism and sasl_username and sasl_password_file"),
        ({**CA, **SASL}, "SSL does not use sasl_mechanism"),
        ({**CA, "security_protocol": "SASL_SSL", "sasl_username": "u"}, "needs sasl_mechanism and sasl_password_file"),
        ({**SASL, "security_protocol": "SASL_SSL"}, "needs ca_file"),
        ({**SASL, "security_protocol": "SASL_PLAINTEXT"}, "needs sasl_without_tls"),
        (
            {**SASL, "security_protocol": "SASL_PLAINTEXT", "sasl_without_tls": True, "bootstrap_servers": "b:1"},
            "on loopback alone",
        ),
        (
            {**SASL, "security_protocol": "SASL_PLAINTEXT", "sasl_without_tls": True, "sasl_mechanism": "PLAIN"},
            "only within TLS",
        ),
        ({"security_protocol": "ssl"}, "Input should be"),
        ({**CA, **SASL, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-1"}, "Input should be"),
        ({"sasl_password": "hunter2"}, "Extra inputs"),
    ],
)
def test_a_section_that_would_be_less_secure_than_it_looks_is_refused(facts: dict[str, object], words: str) -> None:
    """Half a protection, an unused one, or a password in the clear: refused before anybody is contacted."""
    with pytest.raises(ValidationError, match=words):
        KafkaSection.model_validate({"bootstrap_servers": "127.0.0.1:9092", **facts})


def test_files_that_hold_nothing_usable_are_named_without_their_content(tmp_path: Path) -> None:
    """A broken CA, a key that does not fit, an empty password: which setting it is, and nothing of what it holds."""
    (tmp_path / "x").write_text("canary-secret")
    (tmp_path / "empty").write_text("\n")
    broken = {"bootstrap_servers": "127.0.0.1:1", "security_protocol": "SASL_SSL", "ca_file": tmp_path / "x", **SASL}
    with pytest.raises(KafkaRefused, match="ca_file holds no certificate"):
        client_arguments(KafkaSection.model_validate(broken))
    alone = {**broken, "security_protocol": "SASL_PLAINTEXT", "sasl_without_tls": True, "ca_file": None}
    for name, words in (("empty", "is empty"), ("nowhere", "cannot be read")):
        section = KafkaSection.model_validate({**alone, "sasl_password_file": tmp_path / name})
        with pytest.raises(KafkaRefused, match=words):
            client_arguments(section)


async def test_the_witness_would_see_a_record(secured: Secured) -> None:
    """The plain port shows what arrives: without this, "nothing arrived" would prove nothing."""
    producer = AIOKafkaProducer(bootstrap_servers=secured.broker.bootstrap)
    await producer.start()
    await producer.send_and_wait("witness.receipts", b"seen")
    await producer.stop()
    assert await secured.arrived("witness.receipts") == [b"seen"]
