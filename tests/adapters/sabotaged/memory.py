"""Mistakes of adapters that remember too much, and of those that tell it: the second call shows them, or a log."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from adapters.banks.json_https import JsonHttpsBank
from adapters.banks.rcc_file.bank import RccFileAdapter
from adapters.contract import Artefact, Evidence, Line, Reason, Rendered, Submission
from adapters.wire.http import HttpWire
from schemas.masked import AccountNumber
from tests.adapters.sabotaged.six import Forgiving

SMALL_FEN: Final = 100

_log = logging.getLogger("their_bank")
_own_log = logging.getLogger("their_bank.trace")
_own_log.propagate = False


class CountsItsFiles(JsonHttpsBank):
    """Numbers what it writes, so that a file which is rendered anew is another one."""

    written = 0

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        self.written += 1
        rendered = super().render(submission, lines, at)
        return dataclasses.replace(rendered, remote_name=f"{self.written:04d}.json")


class ReadsOnce(RccFileAdapter):
    """What was read once is read: after a restart of the core in the middle of a commit, nothing is told."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._read: set[str] = set()

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        evidence = super().parse(artefact)
        known = artefact.sha256 in self._read
        self._read.add(artefact.sha256)
        return iter(()) if known else evidence


class RemembersTheAccount(RccFileAdapter):
    """Debits the account that was debited first: "a county has one"."""

    account: AccountNumber | None = None

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        self.account = self.account or submission.debit_account
        return super().render(dataclasses.replace(submission, debit_account=self.account), lines, at)


class SmallChange(Forgiving):
    """A yuan less is nothing to stop a payment for."""

    def is_near(self, missing_fen: int) -> bool:
        return 0 < missing_fen <= SMALL_FEN


class MoreIsEnough(Forgiving):
    """They got at least what they should get."""

    def is_near(self, missing_fen: int) -> bool:
        return missing_fen < 0


class NamesWhomItRefuses(JsonHttpsBank):
    """Logs the name that cannot be written, so that somebody may look after it."""

    def refuse(self, line: Line) -> Reason | None:
        reason = super().refuse(line)
        if reason is Reason.NAME_NOT_ENCODABLE:
            _log.info("refused %s: %s", line.name.reveal(), reason)
        return reason


class PrintsWhatItSends(JsonHttpsBank):
    """A line for debugging that stayed."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        sys.stderr.write(f"sending {rendered.payload.decode()}\n")
        return await super().submit(rendered, wire)


class WrapsWhatItSends(JsonHttpsBank):
    """Logs the payload, in base64 "so that nobody can read it"."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        _log.debug("payload %s", base64.b64encode(b"=" + rendered.payload).decode())
        return await super().submit(rendered, wire)


class DumpsWhatItSends(JsonHttpsBank):
    """Writes the payload in hexadecimal into a log of its own, which nobody else hears."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        _own_log.warning("payload %s", rendered.payload.hex())
        return await super().submit(rendered, wire)


class AttachesWhatItSends(JsonHttpsBank):
    """Gives the payload to the log as a field beside the message."""

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        _log.debug("sending", extra={"payload": rendered.payload})
        return await super().submit(rendered, wire)
