"""The post room of CMPP and SMPP: judges SUBMITs, puts long messages together, and draws the fate of each.

Theory of operation. A SUBMIT is judged, written to the ledger and only then answered; a message exists once all of its
parts are in, and its fate is drawn at that moment. From then on every SUBMIT of it is owed ``callbacks`` reports for
each receiver (`reports.py`). A centre that starts again reads from its ledger what it had begun to put together and
what it owes: reports are repeated, never forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.world import clock
from tests.world.sms.config import PDU_FAULTS, TAKES_NOTHING, Config
from tests.world.sms.fate import Fate, Programme, units
from tests.world.sms.reports import Owed, Reports
from tests.world.sms.segments import Part, Wrong
from tests.world.sms_ledger import Ledger, Row, Submit, identity


@dataclass(slots=True)
class Assembly:
    """A long message on its way in."""

    id: str
    source: str
    phones: tuple[str, ...]
    total: int
    at_ms: int
    parts: dict[int, bytes] = field(default_factory=dict)
    wire_ids: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(self.parts[number] for number in sorted(self.parts)).decode("utf-16-be")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to answer to a SUBMIT and how to fail at it; ``first`` are reports that go out before the answer."""

    code: str
    fault: str = ""
    wire_id: str = ""
    first: tuple[Owed, ...] = ()


class Post:
    """One protocol's share of the centre, for all of its sessions."""

    def __init__(
        self, config: Config, protocol: str, ledger: Ledger, programme: Programme, mint: Callable[[int], str]
    ) -> None:
        """``mint`` gives the id of the SUBMIT that an event of the ledger takes, in the protocol's own form."""
        self.config = config
        self.protocol = protocol
        self._ledger = ledger
        self._programme = programme
        self._mint = mint
        self._arrivals = ledger.arrivals()
        self._told = ledger.told()
        self._open: dict[tuple[str, tuple[str, ...], str], Assembly] = {}
        self.reports = Reports(config, protocol, ledger, programme)
        for submit in ledger.unfinished(protocol):
            self._add(submit)

    def note(self, verdict: str, code: str = "") -> None:
        """A connection's life: bound, refused, broken, ended; or an answer to nothing that waits."""
        self._ledger.write("LINK", "", verdict, code=code, protocol=self.protocol)

    def refuse(self, code: str, count: int) -> Outcome:
        """Against the rules: nothing is taken, and it is no arrival of anything."""
        self._ledger.write("CALL", "", "refused", code=code, count=count, protocol=self.protocol)
        return Outcome(code)

    def take(self, source: str, phones: tuple[str, ...], part: Part, *, at_once: bool, hears: bool) -> Outcome:
        """Judge a SUBMIT that keeps the rules, and write down what became of it. Raises Wrong for a part that does
        not fit its message.

        ``at_once`` refuses a bad number in the answer where there is but one receiver; else its report does. ``hears``:
        the session takes reports, so that one may overtake the answer.
        """
        assembly = self._assembly(source, phones, part)
        name = identity(phones, part.number, part.total, part.content)
        number = _bare(phones[0])
        nth = self._arrivals[name]
        self._arrivals[name] += 1
        fault = self._programme.call(name, nth, faults=PDU_FAULTS, number=number)
        if fault in TAKES_NOTHING:
            code = "THROTTLED" if fault == "throttle" else "ERROR"
            verdict = "refused" if fault == "throttle" else "lost"
            written = code if fault == "throttle" else ""
            self._write(name, verdict, written, len(phones), fault)
            return Outcome(code, fault)
        refused, why = self._programme.number(number)
        if refused and at_once and len(phones) == 1:
            return self._refuse_number(name, source, number, part, why)
        at_ms = clock.now_ms() + (self.config.accept_later_seconds * 1000 if fault == "accept_later" else 0)
        n = self._ledger.n + 1
        wire_id = self._mint(n)
        assembly_id = assembly.id if assembly is not None else wire_id
        submit = Submit(wire_id, n, self.protocol, assembly_id, source, phones, *_of(part), at_ms)
        whole = self._add(submit)
        early = fault == "report_first" and hears
        rows = [] if whole is None else [self._row(whole, at, n, name, early=early) for at in range(len(phones))]
        if fault == "report_first" and not (hears and rows and all(row.callbacks for row in rows)):
            fault = ""  # nothing to report yet, or nobody to hear it: it did not fire
        self._write(name, "taken", "OK", len(phones), fault, rows, submit)
        self.reports.hold(wire_id)
        first = self._owe_whole(whole, rows, wire_id if fault == "report_first" else "") if whole is not None else ()
        return Outcome("ERROR" if fault == "error_after" else "OK", fault, wire_id, first)

    def _owe_whole(self, whole: Assembly, rows: list[Row], overtaking: str) -> tuple[Owed, ...]:
        """Owe every report of a message; the first copies about the SUBMIT ``overtaking`` are given back instead."""
        first: list[Owed] = []
        for phone, row in zip(whole.phones, rows, strict=True):
            for wire_id in whole.wire_ids:
                if wire_id == overtaking:
                    first.append(self.reports.make(row, wire_id, phone, row.taken_at_ms))
                self.reports.owe(row, wire_id, phone, range(wire_id == overtaking, row.callbacks))
        return tuple(first)

    def query(self, wire_id: str) -> Row | None:
        """What is known of a message by the id that was answered; None: no such message, or not whole yet."""
        row = self._ledger.of_wire(wire_id, clock.now_ms())
        verdict, code = ("answered", "OK") if row else ("never_seen", "NOT_FOUND")
        batch_id = row.batch_id if row else ""
        self._ledger.write("QUERY", batch_id, verdict, code=code, count=row is not None, protocol=self.protocol)
        return row

    def _write(
        self,
        name: str,
        verdict: str,
        code: str,
        count: int,
        fault: str,
        rows: list[Row] | None = None,
        submit: Submit | None = None,
    ) -> None:
        self._ledger.write(
            "CALL",
            name,
            verdict,
            code=code,
            count=count,
            fault=fault,
            messages=rows or (),
            submit=submit,
            protocol=self.protocol,
        )

    def _assembly(self, source: str, phones: tuple[str, ...], part: Part) -> Assembly | None:
        """The message that a part belongs to, if it is not the first; Wrong where it does not fit."""
        if not part.reference:
            return None
        found = self._open.get((source, phones, part.reference))
        if found is not None and (
            found.total != part.total or found.parts.get(part.number, part.content) != part.content
        ):
            raise Wrong("UDH")
        return found

    def _add(self, submit: Submit) -> Assembly | None:
        """Put a SUBMIT to the others of its message; the message, if that makes it whole (it is open no more)."""
        key = (submit.source, submit.phones, submit.reference)
        if key not in self._open:
            self._open[key] = Assembly(submit.assembly, submit.source, submit.phones, submit.total, submit.at_ms)
            self.reports.news.set()
        assembly = self._open[key]
        assembly.parts[submit.number] = submit.content
        assembly.wire_ids.append(submit.wire_id)
        assembly.at_ms = max(assembly.at_ms, submit.at_ms)
        if len(assembly.parts) < assembly.total:
            return None
        return self._open.pop(key)

    def _row(self, whole: Assembly, index: int, n: int, name: str, *, early: bool) -> Row:
        phone, text = _bare(whole.phones[index]), whole.text
        ref = identity(phone, text)
        nth = self._told[ref]
        self._told[ref] += 1
        head = (f"{whole.id}/{index}", n, name, ref, phone, text, units(text))
        refused, why = self._programme.number(phone)
        if refused:
            # There is no room in the answer for one number of many, or no word for it: the report says so.
            fate = Fate("NOBODY", whole.at_ms, "REJECTD", whole.at_ms, whole.at_ms, 1, why)
            return Row(*head, "BAD_NUMBER", *fate, self.protocol, whole.source, whole.total)
        drawn = self._programme.fate(ref, nth, whole.at_ms, why)
        if early and drawn.callback_at_ms is not None:
            late = drawn.fault == "report_late"  # which then cannot fire
            drawn = drawn._replace(status_at_ms=whole.at_ms, callback_at_ms=whole.at_ms)
            drawn = drawn._replace(fault="") if late else drawn
        return Row(*head, "OK", *drawn, self.protocol, whole.source, whole.total)

    def _refuse_number(self, name: str, source: str, phone: str, part: Part, why: str) -> Outcome:
        at_ms, text = clock.now_ms(), part.text
        row = Row(
            f"{self._mint(self._ledger.n + 1)}/0",
            self._ledger.n + 1,
            name,
            identity(phone, text),
            phone,
            text,
            units(text),
            "BAD_NUMBER",
            "NOBODY",
            at_ms,
            "REJECTD",
            at_ms,
            None,
            0,
            why,
            self.protocol,
            source,
            part.total,
        )
        self._write(name, "refused", "BAD_NUMBER", 1, why, [row] if part.number == 1 else [])
        return Outcome("BAD_NUMBER")

    async def run(self) -> None:
        while True:
            await self._wait()
            now = clock.now_ms()
            for key in [key for key, one in self._open.items() if self._expires_ms(one) <= now]:
                self._expire(self._open.pop(key), now)
            self.reports.pay(now)

    def _expires_ms(self, one: Assembly) -> int:
        return one.at_ms + self.config.incomplete_seconds * 1000

    async def _wait(self) -> None:
        """Until a report is due that somebody can hear, or a message has waited long enough for its parts."""
        self.reports.news.clear()
        moments = [self._expires_ms(one) for one in self._open.values()]
        if (due_ms := self.reports.next_ms()) is not None:
            moments.append(due_ms)
        seconds = clock.real_seconds((min(moments) - clock.now_ms()) / 1000) if moments else None
        if seconds is None or seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # wait_for() of 3.11 can lose a cancellation
                    await self.reports.news.wait()

    def _expire(self, one: Assembly, now: int) -> None:
        """A message that never became whole reached nobody; each SUBMIT of it is told so."""
        n, text = self._ledger.n + 1, one.text
        fate = Fate("NOBODY", one.at_ms, "EXPIRED", now, now, 1, "")
        rows = []
        for index, written in enumerate(one.phones):
            phone = _bare(written)
            head = (f"{one.id}/{index}", n, "", identity(phone, text), phone, text, units(text))
            rows.append(Row(*head, "INCOMPLETE", *fate, self.protocol, one.source, one.total))
        self._ledger.write("EXPIRY", "", "expired", count=len(rows), messages=rows, protocol=self.protocol)
        for phone, row in zip(one.phones, rows, strict=True):
            for wire_id in one.wire_ids:
                self.reports.owe(row, wire_id, phone, range(1))


def _of(part: Part) -> tuple[str, int, int, bytes]:
    return part.reference, part.number, part.total, part.content


def _bare(phone: str) -> str:
    """A number without its country: how a ledger, a plan and a rule of mobile numbers name it."""
    digits = phone.removeprefix("+")
    return digits[2:] if len(digits) == 13 and digits.startswith("86") else digits
