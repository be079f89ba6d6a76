"""A bank's download area of day directories: finds what is new cheaply and often, and archives what is done.

Theory of operation
-------------------

Files lie in ``/{root}/{yyyyMMdd}/`` by the day they were written; ``done/`` below each day is our archive. A *sealed*
file exists only with its ``.ok`` beside it; any other file is whole when it is there. The cursor names what was already
given: for each day, a short key of the file's name and a mark of its *content* (of a sealed file: its ``.ok`` with size
and time of the file). A file rewritten under the same name has another mark and is given again; a late one is simply a
name not seen. Names that have left the directory are dropped, so the cursor stays small.

Three things keep a poll cheap, and none of them can hide a file for long. Only the newest directories are listed every
time. An older one is listed again when its time has changed, and one of them in turn whatever its time says. And a
file is not read again once it was read when its time was already some seconds old (server times have a grain of a
second, so a younger one may be rewritten without a trace). What is remembered for this is checked against the cursor:
when the core did not commit and comes back with an older cursor, everything is looked at again.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from adapters.contract import Artefact
from adapters.wire.sftp import Entry, SftpError, SftpMissing, SftpTooLarge, SftpUnreachable, SftpWire

ARCHIVE: Final = "done"
SEAL: Final = ".ok"
SEAL_LIMIT_BYTES: Final = 200
_ALWAYS_LISTED: Final = 3  # the newest directories: yesterday's and today's, and one that a wrong clock may have made
_GRAIN_SECONDS: Final = 3
_FILES_A_POLL: Final = 500
_FAILURES_A_POLL: Final = (
    3  # one file that hangs or is forbidden must not hide the others; a dead bank must end the poll
)
_DAY: Final = re.compile(r"[0-9]{8}").fullmatch

_Marks = dict[str, str]


def is_day(name: str) -> bool:
    return _DAY(name) is not None


def day_before(day: str) -> str:
    """``yyyyMMdd`` of the day before: a bank's clock may be behind ours at midnight."""
    return f"{dt.date(int(day[:4]), int(day[4:6]), int(day[6:])) - dt.timedelta(days=1):%Y%m%d}"


def sealed(seal: bytes, content: bytes) -> bytes:
    """A sealed file as an artefact: the ``.ok`` and the file are judged together, so they are kept together."""
    return seal + b"\r\n" + content


def unsealed(artefact: bytes) -> tuple[bytes, bytes]:
    """The ``.ok`` and the file of an artefact that ``sealed`` made."""
    seal, _, content = artefact.partition(b"\r\n")
    return seal, content


def _nothing_is_sealed(_name: str) -> bool:
    return False


def _no_seal_agrees(_seal: bytes, _content: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Layout:
    """What one bank's download area looks like; every name is a plain file name, without ``.ok``."""

    root: str
    is_answer: Callable[[str], bool]  # whether a file of that name would be one for us
    limit_bytes: Callable[[str], int]  # the most that such a file may have
    is_sealed: Callable[[str], bool] = _nothing_is_sealed
    agrees: Callable[[bytes, bytes], bool] = _no_seal_agrees  # whether an .ok is that of these bytes


@dataclass(frozen=True, slots=True)
class Found:
    """An answer about one submission, and whether it lay in our archive."""

    artefact: Artefact
    archived: bool


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
    """A file that may be new: a sealed one whose ``.ok`` is there, or one that needs none."""

    path: str
    file: Entry
    seal: Entry | None

    @property
    def stat(self) -> tuple[int, ...]:
        return (self.file.size, self.file.mtime) + ((self.seal.size, self.seal.mtime) if self.seal else ())

    @property
    def mtime(self) -> int:
        return max(self.file.mtime, self.seal.mtime if self.seal else 0)


class Inbox:
    """The download area of one configured bank."""

    def __init__(self, layout: Layout, directories: int) -> None:
        self._layout = layout
        self._directories = max(directories, _ALWAYS_LISTED)
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
                    found = await self._read(wire, day.name, candidate, marks, newest_time)
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

    async def about(
        self, wire: SftpWire, first_day: str, concerns: Callable[[str], bool]
    ) -> tuple[list[Found], list[str]]:
        """Every answer from ``first_day`` on whose name concerns one submission, in the inbox or in our archive.

        Also the traces: names of answers that cannot be read (yet), because their ``.ok`` is missing or they have just
        gone. The inbox is looked at before the archive, so that a file that moves between the two is not missed.
        """
        days = [day.name for day in await self._days(wire) if day.name >= first_day]
        found: dict[tuple[str, str], Found] = {}
        unfinished, gone = list[str](), list[str]()
        for archived in (False, True):
            for day in days:
                entries = await self._entries(wire, f"{day}/{ARCHIVE}" if archived else day)
                named = [entry for entry in entries if concerns(entry.name.removesuffix(SEAL))]
                candidates = self._candidates(f"{day}/{ARCHIVE}" if archived else day, named)
                files = {entry.name for entry in named if not entry.name.endswith(SEAL)}
                unfinished += sorted(files - {candidate.file.name for candidate in candidates})
                for candidate in candidates:
                    artefact = await self._whole(wire, day, candidate)
                    if artefact is None:
                        gone.append(candidate.file.name)
                    else:
                        found.setdefault((artefact.name, artefact.sha256), Found(artefact, archived))
        for each in found.values():
            wire.keep(each.artefact)
        in_archive = {each.artefact.name.rpartition("/")[2] for each in found.values() if each.archived}
        return list(found.values()), unfinished + [name for name in gone if name not in in_archive]

    async def archive(self, artefact: Artefact, wire: SftpWire) -> bool:
        """Move an artefact to ``done/``, unless the bank has put something else in its place. Repeatable.

        True when it lies in the inbox no more. What does not agree with its ``.ok`` stays, for its correction to come.
        """
        day, _, name = artefact.name.rpartition("/")
        if not self._layout.is_answer(name) or not is_day(day):
            raise ValueError("not an artefact of this inbox")
        source, target = f"{self._layout.root}/{day}/{name}", f"{self._layout.root}/{day}/{ARCHIVE}/{name}"
        if not self._layout.is_sealed(name):
            there = await self._bounded(wire, source, self._layout.limit_bytes(name))
            if there == artefact.content:
                await wire.archive(source, target)
            return there is None or there == artefact.content
        seal, content = unsealed(artefact.content)
        if await self._bounded(wire, source + SEAL, SEAL_LIMIT_BYTES) != seal or not self._layout.agrees(seal, content):
            return await wire.size(source) is None
        if await wire.size(source) not in (None, len(content)):
            return False
        # The file before its .ok: cut between the two, an .ok without a file is left, which nobody reads.
        await wire.archive(source, target)
        await wire.archive(source + SEAL, target + SEAL)
        return True

    async def _days(self, wire: SftpWire) -> list[Entry]:
        """The newest day directories, oldest first. By number and not by date: one named 99991231 hides no other."""
        entries = await self._entries(wire, "")
        days = sorted((e for e in entries if e.is_directory and is_day(e.name)), key=lambda e: e.name)
        return days[-self._directories :]

    async def _entries(self, wire: SftpWire, below: str) -> list[Entry]:
        try:
            return await wire.entries(f"{self._layout.root}/{below}" if below else self._layout.root)
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

    def _candidates(self, below: str, entries: list[Entry]) -> list[_Candidate]:
        files = {entry.name: entry for entry in entries if entry.is_file}
        found = []
        for name, file in files.items():
            if not self._layout.is_answer(name):
                continue
            seal = files.get(name + SEAL) if self._layout.is_sealed(name) else None
            if seal is not None or not self._layout.is_sealed(name):
                found.append(_Candidate(f"{self._layout.root}/{below}/{name}", file, seal))
        return sorted(found, key=lambda candidate: (candidate.mtime, candidate.file.name))

    async def _read(
        self, wire: SftpWire, day: str, found: _Candidate, marks: _Marks, newest_time: int
    ) -> Artefact | None:
        """The artefact when it is new; the marks are brought up to date."""
        key = _short(found.file.name.encode("ascii"))
        aged = self._aged.setdefault(day, {})
        if key in marks and aged.get(found.file.name) == (found.stat, marks[key]):
            return None
        head = await self._head(wire, found)
        if head is None:
            return None
        mark = _short(repr(found.stat[:2] if found.seal else ()).encode("ascii") + head)
        artefact = None
        if marks.get(key) != mark:
            artefact = await self._artefact(wire, day, found, head)
            if artefact is None:
                return None
            marks[key] = mark
        if found.mtime < newest_time - _GRAIN_SECONDS:
            aged[found.file.name] = (found.stat, mark)
        return artefact

    async def _head(self, wire: SftpWire, found: _Candidate) -> bytes | None:
        """What changes when the bank rewrites a file: the ``.ok`` of a sealed one, and of any other the whole."""
        if found.seal is None:
            return await self._bounded(wire, found.path, self._layout.limit_bytes(found.file.name))
        return await self._bounded(wire, found.path + SEAL, SEAL_LIMIT_BYTES)

    async def _whole(self, wire: SftpWire, day: str, found: _Candidate) -> Artefact | None:
        head = await self._head(wire, found)
        return None if head is None else await self._artefact(wire, day, found, head)

    async def _artefact(self, wire: SftpWire, day: str, found: _Candidate, head: bytes) -> Artefact | None:
        name = f"{day}/{found.file.name}"
        if found.seal is None:
            return Artefact.of(name, head)
        content = await self._bounded(wire, found.path, self._layout.limit_bytes(found.file.name))
        return None if content is None else Artefact.of(name, sealed(head, content))

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
