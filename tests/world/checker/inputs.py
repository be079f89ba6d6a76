"""What was approved: the signed inputs, read from the desk's disk and judged without asking the gateway.

The directory holds one pair of files a message, numbered in the order of publishing: ``00000001.batch`` (the exact
bytes of the record) and ``00000001.json`` (``{"kind", "jws", "at_ms", "wall_ms"}``; ``jws`` is null for an unsigned
one), and beside them ``keys.json``, ``agreements.csv``, ``programmes.csv`` and, where accounts are kept,
``bindings.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.world.checker import lines, orders
from tests.world.checker.lines import Tables
from tests.world.checker.orders import Order, Orders
from tests.world.checker.persons import DUPLICATE, Persons
from tests.world.checker.receipts import BatchKey, Told
from tests.world.checker.signatures import KeyRing, NotSignedError, strict_json

SCHEMAS = {"batch": "payout.batch-part/v1", "funding": "payout.funding/v1", "order": "payout.order/v1"}
HEAD = (
    *("issuer", "batch_id", "county", "programme", "period", "document_no", "issuing_kind", "finance_bureau"),
    *("line_department", "list_received_at", "parts", "lines", "amount"),
)
DETAILS = frozenset({"name", "id_no", "phone", "account", "account_kind", "bank_no"})
ITEM = DETAILS | {"line", "address", "bank_name", "quantity", "unit", "rate", "amount", "remark"}
MEMBERS = {
    "batch": frozenset([*HEAD, "schema", "part", "items"]),
    "funding": frozenset(["schema", "issuer", "funding_id", "batch_id", "amount", "received_at"]),
    "order": frozenset(
        ["schema", "issuer", "order_id", "kind", "batch_id", "line", "attempt", "document_no", "details"]
    ),
}
_PLAIN = re.compile("[0-9]{1,13}([.][0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class Message(orders.Signed):
    """One published message whose signature holds; it was written down before it was sent."""

    kind: str


@dataclass(frozen=True, slots=True)
class Details:
    """Who is to be paid, where; a version comes from the list, each later one from an order."""

    name: str
    id_no: str
    account: str
    bank_no: str
    phone: str


@dataclass(slots=True)
class Payout:
    """One line of a complete batch. ``refused`` is why it must not be paid, "" when it is approved."""

    batch: BatchKey
    line: int
    programme: str
    period: str
    amount_fen: int
    details: Details
    refused: str
    orders: list[Order] = field(default_factory=list)
    written: str = ""  # the amount as the list has it
    purpose: str = ""  # the words for the programme that a bank is told
    county: str = ""
    item: Mapping[str, str] = field(default_factory=dict)  # the line as it was written

    @property
    def name(self) -> str:
        """How violations name it: nothing about the person."""
        return f"{self.batch[1]}/{self.line}"


@dataclass(slots=True)
class Batch:
    key: BatchKey
    payouts: dict[int, Payout]
    completed_ms: int
    completed_wall_ms: int
    funded: bool = False
    funded_wall_ms: int = 0  # when the confirmation that made it enough was published
    recalls: list[Order] = field(default_factory=list)  # that were not refused

    @property
    def approved(self) -> list[Payout]:
        return [payout for payout in self.payouts.values() if not payout.refused]


@dataclass(slots=True)
class Inputs:
    """Everything validly signed, and every personal value of everything published, signed or not."""

    batches: dict[BatchKey, Batch]
    personal: set[str]
    published: int
    valid: int
    tables: Tables
    unanswerable: list[tuple[str, Order]]  # orders about no approved line, by the line that they name


def read(directory: Path, told: Told | None = None, *, tables: Tables | None = None) -> Inputs:
    """All inputs of a run. What finance was ``told`` says which orders acted, and whom they left free for a later
    list; ``tables`` replaces those beside the messages."""
    told = told or Told()
    if tables is None:
        tables = Tables.read(directory / "agreements.csv", directory / "programmes.csv", directory / "bindings.csv")
    ring = KeyRing(directory / "keys.json")
    personal: set[str] = set()
    valid: list[Message] = []
    published = 0
    for number, kind, raw, about in _messages(directory):
        published += 1
        document = _document(kind, raw)
        _collect_personal(document, personal)
        try:
            issuer = ring.demand(kind, raw, about["jws"], about["at_ms"])
        except NotSignedError:
            continue
        if document is not None and document["issuer"] == issuer:
            valid.append(Message(number, raw, document, about["at_ms"], about["wall_ms"], kind))
    for account, _ in tables.accounts.values():
        personal.add(account)
    ordered = orders.read([message for message in valid if message.kind == "order"])
    batches = _batches([message for message in valid if message.kind == "batch"], tables, told, ordered)
    _fund(batches, [message for message in valid if message.kind == "funding"])
    for key, batch in batches.items():
        batch.recalls = [one for one in ordered.recalls.get(key, ()) if one.digest not in told.refused_orders]
    return Inputs(batches, personal, published, len(valid), tables, list(ordered.left()))


def _messages(directory: Path) -> Iterator[tuple[int, str, bytes, dict[str, Any]]]:
    for path in sorted(directory.glob("[0-9]*.json")):
        about = strict_json(path.read_bytes())
        yield int(path.stem), about["kind"], path.with_suffix(f".{about['kind']}").read_bytes(), about


def _document(kind: str, raw: bytes) -> dict[str, Any] | None:
    """The message, when it has exactly the members that version 1 has."""
    try:
        document = strict_json(raw)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.get("schema") != SCHEMAS[kind] or document.keys() != MEMBERS[kind]:
        return None
    if kind == "batch":
        items = document["items"]
        if not isinstance(items, list) or not 1 <= len(items) <= 1000:
            return None
        for item in items:
            texts = isinstance(item, dict) and all(isinstance(item[n], str) for n in item if n != "line")
            if not texts or item.keys() != ITEM or not isinstance(item["line"], int):
                return None
    details = document.get("details")
    if kind == "order" and details is not None and not (isinstance(details, dict) and details.keys() <= DETAILS):
        return None
    return document


def _collect_personal(document: dict[str, Any] | None, personal: set[str]) -> None:
    for item in (document or {}).get("items", ()):
        personal.update((item["name"], item["id_no"], item["phone"], item["account"], item["address"]))
        personal.add(lines.legal_name(item["name"]))
    for name, value in ((document or {}).get("details") or {}).items():
        if value and name in ("name", "id_no", "phone", "account"):
            personal.update((value, lines.legal_name(value)))


def _batches(messages: list[Message], tables: Tables, told: Told, ordered: Orders) -> dict[BatchKey, Batch]:
    """Batches whose every part is in and whose totals agree, in the order in which they became complete."""
    heads: dict[BatchKey, dict[str, Any]] = {}
    parts: dict[BatchKey, dict[int, Message]] = {}
    complete: dict[BatchKey, Batch] = {}
    persons = Persons(told)
    for message in messages:
        document = message.document
        key = (document["issuer"], document["batch_id"])
        head = heads.setdefault(key, {name: document[name] for name in HEAD})
        if key in complete or head != {name: document[name] for name in HEAD}:
            continue
        of_batch = parts.setdefault(key, {})
        of_batch.setdefault(document["part"], message)  # the same id with other bytes is a conflict: the first stays
        if len(of_batch) == head["parts"]:
            batch = _judge(key, head, [of_batch[number] for number in sorted(of_batch)], tables, persons, ordered)
            if batch is not None:
                complete[key] = batch
    return complete


def _judge(
    key: BatchKey,
    head: Mapping[str, Any],
    parts: list[Message],
    tables: Tables,
    persons: Persons,
    ordered: Orders,
) -> Batch | None:
    items = sorted((item for part in parts for item in part.document["items"]), key=lambda item: int(item["line"]))
    written = sum((Decimal(item["amount"]) for item in items if _PLAIN.fullmatch(item["amount"])), Decimal(0))
    numbers = {item["line"] for item in items}
    if len(items) != head["lines"] or len(numbers) != len(items) or written != Decimal(head["amount"]):
        return None
    if head["programme"] not in tables.programmes:
        return None
    completed_ms = max(part.at_ms for part in parts)
    day = lines.day(completed_ms)
    payouts: dict[int, Payout] = {}
    for item in items:
        refused = lines.refusal(item, tables, head["county"], day)
        person = (head["programme"], head["period"], item["id_no"].upper())
        about = [] if refused else ordered.about.get((key, item["line"]), [])
        if not refused and not persons.claim(person, (key, item["line"]), about):
            refused, about = DUPLICATE, []
        if about:
            ordered.take((key, item["line"]))
        account, bank_no = lines.where(item, tables)
        details = Details(lines.legal_name(item["name"]), item["id_no"].upper(), account, bank_no, item["phone"])
        payouts[item["line"]] = Payout(
            key,
            item["line"],
            head["programme"],
            head["period"],
            lines.fen(item["amount"]) or 0,
            details,
            refused,
            about,
            written=item["amount"],
            purpose=tables.programmes[head["programme"]],
            county=head["county"],
            item=item,
        )
    return Batch(key, payouts, completed_ms, max(part.wall_ms for part in parts))


def _fund(batches: Mapping[BatchKey, Batch], messages: list[Message]) -> None:
    """A batch is funded when its distinct confirmations cover its approved lines."""
    confirmed: dict[tuple[str, str], tuple[BatchKey, int, int]] = {}
    for message in messages:
        document = message.document
        amount = (
            int(document["amount"].replace(".", "")) if re.fullmatch("[0-9]+[.][0-9]{2}", document["amount"]) else 0
        )
        key = (document["issuer"], document["batch_id"])
        confirmed.setdefault((document["issuer"], document["funding_id"]), (key, amount, message.wall_ms))
    for key, batch in batches.items():
        missing = sum(payout.amount_fen for payout in batch.approved)
        for of, amount, wall_ms in confirmed.values():
            if of == key and missing > 0:
                missing -= amount
                batch.funded_wall_ms = wall_ms
        batch.funded = missing <= 0
