"""The bank's download area: finds what is new cheaply and often, reads what concerns one batch, archives what is done.

Theory of operation
-------------------

Files lie in ``/down/{yyyyMMdd}/`` by the day they were written; ``done/`` below each day is our archive. The cursor
names what was already given: for each day, a short key of the file's name and a mark of its *content* (of a result: its
``.ok`` with size and time of the file). A file rewritten under the same name has another mark and is given again; a
late one is simply a name not seen. Names that have left the directory are dropped, so the cursor stays small.

Three things keep a poll cheap, and none of them can hide a file for long. Only the newest directories are listed every
time. An older one is listed again when its time has changed, and one of them in turn whatever its time says. And a
file is not read again once it was read when its time was already some seconds old (server times have a grain of a
second, so a younger one may be rewritten without a trace). What is remembered for this is checked against the cursor:
when the core did not commit and comes back with an older cursor, everything is looked at again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

from adapters.banks.rcc_file import wire as form
from adapters.contract import Artefact
from adapters.wire.sftp import Entry, SftpError, SftpMissing, SftpTooLarge, SftpUnreachable, SftpWire

ROOT: Final = "down"
ARCHIVE: Final = "done"
_ALWAYS_LISTED: Final = 3  # the newest directories: yesterday's and today's, and one that a wrong clock may have made
_GRAIN_SECONDS: Final = 3
_FILES_A_POLL: Final = 500
_FAILURES_A_POLL: Final = (
    3  # one file that hangs or is forbidden must not hide the others; a dead bank must end the poll
)

_Marks = dict[str, str]


@dataclass(slots=True)
class _Seen:
    """The cursor: by day, the key of each name that was given, and the mark of what it held then."""

    days: dict[str, _Marks] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str) -> _Seen:
        return cls(json.loads(cursor) if cursor else {})

    def text(self) -> str:
        return json.dumps(
            {day: marks for day, marks in self.days.items() if marks}, separators=(",", ":"), sort_keys=True
        )

    def marks(self, day: str) -> _Marks:
        return self.days.setdefault(day, {})


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may be new: an acknowledgement, or a result whose ``.ok`` is there."""

    day: str
    file: Entry
    ok: Entry | None

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.day}/{self.file.name}"

    @property
    def stat(self) -> tuple[int, ...]:
        return (self.file.size, self.file.mtime) + ((self.ok.size, self.ok.mtime) if self.ok else ())

    @property
    def mtime(self) -> int:
        return max(self.file.mtime, self.ok.mtime if self.ok else 0)


class Inbox:
    """The download area of one configured bank."""

    def __init__(self, org: str, directories: int, result_limit_bytes: int) -> None:
        self._org = org
        self._directories = max(directories, _ALWAYS_LISTED)
        self._limit = result_limit_bytes
        self._aged: dict[str, dict[str, tuple[tuple[int, ...], str]]] = {}  # day, name: read when it was old enough
        self._quiet: dict[str, tuple[int, _Marks]] = {}  # day: its time and the marks when nothing in it was new
        self._turn = 0

    async def new(self, wire: SftpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        """What was not given under this cursor, oldest first, each with the cursor to keep after it."""
        seen = _Seen.of(cursor)
        days = await self._days(wire)
        self._forget({day.name for day in days}, seen)
        newest_time = max((day.mtime for day in days), default=0)
        given, failures = 0, list[SftpError]()
        for day in self._worth_listing(days, seen):
            candidates = self._candidates(day.name, await self._entries(wire, day.name))
            newest_time = max(newest_time, *(c.mtime for c in candidates), 0)
            marks = seen.days[day.name] = _present(seen.marks(day.name), candidates)
            whole = True
            for candidate in candidates:
                try:
                    found = await self._read(wire, candidate, marks, newest_time)
                except SftpUnreachable:
                    raise
                except SftpError as error:
                    failures.append(error)
                    if len(failures) >= _FAILURES_A_POLL:
                        raise
                    whole = False
                    continue
                if found is not None:
                    given += 1
                    yield found, seen.text()
                if given >= _FILES_A_POLL:
                    return
            if whole and day.mtime < newest_time - _GRAIN_SECONDS:
                self._quiet[day.name] = (day.mtime, dict(marks))
        if failures and not given:
            raise failures[-1]

    async def about(self, wire: SftpWire, upload: form.Upload, *, archived: bool) -> tuple[list[Artefact], bool]:
        """Every acknowledgement and result of one batch, from the inbox or from our archive in it.

        The second value is true when there is a trace of one that cannot be read (yet): no ``.ok``, or just gone.
        """
        found: list[Artefact] = []
        trace = False
        for day in await self._days(wire):
            if day.name < upload.first_answer_day:
                continue
            place = f"{day.name}/{ARCHIVE}" if archived else day.name
            entries = [entry for entry in await self._entries(wire, place) if upload.is_answered_by(entry.name)]
            candidates = self._candidates(place, entries)
            artefacts = [await self._whole(wire, candidate) for candidate in candidates]
            found += [artefact for artefact in artefacts if artefact is not None]
            trace |= len(candidates) < sum(not entry.name.endswith(".ok") for entry in entries) or None in artefacts
        for artefact in found:
            wire.keep(artefact)
        return found, trace

    async def archive(self, artefact: Artefact, wire: SftpWire) -> bool:
        """Move an artefact to ``done/``, unless the bank has put something else in its place. Repeatable.

        True when it lies in the inbox no more. What does not agree with its ``.ok`` stays, for its correction to come.
        """
        day, _, name = artefact.name.rpartition("/")
        if not form.is_answer(name, self._org) or not form.is_day(day):
            raise ValueError("not an artefact of this inbox")
        source, target = f"{ROOT}/{day}/{name}", f"{ROOT}/{day}/{ARCHIVE}/{name}"
        if name.endswith(".ack"):
            there = await self._bounded(wire, source, form.ACK_LIMIT_BYTES)
            if there == artefact.content:
                await wire.archive(source, target)
            return there is None or there == artefact.content
        ok, result = form.split_result(artefact.content)
        if await self._bounded(wire, f"{source}.ok", form.OK_LIMIT_BYTES) != ok or not form.agrees(ok, result):
            return await wire.size(source) is None
        if await wire.size(source) not in (None, len(result)):
            return False
        # The file before its .ok: cut between the two, an .ok without a file is left, which nobody reads.
        await wire.archive(source, target)
        await wire.archive(f"{source}.ok", f"{target}.ok")
        return True

    async def _days(self, wire: SftpWire) -> list[Entry]:
        """The newest day directories, oldest first. By number and not by date: one named 99991231 hides no other."""
        entries = await self._entries(wire, "")
        days = sorted((e for e in entries if e.is_directory and form.is_day(e.name)), key=lambda e: e.name)
        return days[-self._directories :]

    async def _entries(self, wire: SftpWire, below: str) -> list[Entry]:
        try:
            return await wire.entries(f"{ROOT}/{below}" if below else ROOT)
        except SftpMissing:
            return []

    def _forget(self, days: set[str], seen: _Seen) -> None:
        for remembered in (seen.days, self._aged, self._quiet):
            for day in remembered.keys() - days:
                del remembered[day]

    def _worth_listing(self, days: list[Entry], seen: _Seen) -> list[Entry]:
        older, newest = days[:-_ALWAYS_LISTED], days[-_ALWAYS_LISTED:]
        self._turn += 1
        changed = [
            day
            for position, day in enumerate(older)
            if self._quiet.get(day.name) != (day.mtime, seen.marks(day.name)) or position == self._turn % len(older)
        ]
        return changed + newest

    def _candidates(self, day: str, entries: list[Entry]) -> list[_Candidate]:
        files = {entry.name: entry for entry in entries if entry.is_file}
        found = []
        for name, file in files.items():
            ok = files.get(f"{name}.ok")
            if form.is_answer(name, self._org) and (ok is not None or name.endswith(".ack")):
                found.append(_Candidate(day, file, None if name.endswith(".ack") else ok))
        return sorted(found, key=lambda candidate: (candidate.mtime, candidate.file.name))

    async def _read(self, wire: SftpWire, found: _Candidate, marks: _Marks, newest_time: int) -> Artefact | None:
        """The artefact when it is new; the marks are brought up to date."""
        key = _short(found.file.name.encode("ascii"))
        aged = self._aged.setdefault(found.day, {})
        if key in marks and aged.get(found.file.name) == (found.stat, marks[key]):
            return None
        head = await self._head(wire, found)
        if head is None:
            return None
        mark = _short(repr(found.stat[:2] if found.ok else ()).encode("ascii") + head)
        artefact = None
        if marks.get(key) != mark:
            artefact = await self._artefact(wire, found, head)
            if artefact is None:
                return None
            marks[key] = mark
        if found.mtime < newest_time - _GRAIN_SECONDS:
            aged[found.file.name] = (found.stat, mark)
        return artefact

    async def _head(self, wire: SftpWire, found: _Candidate) -> bytes | None:
        """The small part that changes when the bank rewrites a file: the acknowledgement, or a result's ``.ok``."""
        if found.ok is None:
            return await self._bounded(wire, found.path, form.ACK_LIMIT_BYTES)
        return await self._bounded(wire, f"{found.path}.ok", form.OK_LIMIT_BYTES)

    async def _whole(self, wire: SftpWire, found: _Candidate) -> Artefact | None:
        head = await self._head(wire, found)
        return None if head is None else await self._artefact(wire, found, head)

    async def _artefact(self, wire: SftpWire, found: _Candidate, head: bytes) -> Artefact | None:
        name = f"{found.day.removesuffix(f'/{ARCHIVE}')}/{found.file.name}"
        if found.ok is None:
            return Artefact.of(name, head)
        content = await self._bounded(wire, found.path, self._limit)
        return None if content is None else Artefact.of(name, form.result_content(head, content))

    @staticmethod
    async def _bounded(wire: SftpWire, path: str, limit_bytes: int) -> bytes | None:
        """A file, or None when it has gone; of one beyond the limit a remark that no parser takes for a file."""
        try:
            return await wire.read(path, limit_bytes, keep=False)
        except SftpTooLarge:
            return f"more than {limit_bytes} bytes".encode("ascii")


def _present(marks: _Marks, candidates: Iterable[_Candidate]) -> _Marks:
    names = {_short(candidate.file.name.encode("ascii")) for candidate in candidates}
    return {key: mark for key, mark in marks.items() if key in names}


def _short(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.blake2b(content, digest_size=9).digest()).decode("ascii")
