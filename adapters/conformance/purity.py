"""Writes and reads once in a process of its own, and tells whether anything outside was touched.

``python -m adapters.conformance.purity`` takes a job as JSON and gives its judgement as JSON. While the adapter writes
and reads, an audit hook notes every file, socket and process, and a clock that is asked says so.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from adapters.contract import Evidence

_EVENTS: Final = ("open", "socket.", "subprocess.", "os.", "shutil.", "urllib.", "http.", "ssl.")
_HARMLESS: Final = frozenset({"os.listdir", "os.scandir"})  # of the import system, which loads a codec when it needs it
_IMPORTABLE: Final = (".py", ".pyc", ".so")
_CLOCKS: Final = ("time", "time_ns", "localtime", "gmtime")
touched: list[str] = []


class _Guard:
    on = False


def judgement(job: dict[str, Any], *, guard: bool) -> dict[str, Any]:
    """Digests of what was written and read, and what was touched on the way."""
    from adapters.conformance import people
    from adapters.contract import Artefact, Profile, Unreadable

    module, _, attribute = job["locator"].partition(":")
    profile: Profile = getattr(importlib.import_module(module), attribute)
    adapter = profile.adapter(job["name"], profile.settings.model_validate(job["section"]))
    lines = people.lines(job["references"])
    submission = people.submission(job["submission"])
    artefacts = [Artefact.of(name, base64.b64decode(content)) for name, content in job["artefacts"]]
    adapter.render(submission, lines[:1], people.AT)  # codecs and the like are loaded before anybody watches
    parsed: list[str] = []
    with _watched(guard):
        rendered = adapter.render(submission, lines, people.AT)
        for artefact in artefacts:
            try:
                parsed.append(_written(list(adapter.parse(artefact))))
            except Unreadable:
                parsed.append("Unreadable")
    return {
        "rendered": [hashlib.sha256(rendered.payload).hexdigest(), rendered.remote_name, list(rendered.references)],
        "parsed": parsed,
        "touched": sorted(set(touched)),
    }


def _written(evidence: list[Evidence]) -> str:
    """Without the names of classes: a date is another class where the clock is watched."""
    return repr([[str(getattr(each, field.name)) for field in dataclasses.fields(each)] for each in evidence])


@contextmanager
def _watched(guard: bool) -> Iterator[None]:
    if not guard:
        yield
        return
    _Guard.on = True
    try:
        yield
    finally:
        _Guard.on = False


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _Guard.on or event in _HARMLESS or not event.startswith(_EVENTS):
        return
    if event == "open" and str(arguments[0]).endswith(_IMPORTABLE):
        return
    touched.append(event)


def _telling(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def asked(*arguments: Any) -> Any:
        if _Guard.on:
            touched.append(f"the clock ({name})")
        return original(*arguments)

    return asked


class _Date(dt.date):
    @classmethod
    def today(cls) -> Any:
        touched.extend(["the clock (date.today)"] if _Guard.on else [])
        return super().today()


class _DateTime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        touched.extend(["the clock (datetime.now)"] if _Guard.on else [])
        return super().now(tz)

    @classmethod
    def utcnow(cls) -> Any:
        touched.extend(["the clock (datetime.utcnow)"] if _Guard.on else [])
        return super().fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    for name in _CLOCKS:
        setattr(time, name, _telling(name, getattr(time, name)))
    # Before the adapter is imported, so that its own names lead here.
    dt.datetime, dt.date = _DateTime, _Date  # type: ignore[misc]
    sys.addaudithook(_hear)
    sys.stdout.write(json.dumps(judgement(job, guard=True)))


if __name__ == "__main__":
    main()
