"""Logs carry listed keys and harmless values, whoever writes them and whatever goes wrong."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import pydantic
import pytest
import structlog

from adapters.contract import Proof, Unreadable
from gateway import log
from gateway.kafka import Inbox
from schemas.masked import AccountNumber, IdNumber, PersonName, Phone
from schemas.v1 import Kind, RefusalReason

# Test people: the unassigned ID prefix 659999 and the unassigned card prefix 629999.
ID = "659999199001011234"
CARD = "6299991234567890019"
MOBILE = "13800138000"
NAME = "买买提江·吐尔逊"
CANARIES = (ID, CARD, MOBILE, NAME)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The stream that logs go to, with the process's own hooks and logging put back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions, warnings.showwarning)
    hooks = (sys.excepthook, sys.unraisablehook, threading.excepthook)
    settings = structlog.get_config()
    stream = io.StringIO()
    log._Lines.lost = 0  # what other streams lost would be told on ours
    log.configure("DEBUG", stream)
    yield stream
    log._Lines.lost = 0
    structlog.configure(**settings)
    root.handlers[:], logging.raiseExceptions, warnings.showwarning = before[0], before[2], before[3]
    root.setLevel(before[1])
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    for canary in CANARIES:
        assert canary not in text, "a canary reached the log"
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_json_object_with_its_listed_keys(lines: io.StringIO) -> None:
    """A log line is one JSON object with time, level, logger and the keys it was given."""
    log.get_logger("gateway.dispatch").info("submitted", bank="rcc_file", lines=500, proof=Proof.RECEIVED)
    (line,) = read(lines)
    assert {key: line[key] for key in ("event", "level", "logger", "bank", "lines", "proof")} == {
        "event": "submitted",
        "level": "info",
        "logger": "gateway.dispatch",
        "bank": "rcc_file",
        "lines": 500,
        "proof": "RECEIVED",
    }
    assert line["ts"].endswith("Z")


def test_unlisted_keys_are_dropped_and_counted(lines: io.StringIO) -> None:
    """A key that is not on the allow-list never appears; the line says how many were dropped."""
    log.get_logger("t").info("x", id_no=ID, name=NAME, phone=MOBILE, bank="b")
    (line,) = read(lines)
    assert set(line) == {"event", "level", "ts", "logger", "bank", "dropped"}
    assert line["dropped"] == 3


def test_bound_and_contextual_keys_pass_the_same_gate(lines: io.StringIO) -> None:
    """Keys bound to a logger or to the context are filtered like any other."""
    with structlog.contextvars.bound_contextvars(payee=NAME, batch_id="1042"):
        log.get_logger("t").bind(account=CARD).warning("x")
    (line,) = read(lines)
    assert line["batch_id"] == "1042"
    assert line["dropped"] == 2


class Secret(str):
    """A masked type as a careless hand would write it: a subclass of str."""

    __slots__ = ()


@pytest.mark.parametrize("value", [Secret(NAME), PersonName(NAME), IdNumber(ID), AccountNumber(CARD), Phone(MOBILE)])
def test_masked_types_do_not_print_even_masked(lines: io.StringIO, value: object) -> None:
    """A masked type under a listed key is replaced by the name of its class: not even its last digits are logged."""
    log.get_logger("t").info("x", reason=value, code=[value])
    (line,) = read(lines)
    assert line["reason"] == f"<{type(value).__name__}>"
    assert line["code"] == [f"<{type(value).__name__}>"]


@pytest.mark.parametrize("canary", [*CANARIES, "+86 " + MOBILE, "659999900101123", "65999919900101123X"])
def test_text_under_a_listed_key_loses_what_looks_personal(lines: io.StringIO, canary: str) -> None:
    """Names, ID, card and mobile numbers pasted into listed text, or into the event itself, are removed."""
    log.get_logger("t").info(f"failed for {canary}", reason=f"bank said: {canary}!", code=canary)
    read(lines)
    assert canary not in lines.getvalue()
    assert "failed for" in lines.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "DF202611240000000017",
        "1042-17",
        "01J5ZQ8H7K3M9N2P4R6S8T0V1W",
        "102290012345",
        "2026-11-24T10:00:00+08:00",
        "a1b2",
    ],
)
def test_our_own_references_survive(text: str) -> None:
    """Submission and rail references, payout ids, CNAPS numbers, times and digests are not mistaken for people."""
    assert log.plain(text) == text


def test_values_keep_their_type_or_lose_their_content(lines: io.StringIO) -> None:
    """Numbers, dates, durations and enum members pass; bytes, mappings and foreign objects become a description."""

    class Kind(StrEnum):
        A = "a"

    log.get_logger("t").info(
        "x", lines=3, kind=Kind.A, due_at=dt.date(2026, 11, 24), seconds=dt.timedelta(minutes=1), bytes=b"abc",
        state={"name": NAME}, count=None, path="p" * 1000,
    )  # fmt: skip
    (line,) = read(lines)
    assert (line["lines"], line["kind"], line["due_at"], line["seconds"]) == (3, "a", "2026-11-24", 60.0)
    assert (line["bytes"], line["state"], line["count"]) == ("<3 bytes>", "<dict>", None)
    assert len(line["path"]) == log.TEXT_LIMIT


def test_an_exception_is_class_and_frames_without_its_message(lines: io.StringIO) -> None:
    """An exception is logged as its class and frames; its message, its locals and its cause's message are not."""
    name = NAME  # a local that a pretty traceback would print
    try:
        try:
            raise KeyError(ID)
        except KeyError as error:
            raise ValueError(f"{name} {CARD}") from error
    except ValueError:
        log.get_logger("t").exception("judging failed")
    (line,) = read(lines)
    assert line["error"]["type"] == "builtins.ValueError"
    assert line["error"]["frames"][-1].startswith(f"{__name__}:")
    assert line["error"]["cause"]["type"] == "builtins.KeyError"
    assert "message" not in line["error"]


def test_pydantic_errors_do_not_quote_their_input(lines: io.StringIO) -> None:
    """A validation error, whose message quotes what it refused, is logged without it."""

    class Item(pydantic.BaseModel):
        line: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Item.model_validate({"line": CARD + " " + NAME})
    log.get_logger("t").error("refused", error=caught.value)
    (line,) = read(lines)
    assert line["error"]["type"].endswith("ValidationError")


def test_only_a_declared_class_is_quoted_and_not_its_subclass(lines: io.StringIO) -> None:
    """A message is logged for classes that promise not to quote data; a subclass has to promise for itself."""

    class Careless(Unreadable):
        pass

    @log.quotable
    class Careful(Exception):
        pass

    for error in (Unreadable("trailer count differs"), Careless(NAME), Careful(f"line 3 of {CARD}")):
        log.get_logger("t").error("x", exc_info=error)
    first, second, third = read(lines)
    assert first["error"]["message"] == "trailer count differs"
    assert "message" not in second["error"]
    assert third["error"]["message"] == "line 3 of [digits]"


def test_system_and_database_errors_keep_their_code(lines: io.StringIO) -> None:
    """An OSError says its errno and a database error its SQLSTATE: codes that cannot hold data."""

    class Violation(Exception):
        sqlstate = "23505"

    log.get_logger("t").error("x", exc_info=ConnectionRefusedError(111, f"to {NAME}"))
    log.get_logger("t").error("x", exc_info=Violation(f"Key (name)=({NAME}) exists"))
    refused, violated = read(lines)
    assert refused["error"]["errno"] == "ECONNREFUSED"
    assert violated["error"]["sqlstate"] == "23505"


def test_groups_are_opened_and_endless_chains_are_cut(lines: io.StringIO) -> None:
    """The members of an exception group are logged; a chain of causes, even a circle, ends."""
    one, two = ValueError(NAME), OSError(ID)
    one.__cause__, two.__cause__ = two, one
    log.get_logger("t").error("x", exc_info=BaseExceptionGroup("g", [one, KeyboardInterrupt()]))
    (line,) = read(lines)
    assert [error["type"] for error in line["error"]["errors"]] == ["builtins.ValueError", "builtins.KeyboardInterrupt"]


@pytest.mark.parametrize("name", ["aiokafka.consumer.fetcher", "asyncssh", "asyncpg", "aiohttp.access", "unheard.of"])
def test_libraries_are_silent_below_warning_even_at_debug(lines: io.StringIO, name: str) -> None:
    """Whatever our level and the library's own setting, its DEBUG and INFO records are not written."""
    library = logging.getLogger(name)
    library.setLevel(logging.DEBUG)
    library.debug("value %s", ID)
    library.info("value %s", NAME)
    assert read(lines) == []
    library.setLevel(logging.NOTSET)


def test_a_librarys_warning_keeps_its_template_but_not_its_values(lines: io.StringIO) -> None:
    """A library's warning is written as its first line, with numbers and exception classes but no text or bytes."""
    library = logging.getLogger("aiokafka.producer")
    library.warning("got %s for %r at offset %d: %s", NAME, ID.encode(), 17, ValueError(CARD))
    library.error("broken\nrepr(%s)", NAME)
    library.error("%d lines", "many")
    library.warning("map %(a)s", {"a": NAME})
    library.log(35, "between levels")
    said = [line["event"] for line in read(lines)]
    assert said == ["got * for '*' at offset 17: ValueError", "broken", "%d lines", "map %(a)s", "between levels"]


def test_a_handler_that_a_library_brought_is_taken_away(lines: io.StringIO) -> None:
    """A library's own handler cannot write beside the gates once ``configure`` has run."""
    beside = io.StringIO()
    library = logging.getLogger("talkative")
    library.addHandler(logging.StreamHandler(beside))
    library.propagate = False
    log.configure("INFO", lines)
    library.warning("%s", NAME)
    assert beside.getvalue() == ""
    assert [line["logger"] for line in read(lines)] == ["talkative"]


async def test_a_task_that_died_unseen_is_logged_without_its_message(lines: io.StringIO) -> None:
    """asyncio pastes the repr of a lost exception into its log line; ours does not show it."""

    async def dies() -> None:
        raise ValueError(NAME + ID)

    loop = asyncio.get_running_loop()
    task = asyncio.create_task(dies())
    await asyncio.wait([task])
    context = {"message": "Task exception was never retrieved", "future": task, "exception": task.exception()}
    loop.default_exception_handler(context)
    (line,) = read(lines)
    assert line["event"] == "Task exception was never retrieved"
    assert line["error"]["type"] == "builtins.ValueError"


def test_hooks_that_would_print_messages_are_taken_over(lines: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    """An uncaught exception, in the main thread or another, and a Python warning are logged without their text."""
    sys.excepthook(ValueError, ValueError(NAME), None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    def dies() -> None:
        raise ValueError(ID)

    thread = threading.Thread(target=dies)
    threading.excepthook(threading.ExceptHookArgs((ValueError, ValueError(ID), None, thread)))
    warnings.showwarning(UserWarning(CARD), UserWarning, "/somewhere/lib/module.py", 7)
    said = read(lines)
    assert [line["event"] for line in said] == [
        "uncaught exception",
        "uncaught exception in a thread",
        "python warning",
    ]
    assert (said[2]["kind"], said[2]["file"]) == ("UserWarning", "lib/module.py:7")
    assert capfd.readouterr().err == ""


def test_a_record_that_cannot_be_written_harms_nobody(lines: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    """When writing a library's record fails, the caller goes on and the record's values are not printed."""
    lines.close()
    logging.getLogger("aiokafka").warning("x %s", NAME)
    assert NAME not in capfd.readouterr().err


def test_our_own_level_is_kept_and_nonsense_is_refused(lines: io.StringIO) -> None:
    """Lines below the configured level are not written, and an unknown level is an error at start."""
    log.configure("warning", lines)
    log.get_logger("t").info("quiet")
    log.get_logger("t").error("loud")
    assert [line["event"] for line in read(lines)] == ["loud"]
    with pytest.raises(ValueError, match="log level"):
        log.configure("CHATTY", lines)


def test_the_canaries_would_be_seen(lines: io.StringIO) -> None:
    """Negative control: with the gates taken out, the same call is caught by the canary check."""
    structlog.configure(processors=[structlog.processors.JSONRenderer(ensure_ascii=False)])
    log.get_logger("t").info("x", name=NAME)
    with pytest.raises(AssertionError, match="canary"):
        read(lines)


def test_a_refused_message_is_found_by_its_digest(lines: io.StringIO) -> None:
    """The audit line names its message also where sixteen digits of the digest would look like somebody's card."""
    raw = b"message 80"
    digest = hashlib.sha256(raw).hexdigest()
    assert digest[:16].isdigit()
    Inbox._note_refusal(Kind.BATCH, raw, RefusalReason.UNSIGNED)
    assert read(lines)[-1]["digest"] == digest[:12]
