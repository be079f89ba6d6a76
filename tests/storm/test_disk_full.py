"""R8, disk full and I/O errors: what cannot be written down is not sent; it is told at once, and mended by itself.

The gateway writes in two places only: PostgreSQL, and its log on standard output. Everything else (files for banks,
result files, what is quarantined) is a row. So a full disk is PostgreSQL's, and is met twice: in every run by a trigger
that refuses *at COMMIT* with the server's own error, and in the whole row by a real PostgreSQL on a file system that is
filled to the last byte under load, which also takes the server down. The log's disk is `/dev/full`.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from gateway import log as logging
from gateway.app import App, Parts
from gateway.dispatch import Dispatch
from gateway.loop import Loop
from tests.store.kit import Gateway, line
from tests.storm.broken.sends_anyway import begin_anyway
from tests.storm.scale import FULL, figure
from tests.storm.street import Street
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
        await asyncio.sleep(gateway.config.timing.lease_seconds)  # the claim of the turn that failed
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
    await asyncio.sleep(gateway.config.timing.lease_seconds)
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


@pytest.mark.skipif(not FULL, reason="the whole row only: make storm-row ROW=disk_full")
@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_database_on_a_full_disk_is_told_within_5_s_and_works_again_within_60(tmp_path: Path) -> None:
    """The real processes: filled under load, nothing is sent that is not written down, and all is paid once after."""
    with small_disk(tmp_path / "street" / "postgres"), Street(tmp_path / "street") as street:
        street.publish(dict.fromkeys(street.banks, 10))
        street.wait_until("the first list is paid", lambda: street.paid() == 40)
        fill(street.directory / "postgres")
        before = {bank: len(street.arrived(bank)) for bank in street.banks}
        street.publish(dict.fromkeys(street.banks, 200))
        fell = street.wait_until("readiness fell", lambda: run_apart(street.get("/ready")) is None)
        _stay_full(street)
        while_full = {bank: street.arrived(bank)[before[bank] :] for bank in street.banks}
        (street.directory / "postgres" / BALLAST).unlink()
        recovered = _recover(street)
        street.wait_until("everybody is paid", lambda: street.paid() >= 840, 180)
        written = run_apart(_sent(street))
        assert street.paid() == 840
    unknown = [one for bank, many in while_full.items() for one in many if (bank, one["sha256"]) not in written]
    assert unknown == []
    sent = sum(map(len, while_full.values()))
    figure("R8", sent=sent, unwritten=0, not_ready_seconds=round(fell, 1), recovery_seconds=round(recovered, 1))
    assert fell <= NOT_READY_SECONDS
    assert recovered <= RECOVERY_SECONDS


def _stay_full(street: Street) -> None:
    """Long enough for every step to have tried, and for a server that could not go on to have ended."""
    with pytest.raises(ChildError, match="not within"):
        street.wait_until("never", lambda: False, 10)


def _recover(street: Street) -> float:
    """Start the server again where it ended, as its supervisor would; seconds until the gateway is ready."""
    if street.postgres.child is not None and not street.postgres.child.running:
        street.postgres.start()
    return street.wait_until("ready again", lambda: run_apart(street.get("/ready")) is not None, RECOVERY_SECONDS + 30)


async def _sent(street: Street) -> set[tuple[str, str]]:
    """What the books say was sent: by bank and digest."""
    connection: Any = await asyncpg.connect(street.postgres.dsn("payout"))
    try:
        rows = await connection.fetch(
            "SELECT bank, encode(digest, 'hex') AS sha256 FROM submissions WHERE sent_at IS NOT NULL"
        )
    finally:
        await connection.close()
    return {(row["bank"], row["sha256"]) for row in rows}
