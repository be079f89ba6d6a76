"""Cases about what the bank publishes and we keep: changed under its seal it is nothing, written anew it is another."""

from __future__ import annotations

from adapters.conformance.case import Broken, NotApplicable, case, require
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion, RehearsesSeals
from adapters.conformance.tree import FileBank
from adapters.contract import Artefact, Proof

_ALTERATIONS = 200


@case("artefact-altered", "A file or page that was changed in one place under its seal yields nothing at all.")
async def artefact_altered(kit: Kit) -> None:
    seals = kit.rehearsal
    if not isinstance(seals, RehearsesSeals):
        raise NotApplicable("what this bank publishes bears no seal of its own (sealed)")
    tried = 0
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        last = Occasion.RETURNED if room.can.return_horizon_days else Occasion.CREDITED
        await room.results(
            room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1), room.said(last, line=2, booking=2)
        )
        for artefact, _ in (await room.collect()).artefacts:
            require(room.parse(artefact) is not None, "the artefact as it was collected is Unreadable")
            places = [at for start, end in seals.sealed(artefact) for at in range(start, end)]
            for at in places[:: max(1, len(places) // _ALTERATIONS)]:
                if (changed := _changed(artefact, at)) is not None:
                    tried += 1
                    require(room.parse(changed) is None, f"an artefact changed at byte {at} under its seal is believed")
    if not tried:
        raise Broken("the rehearsal names no byte that a seal covers (sealed)")


@case(
    "artefact-rewritten",
    "A file that the bank writes anew under its name is another one, and settling the old one leaves it there.",
)
async def artefact_rewritten(kit: Kit) -> None:
    async with kit.room() as room:
        bank = room.bank
        if not isinstance(bank, FileBank):
            raise NotApplicable("this bank writes no files")
        await room.answer_to_submission(Occasion.TAKEN)
        before = bank.snapshot()
        await room.results(room.said(Occasion.CREDITED))
        old = [artefact for artefact, _ in (await room.collect()).artefacts]
        first = {path for path, content in bank.snapshot().items() if before.get(path) != content}
        bank.script.serial -= 1  # so that the next answer bears the name of this one
        bank.script.lines = (room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1))
        written = bank.snapshot()
        bank.speak()
        anew = {path for path, content in bank.snapshot().items() if written.get(path) != content}
        if not anew & first:
            raise NotApplicable("no file of this bank bears the name of an earlier one")
        refused = room.received().lines[1].reference
        heard = await room.collect(room.cursor)
        told = {each.proof for each in heard.evidence if each.reference == refused}
        require(told == {Proof.REJECTED}, "a file that was written anew under its name is not read again")
        for artefact in old:
            await room.settle(artefact)
        later = {artefact.sha256 for artefact, _ in (await room.collect()).artefacts}
        lost = [artefact for artefact, _ in heard.artefacts if artefact.sha256 not in later]
        require(not lost, "settling a file took away what the bank had written anew under its name")


def _changed(artefact: Artefact, at: int) -> Artefact | None:
    """Another digit for a digit, another letter for a letter: what stays well-formed. None for anything else."""
    old = artefact.content[at : at + 1]
    if not (old.isalnum() and old.isascii()):
        return None
    new = {b"9": b"0", b"z": b"a", b"Z": b"A", b"f": b"a"}.get(old) or bytes([old[0] + 1])
    return Artefact.of(artefact.name, artefact.content[:at] + new + artefact.content[at + 1 :])
