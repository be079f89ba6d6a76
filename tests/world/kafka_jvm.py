"""Apache Kafka without a container: one KRaft process on the machine's own JVM, its jars pinned and found by Maven."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.world.broker import PARTITIONS, START_SECONDS, Limits, create_topics
from tests.world.processes import PROJECT, Child, ChildError, free_port, run_apart

POM = Path(__file__).with_name("pom.xml")
MAVEN_TIMEOUT_SECONDS = 600  # the first run downloads some 100 MB
LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


def jvm_is_there() -> bool:
    """Java 17 or newer and Maven are on the path."""
    java = shutil.which("java")
    if java is None or shutil.which("mvn") is None:
        return False
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = said.partition('"')[2].partition(".")[0].partition('"')[0]
    return version.isdecimal() and int(version) >= 17


def class_path(cache: Path = PROJECT / ".demo" / "kafka-class-path.txt") -> str:
    """The jars of `pom.xml`, as Maven resolves them; remembered until the pom changes or a jar is gone."""
    if cache.exists() and cache.stat().st_mtime >= POM.stat().st_mtime:
        known = cache.read_text().strip()
        if known and all(Path(jar).exists() for jar in known.split(os.pathsep)):
            return known
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={cache}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=MAVEN_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"Maven did not resolve Apache Kafka within {MAVEN_TIMEOUT_SECONDS} s") from error
    if done.returncode != 0:
        raise ChildError(f"Maven could not resolve Apache Kafka: {done.stdout.strip()[-500:]}")
    return cache.read_text().strip()


class JvmBroker:
    """A single node, broker and controller in one, on the loopback interface; a restart keeps address and data."""

    kind = "jvm"
    limits = Limits()

    def __init__(
        self,
        directory: Path,
        *,
        heap_mb: int = 512,
        partitions: int = PARTITIONS,
        settings: dict[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        outlives_parent: bool = False,
    ) -> None:
        self.directory = directory
        self.partitions = partitions
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._controller_port = free_port()
        self._properties = directory / "kafka.properties"
        self._settings = settings or {}
        self._users = dict(users or {})  # who may log in by SCRAM-SHA-512, and with which password
        self._java = [f"-Xmx{heap_mb}m", f"-Xms{heap_mb}m", LOG_LEVEL, "-cp", class_path()]
        self.child = Child(
            "kafka",
            ["java", *self._java, "kafka.Kafka", self._properties],
            directory,
            outlives_parent=outlives_parent,
        )

    def start(self) -> None:
        if not self._properties.exists():
            self._format()
        self.child.start()
        try:
            run_apart(create_topics(self.bootstrap, self.partitions, timeout=START_SECONDS))
        except ChildError as error:
            raise ChildError(f"{error}; {self.child.last_words()}") from error

    def stop(self) -> None:
        self.child.stop(grace=30)

    def kill(self) -> None:
        self.child.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def down(self) -> None:
        """A crash: connections break at once. ``up`` starts it again with its data and under its address."""
        self.kill()

    def up(self) -> None:
        self.child.start()

    def suspend(self) -> None:
        """Hang without closing connections, until ``resume``."""
        self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.send(signal.SIGCONT)

    def _format(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / "kafka-log"
        own = {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
        }
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(log),
            "num.partitions": str(self.partitions),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",  # a killed member is given up in seconds, not in ten
            "message.max.bytes": str(8 * 1024 * 1024),
            **self._settings,
        }
        for listener in ("listeners", "advertised.listeners"):  # those of a test stand beside our own
            settings[listener] = ",".join(filter(None, (own[listener], self._settings.get(listener))))
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        cluster = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "A")
        tool = [
            "java",
            *self._java,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster,
            "-c",
            str(self._properties),
        ]
        for name, password in self._users.items():
            tool += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        done = subprocess.run(
            tool,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            self._properties.unlink()
            raise ChildError(f"Kafka's storage tool ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
