"""Cases about what is written: exactly what was approved, or nothing, and never more than the bank takes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from adapters.conformance import people
from adapters.conformance.case import Broken, case, require
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Kind, Occasion
from adapters.conformance.room import Room
from adapters.contract import AnswerKind, Line, NotFound
from schemas.masked import AccountNumber, PersonName

MANY_LINES = 2_000  # at most so many are written where a bank takes more
_NEVER = frozenset({"张\ud800三", "王\r\n五", "赵\x00六"})


@case("golden-bytes", "The sample of the bank's manual is written byte for byte.", essential=True)
async def golden_bytes(kit: Kit) -> None:
    adapter, golden = kit.as_in_the_manual()
    rendered = adapter.render(golden.submission, golden.lines, golden.at)
    if rendered.payload != golden.payload:
        pairs = zip(rendered.payload, golden.payload, strict=False)
        at = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
        at = min(len(rendered.payload), len(golden.payload)) if at is None else at
        raise Broken(
            f"{len(rendered.payload)} bytes are written where the manual has {len(golden.payload)};"
            f" the first difference is at byte {at}"
        )
    require(golden.remote_name in ("", rendered.remote_name), "the file has another name than in the manual")
    require(rendered.sha256 == hashlib.sha256(rendered.payload).hexdigest(), "the digest is not that of the bytes")
    require(rendered.references == tuple(line.reference for line in golden.lines), "references differ from the lines")
    require(rendered.total_fen == sum(line.amount_fen for line in golden.lines), "the total differs from the lines")


@case(
    "arrives-as-written",
    "The bank reads the names, accounts, amounts, count and total that were approved.",
    essential=True,
)
async def arrives_as_written(kit: Kit) -> None:
    async with kit.room() as room:
        room.render(room.lines(min(len(people.NAMES) * 2, room.can.max_lines)))
        await room.submit()
        room.explain()
        room.received()  # the room compares it with what was rendered when this case leaves


@case(
    "long-name",
    "A name of any length arrives whole or is refused before sending; it is never cut to fit.",
    essential=True,
)
async def long_name(kit: Kit) -> None:
    arrived = 0
    for length in (13, 20, 25, 31, 50, 51, 64, 100, 101, 160):
        name = (people.LONG_NAME * length)[
            : length - 1
        ] + "末"  # the last character shows whether the end is still there
        arrived += await _whole_or_refused(kit, name, f"of {length} characters")
    require(arrived, "even a name of 13 characters is refused, as many as a Uyghur name easily has")


@case(
    "unencodable-name",
    "A name that the bank's encoding cannot hold is refused as a line; nothing is replaced.",
    essential=True,
)
async def unencodable_name(kit: Kit) -> None:
    refused = 0
    for number, name in enumerate(people.HARD_NAMES, start=1):
        arrived = await _whole_or_refused(kit, name, f"number {number} of the hard ones")
        require(not (arrived and name in _NEVER), f"hard name number {number}, which no bank can read, was sent")
        refused += not arrived
    require(refused, "no name at all is refused, though some have no bytes in any encoding")


@case("poison-line", "A line that cannot be written is refused alone; the others go.")
async def poison_line(kit: Kit) -> None:
    for number, name in enumerate(people.BREAKING_NAMES, start=1):
        await _whole_or_refused(kit, name, f"number {number} with characters of the format itself")
    async with kit.room() as room:
        good = room.lines(3)
        spoiled = {
            "a torn name": dataclasses.replace(good[1], name=PersonName("张\ud800三")),
            "no name": dataclasses.replace(good[1], name=PersonName("")),
            "no amount": dataclasses.replace(good[1], amount_fen=0),
            "a negative amount": dataclasses.replace(good[1], amount_fen=-1),
            "an account with a line end": dataclasses.replace(good[1], account=AccountNumber("6299990000\r\n1")),
            "no account": dataclasses.replace(good[1], account=AccountNumber("")),
            "digits of another script": dataclasses.replace(
                good[1], account=AccountNumber("６２９９９９００００００１")
            ),
        }
        head = people.submission(kit.next_submission())
        for what, poison in spoiled.items():
            require(room.adapter.refuse(poison) is not None, f"refuse() lets a line with {what} pass")
            _must_not_render(room, [good[0], poison, *good[2:]], f"a line with {what}", head.reference)
        room.render([good[0], *good[2:]])
        await room.submit()
        require(len(room.received().lines) == 2, "the lines beside a refused one did not arrive")


@case("same-reference-twice", "Two lines under one reference are never written into one submission.")
async def same_reference_twice(kit: Kit) -> None:
    async with kit.room() as room:
        room.reaches = False
        lines = room.lines(2)
        twice = [lines[0], dataclasses.replace(lines[1], reference=lines[0].reference)]
        _must_not_render(room, twice, "two lines under one reference", kit.next_submission())
        _must_not_render(room, [], "a submission without lines", kit.next_submission())


@case(
    "references-fit",
    "References that the core mints to the declared alphabet and length arrive unchanged.",
    essential=True,
)
async def references_fit(kit: Kit) -> None:
    async with kit.room() as room:
        minted = room.references(min(8, room.can.max_lines - 1))
        symbols = set(room.can.reference_alphabet)
        require(all(set(each) <= symbols for each in minted), "a minted reference leaves the declared alphabet")
        last = max(symbols) * room.can.reference_length
        room.render(people.lines([*minted, last]))
        await room.submit()
        arrived = [line.reference for line in room.received().lines]
        require(arrived == [*minted, last], "references arrive changed or cut")


@case("limits", "As many lines, bytes and fen as the capabilities promise can be written, and are not exceeded.")
async def limits(kit: Kit) -> None:
    async with kit.room() as room:
        room.reaches = False
        count = min(room.can.max_lines, MANY_LINES)
        many = room.lines(count)
        try:
            rendered = room.render_as(people.submission(kit.next_submission()), many)
        except ValueError:
            rendered = None  # more bytes or money than the bank takes, which the core finds out by asking
        require(rendered is not None or count * 600 > room.can.max_bytes, f"{count} plain lines cannot be written")
        if rendered is not None:
            require(len(rendered.payload) <= room.can.max_bytes, "more bytes are written than max_bytes allows")
            require(rendered.references == tuple(line.reference for line in many), "references differ from the lines")
        greatest = people.line(room.references(1)[0], 0, amount_fen=room.can.max_total_fen)
        beyond = dataclasses.replace(greatest, amount_fen=10**18)
        require(room.adapter.refuse(beyond) is not None, "refuse() lets an amount pass that no bank can read")
        if room.adapter.refuse(greatest) is None:
            await _submit_alone(room, greatest)


@case("capabilities-consistent", "The capabilities promise nothing that contradicts itself.", essential=True)
async def capabilities_consistent(kit: Kit) -> None:
    adapter = kit.adapter()
    can = adapter.capabilities()
    require(can == adapter.capabilities(), "the capabilities differ from one call to the next")
    require(adapter.name == kit.name, "the adapter does not bear the name that it was configured under")
    require(can.answers, "no way is named in which answers come")
    files = kit.rehearsal.kind is not Kind.SFTP or AnswerKind.FILE in can.answers
    require(files, "a bank of files answers by files, and the capabilities do not say so")
    require(
        can.answers - {AnswerKind.CALLBACK} or can.callback_is_proof,
        "answers come by callback only, and a callback is no proof",
    )
    if can.not_found is NotFound.AUTHORITATIVE:
        require(can.settling_seconds > 0, '"not found" is authoritative without a settling time')
    require(not can.callback_is_proof or AnswerKind.CALLBACK in can.answers, "a callback is proof, and none is named")
    require(
        can.idempotent_by_reference or not can.idempotency_window_seconds,
        "the bank does not deduplicate, and remembers for how long",
    )
    for name in ("max_lines", "max_bytes", "max_total_fen", "max_in_flight", "result_due_seconds"):
        require(getattr(can, name) > 0, f"{name} is not positive")
    for name in ("settling_seconds", "submit_interval_milliseconds", "probe_interval_milliseconds"):
        require(getattr(can, name) >= 0, f"{name} is negative")
    "".encode(can.encoding)  # LookupError for an encoding that does not exist
    alphabet = can.reference_alphabet
    require(len(set(alphabet)) == len(alphabet) and alphabet.isascii(), "the reference alphabet is no set of ASCII")
    kit.core.mint(1, people.AT, alphabet, can.reference_length)  # ValueError where they could not be unique


@case("cancel-as-declared", "cancel is there where the capabilities say so, and raises NotImplementedError elsewhere.")
async def cancel_as_declared(kit: Kit) -> None:
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        arrivals = len(room.record.arrivals)
        there = await room.cancel()
        require(there is room.can.can_cancel, "can_cancel and cancel() disagree")
        require(len(room.record.arrivals) == arrivals, "cancel() sent something that pays")


async def _whole_or_refused(kit: Kit, name: str, words: str) -> bool:
    """True when a line with this name arrived whole; Broken when it arrived otherwise or blew up."""
    async with kit.room() as room:
        line = people.line(room.references(1)[0], 0, name)
        if room.adapter.refuse(line) is not None:
            room.reaches = False
            _must_not_render(room, [line], f"a refused name {words}", kit.next_submission())
            return False
        await _submit_alone(room, line)
        return True


async def _submit_alone(room: Room, line: Line) -> None:
    room.reaches = True
    rendered = room.render([line])
    await room.submit(rendered)
    room.explain()
    require(room.record.arrivals, "a line that was not refused did not arrive")


def _must_not_render(room: Room, lines: Sequence[Line], what: str, reference: str) -> None:
    try:
        room.adapter.render(people.submission(reference), lines, people.AT)
    except ValueError as error:
        room.kit.watch.raised(error)
        return
    except NotImplementedError:
        raise
    except Exception as error:
        room.kit.watch.raised(error)
        raise Broken(f"render() raised {type(error).__name__} for {what}; ValueError is due") from None
    raise Broken(f"render() writes {what}")
