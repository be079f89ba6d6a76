"""Cases about what a bank publishes or calls in: read whole or not at all, fetched again until it is settled."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.conformance import expect
from adapters.conformance.case import Broken, NotApplicable, case, require
from adapters.conformance.counterpart import Fault, Mishap, Party
from adapters.conformance.hearing import Collected
from adapters.conformance.kit import Kit
from adapters.conformance.rehearsal import Occasion, RehearsesCallbacks, Request, Said
from adapters.conformance.room import Bank, Room
from adapters.conformance.tree import FileBank
from adapters.contract import (
    AnswerKind,
    Artefact,
    CallbackRefused,
    Evidence,
    Proof,
    TakesCallbacks,
)

_CUTS = 160  # positions, evenly over an artefact, and each of its last bytes
_LAST_BYTES = 24
_SIGNED = ("sign", "nonce", "time", "date", "alg", "mac", "digest", "key")  # in the name of a header that is checked


@asynccontextmanager
async def _published(kit: Kit) -> AsyncIterator[tuple[Room, list[Artefact]]]:
    """A room in which the bank has told results, and the artefacts with the news in them."""
    async with kit.room() as room:
        await room.answer_to_submission(Occasion.TAKEN)
        await room.results(*_news(room))
        found = [artefact for artefact, _ in (await room.collect()).artefacts]
        if (called := room.call()) is not None:
            found.append(called.artefact)
        if AnswerKind.FILE in room.can.answers:
            require(found, "what was fetched is not given again under the same cursor, though nobody has settled it")
        if not found:
            raise NotApplicable("this bank neither publishes files nor calls back")
        yield room, found


def _news(room: Room) -> tuple[Said, ...]:
    """A credit, a refusal, and where the bank's returns come late one of these, so that each list has something."""
    last = Occasion.RETURNED if room.can.return_horizon_days else Occasion.CREDITED
    return room.said(Occasion.CREDITED), room.said(Occasion.REJECTED, line=1), room.said(last, line=2, booking=2)


def _positions(size: int) -> list[int]:
    step = max(1, size // _CUTS)
    return sorted({*range(0, size, step), *range(max(0, size - _LAST_BYTES), size)})


def _told(room: Room, artefact: Artefact, content: bytes) -> list[Evidence] | None:
    return room.parse(Artefact.of(artefact.name, content))


@case("artefact-cut", "A file or callback that is cut anywhere yields nothing at all.")
async def artefact_cut(kit: Kit) -> None:
    async with _published(kit) as (room, artefacts):
        for artefact in artefacts:
            whole = artefact.content.rstrip()
            require(room.parse(artefact) is not None, "the whole artefact is Unreadable")
            for at in _positions(len(whole)):
                evidence = _told(room, artefact, artefact.content[:at])
                require(evidence is None, f"an artefact cut after {at} of {len(artefact.content)} bytes is believed")


@case("artefact-torn", "A file or callback with bytes that its encoding does not have yields nothing at all.")
async def artefact_torn(kit: Kit) -> None:
    async with _published(kit) as (room, artefacts):
        for artefact in artefacts:
            for at in _positions(len(artefact.content))[:: _CUTS // 16]:
                torn = artefact.content[:at] + b"\xff" + artefact.content[at:]
                evidence = _told(room, artefact, torn)
                closing = [each for each in evidence or () if each.proof in expect.CLOSES | expect.FREES]
                require(not closing, f"an artefact with a torn character at byte {at} is believed")


@case("bad-file-alone", "One unreadable file, or page of a list, hides none of the others.")
async def bad_file_alone(kit: Kit) -> None:
    async with kit.room() as room:
        _publishes(room)
        bank = room.bank
        if not isinstance(bank, FileBank):
            room.reaches = False
            await _bad_page_alone(kit)
            return
        await room.answer_to_submission(Occasion.TAKEN)
        before = bank.snapshot()
        room.bank.script.lines = (room.said(Occasion.CREDITED),)
        room.bank.script.on_question = Occasion.RESULTS
        bank.speak()
        spoiled = [path for path, content in bank.snapshot().items() if before.get(path) != content]
        for path in spoiled:
            bank.at(path).write_bytes(b"\x00 spoiled \xff")
        room.bank.script.lines = (room.said(Occasion.CREDITED, line=1),)
        bank.speak()
        evidence = (await room.collect()).evidence
        second = room.received().lines[1].reference
        require(
            any(each.reference == second and each.proof is Proof.CREDITED for each in evidence),
            "a good file is not read because another one is spoiled",
        )


async def _bad_page_alone(kit: Kit) -> None:
    """What is published is asked for: spoil each answer of a round in turn, once, and hear everything all the same."""
    async with kit.room() as room:
        await _tell(room)
        whole = _heard(room, await room.collect())
        asked = room.record.questions
        require(whole, "collect() tells nothing though the bank has published")
    beside = False
    for spared in range(asked):
        async with kit.room() as room:
            await _tell(room)
            room.bank.mishap = Mishap(Fault.WRONG_ENCODING, Party.QUESTION, spares=spared, hits=1)
            first = await room.collect(may_raise=True)
            beside |= bool(first.evidence)
            rest = await room.collect(first.artefacts[-1][1] if first.artefacts else "")
            require(whole <= _heard(room, first, rest), f"news are lost when answer {spared + 1} of a round is spoiled")
    require(beside, "where one answer of a round is spoiled, nothing of what the others say is given")


async def _tell(room: Room) -> None:
    await room.answer_to_submission(Occasion.TAKEN)
    room.bank.script.lines, room.bank.script.on_question = _news(room), Occasion.RESULTS


def _heard(room: Room, *collected: Collected) -> set[tuple[int, Proof]]:
    """Which line (by its place) was told what."""
    places = {line.reference: place for place, line in enumerate(room.received().lines)}
    evidence = [each for one in collected for each in one.evidence if each.reference in places]
    return {(places[each.reference or ""], each.proof) for each in evidence}


@case("collected-until-settled", "What was fetched and not committed is fetched again; fetching moves nothing.")
async def collected_until_settled(kit: Kit) -> None:
    async with _published(kit) as (room, _):
        bank = _publishes(room)
        before = bank.snapshot()
        first = [artefact for artefact, _ in (await room.collect()).artefacts]
        again = [artefact for artefact, _ in (await room.collect()).artefacts]
        require(first, "collect() gives nothing though the bank has published")
        require(
            [_same(room, artefact) for artefact in first] == [_same(room, artefact) for artefact in again],
            "the same cursor does not give the same artefacts: a crash before the commit would lose them",
        )
        require(bank.snapshot() == before, "collect() changed something at the bank before anything was committed")
        cursors = (await room.collect()).artefacts
        rest = await room.collect(cursors[-1][1])
        require(not rest.artefacts, "the cursor after the last artefact gives artefacts again")
        after_first = [_same(room, artefact) for artefact, _ in (await room.collect(cursors[0][1])).artefacts]
        expected = [_same(room, artefact) for artefact in first[1:]]
        require(after_first == expected, "the cursor after the first loses or repeats")


@case(
    "settle-repeatable", "Settling comes after the commit, may come twice, and loses nothing that the bank wrote since."
)
async def settle_repeatable(kit: Kit) -> None:
    async with _published(kit) as (room, artefacts):
        bank = _publishes(room)
        arrivals = len(room.record.arrivals)
        for artefact in artefacts[:1]:
            await room.settle(artefact)
            settled = bank.snapshot()
            await room.settle(artefact)
            require(bank.snapshot() == settled, "settling the same artefact again changed something")
        rest = {_same(room, artefact) for artefact, _ in (await room.collect()).artefacts}
        require(
            {_same(room, artefact) for artefact in artefacts[1:]} <= rest,
            "settling one artefact took others away that nobody had settled",
        )
        for artefact in artefacts[1:]:
            await room.settle(artefact)
        await room.results(room.said(Occasion.RETURNED, booking=3), *_news(room)[1:])
        news = (await room.collect(room.cursor)).artefacts
        require(not news, "an artefact that was heard comes again under its cursor")
        require(len(room.record.arrivals) == arrivals, "settling sent something that pays")


def _same(room: Room, artefact: Artefact) -> object:
    """What makes two artefacts the same: their bytes. An answer to a question may bear number and time of it, and is
    the same when it proves the same."""
    if isinstance(room.bank, FileBank):
        return artefact.sha256
    return tuple(dataclasses.replace(each, artefact=None) for each in room.parse(artefact) or ())


def _publishes(room: Room) -> Bank:
    if AnswerKind.FILE not in room.can.answers:
        raise NotApplicable("this bank publishes nothing")
    return room.bank


def _callback(room: Room) -> tuple[TakesCallbacks, Request]:
    rehearsal, adapter = room.kit.rehearsal, room.adapter
    if not isinstance(adapter, TakesCallbacks) and AnswerKind.CALLBACK not in room.can.answers:
        raise NotApplicable("this bank does not call back")
    require(isinstance(adapter, TakesCallbacks), "the capabilities name callbacks, and there is no verify_callback()")
    require(isinstance(rehearsal, RehearsesCallbacks), "the adapter takes callbacks, and the rehearsal makes none")
    if not isinstance(adapter, TakesCallbacks) or not isinstance(rehearsal, RehearsesCallbacks):
        raise Broken("no callback can be rehearsed")
    return adapter, rehearsal.callback(room.told())


@case(
    "callback-genuine", "A callback that the bank signed is taken, names its submission, and is the same event twice."
)
async def callback_genuine(kit: Kit) -> None:
    async with kit.room() as room:
        await room.submit()
        room.bank.script.lines = (room.said(Occasion.CREDITED),)
        adapter, request = _callback(room)
        now = room.told().wall
        first = adapter.verify_callback(request.method, request.target, request.headers, request.body, now)
        again = adapter.verify_callback(request.method, request.target, request.headers, request.body, now)
        require(first.event_id and first.event_id == again.event_id, "the same callback is another event each time")
        require(room.received().reference in first.submissions, "the callback does not name its submission")


@case("callback-forged", "A callback with a changed byte, path or header, or a missing signature, is refused.")
async def callback_forged(kit: Kit) -> None:
    async with kit.room() as room:
        await room.submit()
        room.bank.script.lines = (room.said(Occasion.CREDITED),)
        adapter, request = _callback(room)
        now = room.told().wall
        body, middle = request.body, len(request.body) // 2
        flipped = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        forgeries = {
            "a changed byte": (request.target, request.headers, flipped),
            "a shortened body": (request.target, request.headers, body[:-1]),
            "no body": (request.target, request.headers, b""),
            "another path": (request.target + "x", request.headers, body),
            "no headers": (request.target, {}, body),
        }
        for name in request.headers:
            if "sign" in name.lower():
                without = {key: value for key, value in request.headers.items() if key != name}
                forgeries[f"no {name}"] = (request.target, without, body)
            if any(word in name.lower() for word in _SIGNED):
                for number, value in enumerate(_altered(request.headers[name])):
                    forgeries[f"another {name} ({number})"] = (request.target, {**request.headers, name: value}, body)
        for what, (target, headers, content) in forgeries.items():
            forged = dataclasses.replace(request, target=target, headers=headers, body=content)
            _must_refuse(kit, adapter, forged, now, f"with {what}")


def _altered(value: str) -> list[str]:
    """The value with its first character, and one in its middle, changed into another of the same kind. The last one of
    a signature in base64 may hold nothing of it."""
    places = [at for at, character in enumerate(value) if character.isascii() and character.isalnum()]
    return [value[:at] + _other(value[at]) + value[at + 1 :] for at in {*places[:1], *places[len(places) // 2 :][:1]}]


def _other(character: str) -> str:
    if character in "0123456789":
        return "1" if character == "0" else "0"
    first = "A" if character.isupper() else "a"
    return first if character != first else chr(ord(first) + 1)


@case("callback-old", "A callback that was signed a day ago, or for a day to come, is refused however genuine it is.")
async def callback_old(kit: Kit) -> None:
    async with kit.room() as room:
        await room.submit()
        room.bank.script.lines = (room.said(Occasion.CREDITED),)
        adapter, request = _callback(room)
        rehearsal, told = room.kit.rehearsal, room.told()
        if not isinstance(rehearsal, RehearsesCallbacks):
            raise Broken("no callback can be rehearsed")
        for days, words in ((-1, "of yesterday"), (1, "of tomorrow")):
            other = told.wall + dt.timedelta(days=days)
            _must_refuse(kit, adapter, rehearsal.callback(dataclasses.replace(told, wall=other)), told.wall, words)
            _must_refuse(
                kit, adapter, request, told.wall - dt.timedelta(days=days), f"{words} (by the wall clock given)"
            )


def _must_refuse(kit: Kit, adapter: TakesCallbacks, request: Request, wall: dt.datetime, what: str) -> None:
    try:
        adapter.verify_callback(request.method, request.target, request.headers, request.body, wall)
    except CallbackRefused as refused:
        kit.watch.raised(refused)
        return
    except Exception as error:
        kit.watch.raised(error)
        raise Broken(f"a callback {what} raised {type(error).__name__}, not CallbackRefused") from None
    raise Broken(f"a callback {what} was taken for genuine")
