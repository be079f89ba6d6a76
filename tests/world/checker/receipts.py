"""What the gateway told finance: receipts, batch reports and refusals, as they stood on the topics.

Each file holds one JSON object a Kafka record (``{"topic", "partition", "offset", "value"}``, ``value`` the record's
text; and ``wall_ms``, when it was read, where the reader kept that), in the order of reading. Repeated records are
kept: that they are byte-identical is one of the things to check.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINAL = ("credited", "failed", "cancelled")

BatchKey = tuple[str, str]  # issuer, batch id


@dataclass(frozen=True, slots=True)
class Receipt:
    batch: BatchKey
    line: int
    payout_id: str
    attempt: int
    outcome: str
    reason: str
    amount: str
    reference: str
    late: bool
    receipt_id: str
    final_ms: int  # when the gateway held it to be so, by its clock
    heard_ms: int | None = None  # real; when finance had certainly read it


@dataclass(slots=True)
class Told:
    """Everything finance heard. ``altered`` names repeats that differ: they are a violation by themselves."""

    receipts: dict[tuple[BatchKey, int], list[Receipt]] = field(default_factory=dict)
    by_reference: dict[str, Receipt] = field(default_factory=dict)
    reports: dict[BatchKey, dict[str, Any]] = field(default_factory=dict)
    refused_orders: dict[str, str] = field(default_factory=dict)  # SHA-256 of their bytes (ids may repeat) -> why
    altered: list[str] = field(default_factory=list)
    records: int = 0
    repeats: int = 0


def read(receipts: Path, reports: Path | None = None, refusals: Path | None = None) -> Told:
    told = Told()
    messages: dict[str, str] = {}
    contents: dict[str, dict[str, Any]] = {}
    for value, heard_ms in _records(receipts):
        told.records += 1
        chunk = json.loads(value)
        identity = chunk["message_id"]
        if identity in messages:
            told.repeats += 1
            if messages[identity] != value:
                told.altered.append(f"message {identity}")
        messages.setdefault(identity, value)
        _take_chunk(told, chunk, contents, heard_ms)
    for value, _ in _records(reports):
        report = json.loads(value)
        key = (report["issuer"], report["batch_id"])
        known = told.reports.get(key)
        if known is None or report["revision"] > known["revision"]:
            told.reports[key] = report
        elif report["revision"] == known["revision"] and report != known:
            told.altered.append(f"report {report['report_id']}")
    for value, _ in _records(refusals):
        refusal = json.loads(value)
        if refusal.get("order_id") and refusal.get("digest"):
            told.refused_orders.setdefault(refusal["digest"], refusal["reason"])
    return told


def _take_chunk(told: Told, chunk: dict[str, Any], contents: dict[str, dict[str, Any]], heard_ms: int | None) -> None:
    batch = (chunk["issuer"], chunk["batch_id"])
    for item in chunk["receipts"]:
        known = contents.setdefault(item["receipt_id"], item)
        if known is not item:
            if known != item:
                told.altered.append(f"receipt {item['receipt_id']}")
            continue
        receipt = Receipt(
            batch,
            item["line"],
            item["payout_id"] or "",
            item["attempt"],
            item["outcome"],
            item["reason"] or "",
            item["amount"],
            item["reference"] or "",
            item["late"],
            item["receipt_id"],
            round(dt.datetime.fromisoformat(item["final_at"]).timestamp() * 1000),
            heard_ms,
        )
        told.receipts.setdefault((batch, receipt.line), []).append(receipt)
        if receipt.reference:
            told.by_reference.setdefault(receipt.reference, receipt)


def _records(path: Path | None) -> list[tuple[str, int | None]]:
    """Each record's text, and when it was read."""
    if path is None or not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        read = [json.loads(line) for line in file if line.strip()]
    return [(record["value"], record.get("wall_ms")) for record in read]
