"""The bytes of ``rcc_file``: names, the batch file, its acknowledgement, its results. Pure, and strict in both ways.

Two rules hold everywhere. *Decode first, split after*: 118 two-byte characters (珅, 瑋, 獆...) end in the byte of
``|``. CR and LF are no part of any character, so lines are found in the bytes and fields in the decoded text. And *a
file is read as a whole or not at all*: every check of digest, count and sum comes before the first evidence.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes

from adapters.banks.rcc_file.codes import FILE_CODES, LINE_CODES, SUCCESS
from adapters.contract import Artefact, Evidence, Line, Proof, Reason, Submission, Unreadable
from adapters.wire.folders import day_before, unsealed
from adapters.wire.sightings import Place
from adapters.wire.words import shown

ENCODING: Final = "gb18030"
VERSION: Final = "1.0"
SEQUENCE: Final = "00"
CRLF: Final = "\r\n"
LINES_IN_A_FILE: Final = 999_999  # the line number has six digits
GREATEST_AMOUNT_FEN: Final = 10**13 - 1
GREATEST_TOTAL_FEN: Final = 10**15 - 1
NAME_BYTES: Final = 100
DEBIT_NAME_BYTES: Final = 60
PURPOSE_BYTES: Final = 20
ACK_LIMIT_BYTES: Final = 4_096

_REFERENCE: Final = re.compile(r"[0-9A-Z]{1,26}").fullmatch
_BATCH: Final = re.compile(r"[0-9A-Z]{1,20}").fullmatch
_ACCOUNT: Final = re.compile(r"[0-9A-Za-z]{1,32}").fullmatch
_ID_TYPE: Final = re.compile(r"[0-9]{2}").fullmatch
_ID_NO: Final = re.compile(r"[0-9A-Z]{1,18}").fullmatch
_PROGRAMME: Final = re.compile(r"[0-9A-Za-z-]{1,12}").fullmatch
_PERIOD: Final = re.compile(r"[0-9A-Za-z-]{1,7}").fullmatch

_UPLOAD: Final = re.compile(r"up/([0-9]{8})/(DF_[0-9A-Za-z]{1,9}_[0-9A-Z]{1,20}_[0-9]{2})\.txt").fullmatch
_ANSWER: Final = re.compile(
    r"DF_(?P<org>[0-9A-Za-z]{1,9})_(?P<batch>[0-9A-Z]{1,20})_(?P<seq>[0-9]{2})\.(?:ack|(?P<part>[0-9]{2,4})\.res)"
).fullmatch
_OK: Final = re.compile(rb"([0-9]{1,10})\|([0-9a-f]{64})").fullmatch
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
_TRAILER: Final = re.compile(r"T\|([0-9]{1,8})\|([0-9]{1,15})\|([0-9a-f]{64})").fullmatch

# What cannot travel: the separator, control characters and line separators, surrogates, private use (Python decodes
# some characters of the 2022 edition to it); and the characters to which the editions of GB18030 (2000, 2005, 2022)
# give different bytes, each of which another edition reads as something else: nobody can say which name would arrive.
_UNSAFE: Final = re.compile(
    r"[|\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff"
    r"\u1e3f\u9fb4-\u9fbb\ufe10-\ufe19\U00020087\U00020089\U000200cc\U000215d7\U0002298f\U000241fe]"
).search


def sm3_hex(content: bytes) -> str:
    digest = hashes.Hash(hashes.SM3())
    digest.update(content)
    return digest.finalize().hex()


def ok_content(content: bytes) -> bytes:
    """What a ``.ok`` file says of its file: ``size|SM3``, without an end of line."""
    return f"{len(content)}|{sm3_hex(content)}".encode("ascii")


# --- names -----------------------------------------------------------------------------------------------------------


def upload_name(org: str, batch: str, day: dt.date) -> str:
    return f"up/{day:%Y%m%d}/DF_{org}_{batch}_{SEQUENCE}.txt"


@dataclass(frozen=True, slots=True)
class Upload:
    """Where one batch file and everything about it lies at the bank."""

    day: str
    stem: str

    @classmethod
    def of(cls, remote_name: str) -> Upload:
        match = _UPLOAD(remote_name)
        if match is None:
            raise ValueError("not the name of a batch file")
        return cls(match[1], match[2])

    @property
    def directory(self) -> str:
        return f"up/{self.day}"

    @property
    def file(self) -> str:
        return f"{self.stem}.txt"

    @property
    def first_answer_day(self) -> str:
        return day_before(self.day)

    def places(self) -> list[tuple[Place, str]]:
        """Where the bank may keep it, in the order in which it moves. A ``.txt`` without its ``.ok`` does not exist."""
        names = (self.file, f"{self.file}.ok")
        return [
            (Place.WAITING, f"{self.directory}/{self.file}.ok"),
            *((Place.TAKEN, f"{self.directory}/taken/{name}") for name in names),
            *((Place.REFUSED, f"{self.directory}/refused/{name}") for name in names),
        ]

    def is_answered_by(self, name: str) -> bool:
        """True for the name of an acknowledgement or a result of this batch."""
        return name.startswith(f"{self.stem}.") and _ANSWER(name) is not None


def is_answer(name: str, org: str) -> bool:
    """True for a plain file name that an acknowledgement or a result of ours would have."""
    match = _ANSWER(name)
    return match is not None and match["org"] == org


def is_sealed(name: str) -> bool:
    """True for an answer that exists only with its ``.ok``: all but the acknowledgement."""
    return not name.endswith(".ack")


def agrees(ok: bytes, result: bytes) -> bool:
    """True when the ``.ok`` is one, and names the size and the SM3 of the result."""
    match = _OK(ok)
    return match is not None and int(match[1]) == len(result) and match[2] == sm3_hex(result).encode("ascii")


# --- writing ---------------------------------------------------------------------------------------------------------


def fits(text: str, greatest_bytes: int) -> bool:
    """True when the text arrives as it is: not empty, nothing in it that cannot travel, not too long.

    Never ``errors="replace"`` and never a cut: a name that does not fit is refused as a line.
    """
    return _UNSAFE(text) is None and 0 < len(text.encode(ENCODING)) <= greatest_bytes


def refusal(line: Line) -> Reason | None:
    """Why this line cannot be written: the name is the department's to solve, every other field is ours."""
    if not fits(line.name.reveal(), NAME_BYTES):
        return Reason.NAME_NOT_ENCODABLE
    if not 0 < line.amount_fen <= GREATEST_AMOUNT_FEN:
        return Reason.AMOUNT
    good = (
        _REFERENCE(line.reference)
        and _ACCOUNT(line.account.reveal())
        and _ID_TYPE(line.id_type)
        and _ID_NO(line.id_no.reveal())
        and _PROGRAMME(line.programme)
        and _PERIOD(line.period)
        and fits(line.purpose, PURPOSE_BYTES)
    )
    return None if good else Reason.FORMAT


def batch_file(org: str, biz: str, submission: Submission, lines: Sequence[Line], day: dt.date) -> bytes:
    """The whole file. ValueError, without any value in it, where a field does not fit."""
    if not _BATCH(submission.reference):
        raise ValueError("a submission reference is 1 to 20 of [0-9A-Z]")
    if not _ACCOUNT(submission.debit_account.reveal()) or not fits(submission.debit_name, DEBIT_NAME_BYTES):
        raise ValueError("the debit account or its name does not fit")
    if not 0 < len(lines) <= LINES_IN_A_FILE or len({line.reference for line in lines}) != len(lines):
        raise ValueError("no lines, too many, or a reference twice")
    total = sum(line.amount_fen for line in lines)
    if total > GREATEST_TOTAL_FEN:
        raise ValueError("the total has more than 15 digits")
    head = f"H|{VERSION}|{org}|{submission.reference}|{SEQUENCE}|{day:%Y%m%d}|{biz}"
    head += f"|{submission.debit_account.reveal()}|{submission.debit_name}|{len(lines)}|{total}|CNY|SM3"
    rows = [head, *(_detail(number, line) for number, line in enumerate(lines, start=1)), ""]
    body = CRLF.join(rows).encode(ENCODING)
    return body + f"T|{len(lines)}|{total}|{sm3_hex(body)}{CRLF}".encode("ascii")


def _detail(number: int, line: Line) -> str:
    reason = refusal(line)
    if reason is not None:
        raise ValueError(f"line {number} cannot be written: {reason}")
    fields = (
        "D",
        f"{number:06d}",
        line.reference,
        line.account.reveal(),
        line.name.reveal(),
        line.id_type,
        line.id_no.reveal(),
        str(line.amount_fen),
        line.programme,
        line.purpose,
        line.period,
    )
    return "|".join(fields)


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(artefact: Artefact, org: str, result_limit_bytes: int) -> Iterator[Evidence]:
    """All evidence of one acknowledgement or result, judged as a whole before the first of it is given."""
    name = _ANSWER(artefact.name.rpartition("/")[2])
    if name is None or name["org"] != org:
        raise Unreadable("not the name of an answer to us")
    if name["part"] is None:
        return iter([_acknowledgement(artefact, name)])
    ok, content = unsealed(artefact.content)
    if len(content) > result_limit_bytes:
        raise Unreadable("the result is larger than the bound")
    if not agrees(ok, content):
        raise Unreadable("the result does not agree with its .ok in size or digest")
    return iter(_result(artefact, name, content))


def _acknowledgement(artefact: Artefact, name: re.Match[str]) -> Evidence:
    match = None if len(artefact.content) > ACK_LIMIT_BYTES else _ACK(_decoded(artefact.content))
    if match is None:
        raise Unreadable("the acknowledgement is not batch|seq|code|text and an end of line")
    batch, seq, code, text = match.groups()
    if batch != name["batch"] or seq != name["seq"]:
        raise Unreadable("the acknowledgement names another batch than its file name")
    proof, reason = FILE_CODES.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN))
    return Evidence(proof, submission=batch, reason=reason, code=code, text=shown(text), artefact=artefact.sha256)


def _result(artefact: Artefact, name: re.Match[str], content: bytes) -> list[Evidence]:
    # CR and LF are never part of a character: the trailer may be found in the bytes, and its digest is over bytes.
    if not content.endswith(b"\r\n"):
        raise Unreadable("the result does not end with an end of line")
    start = content.rfind(b"\r\n", 0, -2) + 2
    trailer = _TRAILER(_decoded(content[start:-2]))
    if trailer is None or start < 2:
        raise Unreadable("the result has no trailer")
    if trailer[3] != sm3_hex(content[:start]):
        raise Unreadable("the digest in the trailer is not that of the lines before it")
    rows = _decoded(content[: start - 2]).split(CRLF)
    head, details = _HEAD(rows[0]), [_DETAIL(row) for row in rows[1:]]
    if head is None or head[1] != name["org"] or head[2] != name["batch"] or head[3] != name["seq"]:
        raise Unreadable("the header is malformed or names another batch than the file name")
    matches = [match for match in details if match is not None]
    if len(matches) != len(details):
        raise Unreadable("a line is malformed")
    _check_totals(head, matches, trailer)
    return [_line(match, head[2], artefact.sha256) for match in matches]


def _check_totals(head: re.Match[str], details: Sequence[re.Match[str]], trailer: re.Match[str]) -> None:
    def counted(statuses: str) -> tuple[int, int]:
        amounts = [int(match[4]) for match in details if not statuses or match[5] in statuses]
        return len(amounts), sum(amounts)

    if (int(head[5]), int(head[6])) != counted("") or (int(trailer[1]), int(trailer[2])) != counted(""):
        raise Unreadable("count or total differ from the lines")
    # Lines in process or in doubt (P, U) are in neither sum; what was returned (R) counts as failed.
    if (int(head[7]), int(head[8])) != counted("S") or (int(head[9]), int(head[10])) != counted("FR"):
        raise Unreadable("the sums of good or failed lines differ from the lines")


def _line(match: re.Match[str], batch: str, digest: str) -> Evidence:
    _, reference, account, amount, status, code, text, post_date, host_reference = match.groups()
    booked = _date(post_date)
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


def _date(text: str) -> dt.date | None:
    try:
        return dt.date(int(text[:4]), int(text[4:6]), int(text[6:8])) if text else None
    except ValueError:
        return None


def _decoded(content: bytes) -> str:
    text: str | None
    try:
        text = content.decode(ENCODING)
    except UnicodeDecodeError:
        text = None  # raised below: that error carries the bytes, and personal data with them
    if text is None:
        raise Unreadable("not GB18030")
    return text
