"""What finance orders in R15 about the lists that it published, what it then says under the same ids, and what is due.

In each list the first line is paid again and fails again, the second is paid again to another account, the third is
cancelled; the others were credited. One list more, which no money came for, is recalled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from schemas.v1 import Kind
from tests.store import kit
from tests.store.kit import Gateway

ORDERED = 3  # lines of a list of which the bank rejects the first attempt
REJECTED = {"proof": "REJECTED", "reason": "ACCOUNT_CLOSED", "code": "3018"}
Message = tuple[str, bytes, bytes]  # topic, value, signature


def account_of(person: int) -> str:
    return str(kit.line(person)["account"])


def corrected(person: int) -> str:
    return f"6299991{person:012d}"


def orders(gateway: Gateway, batch: str, people: list[int]) -> list[Message]:
    """About the first three lines of a list, in ``people``'s order."""
    return [
        _order(gateway, f"{batch}-1", "REISSUE", batch, 1, 1),
        _order(gateway, f"{batch}-2", "REISSUE", batch, 2, 1, account=corrected(people[1])),
        _order(gateway, f"{batch}-3", "CANCEL", batch, 3, 1),
    ]


def recall(gateway: Gateway, batch: str) -> Message:
    return _order(gateway, f"{batch}-R", "RECALL", batch, None, None)


def changed(gateway: Gateway, batch: str) -> list[Message]:
    """Other bytes under the ids of ``orders``; each would be in order if its id were new: the first line has failed
    once more, and waits for one."""
    return [
        _order(gateway, f"{batch}-1", "REISSUE", batch, 1, 2),
        _order(gateway, f"{batch}-2", "REISSUE", batch, 1, 2, account=corrected(1)),
        _order(gateway, f"{batch}-3", "CANCEL", batch, 1, 2),
    ]


def changed_recall(gateway: Gateway, batch: str, other: str) -> Message:
    """The recall of one list, saying now that another one was meant."""
    return _order(gateway, f"{batch}-R", "RECALL", other, None, None)


def _order(
    gateway: Gateway, name: str, kind: str, batch: str, line: int | None, attempt: int | None, **details: str
) -> Message:
    body = {
        "schema": "payout.order/v1",
        "issuer": kit.ISSUER,
        "order_id": f"O-{name}",
        "kind": kind,
        "batch_id": batch,
        "line": line,
        "attempt": attempt,
        "document_no": "某某财农〔2026〕19号",
        "details": details or None,
    }
    return ("orders", *gateway.signed(Kind.ORDER, body))


def travelled(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Reference and account of every line that reached the bank, once for each time it did."""
    for rendered in gateway.bank.sent:
        _, rows = json.loads(rendered.payload)
        yield from ((reference, account) for reference, account, *_ in rows)


def due_accounts(lists: list[list[int]]) -> Counter[str]:
    """By account, how often it has to have been paid, or tried: once, and once more where that was ordered."""
    due: Counter[str] = Counter()
    for people in lists:
        due.update(account_of(person) for person in people)
        due.update([account_of(people[0]), corrected(people[1])])
    return due


async def bank_answers(gateway: Gateway, rejects: set[str], known: set[str]) -> None:
    """The bank decides what it has not decided yet: accounts in ``rejects`` fail, the others are credited."""
    told: list[dict[str, Any]] = []
    for reference, account in travelled(gateway):
        if reference in known:
            continue
        known.add(reference)
        if account in rejects:
            told.append({**REJECTED, "reference": reference})
        else:
            credit = {"proof": "CREDITED", "amount_fen": 10_000, "host_reference": f"H{reference}"}
            told.append({**credit, "reference": reference})
    await gateway.answer(*told)
