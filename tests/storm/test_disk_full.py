"""R8, disk full and I/O errors: what cannot be written down is not sent; it is told at once, and mended by itself.

The gateway writes in two places only: PostgreSQL, and its log on standard output. Everything else (files for banks,
result files, what is quarantined) is a row. So a full disk is PostgreSQL's, and is met twice: in every run by a trigger
that refuses *at COMMIT* with the server's own error, and in the whole row by a real PostgreSQL on a file system that is
filled to the last byte under load, which also takes the server down. The log's disk is `/dev/full`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from gateway import log as logging
from gateway.app import App, Parts
from gateway.dispatch import Dispatch
from gateway.loop import Loop
from tests.store.kit import Gateway, expire, line
from tests.storm.broken import sends_anyway
from tests.storm.broken.sends_anyway import begin_anyway
from tests.storm.scale import FULL, figure
from tests.storm.street import Street
from tests.world.layout_banks import BANKS
from tests.world.processes import ChildError, run_apart

DISK_MEGABYTES: Final = 400
BALLAST: Final = "ballast"
NOT_READY_SECONDS, RECOVERY_SECONDS = 5, 60
SENDING: Final = "WHEN (NEW.state = 'SENDING')"
ERRORS: Final = {"full": ("53100", "DiskFullError"), "broken": ("58030", "PostgresIOError")}

_REFUSE = """
CREATE OR REPLACE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '{code}'; END $$;
DROP TRIGGER IF EXISTS refuse_commit ON {table};
CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT OR UPDATE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW {when} EXECUTE FUNCTION refuse_commit();
"""


async def _run(gateway: Gateway, statement: str) -> None:
    async with gateway.store.engine.connection() as connection:
        await connection.execute(statement)


async def _refusing(gateway: Gateway, table: str, kind: str, when: str = "") -> None:
    await _run(gateway, _REFUSE.format(table=table, code=ERRORS[kind][0], when=when))


async def _approved(gateway: Gateway, count: int) -> None:
    await gateway.batch([line(number) for number in range(1, count + 1)])
    await gateway.fund(f"{count * 100}.00")
    await gateway.judge()


@pytest.mark.parametrize("kind", ERRORS)
async def test_nothing_is_sent_after_a_failed_commit_and_all_of_it_afterwards(gateway: Gateway, kind: str) -> None:
    """Every commit of SENDING fails at the last moment: no call is made, readiness says why, and later all is paid."""
    await _approved(gateway, 3)
    await gateway.cut_and_render()
    await _refusing(gateway, "submissions", kind, SENDING)
    for _ in range(2):
        with pytest.raises((asyncpg.DiskFullError, asyncpg.PostgresIOError)):
            await gateway.send()
        await expire(gateway)  # the claim of the turn that failed
    assert gateway.bank.sent == []
    app = App(gateway.config, Parts.__new__(Parts))
    with pytest.raises(Exception, match="refuses to write"):
        await app._ping(gateway.store)
    assert app.readiness()["database"] == f"PostgreSQL refuses to write ({ERRORS[kind][1]})"
    await _run(gateway, "DROP TRIGGER refuse_commit ON submissions")
    await gateway.send()
    assert len(gateway.bank.sent) == 1


async def test_a_build_that_sends_after_a_failed_commit_is_caught(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same refusals, and a call was made."""
    monkeypatch.setattr(Dispatch, "_begin", begin_anyway)
    await _approved(gateway, 3)
    await gateway.cut_and_render()
    await _refusing(gateway, "submissions", "full", SENDING)
    await gateway.send()
    assert len(gateway.bank.sent) == 1


@pytest.mark.parametrize(("table", "step"), [("payouts", "judge"), ("submissions", "cut_and_render")])
async def test_a_full_disk_is_no_fault_of_the_list_or_the_submission_that_met_it(
    gateway: Gateway, table: str, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judging and rendering fail as steps, which back off and try again: nothing is set aside as unfit for minutes."""
    logging.configure("INFO")
    await gateway.batch([line(1), line(2)])
    await gateway.fund("200.00")
    if table == "submissions":
        await gateway.judge()
        while await gateway.dispatch.plan():
            pass
    await _refusing(gateway, table, "full")
    with pytest.raises(asyncpg.DiskFullError):
        await getattr(gateway, step)()
    await _run(gateway, f"DROP TRIGGER refuse_commit ON {table}")
    await expire(gateway)
    await gateway.judge()
    await gateway.send()
    assert [len(sent.references) for sent in gateway.bank.sent] == [2]
    said = capsys.readouterr().out
    assert "unrenderable" not in said
    assert "cannot be judged" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_full_disk_under_the_log_stops_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that fails while the log cannot be written either goes on; the lines that were lost are counted."""
    monkeypatch.setattr(logging._Lines, "lost", 0)
    turns = 0
    log = logging.get_logger("storm")

    async def step() -> bool:
        nonlocal turns
        turns += 1
        raise OSError("the work of this turn failed")

    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        logging.configure("INFO", full)
        loop = Loop(lambda name, error: log.warning("step failed", step=name))
        loop.add("storm", step, 0)
        while turns < 3:
            await asyncio.sleep(0.05)
        await loop.stop(1)
        lost = logging._Lines.lost
        kept = io.StringIO()
        logging.configure("INFO", kept)
        log.info("stopped")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # what is buffered cannot be written at its closing
    logging.configure("INFO")
    first, second = map(json.loads, kept.getvalue().splitlines())
    assert lost >= 3
    assert first == {"event": "log lines lost", "count": lost}
    assert second["event"] == "stopped"


# --- The whole row: a real disk, filled -------------------------------------------------------------------------------


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of a few hundred megabytes at ``place``; skipped where mounting is not permitted."""
    place.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=755", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(disk: Path) -> None:
    """Take every last byte."""
    with (disk / BALLAST).open("wb") as ballast:
        for block in (1 << 20, 1 << 12):
            try:
                while True:
                    os.write(ballast.fileno(), b"\1" * block)
            except OSError:
                continue


# Each bank takes a few lines at a time, so that most of a list still waits for its turn when the disk is full.
WAITS: Final = {"max_lines": 5, "submit_interval_milliseconds": 500}
FIRST, SECOND = 10, 200  # lines of each bank


@dataclass(frozen=True, slots=True)
class Full:
    """What the banks' ledgers and the books say about the time without a byte of room."""

    waiting: int  # lines that no bank had when the disk was full
    failed: int  # times that the log tells of a step of sending that could not write, or had no server any more
    sent: int  # submissions that reached a bank while it was full: SENDING may still fit into a page that is there
    unwritten: int  # arrivals, then or later, of which the books know no transmission
    not_ready_seconds: float  # real, never money
    recovery_seconds: float
    paid: int


def play_full(directory: Path, module: str = "gateway") -> Full:
    """The real processes: filled while three lists in four wait to be sent, room again, everybody paid."""
    settings = {f"banks.{bank}.settings": WAITS for bank in BANKS}
    with (
        small_disk(directory / "postgres"),
        Street(directory, module=module, gateway=settings) as street,
    ):
        street.publish(dict.fromkeys(street.banks, FIRST))
        street.wait_until("the first list is paid", lambda: street.paid() >= len(BANKS) * FIRST)
        known = {bank: len(street.arrived(bank)) for bank in street.banks}
        street.publish(dict.fromkeys(street.banks, SECOND))
        street.wait_until(
            "every bank has the beginning", lambda: all(len(street.arrived(b)) > known[b] for b in street.banks), 180
        )
        fill(street.directory / "postgres")
        known = {bank: len(street.arrived(bank)) for bank in street.banks}
        waiting = len(BANKS) * (FIRST + SECOND) - sum(one["count"] for b in street.banks for one in street.arrived(b))
        fell = street.wait_until("readiness fell", lambda: run_apart(street.get("/ready")) is None)
        _stay_full(street)
        sent = sum(len(street.arrived(bank)) - known[bank] for bank in street.banks)
        (street.directory / "postgres" / BALLAST).unlink()
        recovered = _recover(street)
        street.wait_until("everybody is paid", lambda: street.paid() >= len(BANKS) * (FIRST + SECOND), 300)
        street.wait_until("every answer is in the books", lambda: not run_apart(_sending(street)), 60)
        written = run_apart(_sent(street))
        arrived = Counter((bank, one["sha256"]) for bank in street.banks for one in street.arrived(bank))
        return Full(
            waiting,
            _failed(street),
            sent,
            (arrived - written).total(),
            round(fell, 1),
            round(recovered, 1),
            street.paid(),
        )


whole_row = pytest.mark.skipif(not FULL, reason="the whole row only: make storm-row ROW=disk_full")
needs_root = pytest.mark.skipif(
    shutil.which("mount") is None or os.geteuid() != 0, reason="mounting a small disk needs root"
)


@whole_row
@needs_root
def test_a_database_on_a_full_disk_is_told_within_5_s_and_works_again_within_60(tmp_path: Path) -> None:
    """Filled with payouts on their way: what reaches a bank is in the books, and all is paid once afterwards."""
    full = play_full(tmp_path / "street")
    figure("R8", **dataclasses.asdict(full))
    assert full.waiting > 0
    assert full.failed > 0  # and not only because there was nothing to do
    assert full.unwritten == 0
    assert full.paid == len(BANKS) * (FIRST + SECOND)
    assert full.not_ready_seconds <= NOT_READY_SECONDS
    assert full.recovery_seconds <= RECOVERY_SECONDS


@whole_row
@needs_root
def test_a_build_that_sends_anyway_is_caught_on_the_full_disk(tmp_path: Path) -> None:
    """The control of the whole row: on the same path, banks have what no book knows of, and pay it twice."""
    full = play_full(tmp_path / "street", sends_anyway.__name__)
    figure("R8", control="sends anyway", **dataclasses.asdict(full))
    assert full.unwritten > 0


def _stay_full(street: Street) -> None:
    """Long enough for every step to have tried, and for a server that could not go on to have ended."""
    with pytest.raises(ChildError, match="not within"):
        street.wait_until("never", lambda: False, 10)


def _recover(street: Street) -> float:
    """Start the server again where it ended, as its supervisor would; seconds until the gateway is ready."""
    if street.postgres.child is not None and not street.postgres.child.running:
        street.postgres.start()
    return street.wait_until("ready again", lambda: run_apart(street.get("/ready")) is not None, RECOVERY_SECONDS + 30)


def _failed(street: Street) -> int:
    """How often the gateway's log tells of a step of sending that failed."""
    child = street.children["gateway"]
    lines = (child.output.read_text() + child.errors.read_text()).splitlines()
    told = [json.loads(line) for line in lines if '"step failed"' in line]
    return sum(one["step"].startswith("send ") for one in told)


async def _sending(street: Street) -> int:
    """Submissions about whose last transmission the books know nothing yet."""
    connection: Any = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM submissions WHERE state = 'SENDING'"))
    finally:
        await connection.close()


async def _sent(street: Street) -> Counter[tuple[str, str]]:
    """What the books say was sent: transmissions by bank and digest."""
    connection: Any = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        rows = await connection.fetch(
            "SELECT bank, encode(digest, 'hex') AS sha256, transmissions FROM submissions WHERE transmissions > 0"
        )
    finally:
        await connection.close()
    written: Counter[tuple[str, str]] = Counter()
    for row in rows:
        written[row["bank"], row["sha256"]] += row["transmissions"]
    return written
