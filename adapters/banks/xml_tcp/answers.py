"""What the bank's documents prove: one piece of evidence for each thing that a reply says.

A reply is read as a whole or not at all: an item without a readable reference or amount makes its list worthless.
Fields that we do not know are passed over, because a bank adds fields without asking.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.banks.xml_tcp import codes
from adapters.banks.xml_tcp.wire import Document
from adapters.contract import Evidence, Proof, Reason, Rendered, Unreadable
from schemas.money import fen_from_yuan_text

_CODE: Final = re.compile(r"[0-9A-Za-z]{0,8}").fullmatch
_REFERENCE: Final = re.compile(r"[0-9A-Z]{1,30}").fullmatch
_BATCH: Final = re.compile(r"[0-9A-Z]{1,20}").fullmatch
_HOST_REFERENCE: Final = re.compile(r"[0-9A-Za-z_.:/-]{1,64}").fullmatch
_DAY: Final = re.compile(r"[0-9]{8}").fullmatch
_NUMBER: Final = re.compile(r"[0-9]{1,9}").fullmatch
_LONG_NUMBER: Final = re.compile(r"[0-9]{5,}[Xx]?")
_TEXT_CHARACTERS: Final = 120
_CLOSING: Final = frozenset({Proof.REJECTED, Proof.ABSENT, Proof.NOT_TAKEN})

MALFORMED: Final = "MALFORMED"
UNREADABLE: Final = "UNREADABLE"
LINES_DIFFER: Final = "LINES_DIFFER"
CONTRADICTION: Final = "CONTRADICTION"


def code_of(fields: Mapping[str, str], name: str = "CODE") -> str:
    """A code fit for a metric or a log: "" where it is blank or missing, MALFORMED where it is none."""
    value = fields.get(name, "")
    return value if _CODE(value) else MALFORMED


def retcode_of(document: Document) -> str:
    return code_of(document.head, "RETCODE")


def shown(text: str) -> str:
    """The bank's words as kept in clear: without long numbers and whatever does not print."""
    text = _LONG_NUMBER.sub("*", text)
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable())
    return text[:_TEXT_CHARACTERS]


def date_of(text: str) -> dt.date | None:
    """yyyyMMdd; None for anything else."""
    if _DAY(text) is None:
        return None
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def number_of(fields: Mapping[str, str], name: str) -> int:
    """A count. Raises Unreadable when there is none."""
    value = fields.get(name, "")
    if _NUMBER(value) is None:
        raise Unreadable(f"no {name}")
    return int(value)


def batch_of(fields: Mapping[str, str]) -> str:
    value = fields.get("BATCHNO", "")
    if _BATCH(value) is None:
        raise Unreadable("no BATCHNO")
    return value


def reference_of(fields: Mapping[str, str]) -> str:
    value = fields.get("REF", "")
    if _REFERENCE(value) is None:
        raise Unreadable("an item without REF")
    return value


def amount_of(fields: Mapping[str, str]) -> int:
    """Fen. Raises Unreadable when AMT is not yuan with two decimals."""
    try:
        return fen_from_yuan_text(fields.get("AMT", ""))
    except ValueError:
        raise Unreadable("an item whose AMT is no amount") from None


@dataclass(frozen=True, slots=True)
class Booked:
    """When and under which number the bank booked an item; both or neither."""

    post_date: dt.date
    host_reference: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Booked | None:
        day, reference = date_of(fields.get("POSTDATE", "")), fields.get("HOSTREF", "")
        return None if day is None or _HOST_REFERENCE(reference) is None else cls(day, reference)


# --- a submission ----------------------------------------------------------------------------------------------------


def judge_package(document: Document, submission: str, artefact: str) -> Evidence:
    """What the reply to DF1001 proves of the whole submission. Nobody is paid by it."""
    code = retcode_of(document)
    proof, reason = codes.PACKAGE_CODES.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN))
    return _whole(document, submission, artefact, proof, reason)


def judge_question(document: Document, submission: str, artefact: str) -> Evidence:
    """What the head of the reply to DF1002 proves; RECEIVED means that the lines are to be read."""
    proof, reason = codes.QUESTION_CODES.get(retcode_of(document), (Proof.IN_DOUBT, Reason.UNKNOWN))
    return _whole(document, submission, artefact, proof, reason)


def _whole(document: Document, submission: str, artefact: str, proof: Proof, reason: Reason | None) -> Evidence:
    return Evidence(
        proof,
        submission=submission,
        reason=reason,
        code=retcode_of(document),
        text=shown(document.head.get("RETMSG", "")),
        artefact=artefact,
    )


# --- lines -----------------------------------------------------------------------------------------------------------


def lines_of(document: Document, artefact: str) -> list[Evidence]:
    """The evidence of every item of a DF1002 or DF1003 reply. Raises Unreadable for the whole of it."""
    if retcode_of(document) != codes.SUCCESS or document.items is None:
        raise Unreadable("a reply without lines")
    submission = batch_of(document.body)
    return [_line(item, submission, artefact) for item in document.items]


def judge_line(document: Document, submission: str, reference: str, artefact: str) -> Evidence | None:
    """What the reply to DF1003 proves of one line; None when it proves nothing."""
    code = retcode_of(document)
    if code == codes.NOT_FOUND:
        absent = _whole(document, submission, artefact, Proof.ABSENT, Reason.NOT_EXECUTED)
        return dataclasses.replace(absent, reference=reference)
    try:
        lines = lines_of(document, artefact)
    except Unreadable:
        return None
    named = [(line.submission, line.reference) for line in lines]
    return lines[0] if named == [(submission, reference)] else None


def _line(item: Mapping[str, str], submission: str, artefact: str) -> Evidence:
    reference, amount, booked = reference_of(item), amount_of(item), Booked.of(item)
    status, code = item.get("STATUS", ""), code_of(item)
    proof, reason = _judged(status, code, booked is not None)
    moved = proof is Proof.CREDITED and booked is not None
    return Evidence(
        proof,
        reference=reference,
        submission=submission,
        reason=reason,
        code=code,
        text=shown(item.get("MSG", "")),
        amount_fen=amount,
        host_reference=booked.host_reference if moved and booked else None,
        post_date=booked.post_date if moved and booked else None,
        artefact=artefact,
    )


def _judged(status: str, code: str, booked: bool) -> tuple[Proof, Reason | None]:
    """The status decides which kind of answer it is, the code which reason. Where the two disagree, it is doubt."""
    if status == codes.BOOKED and code == codes.SUCCESS and booked:
        return Proof.CREDITED, None
    if status == codes.FAILED:
        proof, reason = codes.LINE_CODES.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN))
        # "Returned" needs a credit before it, and the bank leaves a line that came back at status 2.
        return (Proof.IN_DOUBT, Reason.UNKNOWN) if proof is Proof.RETURNED else (proof, reason)
    if status == codes.RECEIVED and code in codes.BUSY:
        return Proof.RECEIVED, None
    if status == codes.PROCESSING and code in codes.BUSY:
        return Proof.IN_PROCESS, Reason.BANK_BUSY
    return Proof.IN_DOUBT, Reason.UNKNOWN


def judge_batch(head: Evidence, lines: Sequence[Evidence], rendered: Rendered) -> list[Evidence]:
    """One piece of evidence about the whole, then one for each line of which the bank says more than "wait".

    The list has to be that of our lines, each once. A line too many or too few means that one of ours may stand there
    under another name: then the whole is in doubt, and nothing in the list can tell that a line is *not* there.
    """
    listed = Counter(line.reference for line in lines)
    ours = set(rendered.references)
    misnamed = bool(listed.keys() - ours) or listed.total() > len(listed)
    told = [_doubted(line) if _is_contradicted(line, lines, misnamed=misnamed) else line for line in lines]
    if misnamed or listed.keys() != ours:
        return [dataclasses.replace(head, proof=Proof.IN_DOUBT, reason=Reason.UNKNOWN, code=LINES_DIFFER), *told]
    working = any(line.proof is Proof.IN_PROCESS for line in told)
    whole = dataclasses.replace(head, proof=Proof.IN_PROCESS if working else Proof.RECEIVED, reason=None)
    # One word about the whole says what five hundred lines "processing" would say.
    return [whole, *(line for line in told if line.proof not in (Proof.RECEIVED, Proof.IN_PROCESS))]


def _is_contradicted(line: Evidence, lines: Sequence[Evidence], *, misnamed: bool) -> bool:
    """Whether a line that would be closed unpaid may be paid after all by what else the same list says.

    Money that moved is never made less certain: if the bank says twice that it paid, the core has to hear both.
    """
    if line.proof not in _CLOSING:
        return False
    if line.proof is Proof.ABSENT and misnamed:
        return True
    return any(other.reference == line.reference and other.proof is not line.proof for other in lines)


def _doubted(line: Evidence) -> Evidence:
    return dataclasses.replace(line, proof=Proof.IN_DOUBT, reason=Reason.UNKNOWN, code=CONTRADICTION)
