"""S4, keys: they rotate under load without one failed read, a swapped blob never opens, a lost key breaks nothing else.

In every run: the real steps over a real store, in one process, while keys are added and all rows sealed again by the
sealing role, round after round. In the whole row also a real gateway process, SIGHUP and `gateway reseal` beside it.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest

import gateway.vault as vaults
from gateway import log as logging
from gateway.privacy import Broken, SealBroken, Sealer
from tests.store.kit import Gateway, line
from tests.store.sealed_kit import COLUMNS, fill, opens, rows_of, with_key
from tests.storm.scale import FULL, figure, size
from tests.storm.street import Street

ROTATIONS: Final = size(4, 20)
LINES: Final = size(20, 200)


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[SealBroken]:
    """Every read that failed, whoever swallowed it."""
    seen: list[SealBroken] = []
    unseal = Sealer.unseal

    def counted(self: Sealer, blob: bytes, aad: bytes) -> bytes:
        try:
            return unseal(self, blob, aad)
        except SealBroken as error:
            seen.append(error)
            raise

    monkeypatch.setattr(Sealer, "unseal", counted)
    return seen


async def _work(gateway: Gateway, *, until: asyncio.Event) -> int:
    """List after list is judged and paid, and must be credited; how many payouts."""
    done = 0
    for number in itertools.count(1):
        batch_id = f"659999-KEYS-{number:04d}"
        lines = [line(each) for each in range(1, LINES + 1)]
        for part in gateway.signed_parts(lines, batch_id, 2, period=f"P{number}"):
            await gateway.intake.take_batch(*part)
        await gateway.fund(f"{LINES * 100}.00", batch_id, f"F-K-{number}")
        await gateway.judge()
        await gateway.send()
        told = [
            {"reference": reference, "proof": "CREDITED", "amount_fen": 10_000}
            for sent in gateway.bank.sent
            for reference in sent.references
        ]
        gateway.bank.sent.clear()
        await gateway.answer(*told)
        (batch,) = await gateway.store.reads.find_batches(batch_id)
        assert await gateway.buckets(batch["batch_no"]) == {"credited": LINES}
        done += LINES
        if until.is_set():
            return done
    raise AssertionError("unreachable")


async def _rotate(gateway: Gateway) -> int:
    """Let the process read one more key, make it active, seal all again, several times; rows sealed again."""
    rows = 0
    for number in range(2, ROTATIONS + 2):
        ahead = with_key(gateway.vault, f"k{number}", active=True)
        assert ahead._keys is not None
        gateway.vault.renew(ahead._keys)
        done = await gateway.store.resealing.round(ahead.head, ahead.reseal)
        assert done.broken == {}
        rows += done.rows.total()
        await asyncio.sleep(0.05)
    return rows


async def test_keys_rotate_under_load_without_a_failed_read(gateway: Gateway, failed: list[SealBroken]) -> None:
    """Lists are paid while every row is sealed again under key after key: nothing fails to open, everybody is paid."""
    await fill(gateway)
    gateway.bank.sent.clear()
    rotated = asyncio.Event()
    working = asyncio.create_task(_work(gateway, until=rotated))
    rows = await _rotate(gateway)
    rotated.set()
    paid = await working
    assert failed == []
    keys = {key for _, key, _ in await gateway.store.resealing.by_key()}
    assert f"k{ROTATIONS + 1}" in keys
    figure("S4", rotations=ROTATIONS, rows_sealed_again=rows, payouts_meanwhile=paid, failed_reads=0)


async def test_rows_sealed_under_a_key_that_the_process_has_not_read_are_caught(
    gateway: Gateway, failed: list[SealBroken]
) -> None:
    """The control: the order of the runbook turned round, the key not added first; reads fail, and name the key."""
    await gateway.batch([line(1), line(2)])
    await gateway.fund("200.00")
    ahead = with_key(gateway.vault, "k2", active=True)
    await gateway.store.resealing.round(ahead.head, ahead.reseal)
    await gateway.judge()
    assert {str(error) for error in failed} == {"UNKNOWN_KEY: sealed under key k2"}


async def _swaps(gateway: Gateway) -> tuple[int, int]:
    """Put every blob in the place of every other one, within its table and across tables: tried, and opened."""
    found: list[tuple[str, Any]] = []
    async with gateway.store.engine.connection() as connection:
        for table in COLUMNS:
            found += [(table, row) for row in await rows_of(connection, table)]
    tried = opened = 0
    for (table, row), (other_table, other) in itertools.permutations(found, 2):
        if (table, list(row["context"])) == (other_table, list(other["context"])):
            continue  # two attempts made by the same order hold the same details
        tried += 1
        opened += opens(gateway.vault, table, row["context"], other["sealed"])
    return tried, opened


async def test_every_swap_of_rows_or_columns_is_detected(gateway: Gateway) -> None:
    """Each blob in the place of each other: none opens; stored so, it is left alone, and its damage is told."""
    await fill(gateway)
    tried, opened = await _swaps(gateway)
    assert tried > 300
    assert opened == 0
    async with gateway.store.engine.transaction() as connection:
        for table, column in COLUMNS.items():
            one, other = (await rows_of(connection, table))[:2]
            for place, blob in ((one["place"], other["sealed"]), (other["place"], one["sealed"])):
                (now,) = [r for r in await rows_of(connection, table) if r["context"] == _context_at(place, one, other)]
                await connection.execute(f"UPDATE {table} SET {column} = $1 WHERE ctid = $2", blob, now["place"])
    ahead = with_key(gateway.vault, "k2", active=True)
    done = await gateway.store.resealing.round(ahead.head, ahead.reseal)
    assert done.broken == {(table, str(Broken.ALTERED), "k1"): 2 for table in COLUMNS}
    figure("S4", swaps=tried, detected=tried - opened)


def _context_at(place: Any, one: Any, other: Any) -> Any:
    return one["context"] if place == one["place"] else other["context"]


async def test_a_vault_that_does_not_bind_to_row_and_column_is_caught(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: seals that are bound to nothing open anywhere, and to the table alone anywhere in it."""
    for context in (lambda table, row: b"", lambda table, row: table.encode()):
        monkeypatch.setattr(vaults, "_context", context)
        await fill_once(gateway)
        tried, opened = await _swaps(gateway)
        assert opened > tried // 20


async def fill_once(gateway: Gateway) -> None:
    """The books, or, where they are filled already, the same rows under new seals of the same vault."""
    async with gateway.store.engine.connection() as connection:
        if not await rows_of(connection, "payouts"):
            await fill(gateway)
            return
        for table, column in COLUMNS.items():
            for row in await rows_of(connection, table):
                blob = gateway.vault.seal(b"anything", table, *row["context"])
                await connection.execute(f"UPDATE {table} SET {column} = $1 WHERE ctid = $2", blob, row["place"])


async def test_a_lost_key_is_named_and_breaks_nothing_else(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process starts without the key that an unsent list lies under: it says which; other lists are paid."""
    await gateway.batch([line(1), line(2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.batch([{**line(10 + n), "line": n} for n in (1, 2)], "659999-KEYS-9999")
    await gateway.fund("200.00", "659999-KEYS-9999", "F-2")
    gateway.dispatch._vault = gateway.intake._vault = with_key(gateway.vault, "k2", active=True, without="k1")
    logging.configure("INFO")
    await gateway.judge()  # the second list came under the lost key too: it rests
    await gateway.batch([{**line(20 + n), "line": n} for n in (1, 2)], "659999-KEYS-9998")
    await gateway.fund("200.00", "659999-KEYS-9998", "F-3")
    await gateway.judge()
    await gateway.send()
    assert sum(len(sent.references) for sent in gateway.bank.sent) == 2
    assert await gateway.buckets(3) == {"in_flight": 2}
    said = capsys.readouterr().out
    for event in ("unrenderable", "batch cannot be judged"):
        (told,) = [one for one in said.splitlines() if event in one]
        assert "UNKNOWN_KEY: sealed under key k1" in told


# --- The whole row: a real process ------------------------------------------------------------------------------------


@pytest.mark.skipif(not FULL, reason="the whole row only: make storm-row ROW=keys")
def test_a_running_gateway_takes_new_keys_and_its_rows_are_sealed_again_beside_it(tmp_path: Path) -> None:
    """SIGHUP with the key, with it active, `gateway reseal`, five times while lists are paid: all is credited."""
    with Street(tmp_path / "street") as street:
        keys = street.directory / "privacy_keys.json"
        for number in range(2, 7):
            street.publish(dict.fromkeys(street.banks, 50))
            _renew(street, keys, f"k{number}", active=False)
            _renew(street, keys, f"k{number}", active=True)
            street.command("reseal", config=street.sealer)
        street.wait_until("everybody is paid", lambda: street.paid() == 5 * 200, 120)
        street.wait_until("the books know", lambda: _credited(street) == 5 * 200, 60)
        said = street.command("reseal", config=street.sealer)
        log = street.children["gateway"].output.read_text()
    assert "no row needs k1, k2, k3, k4, k5" in said
    assert "SealBroken" not in log
    figure("S4", process="real", rotations=5, payouts=1000, failed_reads=log.count("SealBroken"))


def _renew(street: Street, keys: Path, kid: str, *, active: bool) -> None:
    """Change the key file in one step, tell the process, and wait until it says that it has read it."""
    file: dict[str, Any] = json.loads(keys.read_text())
    file["sealing"].setdefault(kid, base64.b64encode(os.urandom(32)).decode())
    fresh = keys.with_suffix(".new")
    fresh.write_text(json.dumps({**file, "active": kid if active else file["active"]}))
    fresh.replace(keys)
    output = street.children["gateway"].output
    told = output.read_text().count('"keys renewed"')
    street.children["gateway"].send(signal.SIGHUP)
    street.wait_until("keys renewed", lambda: output.read_text().count('"keys renewed"') > told)


def _credited(street: Street) -> int:
    metrics = asyncio.run(street.metrics())
    return int(sum(v for labels, v in metrics.get("payout_payouts", {}).items() if "credited" in labels))
