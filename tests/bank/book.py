"""The bank's book: takes submissions, lets each line's plan run on the virtual clock, moves money, and has it reported.

Everything of one pass (money, answers, artefacts) is one ledger transaction; files and callbacks leave after it. No
await stands between the first row of a pass and its commit, so a kill leaves either all of it or nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from tests.bank.config import Config
from tests.bank.ledger import Ledger, Row
from tests.bank.model import (
    BIT,
    FAILED,
    FINAL,
    FUNDS_SHORT,
    PAID,
    PENDING,
    RETURNED,
    SUSPECT,
    Line,
    Submission,
    Upload,
    stages,
    word,
)
from tests.bank.programme import ACCEPT, ACCEPT_TEXT, Plan, Programme
from tests.bank.timing import opening
from tests.world import clock

GRID_AFTER_REPORTS = 60  # a submission that was reported so often is reported four times a day only
COARSE_GRID_MS = 6 * 3_600_000
LINES_PER_COMMIT = 20_000
NO_PLANS: Mapping[int, tuple[int, str]] = {}


class Desk(Protocol):
    """The side of the bank that speaks a profile's language."""

    def host_reference(self, number: int, post_date: str) -> str: ...

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """Collect artefacts and answers for these lines; what leaves the bank goes through `Book.after_commit`."""


class Verdict(NamedTuple):
    """What became of arrival `n`: taken (as which submission), duplicate (of which), refused for funds (None)."""

    n: int
    verdict: str
    submission: Submission | None


class Book:
    """All submissions of one bank. Single-threaded: every method runs between two awaits of the one loop."""

    def __init__(self, config: Config, ledger: Ledger, programme: Programme) -> None:
        self.config = config
        self.ledger = ledger
        self.programme = programme
        self.desk: Desk
        self.by_number: dict[int, Submission] = {}
        self.batches: dict[str, list[Submission]] = {}
        self.references: dict[str, Line] = {}
        self.untaken: dict[str, str] = {}  # reference of a line that arrived in vain -> its batch
        self.seen: dict[str, int] = {}  # account -> lines taken
        self.transmissions: dict[str, int] = {}
        self.last_transmission_ms: dict[str, int] = {}
        self.restored_returns: dict[tuple[int, int], tuple[str, str]] = {}  # what a restart found in the ledger
        self.restored_faults: set[tuple[int, str, str]] = set()
        self.restored_last: dict[tuple[int, int], str] = {}  # what was said last about a line
        self.money_moves = 0
        self.balance_fen = 0
        self._heap: list[tuple[int, int, list[Line] | Callable[[int], None]]] = []
        self._order = 0
        self._kick = asyncio.Event()
        self._after: list[Callable[[], None]] = []

    # -- time and rows

    def now_ms(self) -> int:
        """This bank's own business time."""
        return clock.now_ms() + self.config.clock_offset_seconds * 1000

    def at(self, due_ms: int, what: list[Line] | Callable[[int], None]) -> None:
        """Let lines walk their next stage, or call something, once it is `due_ms`."""
        self._order += 1
        heapq.heappush(self._heap, (due_ms, self._order, what))
        self._kick.set()

    def after_commit(self, action: Callable[[], None]) -> None:
        self._after.append(action)

    def commit(self) -> None:
        """Make everything collected durable, then let out what waited for that."""
        self.ledger.commit()
        while self._after:
            waiting, self._after = self._after, []
            for action in waiting:
                action()

    def fault(self, name: str, batch: str = "", submission: int = 0, reference: str = "", detail: str = "") -> None:
        """Log that a fault really fired."""
        row = (self.ledger.next(), self.now_ms(), clock.wall_ms(), name, batch, submission, reference, detail)
        self.ledger.put("faults", row)

    def answer(
        self, n: int, batch: str, status: str, code: str, channel: str, reference: str = "", artefact: str = ""
    ) -> None:
        """Log what the bank says about submission `n` as a whole, or about a reference that it does not know."""
        stamp = (self.ledger.next(), self.now_ms(), clock.wall_ms())
        self.ledger.put("answers", (*stamp, n, batch, 0, reference, status, code, 0, channel, artefact))

    def tell(
        self, lines: list[Line], channel: str, artefact: str, codes: Callable[[Line], str], amounts: bool = True
    ) -> None:
        """Log what the bank says about these lines, all of one submission, in a sound artefact."""
        self.say(self.told(lines, channel, artefact, codes, amounts))

    def told(
        self, lines: list[Line], channel: str, artefact: str, codes: Callable[[Line], str], amounts: bool = True
    ) -> list[Row]:
        """What is said about these lines as they stand now, for `say` when it leaves; NULL for an untold amount."""
        rows: list[Row] = []
        for line in lines:
            if not line.misnamed:
                line.told |= BIT[line.status]
            no, reference = (0, misname(line.reference)) if line.misnamed else (line.no, line.reference)
            fen = (line.paid_fen or line.amount_fen) if amounts else None
            whole = (line.submission.n, line.submission.batch, no, reference)
            rows.append((*whole, word(line), codes(line), fen, channel, artefact))
        return rows

    def say(self, told: list[Row]) -> None:
        if told:
            n, now, wall = self.ledger.next(), self.now_ms(), clock.wall_ms()
            self.ledger.put_all("answers", [(n, now, wall, *row) for row in told])

    def artefact(self, channel: str, name: str, batch: str, submission: int, sound: bool, body: bytes) -> int:
        """Keep a file or callback before it leaves; returns its id."""
        number = self.ledger.next_artefact()
        row = (number, self.ledger.next(), self.now_ms(), channel, name, batch, submission, int(sound), body)
        self.ledger.put("artefacts", row)
        return number

    def delivered(self, artefact: int, how: str, detail: str = "") -> None:
        now, wall = self.now_ms(), clock.wall_ms()
        self.ledger.put("deliveries", (self.ledger.next(), now, wall, artefact, how, detail))

    def move_balance(self, delta_fen: int, why: str, submission: int) -> None:
        if delta_fen:
            self.balance_fen += delta_fen
            row = (self.ledger.next(), self.now_ms(), delta_fen, self.balance_fen, why, submission)
            self.ledger.put("balance", row)

    # -- arrivals

    def transmission(self, batch: str) -> int:
        """Count one more transmission of a batch."""
        self.transmissions[batch] = self.transmissions.get(batch, 0) + 1
        self.last_transmission_ms[batch] = self.now_ms()
        return self.transmissions[batch]

    def arrive(
        self,
        upload: Upload,
        transmission: int,
        verdict: str,
        code: str,
        fault: str | None,
        plans: Mapping[int, tuple[int, str]] = NO_PLANS,
    ) -> int:
        """Keep what arrived; returns its number. The lines of a taken one are kept by `take`; of one that was refused
        because of some lines, `plans` has for each of those how often its account was met before, and its plan."""
        n = self.ledger.next()
        payload = upload.payload if self.config.keep_payload else None
        head = (n, self.now_ms(), clock.wall_ms(), upload.batch, upload.source, transmission)
        body = (len(upload.payload), upload.digest, payload, verdict, code, len(upload.items), upload.total_fen)
        self.ledger.put("submissions", (*head, *body, upload.debit_account, upload.programme, fault or ""))
        if verdict != "taken":
            self.ledger.put_all("lines", [(n, *item, *plans.get(item.line, (0, ""))) for item in upload.items])
            for item in upload.items:
                if item.line in plans:
                    self.seen[item.account] = self.seen.get(item.account, 0) + 1
            self.untaken.update((item.reference, upload.batch) for item in upload.items)
        return n

    def known(self, upload: Upload) -> Submission | None:
        """The earlier submission that this one repeats, as far as this bank deduplicates."""
        mode, earlier = self.config.deduplicate, self.batches.get(upload.batch)
        if mode == "none":
            return None
        if mode == "by_reference":
            known = [self.references.get(item.reference) for item in upload.items]
            return known[0].submission if known[0] is not None and all(known) else None
        if not earlier:
            return None
        young = self.now_ms() - earlier[-1].at_ms <= self.config.window_seconds * 1000
        return earlier[-1] if mode == "by_file_id" or young else None

    def take(self, upload: Upload, transmission: int, fault: str | None) -> Verdict:
        """Take, recognise or refuse a well-formed upload, by deduplication and funds; keeps it in the ledger."""
        known = self.known(upload)
        if known is not None:
            return Verdict(self.arrive(upload, transmission, "duplicate", "DUPLICATE", fault), "duplicate", known)
        left = self.balance_fen if self.config.balance_fen is not None else upload.total_fen
        in_order = self.config.funds == "in_order"
        short = left < (min(item.amount_fen for item in upload.items) if in_order else upload.total_fen)
        if short or fault == "funds_short":
            n = self.arrive(upload, transmission, "refused", "FUNDS_SHORT", fault)
            if not short:
                self.fault("funds_short", upload.batch, n)
            return Verdict(n, "refused", None)
        n = self.arrive(upload, transmission, "taken", "", fault)
        submission = self.new_submission(n, upload, self.now_ms(), fault or "")
        self.move_balance(-self._take_lines(submission, upload, left), "taken", n)
        return Verdict(n, "taken", submission)

    def new_submission(self, n: int, upload: Upload, at_ms: int, fault: str) -> Submission:
        """A taken submission with its times; its lines are added by the caller."""
        programme = self.programme.config
        hidden_ms = {"hidden": programme.hidden_seconds, "not_found_until_settled": programme.not_found_seconds}
        delay_ms = self.config.processing_seconds * 1000
        if fault == "callback_before_reply":
            delay_ms = 0
        elif fault == "hidden":
            delay_ms = programme.hidden_seconds * 1000
        base = opening(at_ms + delay_ms, self.config.hours)
        visible = at_ms + hidden_ms.get(fault, 0) * 1000
        number = (n, upload.batch, upload.source, upload.digest)
        submission = Submission(*number, at_ms, base, visible, upload.total_fen, fault)
        self.by_number[n] = submission
        self.batches.setdefault(upload.batch, []).append(submission)
        return submission

    def _take_lines(self, submission: Submission, upload: Upload, left_fen: int) -> int:
        """Plan every line; one that what is left does not cover fails, and the next is looked at. Returns what is
        reserved."""
        rows: list[Row] = []
        reserved_fen = 0
        repeats = self.config.deduplicate == "by_reference"
        for item in upload.items:
            nth = self.seen.get(item.account, 0)
            plan = self.programme.line(item.account, nth)
            if repeats and item.reference in self.references:
                plan = Plan("reject", 0, "DUPLICATE")
            if item.amount_fen > left_fen - reserved_fen:
                plan = Plan("reject", 0, FUNDS_SHORT)
            if plan.reason != FUNDS_SHORT:
                reserved_fen += item.amount_fen
            rows.append((submission.n, *item, nth, ACCEPT_TEXT if plan is ACCEPT else plan.text()))
            self.add_line(submission, item.line, item.reference, item.account, item.amount_fen, plan)
        self.ledger.put_all("lines", rows)
        self.at(submission.base_ms, submission.lines)
        return reserved_fen

    def add_line(self, submission: Submission, no: int, reference: str, account: str, amount: int, plan: Plan) -> None:
        line = Line(submission, no, reference, account, amount, plan)
        submission.lines.append(line)
        if plan.reason != FUNDS_SHORT:  # else it was not taken: its reference may come again, and be paid
            self.references[reference] = line
            self.seen[account] = self.seen.get(account, 0) + 1

    # -- the passage of time

    async def run(self) -> None:
        """Let due things happen, for ever."""
        while True:
            more = self.pass_due()
            self._kick.clear()
            wait = 0.0 if more else 0.5
            if self._heap and not more:
                until = clock.real_seconds((self._heap[0][0] - self.now_ms()) / 1000)
                wait = min(max(until, 0.02), wait)
            try:
                await asyncio.wait_for(self._kick.wait(), wait)
            except TimeoutError:
                continue
            await asyncio.sleep(0.01)  # let things that fall due together share a commit

    def pass_due(self) -> bool:
        """Do what is due, as one transaction; true when more is due already."""
        now, done = self.now_ms(), 0
        while self._heap and self._heap[0][0] <= now and done < LINES_PER_COMMIT:
            what = heapq.heappop(self._heap)[2]
            if callable(what):
                what(now)
                done += 1
            else:
                self.advance(what, now)
                done += len(what)
        if done or self.ledger.dirty:
            self.commit()
        return bool(self._heap) and self._heap[0][0] <= now

    def advance(self, lines: list[Line], now_ms: int, due_by_ms: int | None = None) -> None:
        """Let lines of one or more submissions walk their next stage; after a restart (`due_by_ms`), all stages due by
        then, telling again only what was not told."""
        batch = _Pass(self, now_ms)
        repair_ms = self.programme.config.repair_seconds * 1000
        following: dict[int, list[Line]] = {}
        for line in lines:
            steps = stages(line.plan, repair_ms)
            while True:
                step = steps[line.stage]
                line.stage += 1
                batch.apply(line, step.action, step.bites, due_by_ms is not None)
                if line.stage >= len(steps):
                    break
                due = opening(line.submission.base_ms + steps[line.stage].after_ms, self.config.hours)
                if due_by_ms is None or due > due_by_ms:
                    following.setdefault(due, []).append(line)
                    break
        for due, group in following.items():
            self.at(due, group)
        batch.finish()

    def report_later(self, submission: Submission, lines: list[Line], due_ms: int) -> None:
        """Have lines reported (again) at `due_ms`, together with whatever else is to be reported by then."""

        def report(now_ms: int) -> None:
            submission.report_due = False
            dirty = list(submission.dirty.values())
            submission.dirty.clear()
            if dirty:
                self.desk.report(submission, dirty, now_ms)

        for line in lines:
            submission.dirty[line.no] = line
        if not submission.report_due:
            submission.report_due = True
            self.at(due_ms, report)

    def next_run_ms(self, submission: Submission, now_ms: int) -> int:
        """When changes of this submission are reported next."""
        grid = max(self.config.report_every_seconds * 1000, 1)
        if submission.reports >= GRID_AFTER_REPORTS:
            grid = max(grid, COARSE_GRID_MS)
        return now_ms + grid - (now_ms - submission.base_ms) % grid


class _Pass:
    """The money and the reports of one walk over lines."""

    def __init__(self, book: Book, now_ms: int) -> None:
        self.book = book
        self.now_ms = now_ms
        self.post_date = clock.moment(now_ms).strftime("%Y%m%d")
        self.n = book.ledger.next()
        self.credits: list[Row] = []
        self.returns: list[Row] = []
        self.first: dict[Submission, list[Line]] = {}
        self.later: dict[Submission, list[Line]] = {}
        self.back_fen: dict[Submission, int] = {}

    def apply(self, line: Line, action: str, bites: bool, replaying: bool) -> None:
        submission, plan = line.submission, line.plan
        before = line.status
        fired = replaying and (submission.n, line.reference, plan.kind) in self.book.restored_faults
        if action in ("credit", "misname", "overpay"):
            self._credit(line, line.amount_fen + (action == "overpay"))
            line.misnamed = action == "misname"
        elif action == "reject":
            line.status = FAILED
            if bites and not fired and plan.reason != FUNDS_SHORT:
                self.back_fen[submission] = self.back_fen.get(submission, 0) + line.amount_fen
        elif action == "return":
            self._return(line)
        elif action == "again":
            line.status, line.misnamed = PAID, False
        else:
            line.status = {"pend": PENDING, "suspect": SUSPECT, "deny": FAILED}[action]
        if line.status in FINAL and before not in FINAL:
            submission.decided += 1
        if bites and not fired:
            self.book.fault(plan.kind, submission.batch, submission.n, line.reference)
        if replaying and line.told & BIT[line.status]:
            last = self.book.restored_last.get((submission.n, line.no))
            if action != "again" or last == word(line):
                return
        (self.first if line.stage == 1 else self.later).setdefault(submission, []).append(line)

    def _credit(self, line: Line, amount: int) -> None:
        line.status = PAID
        if line.paid_fen:  # moved before a restart
            return
        line.paid_fen, line.post_date = amount, self.post_date
        line.host_ref = self._host_reference()
        place = (self.n, self.now_ms, line.submission.n, line.no, line.reference, line.account)
        self.credits.append((*place, amount, line.post_date, line.host_ref))

    def _return(self, line: Line) -> None:
        line.status, line.credited = RETURNED, (line.post_date, line.host_ref)
        restored = self.book.restored_returns.pop((line.submission.n, line.no), None)
        if restored is not None:
            line.post_date, line.host_ref = restored
            return
        line.post_date, line.host_ref = self.post_date, self._host_reference()
        place = (self.n, self.now_ms, line.submission.n, line.no, line.reference, line.account)
        self.returns.append((*place, line.paid_fen, line.post_date, line.host_ref, line.plan.reason))
        self.back_fen[line.submission] = self.back_fen.get(line.submission, 0) + line.paid_fen

    def _host_reference(self) -> str:
        self.book.money_moves += 1
        return self.book.desk.host_reference(self.book.money_moves, self.post_date)

    def finish(self) -> None:
        book = self.book
        book.ledger.put_all("credits", self.credits)
        book.ledger.put_all("returns", self.returns)
        for submission, fen in self.back_fen.items():
            book.move_balance(fen, "came back", submission.n)
        for submission, lines in self.first.items():
            book.desk.report(submission, lines, self.now_ms)
        for submission, lines in self.later.items():
            book.report_later(submission, lines, book.next_run_ms(submission, self.now_ms))


def misname(reference: str) -> str:
    """A reference that nobody minted, as long and of the same alphabet."""
    return reference[::-1]
