"""R7, write-ahead order: what moves money leaves the process only after the commit of its SENDING row was answered.

A real gateway process runs under strace. Its connections to PostgreSQL are read as protocol: SENDING of submission n is
durable when the answer to the COMMIT of its transaction has been *read*. Its connections to the banks are encrypted, so
a payload is known by its size: the lists are cut so that each has its own, above everything else that is sent there.
The banks' ledgers say what really arrived; each arrival must be found among the sends, or the proof is blind and fails.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from tests.storm.broken import sends_first
from tests.storm.scale import FULL, figure, size
from tests.storm.street import Street
from tests.storm.traced import pgwire, strace

CALLS: Final = ("sendto", "sendmsg", "write", "writev", "recvfrom", "recvmsg")
SENT: Final = frozenset({"sendto", "sendmsg", "write", "writev"})
LEAST_PAYLOAD_BYTES: Final = 2_048  # a key exchange, a question or a login is smaller
MOST_AROUND_BYTES: Final = 1_100  # headers, signature, padding and tags around a payload
LEAST_LINES: Final = {"rcc_file": 16, "iso20022": 4, "json_https": 9, "xml_tcp": 10}
LISTS: Final = size(2, 20)


@dataclass(frozen=True, slots=True)
class Order:
    """What a trace shows: payloads that left, and what is wrong with their order."""

    payloads: int
    violations: list[str]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Four banks, their gateway under strace."""
    if strace.missing():
        pytest.skip(strace.missing())
    directory = tmp_path_factory.mktemp("write-ahead")
    with Street(directory / "street", prefix=strace.traced(directory / "honest.strace", *CALLS)) as opened:
        yield opened


def test_no_payload_leaves_before_its_sending_is_committed(street: Street) -> None:
    """At four banks over SFTP, HTTPS and framed TCP: the answer to COMMIT was read, then the first byte went out."""
    seen = {bank: len(street.arrived(bank)) for bank in street.banks}
    order = _play(street, street.directory.parent / "honest.strace", LISTS, 0)
    assert order.violations == []
    assert order.payloads == sum(len(street.arrived(bank)) - seen[bank] for bank in street.banks) == 4 * LISTS
    figure("R7", payloads=order.payloads, violations=0)


def test_a_build_that_sends_first_is_caught(street: Street) -> None:
    """The control: the call before the commit; each of its payloads is a violation."""
    order = _play_broken(street, "", 1, LISTS + 1)
    assert (order.payloads, len(order.violations)) == (4, 4)


@pytest.mark.skipif(not FULL, reason="the whole row only: make storm-row ROW=write_ahead")
def test_a_build_that_does_not_wait_for_the_commit_is_caught(street: Street) -> None:
    """The control that races: the commit beside the call; where the network is quicker, the violation is seen."""
    order = _play_broken(street, "1", 5, LISTS + 2)
    assert order.payloads == 20
    assert order.violations


def _play_broken(street: Street, unawaited: str, lists: int, first: int) -> Order:
    trace = street.directory.parent / f"broken{unawaited}.strace"
    street.children["gateway"].stop()
    street.environment[sends_first.UNAWAITED] = unawaited
    street.set_gateway(sends_first.__name__, strace.traced(trace, *CALLS))
    street.start_gateway()
    street.wait_for_gateway()
    return _play(street, trace, lists, first)


def _play(street: Street, trace: Path, lists: int, first: int) -> Order:
    """Publish lists, each with its own sizes, wait until the banks have them, end the gateway, judge its trace."""
    known = {bank: len(street.arrived(bank)) for bank in street.banks}
    for number in range(first, first + lists):
        street.publish({bank: least + number for bank, least in LEAST_LINES.items()})
    street.wait_until(
        "every bank has every list", lambda: all(len(street.arrived(b)) >= known[b] + lists for b in street.banks), 120
    )
    street.wait_until("every answer is in the books", lambda: not asyncio.run(_open(street)))
    street.children["gateway"].stop()
    rows = asyncio.run(_submissions(street))
    arrivals = {
        bank: [rows[bank, each["sha256"]] | {"size": each["size"]} for each in street.arrived(bank)[known[bank] :]]
        for bank in street.banks
    }
    ports = {getattr(street.ports, bank): arrivals[bank] for bank in street.banks}
    return judge(trace, street.postgres.port, ports)


def judge(trace: Path, database_port: int, banks: Mapping[int, list[dict[str, Any]]]) -> Order:
    """Hold each arrival at a bank's port against the commits that were answered before it left."""
    durable: dict[int, int] = {}
    payloads: dict[int, list[tuple[int, int]]] = defaultdict(list)  # by port: when it began, its bytes
    sessions: dict[str, pgwire.Session] = defaultdict(pgwire.Session)
    for call in strace.read(trace):
        if call.peer_port == database_port:
            if call.name in SENT:
                sessions[call.socket].from_client(call.data, call.ended)
            else:
                for done in sessions[call.socket].from_server(call.data, call.ended):
                    durable.update(dict.fromkeys(_made_sending(done), done.answered))
        elif call.peer_port in banks and call.name in SENT and call.result >= LEAST_PAYLOAD_BYTES:
            payloads[call.peer_port].append((call.began, call.result))
    violations = []
    for port, arrived in banks.items():
        left = list(payloads[port])
        for each in arrived:
            fitting = [one for one in left if each["size"] <= one[1] <= each["size"] + MOST_AROUND_BYTES]
            if not fitting:
                violations.append(f"submission {each['submission_id']} arrived, and no such bytes were seen to leave")
                continue
            sent = min(fitting, key=lambda one: one[1])
            left.remove(sent)
            if durable.get(each["submission_id"], sent[0]) >= sent[0]:
                violations.append(f"submission {each['submission_id']} left before its SENDING was answered")
        violations += [f"{one[1]} bytes left for port {port} that no bank has" for one in left]
    return Order(sum(map(len, payloads.values())), violations)


def _made_sending(done: pgwire.Committed) -> Iterator[int]:
    """The submissions that a committed transaction put in SENDING; the first parameter is the row's key."""
    for statement in done.statements:
        if "SET state = 'SENDING'" in statement.text and statement.parameters[0] is not None:
            yield int.from_bytes(statement.parameters[0], "big")


async def _submissions(street: Street) -> dict[tuple[str, str], dict[str, Any]]:
    connection = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        rows = await connection.fetch("SELECT submission_id, bank, encode(digest, 'hex') AS sha256 FROM submissions")
    finally:
        await connection.close()
    return {(row["bank"], row["sha256"]): {"submission_id": row["submission_id"]} for row in rows}


async def _open(street: Street) -> int:
    connection = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM submissions WHERE state IN ('PLANNED', 'RENDERED', 'SENDING')"
        )
    finally:
        await connection.close()
    return count
