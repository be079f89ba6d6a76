"""Books in which every sealed column holds something, and the ways to look at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from gateway.policy import AccountKind, Binding
from gateway.privacy import SealBroken, fresh_key_file, parse_keys
from gateway.store.engine import Connection, sql
from gateway.store.resealing import PLACES
from gateway.vault import Vault
from schemas.masked import AccountNumber, IdNumber
from tests.store.kit import BANK_NO, Gateway, line

COLUMNS = {table: "payload" if table == "submissions" else "sealed" for table in PLACES}


def with_key(vault: Vault, kid: str, *, active: bool, without: str = "") -> Vault:
    """A vault with one more key, or one less, as another process would have it after reading its file."""
    held = vault._keys
    assert held is not None
    fresh = held.sealing.get(kid) or parse_keys(fresh_key_file().encode()).sealing["k1"]
    sealing = {name: key for name, key in {**held.sealing, kid: fresh}.items() if name != without}
    return Vault.of(held.model_copy(update={"sealing": sealing, "active": kid if active else held.active}))


async def fill(gateway: Gateway) -> None:
    """Two lists paid, a line refused in each, a payout corrected by an order in each, notices and bindings."""
    people = [gateway.vault.person(IdNumber(str(line(n)["id_no"]))) for n in (1, 2)]
    kept = Binding(AccountNumber("6299991111111111111"), AccountKind.SSCARD, BANK_NO)
    await gateway.store.batches.load_bindings(
        [(person, gateway.vault.seal_binding(kept, person)) for person in people], gateway.clock.now()
    )
    await gateway.batch([*(line(n) for n in range(1, 6)), line(6, amount="0"), line(7, amount="0")], parts=2)
    await gateway.fund("500.00")
    await gateway.judge()
    await gateway.send()
    for number in (1, 2):
        told = {"reference": gateway.reference_of(number), "proof": "REJECTED", "reason": "ACCOUNT_CLOSED"}
        await gateway.answer(told)
        await gateway.order("REISSUE", f"O-{number}", number, 1, account=f"629999222222222222{number}")
    rest = [{"reference": gateway.reference_of(n), "proof": "CREDITED", "amount_fen": 10_000} for n in (3, 4, 5)]
    for one in rest:
        gateway.clock.forward(minutes=11)
        await gateway.answer(one)
    await gateway.send()
    async with gateway.store.engine.transaction() as connection:
        for row in await connection.fetch("SELECT notice_id FROM notices"):
            text = gateway.vault.seal(b"a text", "notices", row["notice_id"])
            await connection.execute("UPDATE notices SET sealed = $2 WHERE notice_id = $1", row["notice_id"], text)


async def rows_of(connection: asyncpg.Connection | Connection, table: str) -> list[Any]:
    """All sealed rows of a table: place, context, blob."""
    return list(await connection.fetch(sql(PLACES[table][0]), 0, 2**31, b"\0"))


def opens(vault: Vault, table: str, context: Sequence[str], blob: bytes) -> bool:
    """Whether a blob opens in its place."""
    try:
        vault.unseal(blob, table, *context)
    except SealBroken:
        return False
    return True
