"""Which Kafka a test or the demo runs on, and the small embedded one, which lives in its own process.

The first that is there is taken: `KAFKA_BOOTSTRAP_SERVERS`; a container engine; Apache Kafka on a JVM; the embedded
broker. `KAFKA=external|docker|jvm|embedded` names one.

The embedded broker is librdkafka's mock cluster out of the `confluent-kafka` wheel. It speaks the real protocol; tried
with aiokafka 0.14: explicit offsets, headers, idempotent producer and committed offsets work. What it cannot do is in
`EMBEDDED_LIMITS`; it carries small runs and never counts as proof. `python -m tests.world.broker` serves it; SIGUSR1
takes it down (every connection is closed, none is accepted), SIGUSR2 brings it up again with everything it held.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.world.processes import Child, ChildError, free_port, python_module, run_apart

PREFIX = "payout."
INPUTS = ("batches", "funding", "orders")
OUTPUTS = ("receipts", "batch-reports", "refusals")
PARTITIONS = 4
KAFKA_IMAGE = "apache/kafka:4.3.1"  # the version of tests/world/pom.xml and docker-compose.yml
START_SECONDS = 240  # a JVM on a busy machine


def topics(prefix: str = PREFIX) -> list[str]:
    """The six topics under one prefix; a test takes a prefix of its own to be alone on a shared broker."""
    return [prefix + name for name in (*INPUTS, *OUTPUTS)]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a broker cannot prove. A test that needs more skips and prints ``reason``."""

    several_consumers: bool = True  # more than one member in a consumer group at a time
    survives_restart: bool = True  # records are still there after the process ended
    bytes_kept: int = 0  # per partition, older records vanish silently; 0 = no bound a test would meet
    reason: str = ""


EMBEDDED_LIMITS = Limits(
    several_consumers=False,
    survives_restart=False,
    bytes_kept=5 * 1024 * 1024,
    reason="the embedded broker keeps 5 MiB per partition, forgets everything when it ends and serves one consumer per "
    "group, a later one only after its session timeout; it has no transactions and no CreateTopics",
)


class Broker(Protocol):
    """What the tests ask of any Kafka."""

    @property
    def kind(self) -> str: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def bootstrap(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def down(self) -> None:
        """Refuse every connection until ``up``, keeping what is stored."""

    def up(self) -> None: ...


class ExternalBroker:
    """A cluster that somebody else runs; it cannot be taken down from here."""

    kind = "external"
    limits = Limits()

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        run_apart(create_topics(self.bootstrap))

    def stop(self) -> None:
        """Not ours to stop."""

    def down(self) -> None:
        raise ChildError("an external broker cannot be taken down by a test")

    def up(self) -> None:
        raise ChildError("an external broker cannot be brought up by a test")


class DockerBroker:
    """Apache Kafka in a container, through testcontainers: the image and the version of docker-compose.yml.

    Its own `KafkaContainer` is another vendor's image of another version; the plain container needs a port known
    beforehand, because a broker advertises its address.
    """

    kind = "docker"
    limits = Limits()

    def __init__(self) -> None:
        from testcontainers.core.container import DockerContainer

        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        self._container: Any = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
        for name, value in {
            "CLUSTER_ID": "cGF5b3V0LXRlc3RzLXh4eA",
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": "CONTROLLER://:9093,PLAINTEXT://:9092",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        }.items():
            self._container.with_env(name, value)

    def start(self) -> None:
        self._container.start()
        run_apart(create_topics(self.bootstrap, timeout=START_SECONDS))

    def stop(self) -> None:
        self._container.stop()

    def down(self) -> None:
        self._container.get_wrapped_container().pause()

    def up(self) -> None:
        self._container.get_wrapped_container().unpause()


class EmbeddedBroker:
    """The mock cluster in a child process. Its address is new at each start: it cannot come back under the old one."""

    kind = "embedded"
    limits = EMBEDDED_LIMITS

    def __init__(self, directory: Path, *, partitions: int = PARTITIONS, outlives_parent: bool = False) -> None:
        self.child = Child(
            "broker",
            python_module("tests.world.broker", "--partitions", str(partitions)),
            directory,
            outlives_parent=outlives_parent,
        )
        self.bootstrap = ""

    def start(self) -> None:
        self.child.start()
        self.bootstrap = str(self.child.wait_ready()["bootstrap"])

    def stop(self) -> None:
        self.child.stop(grace=5)

    def down(self) -> None:
        self._switch(signal.SIGUSR1, listening=False)

    def up(self) -> None:
        self._switch(signal.SIGUSR2, listening=True)

    def _switch(self, number: signal.Signals, *, listening: bool) -> None:
        self.child.send(number)
        for _ in range(250):
            if run_apart(listens(self.bootstrap)) is listening:
                return
            time.sleep(0.02)
        raise ChildError(f"the embedded broker did not obey {number.name}")


def select_broker(
    directory: Path, environment: Mapping[str, str] = os.environ, *, outlives_parent: bool = False
) -> Broker:
    """The best Kafka this machine has, not started yet."""
    from tests.world.kafka_jvm import JvmBroker, jvm_is_there

    wanted = environment.get("KAFKA", "")
    if wanted not in ("", "external", "docker", "jvm", "embedded"):
        raise ChildError("KAFKA is external, docker, jvm or embedded")
    bootstrap = environment.get("KAFKA_BOOTSTRAP_SERVERS", "")
    if bootstrap and wanted in ("", "external"):
        return ExternalBroker(bootstrap)
    if wanted == "external":
        raise ChildError("KAFKA=external needs KAFKA_BOOTSTRAP_SERVERS")
    if wanted == "docker" or (not wanted and engine_answers()):
        return DockerBroker()
    if wanted == "jvm":
        return JvmBroker(directory, outlives_parent=outlives_parent)
    if not wanted and jvm_is_there():
        try:
            return JvmBroker(directory, outlives_parent=outlives_parent)
        except ChildError as error:  # Java without the jars, and no way to fetch them
            print(f"no Apache Kafka on the JVM: {str(error)[:200]}", file=sys.stderr)
    return EmbeddedBroker(directory, outlives_parent=outlives_parent)


def engine_answers() -> bool:
    """Whether a container engine answers; never raises, never waits long."""
    try:
        client: Any = importlib.import_module("docker").from_env(timeout=3)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # the client raises a different family of errors for each way of being absent
        return False


async def create_topics(
    bootstrap: str, partitions: int = PARTITIONS, *, prefix: str = PREFIX, timeout: float = 60
) -> None:
    """Wait until the cluster answers and create our topics where they are missing."""
    deadline = asyncio.get_running_loop().time() + timeout
    while not await listens(bootstrap):
        if asyncio.get_running_loop().time() > deadline:
            raise ChildError("Kafka does not listen")
        await asyncio.sleep(0.2)
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()
            there = set(await admin.list_topics())
            missing = [NewTopic(topic, partitions, 1) for topic in topics(prefix) if topic not in there]
            if missing:
                await admin.create_topics(missing)
        except Exception as error:  # not up yet: aiokafka raises several families while a cluster is starting
            if asyncio.get_running_loop().time() > deadline:
                raise ChildError(f"Kafka does not answer: {type(error).__name__}") from error
            await asyncio.sleep(0.2)
        else:
            return
        finally:
            await admin.close()


async def listens(bootstrap: str) -> bool:
    """Whether anybody accepts a connection: asked first, because the client logs every attempt that fails."""
    host, _, port = bootstrap.partition(",")[0].rpartition(":")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 5)
    except OSError:
        return False
    writer.close()
    return True


class MockCluster:
    """librdkafka's mock cluster, by its C interface: the Python one can neither size topics nor break the broker."""

    def __init__(self, partitions: int) -> None:
        self._library = self._load()
        pointer, text = ctypes.c_void_p, ctypes.c_char_p
        for name, result, arguments in (
            ("rd_kafka_conf_new", pointer, []),
            ("rd_kafka_conf_set", ctypes.c_int, [pointer, text, text, text, ctypes.c_size_t]),
            ("rd_kafka_new", pointer, [ctypes.c_int, pointer, text, ctypes.c_size_t]),
            ("rd_kafka_mock_cluster_new", pointer, [pointer, ctypes.c_int]),
            ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
            ("rd_kafka_mock_topic_create", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.c_int]),
            ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
            ("rd_kafka_mock_broker_set_down", ctypes.c_int, [pointer, ctypes.c_int32]),
            ("rd_kafka_mock_broker_set_up", ctypes.c_int, [pointer, ctypes.c_int32]),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        error = ctypes.create_string_buffer(512)
        settings = self._library.rd_kafka_conf_new()
        self._library.rd_kafka_conf_set(settings, b"log_level", b"0", error, len(error))
        handle = self._library.rd_kafka_new(0, settings, error, len(error))
        if not handle:
            raise ChildError(f"librdkafka: {error.value.decode()}")
        self._cluster = self._library.rd_kafka_mock_cluster_new(handle, 1)
        # The default of 3 s makes every start of a consumer last 3 s.
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 50)
        for topic in topics():
            self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)

    @property
    def bootstrap(self) -> str:
        text: bytes = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster)
        return text.decode()

    def down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def up(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    @staticmethod
    def _load() -> ctypes.CDLL:
        spec = importlib.util.find_spec("confluent_kafka")
        if spec is None or spec.origin is None:
            raise ChildError("no embedded broker: install the `embedded` extra, or set KAFKA_BOOTSTRAP_SERVERS")
        package = Path(spec.origin).parent
        for folder in (package.parent / "confluent_kafka.libs", package / ".dylibs"):
            for library in sorted(folder.glob("librdkafka*")):
                import confluent_kafka  # noqa: F401 - loads what librdkafka itself links to

                return ctypes.CDLL(str(library))
        raise ChildError("the confluent-kafka wheel of this platform brings no librdkafka of its own")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    partitions = parser.parse_args().partitions
    heard = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)  # waited for below: no handler, no race
    cluster = MockCluster(partitions)
    print(json.dumps({"ready": True, "bootstrap": cluster.bootstrap}), flush=True)
    while True:
        match signal.sigwait(heard):
            case signal.SIGUSR1:
                cluster.down()
            case signal.SIGUSR2:
                cluster.up()
            case _:
                return


if __name__ == "__main__":
    main()
