"""One PostgreSQL and one Kafka a session, a fresh database and fresh topics a test; servers that are named win.

`TEST_POSTGRES_DSN` names a server whose user may create databases. `KAFKA_BOOTSTRAP_SERVERS` and `KAFKA` choose the
broker (`tests/world/broker.py`). What is asked for first is started first; tests that need neither start neither.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.world.broker import Broker, Limits, create_topics, select_broker
from tests.world.postgres import EmbeddedPostgres, ExternalPostgres, Server, migrate
from tests.world.processes import run_apart

_BROKERS: list[Broker] = []


@dataclass(frozen=True, slots=True)
class Kafka:
    """The session's broker with topics that belong to one test alone."""

    broker: Broker
    prefix: str

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    @property
    def limits(self) -> Limits:
        return self.broker.limits

    def topic(self, name: str) -> str:
        return self.prefix + name


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server."""
    given = os.environ.get("TEST_POSTGRES_DSN")
    if given:
        yield ExternalPostgres(given)
        return
    with tempfile.TemporaryDirectory(prefix="payout-postgres-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres")
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres: Server) -> Iterator[str]:
    """The name of a database that holds the gateway's schema and nothing else."""
    name = f"template_{secrets.token_hex(4)}"
    migrate(postgres.create_database(name))
    yield name
    postgres.drop_database(name)


@pytest.fixture
def make_database(postgres: Server) -> Iterator[Callable[[str | None], str]]:
    """Makes databases that end with the test; the argument names a template, or None for an empty one."""
    made: list[str] = []

    def make(template: str | None) -> str:
        name = f"test_{secrets.token_hex(6)}"
        made.append(name)
        return postgres.create_database(name, template)

    yield make
    for name in made:
        postgres.drop_database(name)


@pytest.fixture
def database(make_database: Callable[[str | None], str], migrated_template: str) -> str:
    """The DSN of a fresh, migrated database."""
    return make_database(migrated_template)


@pytest.fixture
def empty_database(make_database: Callable[[str | None], str]) -> str:
    """The DSN of a fresh database without any table."""
    return make_database(None)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The best Kafka there is, running."""
    with tempfile.TemporaryDirectory(prefix="payout-kafka-") as directory:
        chosen = select_broker(Path(directory))
        chosen.start()
        _BROKERS.append(chosen)
        yield chosen
        chosen.stop()


@pytest.fixture
def kafka(broker: Broker) -> Kafka:
    """Fresh topics on the session's broker."""
    prefix = f"t{secrets.token_hex(5)}."
    if broker.kind != "embedded":  # which creates topics when they are first asked for, and cannot otherwise
        run_apart(create_topics(broker.bootstrap, prefix=prefix))
    return Kafka(broker, prefix)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for chosen in _BROKERS:
        reason = f": {chosen.limits.reason}" if chosen.limits.reason else ""
        terminalreporter.write_line(f"Kafka was {chosen.kind}{reason}")
        if reason:
            skipped = [
                one for one in terminalreporter.stats.get("skipped", []) if chosen.limits.reason in one.longreprtext
            ]
            terminalreporter.write_line(f"{len(skipped)} tests that need Apache Kafka were skipped for that reason")
