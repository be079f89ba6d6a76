"""The desk's disk: every signed message before it is published, every record read before it is acted on.

``inputs/`` is what the checker reads (`tests/world/checker/inputs.py`); ``published`` lists the numbers of messages
that Kafka acknowledged, so that a restarted desk sends exactly the others again, byte for byte. The three ``*.jsonl``
files hold the records of the output topics as they were read, and with them how far and when.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.v1 import Kind
from tests.world import clock


@dataclass(frozen=True, slots=True)
class Signed:
    """One message as it travels. ``jws`` is None for a hostile one without a signature."""

    number: int
    kind: Kind
    key: str
    raw: bytes
    jws: str | None


class Outgoing:
    """``inputs/``: numbered in the order of writing, which is the order of publishing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "inputs"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._published_path = directory / "published"
        self._published_path.touch()
        self.published = {int(line) for line in self._published_path.read_text().split()}
        self.orders: set[str] = set()
        self.identities: set[str] = set()
        self._last = 0
        for about in self._abouts():
            self._last = max(self._last, about["number"])
            self.identities.add(about["identity"])
            if about["kind"] == Kind.ORDER.value:
                self.orders.add(about["identity"])

    def _abouts(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.directory.glob("[0-9]*.json")):
            yield {**json.loads(path.read_text()), "number": int(path.stem)}

    def write(
        self, kind: Kind, identity: str, key: str, raw: bytes, jws: str | None, at_ms: int, wall_ms: int
    ) -> Signed:
        """Keep a message for good; only then may it be published."""
        self._last += 1
        stem = self.directory / f"{self._last:08d}"
        stem.with_suffix(f".{kind.value}").write_bytes(raw)
        about = {"kind": kind.value, "identity": identity, "key": key, "jws": jws, "at_ms": at_ms, "wall_ms": wall_ms}
        temporary = stem.with_suffix(".new")
        temporary.write_text(json.dumps(about))
        temporary.rename(stem.with_suffix(".json"))  # a message exists when its description does
        self.identities.add(identity)
        if kind is Kind.ORDER:
            self.orders.add(identity)
        return Signed(self._last, kind, key, raw, jws)

    def unpublished(self) -> list[Signed]:
        """Written by an earlier life of the desk, never acknowledged."""
        return [self._load(about) for about in self._abouts() if about["number"] not in self.published]

    def load(self, number: int) -> Signed:
        about = json.loads((self.directory / f"{number:08d}.json").read_text())
        return self._load({**about, "number": number})

    def _load(self, about: dict[str, Any]) -> Signed:
        raw = (self.directory / f"{about['number']:08d}.{about['kind']}").read_bytes()
        return Signed(about["number"], Kind(about["kind"]), about["key"], raw, about["jws"])

    def note_published(self, numbers: list[int]) -> None:
        self.published.update(numbers)
        with self._published_path.open("a") as file:
            file.write("".join(f"{number}\n" for number in numbers))


class Journal:
    """One output topic on disk, appended durably before anything follows from it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.next_offsets: dict[int, int] = {}
        path.touch()
        kept = 0
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # the end of an earlier life, in the middle of a line: it is read from Kafka again
                kept += len(line)
                record = json.loads(line)
                self.next_offsets[record["partition"]] = record["offset"] + 1
        os.truncate(path, kept)

    def values(self) -> Iterator[str]:
        with self._path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)["value"]

    def append(self, records: list[tuple[str, int, int, bytes]]) -> None:
        """(topic, partition, offset, value) each; returns when they are on the disk."""
        with self._path.open("ab") as file:
            for topic, partition, offset, value in records:
                about = {"topic": topic, "partition": partition, "offset": offset, "value": value.decode()}
                about["wall_ms"] = clock.wall_ms()
                file.write(json.dumps(about, ensure_ascii=False).encode() + b"\n")
                self.next_offsets[partition] = offset + 1
            file.flush()
            os.fsync(file.fileno())
