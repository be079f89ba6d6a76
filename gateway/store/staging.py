"""What a change of state owes to others: receipts for finance, a notice for the person, staged with the change."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adapters.contract import Reason
from gateway import metrics
from gateway.reasons import reason_facts
from gateway.store import ids, outbox
from gateway.store.engine import Connection, sql
from gateway.store.history import canonical
from schemas.money import yuan_text_from_fen
from schemas.v1 import CHINA, WhoActs, code_text

NOTICE_SIZE = 100
RECEIPT_PROMISE = dt.timedelta(days=2)


@dataclass(slots=True)
class Receipt:
    """One receipt to be. ``attempt`` 0 is a refused line, which has no payout."""

    line: int
    attempt: int
    outcome: str
    amount_fen: int
    at: dt.datetime
    payout: int | None = None
    reason: str | None = None
    reference: str | None = None
    bank_no: str | None = None
    bank_code: str | None = None
    host_reference: str | None = None
    post_date: dt.date | None = None
    limit_at: dt.datetime | None = None
    late: bool = False
    amount_text: str | None = None  # a refused line's amount as written, where it is no amount


@dataclass(slots=True)
class Notice:
    """One person to be told of one thing."""

    payout: int
    attempt: int
    submission: int
    seq: int
    kind: str


def receipt_id(issuer: str, batch_id: str, line: int, attempt: int, outcome: str) -> str:
    """Made of what both sides know, so that a reader can recompute it and deduplicate by it."""
    text = "\n".join((issuer, batch_id, str(line), str(attempt), outcome))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache(maxsize=256)  # the receipts of a chunk share their times
def moment(at: dt.datetime | None) -> str | None:
    """A time on the wire: Shanghai offset, whole seconds."""
    return None if at is None else at.astimezone(CHINA).isoformat(timespec="seconds")


def head(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that name a batch in everything that goes back upstream."""
    names = ("issuer", "batch_id", "county", "programme", "period", "finance_bureau", "line_department")
    return {name: batch[name] for name in names}


async def stage_receipts(
    connection: Connection, batch: Mapping[str, Any], receipts: Sequence[Receipt], at: dt.datetime
) -> None:
    """Stage receipts of one batch as few, large records."""
    records = []
    key = outbox.batch_key(batch["issuer"], batch["batch_id"])
    for start in range(0, len(receipts), outbox.RECEIPTS_PER_RECORD):
        chunk = receipts[start : start + outbox.RECEIPTS_PER_RECORD]
        items = [_item(batch, receipt) for receipt in chunk]
        digest = hashlib.sha256("".join(item["receipt_id"] for item in items).encode()).hexdigest()
        body = {
            "schema": "payout.receipts/v1",
            "message_id": digest[:32],
            **head(batch),
            "issued_at": moment(at),
            "receipts": items,
        }
        records.append(outbox.Record("receipts", key, canonical(body), at, at + RECEIPT_PROMISE))
    for outcome, count in Counter(receipt.outcome for receipt in receipts).items():
        metrics.RECEIPTS.labels(outcome=outcome).inc(count)
    await outbox.stage(connection, records)


def _item(batch: Mapping[str, Any], receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt_id": receipt_id(batch["issuer"], batch["batch_id"], receipt.line, receipt.attempt, receipt.outcome),
        "line": receipt.line,
        "payout_id": None if receipt.payout is None else ids.payout_name(receipt.payout),
        "attempt": receipt.attempt,
        "outcome": receipt.outcome,
        "reason": receipt.reason,
        "who_acts": _who_acts(receipt),
        "amount": receipt.amount_text or yuan_text_from_fen(receipt.amount_fen),
        "reference": receipt.reference,
        "bank_no": receipt.bank_no,
        "bank_code": code_text(receipt.bank_code),
        "host_reference": code_text(receipt.host_reference),
        "post_date": None if receipt.post_date is None else receipt.post_date.isoformat(),
        "final_at": moment(receipt.at),
        "limit_at": moment(receipt.limit_at),
        "late": receipt.late,
    }


def _who_acts(receipt: Receipt) -> str | None:
    """Whose move it is; a refused line is the department's: it comes back only in a new batch."""
    if receipt.reason is None:
        return None
    return reason_facts(Reason(receipt.reason)).who_acts.value if receipt.attempt else WhoActs.DEPARTMENT.value


async def stage_notices(
    connection: Connection, batch_no: int, signature: str, notices: Sequence[Notice], at: dt.datetime
) -> None:
    """Stage notices of one batch, by kind, in calls of at most a hundred."""
    by_kind: dict[str, list[Notice]] = defaultdict(list)
    for notice in notices:
        by_kind[notice.kind].append(notice)
    for kind, group in sorted(by_kind.items()):
        for start in range(0, len(group), NOTICE_SIZE):
            chunk = group[start : start + NOTICE_SIZE]
            await connection.execute(
                sql("insert_notices"),
                batch_no,
                kind,
                signature,
                [n.payout for n in chunk],
                [n.attempt for n in chunk],
                [n.submission for n in chunk],
                [n.seq for n in chunk],
                ["DUE"] * len(chunk),
                at,
            )
