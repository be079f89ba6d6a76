"""The simulated SMS centre as a process: strict, seeded, silent about people, with a memory that survives a kill."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.world.processes import Child, python_module
from tests.world.sms_centre import CALL_FAULTS, MESSAGE_FAULTS, Config, Programme, Refusal, Taken, read_call
from tests.world.sms_ledger import Ledger, Row, read_only

KEY = b"a-test-key-of-thirty-two-bytes-x"
SIGNATURE = "某某农商银行"


def call(count: int = 1, **changes: Any) -> bytes:
    messages = [
        {"ref": f"1042-{line}-1-ARRIVAL", "phone": f"138{line:08d}", "text": f"【{SIGNATURE}】秘密{line}"}
        for line in range(1, count + 1)
    ]
    sound = {"batchId": "7", "account": "bank", "billing": "SENDER", "signature": SIGNATURE, "messages": messages}
    return json.dumps(sound | changes, ensure_ascii=False).encode()


def signed(method: str, target: str, body: bytes, *, key: bytes = KEY, age_seconds: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) - age_seconds)
    text = f"{method}\n{target}\n{timestamp}\n{hashlib.sha256(body).hexdigest()}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return {"X-Account": "bank", "X-Timestamp": timestamp, "X-Signature": signature}


@dataclass
class Process:
    """A centre of its own process, and how to talk to it without any of the gateway's code."""

    child: Child
    directory: Path
    config: Path
    port: int = 0

    async def start(self) -> None:
        self.child.start()
        ready = await self.child.ready()
        assert set(ready) == {"ready", "port"}
        self.port = ready["port"]

    async def post(self, body: bytes, **signing: Any) -> tuple[int, Any]:
        return await self._ask("POST", "/sms/batch", body, **signing)

    async def reports(self, batch_id: str) -> tuple[int, Any]:
        return await self._ask("GET", f"/sms/reports?batchId={batch_id}", b"")

    async def _ask(self, method: str, target: str, body: bytes, **signing: Any) -> tuple[int, Any]:
        headers = signed(method, target, body, **signing)
        url = f"http://127.0.0.1:{self.port}{target}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=body or None, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    def printed(self) -> bytes:
        return self.child.output.read_bytes() + self.child.errors.read_bytes()


@pytest.fixture
async def heard() -> list[int]:
    return []


@pytest.fixture
async def ear(heard: list[int]) -> AsyncIterator[str]:
    """A gateway's ear that counts the reports it is told."""

    async def hear(request: web.Request) -> web.Response:
        heard.append(len((await request.json())["reports"]))
        return web.Response()

    application = web.Application()
    application.router.add_post("/sms/reports/sms", hear)
    async with TestServer(application) as server:
        yield f"http://127.0.0.1:{server.port}/sms/reports/sms"


def config_file(directory: Path, **keys: Any) -> Path:
    (directory / "sms.key").write_bytes(KEY + b"\n")
    path = directory / "sms_centre.json"
    sound = {"directory": "centre", "account": "bank", "key_file": "sms.key", "report_seconds": [0, 0]}
    path.write_text(json.dumps(sound | keys), encoding="utf-8")
    return path


@pytest.fixture
def process(tmp_path: Path, ear: str) -> Iterator[Process]:
    config = config_file(tmp_path, callback_url=ear, callback_every_real_milliseconds=1)
    child = Child("sms_centre", python_module("tests.world.sms_centre", "--config", config), tmp_path)
    yield Process(child, tmp_path / "centre", config)
    child.stop(grace=5)


def count(directory: Path, query: str) -> int:
    with read_only(directory) as ledger:
        return int(ledger.execute(query).fetchone()[0])


async def test_takes_reports_and_ends_without_printing_anybody(process: Process) -> None:
    """A call is taken, reported and called back; stdout is the ready line alone, and SIGTERM ends it cleanly."""
    await process.start()
    status, answer = await process.post(call(100))
    assert (status, answer["code"], len(answer["results"])) == (200, "OK", 100)
    assert (await process.post(call(1, batchId="8", billing="RECEIVER")))[1] == {"code": "BILLS_RECEIVER"}
    status, answer = await process.reports("7")
    assert {(each["status"], each["billed"]) for each in answer["reports"]} == {("DELIVRD", "SENDER")}
    assert await process.reports("nobody") == (404, {"code": "NOT_FOUND"})
    assert process.child.stop(grace=5) == 0
    assert process.printed().count(b"\n") == 1
    assert "秘密".encode() not in process.printed()
    assert b"1380000" not in process.printed()


async def test_a_killed_centre_goes_on_from_its_ledger(process: Process, heard: list[int]) -> None:
    """After kill -9 what was taken is still there, numbers go on, and owed callbacks come, each message's once."""
    process.config.write_text(
        json.dumps(json.loads(process.config.read_text()) | {"report_seconds": [2, 2]}), encoding="utf-8"
    )
    await process.start()
    await process.post(call(3))
    process.child.kill()
    assert heard == []
    await process.start()
    async with asyncio.timeout(10):
        while sum(heard) < 3:
            await asyncio.sleep(0.02)
    status, answer = await process.post(call(1))  # no deduplication: the same call again is another SMS
    assert status == 200
    assert answer["results"][0]["msgId"] > "M000000001002"
    assert process.child.stop(grace=5) == 0
    assert sum(heard) == 3
    assert count(process.directory, "SELECT count(*) FROM messages WHERE ref = '1042-1-1-ARRIVAL'") == 2
    assert count(process.directory, "SELECT count(*) FROM reported") == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (call(101), "TOO_MANY"),
        (call(1, billing="RECEIVER"), "BILLS_RECEIVER"),
        (call(1, billing=None), "BILLS_RECEIVER"),
        (call(1, signature="另一家银行"), "SIGNATURE"),
        (call(0), "FORMAT"),
        (call(1, messages=[{"ref": "a", "phone": "13800000001"}]), "FORMAT"),
        (call(1, messages=[{"ref": "a", "phone": 13800000001, "text": "x"}]), "FORMAT"),
        (call(1, messages=[{"ref": "a", "phone": "1", "text": "x"}] * 2), "FORMAT"),
        (
            rb'{"billing":"SENDER","batchId":"7","signature":"x","messages":[{"ref":"a","phone":"1","text":"\ud800"}]}',
            "FORMAT",
        ),
        (b"[]", "FORMAT"),
        (b"{", "FORMAT"),
    ],
)
def test_what_may_not_be_taken_is_refused_as_a_whole(tmp_path: Path, body: bytes, code: str) -> None:
    """101 messages, a bill for the receiver, a strange signature or a wrong form: nothing is taken at all."""
    config = Config(tmp_path, "bank", tmp_path, signatures=[SIGNATURE])
    assert len(read_call(call(100), config)["messages"]) == 100
    with pytest.raises(Refusal) as caught:
        read_call(body, config)
    assert (caught.value.status, caught.value.code) == (400, code)


async def test_strangers_are_refused(process: Process) -> None:
    """A wrong key, an old signature or an altered body is nobody's call, and it is written down as refused."""
    await process.start()
    assert await process.post(call(), key=b"another key") == (401, {"code": "KEY"})
    assert await process.post(call(), age_seconds=301) == (401, {"code": "KEY"})
    assert (await process.post(call(), age_seconds=200))[0] == 200
    assert count(process.directory, "SELECT count(*) FROM events WHERE code = 'KEY'") == 2
    assert count(process.directory, "SELECT count(*) FROM messages") == 1


def fates(programme: Programme, refs: list[str], nth: int = 0) -> dict[str, tuple[str, int]]:
    taken = Taken(1, "7", nth, SIGNATURE, 0)
    rows = [
        programme.judge(taken, index, {"ref": ref, "phone": f"139{int(ref):08d}", "text": f"【{SIGNATURE}】"})
        for index, ref in enumerate(refs)
    ]
    return {row.ref: (row.fault, row.status_at_ms) for row in rows}


def test_a_seed_replays_whatever_the_order(tmp_path: Path) -> None:
    """The same seed gives each message the same fate in any order; another seed, or a second try, another one."""
    rates = dict.fromkeys((*MESSAGE_FAULTS, "refuse_number", *CALL_FAULTS), 1000)
    first, second, other = (Programme(Config(tmp_path, "bank", tmp_path, seed=seed, rates=rates)) for seed in (1, 1, 2))
    refs = [str(number) for number in range(300)]
    assert fates(first, refs) == fates(second, refs[::-1])
    assert fates(first, refs) != fates(other, refs)
    assert fates(first, refs) != fates(first, refs, nth=1)
    fired = {fault for fault, _ in fates(first, refs).values()}
    assert fired == {"", "refuse_number", *MESSAGE_FAULTS}
    assert {first.call(ref, 0) for ref in refs} == {"", *CALL_FAULTS}


def test_rates_are_kept(tmp_path: Path) -> None:
    """A fault fires about as often as it was asked to, and never when it was not."""
    calm = Programme(Config(tmp_path, "bank", tmp_path))
    assert {calm.call(str(number), 0) for number in range(1000)} == {""}
    tenth = Programme(Config(tmp_path, "bank", tmp_path, rates={"error_after": 1000}))
    assert 900 < sum(tenth.call(str(number), 0) == "error_after" for number in range(10_000)) < 1100


def test_planned_faults_win_over_rates(tmp_path: Path) -> None:
    """A test can say which arrival of which call fails, and how."""
    plan = {"7": ["none", "throttle"], "*": ["drop_after"]}
    programme = Programme(Config(tmp_path, "bank", tmp_path, rates={"error_after": 10_000}, calls=plan))
    assert [programme.call("7", nth) for nth in range(3)] == ["", "throttle", ""]
    assert [programme.call("8", nth) for nth in range(2)] == ["drop_after", ""]


def test_the_ledger_only_grows(tmp_path: Path) -> None:
    """No row of the ledger can be changed or removed, not even by the centre itself."""
    ledger = Ledger(tmp_path, "OFF")
    row = Row("M1", 1, "7", "r", "13800000001", "text", 4, "OK", "SENDER", 0, "DELIVRD", 0, 0, 1, "")
    ledger.write("CALL", "7", "taken", count=1, messages=[row], reported=["M1"])
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as tampering:
        for statement in ("UPDATE messages SET billed = 'RECEIVER'", "DELETE FROM events", "DELETE FROM reported"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                tampering.execute(statement)


def test_the_ledger_number_is_the_event_of_its_rows(tmp_path: Path) -> None:
    """Messages carry the number of their call, so the checker can order calls, questions and callbacks."""
    ledger = Ledger(tmp_path, "OFF")
    assert [ledger.write("QUERY", "7", "never_seen"), ledger.write("CALL", "7", "lost")] == [1, 2]
    ledger.close()
    again = Ledger(tmp_path, "OFF")
    assert again.write("CALL", "7", "lost") == 3
    assert again.arrivals()["7"] == 2
    again.close()


@pytest.mark.parametrize(
    "wrong",
    [{"fault": 1}, {"rates": {"explode": 1}}, {"calls": {"7": ["undelivered"]}}, {"numbers": {"1": "throttle"}}],
    ids=["key", "rate", "call", "number"],
)
def test_unknown_words_in_the_configuration_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """A misspelt fault never makes a test pass by not firing."""
    with pytest.raises(ValueError, match="unknown"):
        Config.load(config_file(tmp_path, **wrong))


async def test_a_wrong_configuration_ends_with_a_reason(tmp_path: Path) -> None:
    """A centre that cannot read its configuration says why and does not start."""
    command = python_module("tests.world.sms_centre", "--config", config_file(tmp_path, surprise=1))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert out == b""
    assert b"surprise" in err
