"""One run of the kit: the profile that is checked, its rehearsal, and the rooms in which it is tried."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adapters.conformance import people
from adapters.conformance.case import Broken
from adapters.conformance.counterpart import Fault, Mishap, Party
from adapters.conformance.finding import rehearsal_of
from adapters.conformance.hearing import Core
from adapters.conformance.keys import Keys
from adapters.conformance.rehearsal import Golden, Kind, Rehearsal, RehearsesPrivateLines, Site
from adapters.conformance.room import HANG_SECONDS, Bank, Room
from adapters.conformance.streams import HttpBank, TcpBank
from adapters.conformance.tree import FileBank
from adapters.conformance.watch import Watch
from adapters.contract import BankAdapter, Profile

# How long an adapter waits for one answer. Patience is what a slow machine needs; three silent answers in a row still
# end before a call is given up as hanging.
PATIENT_MILLISECONDS: Final = 5_000
HURRIED_MILLISECONDS: Final = 2_000


@dataclass
class Kit:
    """One run: the profile that is checked, its rehearsal, and what all rooms share."""

    profile: Profile
    name: str
    rehearsal: Rehearsal
    core: Core
    folder: Path
    keys: Keys
    watch: Watch = field(default_factory=Watch)
    configured: Mapping[str, Any] = field(default_factory=dict)
    locator: str = ""  # how another process finds the profile: "module:attribute"
    rooms: int = 0
    submissions: int = 0
    is_built: bool = False

    def next_submission(self) -> str:
        self.submissions += 1
        return self.core.submission_reference(self.submissions, people.AT)

    def section(self, port: int, patience_milliseconds: int = PATIENT_MILLISECONDS) -> dict[str, Any]:
        site = Site(self.folder, port, patience_milliseconds=patience_milliseconds)
        return self.rehearsal.settings(site, self.configured)

    def adapter(self) -> BankAdapter:
        """An adapter that leads nowhere, for what is pure."""
        made: BankAdapter = self.profile.adapter(self.name, self.profile.settings.model_validate(self.section(1)))
        return made

    def as_in_the_manual(self) -> tuple[BankAdapter, Golden]:
        """The sample, and an adapter as the rehearsal itself would configure it, whatever an operator configured.

        Both come from a rehearsal of their own, in a directory of their own: nothing of this run leaks into them.
        """
        folder = self.folder / "manual"
        folder.mkdir(exist_ok=True)
        Keys(folder)
        rehearsal = rehearsal_of(self.profile)
        settings = self.profile.settings.model_validate(rehearsal.settings(Site(folder, 1), {}))
        return self.profile.adapter(self.name, settings), rehearsal.golden()

    @asynccontextmanager
    async def room(
        self,
        fault: Fault = Fault.NONE,
        party: Party = Party.SUBMISSION,
        *,
        at: int = 0,
        stranger: bool = False,
        closed: bool = False,
        hurried: bool = False,
    ) -> AsyncIterator[Room]:
        """A room whose bank commits ``fault``; ``closed``: nobody listens; ``stranger``: somebody else does.

        Where the bank is to be silent the adapter's patience is short: for such a ``fault``, and where the room is
        ``hurried`` because it falls silent later. Elsewhere it waits for what really comes, on a busy machine too.
        """
        self.rooms += 1
        if not self.is_built:  # a blank of the adapter is told before one of its rehearsal
            self.adapter().capabilities()
            self.is_built = True
        bank = self._bank()
        bank.mishap = Mishap(fault, party, at)
        await bank.start(self.keys, stranger=stranger)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else can take it
            port = unused.getsockname()[1] if closed else bank.port
            waits = hurried or fault in (Fault.SILENCE, Fault.ENDLESS)
            section = self.section(port, HURRIED_MILLISECONDS if waits else PATIENT_MILLISECONDS)
            settings = self.profile.settings.model_validate(section)
            room = Room(self, bank, settings)
            self.watch.show(settings)
            self.watch.show(room.adapter)
            room.reaches = not closed
            try:
                yield room
                room.leave()
            except Broken:
                room.explain()
                raise
            finally:
                await asyncio.wait_for(room.transport.close(), HANG_SECONDS)
                await bank.stop()

    def _bank(self) -> Bank:
        match self.rehearsal.kind:
            case Kind.HTTP:
                return HttpBank(self.rehearsal)
            case Kind.TCP:
                lines = self.rehearsal if isinstance(self.rehearsal, RehearsesPrivateLines) else None
                return TcpBank(self.rehearsal, private=lines is not None and lines.is_private(self.configured))
            case Kind.SFTP:
                return FileBank(self.rehearsal, self.folder / f"tree-{self.rooms}")
