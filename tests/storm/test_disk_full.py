"""R8, disk full and I/O errors: what cannot be written down is not sent; it is told at once, and mended by itself.

The gateway writes in two places only: PostgreSQL, and its log on standard output. Everything else (files for banks,
result files, what is quarantined) is a row. So a disk that is full or fails is PostgreSQL's. In every run a trigger
refuses *at COMMIT* with the server's own error: no call of the kernel fails there. In the whole row a real PostgreSQL
meets it under load: on a file system that is filled to the last byte, and under `fiu-run`, where its writes, reads and
syncs themselves fail. Either takes the server down. The log's disk is `/dev/full`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest

from gateway import admin
from gateway import log as logging
from gateway.app import App, Parts
from gateway.dispatch import Dispatch
from gateway.loop import Loop
from tests.store.kit import Gateway, expire, line
from tests.storm.broken import sends_anyway
from tests.storm.broken.sends_anyway import begin_anyway
from tests.storm.disk import fiu
from tests.storm.disk.failing import LINES, LISTS, SPELLS, play_failing
from tests.storm.disk.full import FIRST, RECOVERY_SECONDS, SECOND, play_full
from tests.storm.scale import FULL, figure
from tests.world.layout_banks import BANKS

NOT_READY_SECONDS: Final = 5
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


async def _ready(app: App) -> tuple[int, dict[str, Any]]:
    """What the gateway's own door answers to `/ready`."""
    door = admin.build(app, admin.Limits())
    await door.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{door.port}/ready") as answer:
            return answer.status, json.loads(await answer.text())
    finally:
        await door.stop()


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
    app._fault("kafka", None)  # so that the database is the only reason
    with pytest.raises(Exception, match="refuses to write"):
        await app._ping(gateway.store)
    status, page = await _ready(app)
    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert page["components"] == {"database": f"PostgreSQL refuses to write ({ERRORS[kind][1]})"}
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


# --- The whole row: a real disk, which is filled or fails -------------------------------------------------------------

whole_row = pytest.mark.skipif(not FULL, reason="the whole row only: make storm-row ROW=disk_full")
needs_root = pytest.mark.skipif(
    shutil.which("mount") is None or os.geteuid() != 0, reason="mounting a small disk needs root"
)
needs_fiu = pytest.mark.skipif(FULL and bool(fiu.missing()), reason=fiu.missing() if FULL else "")


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
    assert full.status_503_after_seconds <= NOT_READY_SECONDS
    assert full.recovery_seconds <= RECOVERY_SECONDS


@whole_row
@needs_root
def test_a_build_that_sends_anyway_is_caught_on_the_full_disk(tmp_path: Path) -> None:
    """The control of the whole row: on the same path, banks have what no book knows of, and pay it twice."""
    full = play_full(tmp_path / "street", sends_anyway.__name__)
    figure("R8", control="sends anyway", **dataclasses.asdict(full))
    assert full.unwritten > 0


@whole_row
@needs_fiu
@pytest.mark.parametrize("slow", [False, True], ids=["as shipped", "slow before SENDING"])
def test_a_disk_that_fails_under_the_database_costs_time_and_no_money(tmp_path: Path, slow: bool) -> None:
    """Real calls fail in six spells: each send is in the books, 503 within 5 s, ready within 60 s, all paid once."""
    failing = play_failing(tmp_path, slow=slow)
    figure("R8", disk="fails", slow=slow, **failing.figures())
    assert failing.faults == []
    assert failing.io_errors > 0  # by PostgreSQL's own log
    assert failing.failed > 0
    assert failing.unwritten == 0
    assert not any(failing.counters.values())
    assert failing.credited == failing.payouts == LISTS * LINES
    assert len(failing.status_503_after_seconds) == sum(spell.probability >= 1 for spell in SPELLS)
    assert max(failing.status_503_after_seconds) <= NOT_READY_SECONDS
    assert len(failing.recovery_seconds) == len(SPELLS)
    assert max(failing.recovery_seconds) <= RECOVERY_SECONDS


@whole_row
@needs_fiu
def test_a_build_that_sends_anyway_is_caught_on_the_failing_disk(tmp_path: Path) -> None:
    """The control of the failing disk: the slow build, whose failed commits are a formality, on the same path."""
    failing = play_failing(tmp_path, bug="sends_anyway", slow=True)
    figure("R8", disk="fails", control="sends anyway", **failing.figures())
    assert failing.io_errors > 0
    assert failing.payouts == LISTS * LINES  # and no commit was lost by PostgreSQL itself
    assert failing.unwritten > 0
    assert failing.counters["BR"] > 0
    assert failing.counters["DP"] > 0
