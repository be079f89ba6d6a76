"""PostgreSQL's protocol (version 3) read from one end's bytes: which statements ran, and which commits were answered.

Source: PostgreSQL's documentation, "Frontend/Backend Protocol". Only what asyncpg speaks in plain text is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_SSL_REQUEST: Final = 80_877_103
_WRITING: Final = ("INSERT", "UPDATE", "DELETE", "COPY", "MERGE")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that was asked for: its text and its binary parameters."""

    text: str
    parameters: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction whose commit was answered. ``wrote``: some statement of it touched a row.

    ``asked`` is the mark of the last message of the client before the answer, ``answered`` that of the answer.
    """

    statements: tuple[Statement, ...]
    wrote: bool
    asked: int
    answered: int


@dataclass(slots=True)
class Session:
    """One connection, fed with the bytes of both directions as they moved. ``mark`` is the caller's order of events."""

    _front: bytearray = field(default_factory=bytearray)
    _back: bytearray = field(default_factory=bytearray)
    _started: bool = False
    _ssl_asked: bool = False
    _prepared: dict[bytes, str] = field(default_factory=dict)
    _running: list[Statement] = field(default_factory=list)
    _wrote: bool = False
    _tag: str = ""
    _asked: int = 0

    def from_client(self, data: bytes, mark: int) -> None:
        self._front += data
        self._asked = mark
        while (message := self._next_of_client()) is not None:
            self._take(*message)

    def from_server(self, data: bytes, mark: int) -> Iterator[Committed]:
        self._back += data
        if self._ssl_asked and self._back:
            del self._back[:1]
            self._ssl_asked = False
        while (message := _next(self._back)) is not None:
            kind, body = message
            if kind == b"C":
                self._tag = body.rstrip(b"\0").decode("ascii")
                self._wrote |= self._tag.startswith(_WRITING) and not self._tag.endswith(" 0")
            elif kind == b"E":
                self._tag = "ERROR"
            elif kind == b"Z" and body == b"I":
                if self._tag not in ("ROLLBACK", "ERROR", "") and self._running:
                    yield Committed(tuple(self._running), self._wrote, self._asked, mark)
                self._running, self._wrote, self._tag = [], False, ""

    def _next_of_client(self) -> tuple[bytes, bytes] | None:
        if self._started:
            return _next(self._front)
        if len(self._front) < 8:
            return None
        size = int.from_bytes(self._front[:4], "big")
        if len(self._front) < size:
            return None
        self._ssl_asked = int.from_bytes(self._front[4:8], "big") == _SSL_REQUEST
        self._started = not self._ssl_asked
        del self._front[:size]
        return b"", b""

    def _take(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self._prepared[name] = rest.partition(b"\0")[0].decode("utf-8", "replace")
        elif kind == b"B":
            _, _, rest = body.partition(b"\0")
            name, _, rest = rest.partition(b"\0")
            self._running.append(Statement(self._prepared.get(name, ""), tuple(_parameters(rest))))
        elif kind == b"Q":
            self._running.append(Statement(body.rstrip(b"\0").decode("utf-8", "replace"), ()))


def _next(stream: bytearray) -> tuple[bytes, bytes] | None:
    """Take the first whole message off a stream: kind and body."""
    if len(stream) < 5:
        return None
    size = int.from_bytes(stream[1:5], "big") + 1
    if len(stream) < size:
        return None
    kind, body = bytes(stream[:1]), bytes(stream[5:size])
    del stream[:size]
    return kind, body


def _parameters(body: bytes) -> Iterator[bytes | None]:
    formats = int.from_bytes(body[:2], "big")
    place = 2 + 2 * formats
    count = int.from_bytes(body[place : place + 2], "big")
    place += 2
    for _ in range(count):
        size = int.from_bytes(body[place : place + 4], "big", signed=True)
        place += 4
        yield None if size < 0 else body[place : place + size]
        place += max(size, 0)
