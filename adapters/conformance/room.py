"""What a case has at hand: one adapter with its own transport, in front of one bank of the kit's.

Each room is new: its own counterpart on its own port, its own adapter, its own transport. When a case leaves it, the
room asks what every case must be able to answer: was the bank reached, did the fault bite, did the bank understand all
that came, and was it exactly what had been rendered?
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from adapters.conformance import people
from adapters.conformance.case import Blank, Broken, NotApplicable, require
from adapters.conformance.counterpart import Fault, Record, wall_time
from adapters.conformance.hearing import Collected, Heard
from adapters.conformance.rehearsal import Occasion, Received, RehearsesCallbacks, Said, Told
from adapters.conformance.streams import HttpBank, TcpBank
from adapters.conformance.tree import FileBank
from adapters.contract import (
    AnswerKind,
    Artefact,
    BankAdapter,
    Booking,
    Callback,
    Capabilities,
    Evidence,
    GivesStatements,
    Line,
    Proof,
    Rendered,
    StatementEntry,
    Submission,
    TakesCallbacks,
    Transport,
    Unreadable,
    proof_of_raising,
)

if TYPE_CHECKING:
    from adapters.conformance.kit import Kit

HANG_SECONDS: Final = 20  # real; every call of an adapter has a limit far below this with the settings of ``Site``
ENOUGH_ARTEFACTS: Final = 50

Bank = HttpBank | TcpBank | FileBank


class Room:
    """One bank and one adapter; see the module."""

    def __init__(self, kit: Kit, bank: Bank, settings: Any) -> None:
        self.kit = kit
        self.bank = bank
        self._settings = settings
        self.adapter: BankAdapter = kit.profile.adapter(kit.name, settings)
        self.transport: Transport = kit.profile.transport(settings)
        self.can: Capabilities = self.adapter.capabilities()
        self.cursor = ""
        self.reaches = True  # False: a case that is not meant to reach the bank
        self.booked: list[StatementEntry] = []  # what statements said that were heard in this room
        self.written: dict[str, tuple[Line, ...]] = {}
        self.debited: dict[str, str] = {}  # the account that each submission names
        self.rendered: Rendered | None = None
        self.renderings: list[Rendered] = []
        self.last_raised: Exception | None = None  # out of submit

    @property
    def record(self) -> Record:
        return self.bank.record

    async def restart(self) -> None:
        """As after a crash: another adapter and transport. What only the old ones remembered is gone; what the core
        keeps (bytes, cursor, artefacts) is not."""
        await asyncio.wait_for(self.transport.close(), HANG_SECONDS)
        self.adapter = self.kit.profile.adapter(self.kit.name, self._settings)
        self.transport = self.kit.profile.transport(self._settings)

    # -- writing

    def references(self, count: int) -> list[str]:
        return self.kit.core.mint(count, people.AT, self.can.reference_alphabet, self.can.reference_length)

    def lines(self, count: int = 3) -> list[Line]:
        return people.lines(self.references(count))

    def render(self, lines: Sequence[Line] | None = None) -> Rendered:
        """Bytes for these lines (three as they come), under a reference of their own."""
        payable = self.lines() if lines is None else list(lines)
        for line in payable:
            reason = self.adapter.refuse(line)
            require(reason is None, f"refuse() says {reason} of a line that every bank has to be able to write")
        head = people.submission(self.kit.next_submission())
        self.rendered = self.render_as(head, payable)
        return self.rendered

    def render_as(self, head: Submission, lines: Sequence[Line]) -> Rendered:
        rendered = self.adapter.render(head, lines, people.AT)
        self.written[rendered.submission] = tuple(lines)
        self.debited[rendered.submission] = head.debit_account.reveal()
        self.renderings.append(rendered)
        self.kit.watch.show(rendered)
        return rendered

    # -- talking

    async def submit(self, rendered: Rendered | None = None) -> Heard:
        """Send, once, and read an exception as the core does."""
        chosen = rendered or self.rendered or self.render()
        self.rendered = chosen
        heard = await self._call("submit", lambda wire: self.adapter.submit(chosen, wire), of_submit=True)
        self.last_raised = heard.raised
        return heard

    async def resubmit(self) -> Heard:
        """The second transmission: the same bytes, and the number that says so."""
        return await self.submit(dataclasses.replace(self._sent(), transmission=2))

    async def probe(self) -> Heard:
        return await self._call("probe", lambda wire: self.adapter.probe(self._sent(), wire))

    async def cancel(self) -> bool:
        """Whether cancel() is there; NotImplementedError is its way to say no."""
        async with self.transport.wire() as wire:
            try:
                self._sane("cancel", await self.adapter.cancel(self._sent(), wire))
            except NotImplementedError:
                return False
            except Exception as error:
                self.kit.watch.raised(error)
        return True

    async def ping(self) -> Heard:
        async def ping(wire: Any) -> list[Evidence]:
            await self.adapter.ping(wire)
            return []

        return await self._call("ping", ping)

    async def settle(self, artefact: Artefact) -> None:
        async def settle(wire: Any) -> list[Evidence]:
            await self.adapter.settle(artefact, wire)
            return []

        heard = await self._call("settle", settle)
        require(heard.raised is None, f"settle() raised {type(heard.raised).__name__}")

    async def collect(self, cursor: str = "", *, may_raise: bool = False) -> Collected:
        """Everything since ``cursor``, and what parse makes of it; ``may_raise``: the bank has not answered it all."""
        found: list[tuple[Artefact, str]] = []

        async def collect(wire: Any) -> list[Evidence]:
            async for artefact, after in self.adapter.collect(wire, cursor):
                found.append((artefact, after))
                require(len(found) <= ENOUGH_ARTEFACTS, "collect() gives more artefacts than the bank has written")
            return []

        heard = await self._call("collect", collect)
        if heard.raised is not None and not may_raise:
            raise Broken(f"collect() raised {type(heard.raised).__name__} though the bank answered")
        collected = Collected(found, [], [])
        for artefact, _ in found:
            evidence = self.parse(artefact)
            if evidence is None:
                collected.unreadable.append(artefact)
            else:
                collected.evidence.extend(evidence)
                self._note_statement(artefact)
        return collected

    def _note_statement(self, artefact: Artefact) -> None:
        """Keep the entries of a statement, which is how some banks say amounts and days."""
        if isinstance(self.adapter, GivesStatements) and (stated := self.adapter.statement(artefact)) is not None:
            self.kit.watch.note("the entries of a statement", repr(stated.entries))
            self.booked += [entry for entry in stated.entries if entry not in self.booked]

    def paid(self, reference: str) -> list[StatementEntry]:
        """The entries of statements that say that a line was paid."""
        return [each for each in self.booked if each.reference == reference and each.booking is not Booking.RETURN]

    def parse(self, artefact: Artefact) -> list[Evidence] | None:
        """What an artefact proves, None for one that is Unreadable."""
        self.kit.watch.show(artefact)
        try:
            evidence = list(self.adapter.parse(artefact))
        except Unreadable as error:
            self.kit.watch.raised(error)
            return None
        except NotImplementedError as error:
            raise Blank.of(error, "parse()") from None
        except Exception as error:
            self.kit.watch.raised(error)
            raise Broken(f"parse() raised {type(error).__name__}; what cannot be read is Unreadable") from None
        return self._sane("parse", evidence)

    # -- having the bank say something, and hearing it in every way that it has

    def received(self) -> Received:
        arrived = [arrival.received for arrival in self.record.arrivals if arrival.received is not None]
        if not arrived:
            why = "" if self.last_raised is None else f": submit() raised {type(self.last_raised).__name__}"
            raise Broken(f"nothing that the bank could read has arrived, though it had been sent{why}")
        return arrived[-1]

    def said(
        self, occasion: Occasion, *, line: int = 0, amount_fen: int | None = None, booking: int = 1, text: str = ""
    ) -> Said:
        payee = self.received().lines[line]
        return Said(payee, line + 1, occasion, payee.amount_fen if amount_fen is None else amount_fen, booking, text)

    async def answer_to_submission(self, occasion: Occasion) -> list[Heard]:
        """Send, have the bank say this of the submission, and hear it: in the reply, or in its files."""
        self.bank.script.on_submission = occasion
        sent = await self.submit()
        if not isinstance(self.bank, FileBank):
            self.explain()
            return [sent]
        return await self.hear(occasion)

    async def results(self, *lines: Said) -> list[Heard]:
        """Have the bank say this of lines; what it told before stays told."""
        self.bank.script.lines = lines
        return await self.hear(Occasion.RESULTS)

    async def hear(self, occasion: Occasion) -> list[Heard]:
        self.bank.script.on_question = occasion
        if isinstance(self.bank, FileBank):
            self.bank.speak()
        heard: list[Heard] = []
        collected = await self.collect(self.cursor)
        if collected.artefacts:
            self.cursor = collected.artefacts[-1][1]
        files, polls = AnswerKind.FILE in self.can.answers, AnswerKind.POLL in self.can.answers
        if files:
            # What has no code at all may well be no answer of the manual; then it must teach nothing.
            readable = not collected.unreadable or occasion in (Occasion.NO_CODE, Occasion.ODD_CODE)
            require(readable, "an artefact as the bank writes it is Unreadable")
            # Where a bank has both, each has news that the other lacks (returns, statements): one of them has to tell.
            heard.append(Heard("collect", collected.evidence, must_tell=not polls))
        asked = await self.probe()
        self.explain()
        require(asked.raised is None, f"probe() raised {type(asked.raised).__name__} though the bank answered")
        heard.append(dataclasses.replace(asked, must_tell=polls and not files))
        if occasion is Occasion.RESULTS and (called := self._called()) is not None:
            heard.append(called)
        return heard

    def told(self, occasion: Occasion = Occasion.RESULTS) -> Told:
        script = self.bank.script
        arrived = self.record.arrivals[-1].request
        return Told(occasion, self.received(), script.lines, None, script.day, script.serial, arrived, wall_time())

    def call(self) -> Callback | None:
        """A genuine callback with the news of the script, verified; None where the bank does not call back."""
        rehearsal, adapter = self.kit.rehearsal, self.adapter
        if not isinstance(rehearsal, RehearsesCallbacks) or not isinstance(adapter, TakesCallbacks):
            return None
        told = self.told()
        request = rehearsal.callback(told)
        return adapter.verify_callback(request.method, request.target, request.headers, request.body, told.wall)

    def _called(self) -> Heard | None:
        """What a callback with the same news says."""
        if (callback := self.call()) is None:
            return None
        evidence = self.parse(callback.artefact)
        require(evidence is not None, "a genuine callback was verified and is then Unreadable")
        return Heard("callback", evidence or [], counts=self.can.callback_is_proof)

    def forget(self) -> None:
        """The bank has nothing any more, as if the submission had been lost on its way."""
        self.record.arrivals.clear()
        self.bank.script.on_question = Occasion.NOT_FOUND
        if isinstance(self.bank, FileBank):
            self.bank.clear()

    # -- the bounds of every call

    async def _call(
        self, what: str, call: Callable[[Any], Awaitable[list[Evidence]]], *, of_submit: bool = False
    ) -> Heard:
        wire: Any = None
        evidence: list[Evidence] | None = None
        raised: Exception | None = None
        try:
            async with asyncio.timeout(HANG_SECONDS) as limit, self.transport.wire() as wire:
                evidence = await call(wire)
        except NotImplementedError as error:
            raise Blank.of(error, f"{what}()") from None
        except Broken:
            raise
        except Exception as error:
            if limit.expired():
                raise Broken(f"{what}() did not end within {HANG_SECONDS} s") from None
            self.kit.watch.raised(error)
            raised = error
        if evidence is None:
            evidence = [Evidence(proof_of_raising(wire), code=type(raised).__name__)] if of_submit else []
        for artefact in wire.artefacts if wire is not None else ():
            self.kit.watch.show(artefact)
        return Heard(what, self._sane(what, evidence), raised, wire is not None and wire.crossed)

    def _sane(self, what: str, evidence: Any) -> list[Evidence]:
        """Evidence of the right kinds, whatever it says; its clear text goes to the watch."""
        if not isinstance(evidence, list) or not all(isinstance(each, Evidence) for each in evidence):
            raise Broken(f"{what}() gave something else than a list of Evidence")
        for each in evidence:
            self.kit.watch.note(f"the evidence of {what}", repr(each))
            require(isinstance(each.proof, Proof), f"{what}() gave evidence whose proof is no Proof")
            amount = each.amount_fen
            require(amount is None or type(amount) is int, f"{what}() gave an amount that is no integer of fen")
        return evidence

    def _sent(self) -> Rendered:
        if self.rendered is None:
            raise RuntimeError("nothing was rendered in this room")
        return self.rendered

    def explain(self) -> None:
        """The rehearsal's own word goes before what the adapter made of its silence."""
        if self.record.unread:
            shown = not any(canary in self.record.unread for canary in people.canaries(people.KNOWN))
            raise Broken(f"the bank cannot read what arrived{f': {self.record.unread}' if shown else ''}")
        if self.record.unsaid is not None:
            raise NotApplicable(str(self.record.unsaid))
        if self.record.broken_rehearsal is not None:
            error = self.record.broken_rehearsal
            self.kit.watch.raised(error)
            if isinstance(error, NotImplementedError):
                raise Blank.of(error, "the rehearsal") from None
            raise Broken(f"the rehearsal (or what it was asked) failed: {type(error).__name__}: {error}")

    def leave(self) -> None:
        """What every case has to answer for."""
        self.explain()
        if self.reaches:
            require(self.record.contacts, "the bank was never reached, so nothing was proved")
        mishap = self.bank.mishap
        require(mishap.fault is Fault.NONE or mishap.fired, "the fault never happened, so nothing was proved")
        for arrival in self.record.arrivals:
            if arrival.received is not None:
                self._same(arrival.received)

    def _same(self, received: Received) -> None:
        lines = self.written.get(received.reference)
        if lines is None:
            raise Broken("a submission arrived under a reference that was never rendered")
        require(
            received.count == len(lines) == len(received.lines), "another number of lines arrived than was rendered"
        )
        debited = (None, self.debited[received.reference])
        require(received.debit_account in debited, "another account is debited than the submission names")
        require(received.total_fen == sum(line.amount_fen for line in lines), "another total arrived")
        for line, arrived in zip(lines, received.lines, strict=True):
            require(arrived.reference == line.reference, "a line arrived under another reference")
            require(arrived.name == line.name.reveal(), "a name arrived that is not the one that was rendered")
            require(arrived.account == line.account.reveal(), "another account arrived than was rendered")
            require(arrived.amount_fen == line.amount_fen, "another amount arrived than was rendered")
            require(arrived.id_no in (None, line.id_no.reveal()), "another ID number arrived than was rendered")
