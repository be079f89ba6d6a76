"""What the bank's JSON proves: strict reading, then one piece of evidence for each thing it says.

Fields that we do not know are passed over (a bank adds fields without asking); fields that we need must be of exactly
the type of the manual. An amount is a string with two decimals: as a JSON number it is refused, because nobody knows
through how many floats it went.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from adapters.banks.json_https import codes
from adapters.contract import Evidence, Proof, Reason, Rendered, Unreadable
from adapters.wire.words import shown
from schemas.money import fen_from_yuan_text

_REFERENCE = re.compile(r"[0-9A-Z]{1,30}")
_BATCH_NO = re.compile(r"[0-9A-Z]{1,20}")
_BANK_REF = re.compile(r"[0-9A-Za-z_.:/-]{1,64}")
_CODE = re.compile(r"[0-9A-Z_]{1,40}")
_CURSOR = re.compile(r"[\x21-\x7e]{1,200}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FINAL: Final = frozenset({Proof.CREDITED, Proof.RETURNED, Proof.REJECTED})


def read_object(body: bytes) -> dict[str, Any]:
    """One JSON object from UTF-8 bytes: no key twice, no NaN. Raises Unreadable, which never quotes the bytes."""
    try:
        document = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_float=Decimal, parse_constant=_no_constant
        )
    except (ValueError, ArithmeticError, RecursionError):  # a number with a monstrous exponent is no Decimal
        raise Unreadable("not one JSON object in UTF-8 with unique keys") from None
    if not isinstance(document, dict):
        raise Unreadable("not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def batch_no(document: dict[str, Any]) -> str:
    value = document.get("batchNo")
    if not isinstance(value, str) or _BATCH_NO.fullmatch(value) is None:
        raise Unreadable("no batchNo")
    return value


def code_of(document: dict[str, Any], key: str = "code") -> str:
    """A code fit for a metric or a log; "" where there is none, MALFORMED where it is not one."""
    value = document.get(key)
    if value is None:
        return ""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "MALFORMED"


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a callback or of a page: what each proves, and the sum of the listed amounts (None: unreadable)."""

    submission: str
    evidence: tuple[Evidence, ...]
    listed_fen: int | None

    @classmethod
    def of(cls, document: dict[str, Any], artefact: str) -> Items:
        """Raises Unreadable for the whole of it: nothing is believed of a page that is broken in one place."""
        submission = batch_no(document)
        items = document.get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Unreadable("no list of items")
        amounts = [_amount(item)[0] for item in items]
        listed = [amount for amount in amounts if amount is not None]
        return cls(
            submission,
            tuple(_item(item, submission, artefact) for item in items),
            sum(listed) if len(listed) == len(amounts) else None,
        )


def next_cursor(document: dict[str, Any]) -> str | None:
    """Where the next page begins, None after the last."""
    if "next" not in document:
        raise Unreadable("a page without next")
    value = document["next"]
    if value is not None and (not isinstance(value, str) or _CURSOR.fullmatch(value) is None):
        raise Unreadable("a cursor that is none")
    return value


def _item(item: dict[str, Any], submission: str, artefact: str) -> Evidence:
    reference = item.get("ref")
    if not isinstance(reference, str) or _REFERENCE.fullmatch(reference) is None:
        raise Unreadable("an item without ref")
    proof, reason, code = _verdict(item)
    amount, amount_is_good = _amount(item)
    host_reference = _matching(item.get("bankRef"), _BANK_REF)
    post_date = _date(item.get("postDate"))
    incomplete = not amount_is_good or (proof in _FINAL and amount is None)
    if proof in (Proof.CREDITED, Proof.RETURNED):
        # Bookings are told apart by these two: without them, a second credit would look like the first one read again.
        incomplete = incomplete or host_reference is None or post_date is None
    if incomplete:
        proof, reason, code = Proof.IN_DOUBT, Reason.UNKNOWN, codes.INCOMPLETE_ITEM
    moved = proof in (Proof.CREDITED, Proof.RETURNED)
    return Evidence(
        proof=proof,
        reference=reference,
        submission=submission,
        reason=reason,
        code=code,
        text=_text(item.get("reason")),
        amount_fen=amount if moved else None,
        host_reference=host_reference if moved else None,
        post_date=post_date if moved else None,
        artefact=artefact,
    )


def _verdict(item: dict[str, Any]) -> tuple[Proof, Reason | None, str]:
    status = code_of(item, "status")
    if status == codes.FAILED:
        code = code_of(item, "reasonCode")
        proof, reason = codes.classify(code) or (Proof.IN_DOUBT, Reason.UNKNOWN)
        return proof, reason, code or codes.FAILED
    proof = codes.ITEM_STATUS.get(status, Proof.IN_DOUBT)
    if proof is Proof.RETURNED:
        # The money is back whatever the code says; why is for the department, which reads code and text.
        return proof, Reason.RETURNED_AFTER_CREDIT, code_of(item, "reasonCode") or status
    return proof, Reason.UNKNOWN if proof is Proof.IN_DOUBT else None, status


def _amount(item: dict[str, Any]) -> tuple[int | None, bool]:
    """The amount in fen, and whether what stands there may stand there."""
    value = item.get("amount")
    if value is None:
        return None, True
    if not isinstance(value, str):
        return None, False
    try:
        return fen_from_yuan_text(value), True
    except ValueError:
        return None, False


def _matching(value: object, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _date(value: object) -> dt.date | None:
    if not isinstance(value, str) or _DATE.fullmatch(value) is None:
        return None
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        return None


def _text(value: object) -> str:
    """The bank's own words, without the numbers of people and without anything a terminal would act on."""
    return shown(value) if isinstance(value, str) else ""


def judge_submission(status: int, document: dict[str, Any], rendered: Rendered, artefact: str) -> Evidence:
    """What a signed answer to POST /v1/batches proves about the whole submission."""
    code = code_of(document)
    proof, reason, said = Proof.IN_DOUBT, Reason.UNKNOWN, f"{status}_{code}" if code else f"HTTP_{status}"
    ours = document.get("batchNo", rendered.submission) == rendered.submission
    if (status, code) == codes.ACCEPTED and document.get("batchNo") == rendered.submission:
        return Evidence(Proof.RECEIVED, submission=rendered.submission, code=code, artefact=artefact)
    if (status, code) == codes.DUPLICATE and ours and isinstance(document.get("digest"), str):
        if document["digest"].lower() == rendered.sha256:
            return Evidence(Proof.RECEIVED, submission=rendered.submission, code=code, artefact=artefact)
        reason, said = Reason.DUPLICATE, codes.OTHER_DIGEST
    elif ours and (refusal := codes.NOT_TAKEN.get((status, code))) is not None:
        proof, reason, said = Proof.NOT_TAKEN, refusal, code
    return Evidence(
        proof,
        submission=rendered.submission,
        reason=reason,
        code=said,
        text=_text(document.get("message")),
        artefact=artefact,
    )


@dataclass(frozen=True, slots=True)
class BatchHead:
    """GET /v1/batches/{no}: how far the bank is, and what it believes the batch to be."""

    status: str
    count: int
    total_fen: int
    artefact: str

    @classmethod
    def of(cls, document: dict[str, Any], artefact: str) -> BatchHead:
        """Raises Unreadable when a field is missing or is not what the manual says."""
        status, count, total = (
            code_of(document, "status"),
            document.get("instructionCount"),
            document.get("totalAmount"),
        )
        if status not in codes.BATCH_STATUS or type(count) is not int or not isinstance(total, str):
            raise Unreadable("a batch without status, instructionCount or totalAmount")
        try:
            return cls(status, count, fen_from_yuan_text(total), artefact)
        except ValueError:
            raise Unreadable("a batch whose totalAmount is no amount") from None


@dataclass(slots=True)
class Listing:
    """All pages of a batch's items that could be read; ``fault`` says why reading ended early, if it did."""

    evidence: list[Evidence] = field(default_factory=list)
    listed_fen: int | None = 0
    complete: bool = False
    fault: str = ""

    def add(self, items: Items) -> None:
        self.evidence.extend(items.evidence)
        both = self.listed_fen is not None and items.listed_fen is not None
        self.listed_fen = (self.listed_fen or 0) + (items.listed_fen or 0) if both else None


def judge_batch(head: BatchHead, listing: Listing, rendered: Rendered) -> list[Evidence]:
    """One piece of evidence about the whole submission, then one for each line that the bank says something about.

    A line that the bank does not list is ABSENT only in books that close: the batch is DONE, all pages were read, no
    reference in them is twice or strange, and count and sum of the head are those of the items. Anything less (the
    bank may list our line under a wrong reference) leaves that line in doubt: ABSENT would pay it a second time.
    """
    ours = frozenset(rendered.references)
    listed = [line.reference for line in listing.evidence]
    told = frozenset(listed)
    missing = [reference for reference in rendered.references if reference not in told]
    done = head.status == "DONE" and listing.complete
    closes = (
        done
        and len(told) == len(listed) == head.count
        and ours.issuperset(listed)
        and listing.listed_fen == head.total_fen
    )
    agrees = (head.count, head.total_fen) == (len(rendered.references), rendered.total_fen)
    # One word about the whole says what a thousand lines "PROCESSING" would say.
    lines = [line for line in listing.evidence if (line.proof, line.code) != (Proof.IN_PROCESS, "PROCESSING")]
    working = len(lines) < len(listing.evidence)
    if done:
        lines += [_missing(reference, rendered, head, absent=closes) for reference in missing]
    proof, reason, code = Proof.RECEIVED, None, head.status
    if head.status == "PROCESSING" or working:
        proof = Proof.IN_PROCESS
    if listing.fault or not (agrees or closes):
        proof, reason, code = Proof.IN_DOUBT, Reason.UNKNOWN, listing.fault or codes.TOTALS_DIFFER
    whole = Evidence(proof, submission=rendered.submission, reason=reason, code=code, artefact=head.artefact)
    return [whole, *lines]


def _missing(reference: str, rendered: Rendered, head: BatchHead, *, absent: bool) -> Evidence:
    return Evidence(
        Proof.ABSENT if absent else Proof.IN_DOUBT,
        reference=reference,
        submission=rendered.submission,
        reason=Reason.NOT_EXECUTED if absent else Reason.UNKNOWN,
        code=codes.MISSING_ITEM,
        artefact=head.artefact,
    )
