"""The floor under the benchmark: the same bytes consumed and produced, the same rows written, with no logic at all.

    python -m tests.bench.floor --dsn ... --bootstrap ... --prefix ...

Reads back what the measured run wrote, then does only what cannot be avoided: consume the signed parts, COPY the rows
into empty tables with the same indexes, update each attempt once, produce the receipts. It prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import aiosql
import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

_QUERIES = aiosql.from_path(Path(__file__).parent / "floor.sql", "asyncpg", mandatory_parameters=False)
_PAYOUT = ("payout_id", "beneficiary", "programme", "period", "bank", "bank_no", "amount_fen", "has_phone", "sealed")
_ATTEMPT = ("submission_id", "seq", "payout_id", "attempt_no", "bank", "reference", "amount_fen")
_OUTCOME = ("submission_id", "seq", "state", "host_reference", "post_date", "artefact", "settled_at", "credited_at")
CHUNK = 1_000


async def measure(dsn: str, bootstrap: str, prefix: str) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(_QUERIES.rows_of_run.sql)
    records = [bytes(row["value"]) for row in await connection.fetch(_QUERIES.records_of_run.sql)]
    await connection.execute(_QUERIES.empty_tables.sql)
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    payouts = [[tuple(row[name] for name in _PAYOUT) for row in chunk] for chunk in chunks]
    attempts = [[tuple(row[name] for name in _ATTEMPT) for row in chunk] for chunk in chunks]
    outcomes = [[[row[name] for row in chunk] for name in _OUTCOME] for chunk in chunks]
    consumer, producer = await _kafka(bootstrap, prefix)
    per_chunk = -(-len(records) // max(len(chunks), 1))
    backend = await connection.fetchval("SHOW data_directory")
    begun, own = time.monotonic(), time.process_time()
    consumed = 0
    for number in range(len(chunks)):
        consumed += await _consume(consumer)
        await connection.copy_records_to_table("floor_payouts", records=payouts[number], columns=_PAYOUT)
        await connection.copy_records_to_table("floor_attempts", records=attempts[number], columns=_ATTEMPT)
        await connection.execute(_QUERIES.settle.sql, *outcomes[number])
        for value in records[number * per_chunk : (number + 1) * per_chunk]:
            await producer.send(f"{prefix}floor", value)
        await producer.flush()
    ended, spent = time.monotonic(), time.process_time()
    await consumer.stop()
    await producer.stop()
    await connection.close()
    return {
        "payouts": len(rows),
        "records_consumed": consumed,
        "seconds": ended - begun,
        "cpu_seconds": spent - own,
        "data_directory": str(backend),
    }


async def _kafka(bootstrap: str, prefix: str) -> tuple[AIOKafkaConsumer, AIOKafkaProducer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4_000_000,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await consumer.start()
    await producer.start()
    topic = f"{prefix}batches"
    partitions = [TopicPartition(topic, number) for number in sorted(await producer.partitions_for(topic))]
    consumer.assign(partitions)
    return consumer, producer


async def _consume(consumer: AIOKafkaConsumer) -> int:
    fetched = await consumer.getmany(timeout_ms=0, max_records=1)
    return sum(len(records) for records in fetched.values())


def main() -> None:
    parser = argparse.ArgumentParser(prog="floor")
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    given = parser.parse_args()
    os.nice(0)
    print(json.dumps(asyncio.run(measure(given.dsn, given.bootstrap, given.prefix))), flush=True)


if __name__ == "__main__":
    main()
