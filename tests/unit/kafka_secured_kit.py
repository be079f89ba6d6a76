"""An Apache Kafka that is strict: a port for mutual TLS, one for SASL in TLS, one for SASL alone, beside the plain one.

The plain port is the witness's: it shows what arrived, whoever was let in by the others.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer

from gateway.config import KafkaSection
from tests.adapters.pki_kit import Authority, Pem
from tests.world.kafka_jvm import JvmBroker
from tests.world.processes import free_port

USER, PASSWORD = "gateway", "canary-password-71"
PLAIN_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule"


class Secured:
    """The broker, its certificate authority, and the sections of a configuration that fit each of its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "ca")
        self.stranger = Authority(folder, "stranger")
        self.client = self.authority.issue("gateway", client=True)
        self.unknown_client = self.stranger.issue("gateway", client=True)
        self.tls_port, self.sasl_port, self.scram_port = (free_port() for _ in range(3))
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.broker = JvmBroker(folder / "kafka", heap_mb=384, settings=self._settings(), users={USER: PASSWORD})

    def _settings(self) -> dict[str, str]:
        server = self.authority.issue("localhost")
        both = self.folder / "server.pem"
        both.write_bytes(server.key.read_bytes() + server.certificate.read_bytes())
        ports = {"TLS": self.tls_port, "LOGIN": self.sasl_port, "SCRAM": self.scram_port}
        return {
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items()),
            "advertised.listeners": ",".join(f"{name}://localhost:{port}" for name, port in ports.items()),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,LOGIN:SASL_SSL,"
            "SCRAM:SASL_PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.tls.ssl.client.auth": "required",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.login.plain.sasl.jaas.config": f'{PLAIN_LOGIN} required user_{USER}="{PASSWORD}";',
            "listener.name.login.scram-sha-512.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{SCRAM_LOGIN} required;",
        }

    def tls(self, *, client: Pem | None = None, port: int = 0, host: str = "localhost", **more: Any) -> KafkaSection:
        """Mutual TLS; ``more`` overrides single settings."""
        pair = client or self.client
        facts: dict[str, Any] = {
            "bootstrap_servers": f"{host}:{port or self.tls_port}",
            "security_protocol": "SSL",
            "ca_file": self.authority.file,
            "certificate_file": pair.certificate,
            "private_key_file": pair.key,
        }
        return self._section(facts, more)

    def login(self, mechanism: str = "SCRAM-SHA-512", **more: Any) -> KafkaSection:
        """SASL within TLS."""
        facts: dict[str, Any] = {
            "bootstrap_servers": f"localhost:{self.sasl_port}",
            "security_protocol": "SASL_SSL",
            "ca_file": self.authority.file,
            "sasl_mechanism": mechanism,
            "sasl_username": USER,
            "sasl_password_file": self.password_file,
        }
        return self._section(facts, more)

    def scram_alone(self, **more: Any) -> KafkaSection:
        """SCRAM without TLS, as it is allowed on loopback."""
        facts: dict[str, Any] = {
            "bootstrap_servers": f"localhost:{self.scram_port}",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_without_tls": True,
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": USER,
            "sasl_password_file": self.password_file,
        }
        return self._section(facts, more)

    def plaintext(self, port: int) -> KafkaSection:
        return self._section({"bootstrap_servers": f"localhost:{port}"}, {})

    def _section(self, facts: dict[str, Any], more: dict[str, Any]) -> KafkaSection:
        speed = {"publish_timeout_seconds": 10, "session_timeout_seconds": 6}
        return KafkaSection.model_validate({**speed, **facts, **more})

    def other_password(self) -> Path:
        path = self.folder / "other-password"
        path.write_text("canary-guess-72")
        return path

    async def arrived(self, topic: str) -> list[bytes]:
        """Every value on a topic, read through the plain port from its beginning to its end now."""
        reader = AIOKafkaConsumer(topic, bootstrap_servers=self.broker.bootstrap, auto_offset_reset="earliest")
        await reader.start()
        try:
            ends = await reader.end_offsets(reader.assignment())
            found: list[bytes] = []
            async with asyncio.timeout(30):
                while len(found) < sum(ends.values()):
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        found += [bytes(record.value) for record in records]
            return found
        finally:
            await reader.stop()
