"""What goes out of ``rcc_file``, and the names of what comes in: the batch file, seals, digests. Pure and strict.

*Decode first, split after* holds for whoever reads these bytes: 118 two-byte characters (珅, 瑋, 獆...) end in the byte
of ``|``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes

from adapters.contract import Line, Reason, Submission
from adapters.wire.folders import day_before
from adapters.wire.sightings import Place

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
_STATEMENT: Final = re.compile(r"DZ_(?P<org>[0-9A-Za-z]{1,9})_(?P<day>[0-9]{8})\.txt").fullmatch
_OK: Final = re.compile(rb"([0-9]{1,10})\|([0-9a-f]{64})").fullmatch

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
    """True for a plain file name that an acknowledgement, a result or a statement of ours would have."""
    match = _ANSWER(name) or _STATEMENT(name)
    return match is not None and match["org"] == org


def answer(name: str, org: str) -> re.Match[str] | None:
    """``batch``, ``seq`` and ``part`` (None: an acknowledgement) of an answer to us, or None."""
    match = _ANSWER(name)
    return match if match is not None and match["org"] == org else None


def statement_day(name: str, org: str) -> str | None:
    """The day that a statement of ours is about, ``yyyyMMdd``; None for any other file."""
    match = _STATEMENT(name)
    return match["day"] if match is not None and match["org"] == org else None


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
