"""What the bank books without being asked about a batch: returns (DF1004) and the statements of days (DF1005).

Theory of operation
-------------------

No clock is needed, because the bank is asked in terms of its own lists.

*Returns* are one list for each debit account, over all days there are: from 00010101 to 99991231. The bank lists them
in the order of booking, and an item keeps its place. So the cursor is a count, and the next page begins behind it; an
item that is booked late, under whatever date, comes at the end and is not missed, as it would be if a day were closed
behind us. Each question begins *at* the last item known: when that is not the same item any more, the bank has
changed its list against its word, and all of it is read again. Evidence that is known already does no harm.

*Statements* are read one day after the other. A day that is not over, or whose statement is not made, answers 2007,
and is asked again until it answers otherwise; no later day is asked before. The pages of a day become one artefact,
and the cursor moves, only when they agree with each other and with count and sum of the day; pages that do not
are dropped, told as a fault, and read anew. A question without an answer costs only itself. A day without bookings
(1002) is a statement too: an empty one.

The first day of all is found by halving: the days before the bank's today answer, the days from today on say 2007.
That takes seventeen questions, once. From there the reading begins ``first_statement_days`` earlier.

*A poisoned item* must not hide the others. A page of returns that cannot be read is asked for in halves, down to
the one item; that goes to the core alone, to be set aside with an alarm, and reading goes on behind it.

One round puts a bounded number of questions; the accounts take turns in going first. What a round leaves unfinished
(pages of a long day, the search) is remembered here and lost with the process, never with the money.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from adapters.banks.xml_tcp import answers, codes
from adapters.banks.xml_tcp.channel import Answer, Channel
from adapters.banks.xml_tcp.settings import XmlTcpSettings
from adapters.banks.xml_tcp.transcript import Exchange, Page, Transcripts, returns_page, statement_page
from adapters.banks.xml_tcp.wire import field as written
from adapters.contract import Artefact, Unreadable
from adapters.wire.tcp import AnswerUnusable, NotReached, TcpFault, TcpWire

_FIRST_DAY: Final = "00010101"
_LAST_DAY: Final = "99991231"
_SEARCH_FROM: Final = dt.date(2000, 1, 1)  # a day that is over, by any clock
_SEARCH_TO: Final = dt.date(2100, 1, 1)  # a day that is not
_UNDERSTOOD: Final = codes.BUSY | {codes.SUCCESS, codes.NOT_FOUND}


@dataclass(slots=True)
class _Place:
    """How far one account was read: the last day whose statement is complete, and the returns."""

    day: str = ""
    returns: int = 0
    mark: str = ""  # of the last return; "" when there is none that could be read


@dataclass(slots=True)
class _Seen:
    """The cursor: the place of each account."""

    places: dict[str, _Place] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str) -> _Seen:
        return cls({key: _Place(*place) for key, place in json.loads(cursor or "{}").items()})

    def place(self, account: str) -> _Place:
        return self.places.setdefault(_key(account), _Place())

    def text(self) -> str:
        places = {key: [place.day, place.returns, place.mark] for key, place in self.places.items()}
        return json.dumps(places, separators=(",", ":"), sort_keys=True)


@dataclass(slots=True)
class _Round:
    """The questions that are left."""

    questions: int

    def may_ask(self) -> bool:
        self.questions -= 1
        return self.questions >= 0


@dataclass(slots=True)
class _Unfinished:
    """The pages of a day that are here already, and what they come to."""

    day: str
    exchanges: list[Exchange] = field(default_factory=list)
    said: tuple[int, int | None] | None = None  # count and sum of the day, as every page has to say them
    entries: int = 0
    total_fen: int = 0
    marks: set[str] = field(default_factory=set)
    size: int = 0

    def takes(self, answer: Answer, page: Page) -> bool:
        """Add a page; False when it does not go with those before it, or makes a whole that is wrong."""
        said = (page.total, page.total_fen)
        self.said = self.said or said
        self.entries += len(page.entries)
        self.total_fen += page.signed_fen
        self.marks.update(entry.mark for entry in page.entries)
        self.exchanges.append(Exchange(answer.question, answer.artefact.content))
        self.size += len(answer.question) + len(answer.artefact.content) + 16
        if said != self.said or len(self.marks) != self.entries:
            return False
        if self.is_complete:
            return self.total_fen == page.total_fen
        return bool(page.entries) and self.entries < page.total

    @property
    def is_complete(self) -> bool:
        return self.said is not None and self.entries == self.said[0]


class Books:
    """Collects for one configured bank."""

    def __init__(self, channel: Channel, transcripts: Transcripts, settings: XmlTcpSettings) -> None:
        self._channel = channel
        self._transcripts = transcripts
        self._settings = settings
        self._unfinished: dict[str, _Unfinished] = {}  # by account
        self._searched: dict[str, tuple[int, int]] = {}  # by account: ordinals of a day over and of one that is not
        self._turn = 0
        self._rests_until = 0  # milliseconds of the loop's clock

    async def new(self, wire: TcpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        """What was not given under this cursor, each with the cursor to keep after it. Raises TcpFault."""
        if _milliseconds() < self._rests_until:
            return
        seen = _Seen.of(cursor)
        left = _Round(self._settings.questions_per_collection)
        given, faults = 0, list[TcpFault]()
        for account in self._in_turn():
            for read in (self._returns, self._statements):
                try:
                    async with aclosing(read(wire, account, seen.place(account), left)) as found:
                        async for artefact in found:
                            given += 1
                            yield artefact, seen.text()
                except NotReached:
                    raise
                except TcpFault as fault:
                    faults.append(fault)  # one account that cannot be read must not hide the others
        if faults and not given:
            raise faults[-1]
        if not given:
            self._rests_until = _milliseconds() + self._settings.collect_interval_milliseconds

    def _in_turn(self) -> tuple[str, ...]:
        accounts = self._settings.debit_accounts
        self._turn = (self._turn + 1) % len(accounts)
        return accounts[self._turn :] + accounts[: self._turn]

    # Returns

    async def _returns(
        self, wire: TcpWire, account: str, place: _Place, left: _Round
    ) -> AsyncGenerator[Artefact, None]:
        wanted = self._settings.items_per_page
        is_anew = False
        while left.may_ask():
            known = 1 if place.mark else 0
            first = place.returns + 1 - known
            wanted = max(wanted, known + 1)
            answer = await self._ask_returns(wire, account, first, wanted)
            if answers.retcode_of(answer.document) in codes.BUSY:
                return
            try:
                page = _bounded(returns_page(answer.document), wanted)
            except Unreadable:
                if wanted > known + 1:
                    wanted = known + max(1, (wanted - known) // 2)
                elif known:
                    place.mark = ""  # it may be the known one that cannot be read
                    wanted = 1
                elif _is_there(answer, first):
                    place.returns += 1
                    yield self._return_artefact(account, first, answer)
                    wanted = self._settings.items_per_page
                else:
                    raise AnswerUnusable("UNREADABLE") from None
                continue
            if known and (not page.entries or page.entries[0].mark != place.mark):
                if is_anew:
                    raise AnswerUnusable("LIST_CHANGED")
                is_anew = True
                place.returns, place.mark = 0, ""
                continue
            new = page.entries[known:]
            if new:
                place.returns += len(new)
                place.mark = new[-1].mark
                yield self._return_artefact(account, first, answer)
            if place.returns >= page.total:
                return
            if not new:
                raise AnswerUnusable("WRONG_PAGE")

    async def _ask_returns(self, wire: TcpWire, account: str, start: int, count: int) -> Answer:
        """A page, or the bank's word that it is busy."""
        body = (
            written("PAYACC", account)
            + written("STARTDATE", _FIRST_DAY)
            + written("ENDDATE", _LAST_DAY)
            + written("START", str(start))
            + written("COUNT", str(count))
        )
        return await self._asked(wire, codes.QUERY_RETURNS, body)

    def _return_artefact(self, account: str, first: int, answer: Answer) -> Artefact:
        name = f"{codes.QUERY_RETURNS}/{_key(account)}/{first:06d}"
        return self._transcripts.artefact(name, [Exchange(answer.question, answer.artefact.content)])

    # Statements

    async def _statements(
        self, wire: TcpWire, account: str, place: _Place, left: _Round
    ) -> AsyncGenerator[Artefact, None]:
        day = await self._next_day(wire, account, place, left)
        while day is not None and left.may_ask():
            asked = f"{day:%Y%m%d}"
            pages = self._unfinished.get(account)
            if pages is None or pages.day != asked:
                pages = self._unfinished[account] = _Unfinished(asked)
            answer = await self._ask_day(wire, account, asked, pages.entries + 1, self._settings.items_per_page)
            if answers.retcode_of(answer.document) in codes.BUSY:
                return  # what is here of the day stays here: its pages vouch for each other when it is complete
            artefact = self._with_page(pages, answer, account)
            if artefact is not None:
                del self._unfinished[account]
                place.day = asked
                yield artefact
                day += dt.timedelta(days=1)

    def _with_page(self, pages: _Unfinished, answer: Answer, account: str) -> Artefact | None:
        """The statement when this page was its last, None when there are more. Raises AnswerUnusable."""
        try:
            page = _bounded(statement_page(answer.document, account, pages.day), self._settings.items_per_page)
        except Unreadable:
            raise AnswerUnusable("UNREADABLE") from None
        if not pages.takes(answer, page) or pages.size > self._settings.max_statement_bytes:
            del self._unfinished[account]
            raise AnswerUnusable("STATEMENT_CHANGED")
        if not pages.is_complete:
            return None
        name = f"{codes.QUERY_STATEMENT}/{_key(account)}/{pages.day}"
        return self._transcripts.artefact(name, pages.exchanges)

    async def _ask_day(self, wire: TcpWire, account: str, day: str, start: int, count: int) -> Answer:
        """A page of a statement, or the bank's word that it is not ready or busy."""
        body = (
            written("PAYACC", account)
            + written("DATE", day)
            + written("START", str(start))
            + written("COUNT", str(count))
        )
        return await self._asked(wire, codes.QUERY_STATEMENT, body)

    async def _asked(self, wire: TcpWire, trade: str, body: str) -> Answer:
        answer = await self._channel.ask(wire, trade, body, trade)
        code = answers.retcode_of(answer.document)
        if code not in _UNDERSTOOD:
            raise AnswerUnusable(f"CODE_{code}")
        return answer

    async def _next_day(self, wire: TcpWire, account: str, place: _Place, left: _Round) -> dt.date | None:
        """The day after the last complete one; at first the one that the search finds, None while it goes on."""
        last = answers.date_of(place.day)
        if last is not None:
            return last + dt.timedelta(days=1)
        over, ahead = self._searched.get(account, (_SEARCH_FROM.toordinal(), _SEARCH_TO.toordinal()))
        while ahead - over > 1:
            ready = await self._is_ready(wire, account, (over + ahead) // 2, left)
            if ready is None:
                return None
            over, ahead = ((over + ahead) // 2, ahead) if ready else (over, (over + ahead) // 2)
            self._searched[account] = over, ahead
        # Asked once more: one "not ready" said in error would have led the search years back.
        ready = await self._is_ready(wire, account, ahead, left)
        if ready:
            del self._searched[account]
        return None if ready is not False else dt.date.fromordinal(ahead - self._settings.first_statement_days)

    async def _is_ready(self, wire: TcpWire, account: str, day: int, left: _Round) -> bool | None:
        """Whether the bank has closed a day (an ordinal); None when that is not known yet."""
        if not left.may_ask():
            return None
        answer = await self._ask_day(wire, account, f"{dt.date.fromordinal(day):%Y%m%d}", 1, 1)
        code = answers.retcode_of(answer.document)
        return None if code in codes.BUSY - {codes.NOT_READY} else code != codes.NOT_READY


def _bounded(page: Page, count: int) -> Page:
    if len(page.entries) > count:
        raise Unreadable("more items than were asked for")
    return page


def _is_there(answer: Answer, position: int) -> bool:
    """Whether the list has an item at this position; Unreadable counts as no: nothing is passed over on a guess."""
    try:
        return answers.number_of(answer.document.body, "TOTALNUM") >= position
    except Unreadable:
        return False


def _key(account: str) -> str:
    """A short name of an account for cursors and file names, which are kept in clear."""
    return hashlib.blake2b(account.encode("ascii"), digest_size=6).hexdigest()


def _milliseconds() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
