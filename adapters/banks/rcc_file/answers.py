"""What comes back to ``rcc_file``: acknowledgements and results as evidence. Pure, and strict.

CR and LF are no part of any character, so lines are found in the bytes and fields in the decoded text. *A file is read
as a whole or not at all*: every check of digest, count and sum comes before the first evidence.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Final

from adapters.banks.rcc_file import wire as form
from adapters.banks.rcc_file.codes import FILE_CODES, LINE_CODES, SUCCESS
from adapters.contract import Artefact, Evidence, Proof, Reason, Unreadable
from adapters.wire.folders import unsealed
from adapters.wire.words import shown

_ACK: Final = re.compile(r"([0-9A-Z]{1,20})\|([0-9]{2})\|([0-9A-Za-z]{1,8})\|([^|\r\n]*)\r\n").fullmatch
# Only [0-9]: "\d", isdigit() and int() take Persian and full-width digits too.
_HEAD: Final = re.compile(
    r"H\|1\.0\|([0-9A-Za-z]{1,9})\|([0-9A-Z]{1,20})\|([0-9]{2})\|([0-9]{8})"
    r"\|([0-9]{1,8})\|([0-9]{1,15})\|([0-9]{1,8})\|([0-9]{1,15})\|([0-9]{1,8})\|([0-9]{1,15})"
).fullmatch
_DETAIL: Final = re.compile(
    r"D\|([0-9]{6})\|([0-9A-Z]{1,26})\|([0-9A-Za-z]{1,32})\|([0-9]{1,13})"
    r"\|([A-Z])\|([0-9A-Za-z]{0,4})\|([^|\r\n]*)\|((?:[0-9]{8})?)\|([0-9A-Za-z_-]{0,40})"
).fullmatch
_TRAILER: Final = re.compile(r"T\|([0-9]{1,8})\|(-?[0-9]{1,15})\|([0-9a-f]{64})").fullmatch


def parse(artefact: Artefact, org: str, result_limit_bytes: int) -> Iterator[Evidence]:
    """All evidence of one acknowledgement or result, judged as a whole before the first of it is given."""
    name = form.answer(artefact.name.rpartition("/")[2], org)
    if name is None:
        raise Unreadable("not the name of an answer to us")
    if name["part"] is None:
        return iter([_acknowledgement(artefact, name)])
    return iter(_result(artefact, name, sealed_content(artefact, result_limit_bytes)))


def sealed_content(artefact: Artefact, limit_bytes: int) -> bytes:
    """The file of an artefact that agrees with its ``.ok``."""
    ok, content = unsealed(artefact.content)
    if len(content) > limit_bytes:
        raise Unreadable("the file is larger than the bound")
    if not form.agrees(ok, content):
        raise Unreadable("the file does not agree with its .ok in size or digest")
    return content


def closed_rows(content: bytes) -> tuple[list[str], int, int]:
    """The lines of a file before its trailer, and the trailer's count and total; its digest is right."""
    if not content.endswith(b"\r\n"):
        raise Unreadable("the file does not end with an end of line")
    start = content.rfind(b"\r\n", 0, -2) + 2
    trailer = _TRAILER(_decoded(content[start:-2]))
    if trailer is None or start < 2:
        raise Unreadable("the file has no trailer")
    if trailer[3] != form.sm3_hex(content[:start]):
        raise Unreadable("the digest in the trailer is not that of the lines before it")
    return _decoded(content[: start - 2]).split(form.CRLF), int(trailer[1]), int(trailer[2])


def _acknowledgement(artefact: Artefact, name: re.Match[str]) -> Evidence:
    match = None if len(artefact.content) > form.ACK_LIMIT_BYTES else _ACK(_decoded(artefact.content))
    if match is None:
        raise Unreadable("the acknowledgement is not batch|seq|code|text and an end of line")
    batch, seq, code, text = match.groups()
    if batch != name["batch"] or seq != name["seq"]:
        raise Unreadable("the acknowledgement names another batch than its file name")
    proof, reason = FILE_CODES.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN))
    return Evidence(proof, submission=batch, reason=reason, code=code, text=shown(text), artefact=artefact.sha256)


def _result(artefact: Artefact, name: re.Match[str], content: bytes) -> list[Evidence]:
    rows, count, total = closed_rows(content)
    head, details = _HEAD(rows[0]), [_DETAIL(row) for row in rows[1:]]
    if head is None or head[1] != name["org"] or head[2] != name["batch"] or head[3] != name["seq"]:
        raise Unreadable("the header is malformed or names another batch than the file name")
    matches = [match for match in details if match is not None]
    if len(matches) != len(details):
        raise Unreadable("a line is malformed")
    _check_totals(head, matches, (count, total))
    return [_line(match, head[2], artefact.sha256) for match in matches]


def _check_totals(head: re.Match[str], details: Sequence[re.Match[str]], trailer: tuple[int, int]) -> None:
    def counted(statuses: str) -> tuple[int, int]:
        amounts = [int(match[4]) for match in details if not statuses or match[5] in statuses]
        return len(amounts), sum(amounts)

    if (int(head[5]), int(head[6])) != counted("") or trailer != counted(""):
        raise Unreadable("count or total differ from the lines")
    # Lines in process or in doubt (P, U) are in neither sum; what was returned (R) counts as failed.
    if (int(head[7]), int(head[8])) != counted("S") or (int(head[9]), int(head[10])) != counted("FR"):
        raise Unreadable("the sums of good or failed lines differ from the lines")


def _line(match: re.Match[str], batch: str, digest: str) -> Evidence:
    _, reference, account, amount, status, code, text, post_date, host_reference = match.groups()
    booked = day_of(post_date)
    proof, reason = _judged(status, code, booked is not None and host_reference != "")
    return Evidence(
        proof,
        reference=reference,
        submission=batch,
        reason=reason,
        code=code,
        text=shown(text, (account,)),
        amount_fen=int(amount),
        host_reference=host_reference or None,
        post_date=booked,
        artefact=digest,
    )


def _judged(status: str, code: str, booked: bool) -> tuple[Proof, Reason | None]:
    """The status decides which kind of answer it is, the code which reason. Where the two disagree, it is doubt."""
    proof, reason = LINE_CODES.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN))
    if status == "S" and code == SUCCESS and booked:
        return Proof.CREDITED, None
    if status == "R" and booked:
        return Proof.RETURNED, reason if proof is Proof.REJECTED else Reason.RETURNED_AFTER_CREDIT
    if status == "P":
        return Proof.IN_PROCESS, Reason.BANK_BUSY
    if status == "F" and proof is not Proof.RETURNED:
        return proof, reason
    return Proof.IN_DOUBT, Reason.UNKNOWN


def day_of(text: str) -> dt.date | None:
    """``yyyyMMdd`` as a day; None for a blank, and for one that is in no calendar."""
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None
    except ValueError:
        return None


def _decoded(content: bytes) -> str:
    text: str | None
    try:
        text = content.decode(form.ENCODING)
    except UnicodeDecodeError:
        text = None  # raised below: that error carries the bytes, and personal data with them
    if text is None:
        raise Unreadable("not GB18030")
    return text
