"""The six counters about money and receipts. A finding names a payout by batch and line, and nothing of its person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.world.checker import obedience, telling
from tests.world.checker.ledgers import Ledgers, Rail, Transmission
from tests.world.checker.lines import same_name
from tests.world.checker.receipts import Told
from tests.world.checker.stories import Joined, Story
from tests.world.checker.word import Broken, broken_word, transmitted_after

COUNTERS = ("DP", "MP", "AC", "RX", "BR", "UB", "PII")


@dataclass(frozen=True, slots=True)
class Finding:
    counter: str
    subject: str
    what: str
    story: Story | None = None


@dataclass(slots=True)
class Verdict:
    findings: list[Finding] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # not a counter, but no clean result either
    pending_at_bank: int = 0

    def counters(self) -> dict[str, int]:
        return {name: sum(one.counter == name for one in self.findings) for name in COUNTERS}

    @property
    def clean(self) -> bool:
        return not self.findings and not self.problems


def judge(
    joined: Joined,
    ledgers: Ledgers,
    told: Told,
    *,
    at_rest: bool = True,
    frozen: int = 0,
    read_within_ms: int = obedience.READ_WITHIN_MS,
    all_read: bool = False,
) -> Verdict:
    """All findings. What is not ``at_rest`` may still owe money and receipts, but must not have done wrong.

    ``frozen`` is how many payouts the gateway's own gauge shows in conflict: a batch with one issues no final report.
    ``read_within_ms`` is how long, really, a recall may have lain unread. ``all_read``: the run waited until whatever
    a bank had to tell was read.
    """
    verdict = Verdict()
    holders = obedience.holders(joined)
    for story in joined.stories:
        broken = broken_word(story, ledgers)
        if broken is not None:
            verdict.broken.append(broken)
        verdict.pending_at_bank += story.pending_at_bank
        for rule in (_paid_twice, _missed, _altered, _receipts, _sent_again, _unsigned):
            if broken is not None and rule in (_paid_twice, _missed):
                continue
            verdict.findings += rule(story, ledgers, honest=broken is None, at_rest=at_rest)
        if broken is None and at_rest and _owed(story):
            for order in obedience.refused_for_nothing(story, joined.tables, holders):
                what = f"order {order.order_id} was in order, and was refused"
                verdict.findings.append(Finding("MP", story.payout.name, what, story))
        verdict.findings += [
            Finding("RX", story.payout.name, what, story)
            for what in obedience.faults(
                story, ledgers, honest=broken is None, at_rest=at_rest, read_within_ms=read_within_ms
            )
        ]
    verdict.findings += _paid_by_two_lists(verdict, joined.stories)
    verdict.findings += _strangers(joined.strangers)
    verdict.findings += _refused(joined, at_rest)
    verdict.findings += [Finding("RX", story.payout.name, what, story) for story, what in telling.misnamed(joined)]
    verdict.findings += _unanswered(joined, told) if at_rest else ()
    verdict.findings += [
        Finding("RX", f"{one.batch[1]}/{one.line}", f"{one.outcome} for nothing that was approved")
        for one in joined.unknown
    ]
    verdict.findings += [Finding("RX", what, "was repeated with other bytes") for what in told.altered]
    verdict.problems += _unsurfaced(verdict.broken, told, frozen, at_rest)
    if all_read and at_rest:
        verdict.problems += _unread(verdict.broken)
    if not joined.stories:
        verdict.problems.append("nothing was approved: there is nothing to count")
    return verdict


def _paid_twice(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    net = most = 0
    for movement in story.movements:
        net += -1 if movement.back else 1
        most = max(most, net)
    if most > 1:
        yield Finding("DP", story.payout.name, f"{most} credits stood at one time", story)


def _paid_by_two_lists(verdict: Verdict, stories: list[Story]) -> Iterator[Finding]:
    """One person is paid once for a programme and period, whatever lists and whatever the gateway said of the first."""
    excused = {id(one.story) for one in verdict.broken}
    paid: dict[tuple[str, str, str], Story] = {}
    for story in stories:
        if id(story) in excused:
            continue
        for rail in story.rails:
            if len(rail.credits) <= len(rail.returns):
                continue
            # Whom the attempt was for: an order may have put another person's ID in the place of the list's.
            person = story.details(story.attempt_of(rail)).id_no
            first = paid.setdefault((story.payout.programme, story.payout.period, person), story)
            if first is not story:
                yield Finding("DP", story.payout.name, f"{first.payout.name} has paid this person already", story)


def _missed(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    if at_rest and _owed(story) and not story.waits_for_an_order and not story.cancelled:
        yield Finding("MP", story.payout.name, "not paid, not waiting for an order, not cancelled", story)


def _owed(story: Story) -> bool:
    """Whether its money is there, and has not arrived, nor lies for ever with a bank that will not say."""
    return story.batch.funded and story.net <= 0 and not story.pending_at_bank


def _altered(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    for rail in story.rails:
        attempt = story.attempt_of(rail)
        wanted = story.details(attempt)
        if not ledgers.keeps(rail.bank, wanted.bank_no):
            yield Finding("AC", story.payout.name, f"attempt {attempt}: submitted to another bank", story)
        for sent in rail.transmissions:
            wrong = [
                word
                for word, differs in (
                    ("amount", sent.amount_fen != story.payout.amount_fen),
                    ("account", sent.account != wanted.account),
                    ("name", not same_name(sent.name, wanted.name)),
                    ("ID", sent.id_no.upper() != wanted.id_no),
                )
                if differs
            ]
            if wrong:
                yield Finding("AC", story.payout.name, f"attempt {attempt}: other {', '.join(wrong)} submitted", story)
        if honest and any(one.amount_fen != story.payout.amount_fen for one in rail.credits):
            yield Finding("AC", story.payout.name, f"attempt {attempt}: another amount credited", story)


def _receipts(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    for what in telling.faults(story, ledgers, honest=honest, at_rest=at_rest):
        yield Finding("RX", story.payout.name, what, story)


def _sent_again(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    transmissions = story.transmissions
    rails = {(rail.bank, rail.reference): rail for rail in story.rails}
    for index, later in enumerate(transmissions):
        for earlier in transmissions[:index]:
            if not _cleared(earlier, later, rails[earlier.bank, earlier.reference], ledgers):
                yield Finding("BR", story.payout.name, "sent again with no answer that proves it was over", story)
                break


def _cleared(earlier: Transmission, later: Transmission, rail: Rail, ledgers: Ledgers) -> bool:
    """Whether the bank proved, and the gateway had heard, that nothing came or will come of the earlier one."""
    for one in ledgers.clearing(rail, earlier.batch, earlier.n):
        heard_ms = ledgers.delivered_ms(one)
        if earlier.n < one.n and heard_ms is not None and heard_ms <= later.wall_ms:
            return True
    return False


def _unsigned(story: Story, ledgers: Ledgers, *, honest: bool, at_rest: bool) -> Iterator[Finding]:
    for rail in story.rails:
        if not rail.credits:
            continue
        attempt = story.attempt_of(rail)
        if not story.batch.funded:
            yield Finding("UB", story.payout.name, "credited although its money was never confirmed", story)
        elif not story.authorised(attempt):
            yield Finding("UB", story.payout.name, f"attempt {attempt} credited without a signed order", story)
        elif any(sent.wall_ms < story.signed_wall_ms(attempt) for sent in rail.transmissions):
            yield Finding("UB", story.payout.name, f"attempt {attempt} was sent before it was signed for", story)


def _strangers(rails: list[Rail]) -> Iterator[Finding]:
    for rail in rails:
        subject = f"reference {rail.reference}"
        if rail.credits:
            yield Finding("UB", subject, "credited, but no approved line is about this person, programme and period")
        else:
            yield Finding("AC", subject, "submitted, but no approved line is about this person, programme and period")


def _refused(joined: Joined, at_rest: bool) -> Iterator[Finding]:
    for payout, heard in joined.refused:
        answers = [(one.attempt, one.outcome, one.reason, one.amount) for one in heard]
        if answers == [(0, "failed", payout.refused, payout.written)] or (not answers and not at_rest):
            continue
        yield Finding("RX", payout.name, f"a refused line ({payout.refused}) was answered {answers or 'by nothing'}")


def _unanswered(joined: Joined, told: Told) -> Iterator[Finding]:
    """Orders about what is no approved line are refused; nothing is parked."""
    for line, order in joined.unanswerable:
        if order.digest not in told.refused_orders:
            what = f"{order.kind} {order.order_id} is about nothing approved, and was answered by nothing"
            yield Finding("RX", line, what)


def _unsurfaced(broken: list[Broken], told: Told, frozen: int, at_rest: bool) -> Iterator[str]:
    """What is wrong about the handling of banks that broke their word."""
    for one in broken:
        sent = transmitted_after(one)
        if sent:
            yield f"{one.story.payout.name}: sent {sent} times after the bank contradicted itself ({one.what})"
    heard = Counter(one.story.batch.key for one in broken if one.delivered_ms is not None)
    # A conflict of another batch is another contradiction, or a freeze for nothing: it surfaces none of this one's.
    reported = sum(
        min(count, told.reports[batch]["conflict"]["count"]) for batch, count in heard.items() if batch in told.reports
    )
    surfaced = max(frozen, reported)
    if at_rest and surfaced < heard.total():
        yield f"{heard.total()} contradictions of banks were delivered, but {surfaced} conflicts are shown"


def _unread(broken: list[Broken]) -> Iterator[str]:
    """A contradiction that nobody was told froze nothing and paged nobody: a run that could wait has to."""
    for one in broken:
        if one.delivered_ms is None:
            yield f"{one.story.payout.name}: the gateway never read that its bank {one.what}"
