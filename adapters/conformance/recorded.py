"""Recorded exchanges: the short way to a rehearsal's ``answer``, from files that hold what the bank once said.

A folder holds one file for each thing that the bank says, named as you like, mostly for the occasion: ``TAKEN.txt``,
``CREDITED.txt``. Replace whatever differs from case to case by a placeholder in double braces. An occasion that the
bank has no words for gets a file that ends in ``.cannot`` instead, with the reason in it, for everybody to read; where
there is neither, the reason is that nothing was recorded. One that ends in ``.blank`` says
what is still to be recorded, and fails until one of the other two is there.

Placeholders of every file: ``submission``, ``count`` and ``total_fen``, ``total_yuan`` (of the submission), ``day``
(yyyyMMdd), ``day_iso``, ``serial``, ``wall_seconds`` (unix), ``told_count``, ``told_fen``, ``told_yuan`` (of the lines
that the bank speaks of), and ``lines``: for each of them the file of its occasion, joined. In a file of a line also
``reference``, ``account``, ``name``, ``number``, ``amount_fen``, ``amount_yuan``, ``booking`` and ``text``. Give more
by keyword. A placeholder that nobody fills is an error, never an empty text. Where the bank's format has fixed widths,
a format as Python writes it goes behind a colon: ``{{amount_yuan:0>15}}``.

An HTTP answer begins with its status and headers, as they travel, and a blank line::

    202
    Content-Type: application/json

    {"batchNo":"{{submission}}","code":"ACCEPTED"}
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from adapters.conformance.rehearsal import CannotSay, HttpReply, Said, Told
from schemas.money import yuan_text_from_fen

_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)(?::([^{}]*))?\}\}")


class Recorded:
    """The exchanges of one folder, in UTF-8 there, and in ``encoding`` on the wire."""

    def __init__(self, folder: Path, encoding: str = "utf-8") -> None:
        self._folder = folder
        self._encoding = encoding

    def text(self, name: str, told: Told, *, separator: str = ",", **more: str) -> str:
        """The file ``name``.txt with its placeholders filled; CannotSay where nothing is recorded under that name."""
        template = self._template(name)
        lines = ""
        if "{{lines}}" in template:
            lines = separator.join(self.line(said, told, **more) for said in told.lines)
        return _filled(name, template, {**_of_submission(told), "lines": lines, **more})

    def line(self, said: Said, told: Told, **more: str) -> str:
        """The file of a line's occasion, filled."""
        name = said.occasion.value
        return _filled(name, self._template(name), {**_of_submission(told), **_of_line(said), **more})

    def content(self, name: str, told: Told, *, separator: str = ",", **more: str) -> bytes:
        """The same in the bank's encoding: the content of a file, the body of a frame."""
        return self.text(name, told, separator=separator, **more).encode(self._encoding)

    def http(self, name: str, told: Told, *, separator: str = ",", **more: str) -> HttpReply:
        """A recorded HTTP answer: status, headers, blank line, body."""
        head, _, body = self.text(name, told, separator=separator, **more).partition("\n\n")
        status, *fields = head.split("\n")
        headers = {key.strip(): value.strip() for key, _, value in (each.partition(":") for each in fields)}
        return HttpReply(int(status), body.rstrip("\n").encode(self._encoding), headers)

    def _template(self, name: str) -> str:
        file, cannot = self._folder / f"{name}.txt", self._folder / f"{name}.cannot"
        if file.is_file():
            # Bytes, so that an end of line which belongs to the bank's format is not translated.
            return file.read_bytes().decode("utf-8")
        if cannot.is_file():
            raise CannotSay(cannot.read_text(encoding="utf-8").strip())
        if (blank := self._folder / f"{name}.blank").is_file():
            raise NotImplementedError(f"{self._folder.name}/{name}.txt: {' '.join(blank.read_text('utf-8').split())}")
        raise CannotSay(f"nothing is recorded as {name}.txt")


def _filled(name: str, template: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ValueError(f"{name}.txt has a placeholder {match[1]!r} that nobody fills")
        return format(values[match[1]], match[2] or "")

    return _PLACEHOLDER.sub(value, template)


def _of_submission(told: Told) -> dict[str, str]:
    submission = told.submission
    told_fen = sum(said.amount_fen for said in told.lines)
    values = {
        "day": f"{told.day:%Y%m%d}",
        "day_iso": told.day.isoformat(),
        "serial": f"{told.serial:02d}",
        "wall_seconds": str(int(told.wall.timestamp())),
        "told_count": str(len(told.lines)),
        "told_fen": str(told_fen),
        "told_yuan": yuan_text_from_fen(told_fen),
    }
    if submission is not None:
        values |= {
            "submission": submission.reference,
            "count": str(submission.count),
            "total_fen": str(submission.total_fen),
            "total_yuan": yuan_text_from_fen(submission.total_fen),
        }
    return values


def _of_line(said: Said) -> dict[str, str]:
    return {
        "reference": said.line.reference,
        "account": said.line.account,
        "name": said.line.name,
        "number": str(said.number),
        "amount_fen": str(said.amount_fen),
        "amount_yuan": yuan_text_from_fen(said.amount_fen),
        "booking": str(said.booking),
        "text": said.text,
    }
