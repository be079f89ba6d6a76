"""Looks for personal data where none may be: logs, metrics, topics, dead files, database pages.

Every ID number, account, phone, long name and address of the inputs is a canary. Thousands of them are searched for at
once in any bytes: numbers as runs of digits looked up in a set, texts by an anchor (a name's interpunct, an address's
first characters) around which the few possible shapes are looked up. Texts are searched in UTF-8, GB18030, UTF-16 and
as JSON and Python escapes. A hit is reported by file, kind and offset, never by value.

``Canaries(values, disguises)`` also looks for whatever forms a caller knows of each value: hexadecimal, base64, turned
round. Values made alike share the beginnings or the ends of their forms, so that a few anchors find thousands of them.
"""

from __future__ import annotations

import json
import mmap
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.world.checker.lines import DOTS

_RUN = re.compile(rb"[0-9]{11,}[Xx]?")
_MOBILE = re.compile("1[3-9][0-9]{9}")
_NUMBER = re.compile("[0-9]{11,}[Xx]?")
_SHORTEST_NAME = 4  # of two or three common characters, anybody's name turns up in a text
_SHORTEST_ANCHOR = 3
_SHARED_BYTES = 6  # of two disguised values that are alike
_SHORTEST_DISGUISE = 8
_LONGEST_OF_CHANCE = 13  # digits that stand inside a longer number by chance
_DIGESTS = (32, 64)  # hexadecimal digits of an id made of a SHA-256, and of a whole one
_HEXADECIMAL = re.compile(rb"[0-9]*[a-f][0-9a-f]*")
_WORD_BEFORE, _WORD_AFTER = re.compile(rb"[0-9A-Za-z]+\Z"), re.compile(rb"[0-9A-Za-z]+")
_INTERPUNCTS = "\u00b7" + DOTS
_MOST_HITS = 1000
_CHUNK = 64 * 1024 * 1024
_OVERLAP = 4096


@dataclass(frozen=True, slots=True)
class Hit:
    file: str
    kind: str
    offset: int


class Canaries:
    """A compiled set of values."""

    def __init__(self, values: Iterable[str], disguises: Callable[[str], Iterable[bytes]] | None = None) -> None:
        values = list(values)
        self._phones: set[bytes] = set()
        self._numbers: dict[int, set[bytes]] = {}
        # (anchor) -> {(bytes before the anchor, total length)} and the encoded values
        self._texts: dict[bytes, tuple[set[tuple[int, int]], set[bytes]]] = {}
        for value in values:
            self._add(value)
        if disguises is not None:
            plain = {value.encode("utf-8", "replace") for value in values}
            forms = {form for value in values for form in disguises(value)}
            self._add_disguised({form for form in forms - plain if len(form) >= _SHORTEST_DISGUISE})

    def _add(self, value: str) -> None:
        digits = "".join(value.split()).removeprefix("+86")
        if _MOBILE.fullmatch(digits):
            self._phones.add(digits.encode())
        elif _NUMBER.fullmatch(value):
            self._numbers.setdefault(len(value), set()).add(value.upper().encode())
        elif len(value) >= _SHORTEST_NAME and not value.isascii():
            for encoded, anchor in _spellings(value):
                shapes, wanted = self._texts.setdefault(anchor, (set(), set()))
                shapes.add((encoded.index(anchor), len(encoded)))
                wanted.add(encoded)

    def _add_disguised(self, forms: set[bytes]) -> None:
        """Each form by its first or its last bytes, whichever more of the others share."""
        heads = Counter(form[:_SHARED_BYTES] for form in forms)
        tails = Counter(form[-_SHARED_BYTES:] for form in forms)
        for form in forms:
            head, tail = form[:_SHARED_BYTES], form[-_SHARED_BYTES:]
            by_head = heads[head] >= tails[tail]
            shapes, wanted = self._texts.setdefault(head if by_head else tail, (set(), set()))
            shapes.add((0 if by_head else len(form) - _SHARED_BYTES, len(form)))
            wanted.add(form)

    def search(self, data: bytes) -> Iterator[tuple[str, int]]:
        """Kind and offset of each value that stands in ``data``."""
        for run in _RUN.finditer(data):
            yield from self._in_run(run.group().upper(), run.start(), data)
        for anchor, (shapes, wanted) in self._texts.items():
            at = data.find(anchor)
            while at >= 0:
                for before, size in shapes:
                    start = at - before
                    if start >= 0 and data[start : start + size] in wanted and not _by_chance(data, start, size):
                        yield "text", at
                        break
                at = data.find(anchor, at + 1)

    def _in_run(self, run: bytes, offset: int, data: bytes) -> Iterator[tuple[str, int]]:
        phone = run[2:] if run.startswith(b"86") and len(run) == 13 else run
        # A whole run only: part of a longer number is chance, and so are eleven digits between the letters of a digest.
        if phone in self._phones and not _in_digest(data, offset, offset + len(run)):
            yield "phone", offset
        for size, wanted in self._numbers.items():
            for at in range(len(run) - size + 1):
                if run[at : at + size] in wanted:
                    yield "number", offset + at


def _in_digest(data: bytes, start: int, end: int) -> bool:
    """Whether these digits stand within a word that is exactly a digest or half of one, in hexadecimal.

    Of a million receipts' ids a few hold eleven digits between two letters; with a million phones to look for, one of
    those is somebody's. A digest of a phone holds none of it.
    """
    reach = _DIGESTS[-1] + 1
    before = _WORD_BEFORE.search(data[max(0, start - reach) : start])
    after = _WORD_AFTER.match(data[end : end + reach])
    word = (before[0] if before else b"") + data[start:end] + (after[0] if after else b"")
    return len(word) in _DIGESTS and _HEXADECIMAL.fullmatch(word) is not None


def _by_chance(data: bytes, start: int, size: int) -> bool:
    """Whether a short number is only part of a longer one."""
    if size > _LONGEST_OF_CHANCE or not data[start : start + size].isdigit():
        return False
    return data[max(0, start - 1) : start].isdigit() or data[start + size : start + size + 1].isdigit()


def _spellings(value: str) -> Iterator[tuple[bytes, bytes]]:
    """How a text may be written down, each with the bytes to look for first."""
    dot = next((character for character in _INTERPUNCTS if character in value[1:-1]), None)
    anchor = dot if dot is not None else value[:_SHORTEST_ANCHOR]
    for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-16-be"):
        yield value.encode(encoding, "replace"), anchor.encode(encoding, "replace")
    yield value.encode("ascii", "backslashreplace"), anchor.encode("ascii", "backslashreplace")
    yield json.dumps(value)[1:-1].encode(), json.dumps(anchor)[1:-1].encode()


def scan(canaries: Canaries, places: Iterable[Path]) -> list[Hit]:
    """All hits in files and, below directories, in every regular file; at most a thousand."""
    hits: list[Hit] = []
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_symlink() or not path.is_file() or path.stat().st_size == 0:
                continue
            for kind, offset in _in_file(canaries, path):
                hits.append(Hit(str(path.relative_to(place) if place.is_dir() else path.name), kind, offset))
                if len(hits) >= _MOST_HITS:
                    return hits
    return hits


def _in_file(canaries: Canaries, path: Path) -> Iterator[tuple[str, int]]:
    """In overlapping chunks: a file may be larger than memory, and a value may lie across a border."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        seen: set[tuple[str, int]] = set()
        for start in range(0, len(mapped), _CHUNK):
            for kind, offset in canaries.search(mapped[max(0, start - _OVERLAP) : start + _CHUNK]):
                hit = (kind, max(0, start - _OVERLAP) + offset)
                if hit not in seen:
                    seen.add(hit)
                    yield hit
