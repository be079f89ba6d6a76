"""`python -m tests.world.checker`: prints the seven counters and every violation's timeline; fails if there is one."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.world.checker import inputs, ledgers, notices, privacy, receipts, rules, stories
from tests.world.checker.ledgers import Ledgers
from tests.world.checker.rules import Finding, Verdict
from tests.world.checker.stories import Joined, Story

_SHANGHAI = dt.timezone(dt.timedelta(hours=8))


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(prog="checker", description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--inputs", type=Path, required=True, help="directory of the signed inputs, keys and tables")
    asked.add_argument("--ledger", type=Path, action="append", required=True, help="a bank's ledger.sqlite; repeatable")
    asked.add_argument("--receipts", type=Path, required=True, help="receipts as read from their topic, JSON lines")
    asked.add_argument("--reports", type=Path, help="batch reports, JSON lines")
    asked.add_argument("--refusals", type=Path, help="refusals, JSON lines")
    asked.add_argument("--metrics", type=Path, help="a dump of /metrics: scanned, and read for payouts in conflict")
    asked.add_argument("--sms", type=Path, help="the SMS centre's ledger.sqlite")
    asked.add_argument("--scan", type=Path, action="append", default=[], help="file or directory without personal data")
    asked.add_argument("--running", action="store_true", help="not at rest: payments and receipts may still be owed")
    asked.add_argument("--all-read", action="store_true", help="at rest, and no word of a bank was left unread")
    asked.add_argument("--timelines", type=int, default=20, help="violations whose timeline is printed")
    return asked


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    told = receipts.read(asked.receipts, asked.reports, asked.refusals)
    approved = inputs.read(asked.inputs, told)
    books = ledgers.read(asked.ledger, approved.tables.routes, running=asked.running)
    joined = stories.join(approved, books, told)
    page = asked.metrics.read_text(encoding="utf-8") if asked.metrics is not None else ""
    verdict = rules.judge(joined, books, told, at_rest=not asked.running, frozen=frozen(page), all_read=asked.all_read)
    named = (asked.receipts, asked.reports, asked.refusals, asked.metrics)
    topics = [path for path in named if path is not None and path.exists()]
    hits = privacy.scan(privacy.Canaries(approved.personal), [*topics, *asked.scan])
    verdict.findings += [Finding("PII", hit.file, f"a {hit.kind} at byte {hit.offset}") for hit in hits]
    sms = notices.judge(asked.sms, joined, verdict.problems) if asked.sms is not None else None
    for line in report(verdict, books, asked.timelines):
        print(line)
    print(json.dumps(summary(joined, verdict, sms, books, approved), ensure_ascii=False))
    return 0 if verdict.clean else 1


def summary(
    joined: Joined, verdict: Verdict, sms: dict[str, int] | None, books: Ledgers, approved: inputs.Inputs
) -> dict[str, Any]:
    """The machine's last line."""
    final = {"credited": 0, "failed": 0, "cancelled": 0, "open": 0}
    for story in joined.stories:
        final[standing(story)] += 1
    rails = [rail for story in joined.stories for rail in story.rails]
    return {
        "counters": verdict.counters(),
        "bank_broke_word": len(verdict.broken),
        "problems": verdict.problems,
        "payouts": len(joined.stories),
        "refused": len(joined.refused),
        "standing": final,
        "credits": sum(len(rail.credits) for rail in rails),
        "returns": sum(len(rail.returns) for rail in rails),
        "reissued": sum(o.kind == "REISSUE" for story in joined.stories for o in story.in_force.values()),
        "pending_at_bank": verdict.pending_at_bank,
        "published": approved.published,
        "valid": approved.valid,
        "faults": books.faults,
        "sms": sms,
    }


def frozen(page: str) -> int:
    """Payouts in conflict by the gateway's gauge, 0 where the page does not say."""
    match = re.search(r'^payout_payouts[{]bucket="conflict"[}] ([0-9]+)', page, re.MULTILINE)
    return int(match[1]) if match else 0


def standing(story: Story) -> str:
    """Where a payout has come to rest, by the banks' money first."""
    if story.net > 0:
        return "credited"
    if story.cancelled:
        return "cancelled"
    return "failed" if story.waits_for_an_order else "open"


def report(verdict: Verdict, books: Ledgers, timelines: int) -> Iterator[str]:
    """The counters and, for the first violations, everything that happened to that payout, in order."""
    for name, count in verdict.counters().items():
        yield f"{name} {count}"
    yield f"bank_broke_word {len(verdict.broken)}"
    yield from (f"problem: {text}" for text in verdict.problems)
    for finding in verdict.findings[:timelines]:
        yield f"{finding.counter} {finding.subject}: {finding.what}"
        if finding.story is not None:
            yield from (f"    {line}" for line in timeline(finding.story, books))
    if len(verdict.findings) > timelines:
        yield f"... and {len(verdict.findings) - timelines} more"


def timeline(story: Story, books: Ledgers) -> list[str]:
    """References and line numbers only."""
    events: list[tuple[int, str]] = [(story.batch.completed_ms, "approved: the last part of its batch was published")]
    for attempt, order in story.in_force.items():
        events.append((order.at_ms, f"order {order.order_id} {order.kind} about attempt {attempt}"))
    for rail in story.rails:
        bank, reference = books.names[rail.bank], rail.reference
        for sent in rail.transmissions:
            events.append((sent.at_ms, f"{bank} #{sent.n}: {reference} arrived in {sent.batch}, {sent.verdict}"))
        for moved in rail.movements:
            events.append((moved.at_ms, f"{bank} #{moved.n}: {reference} {'returned' if moved.back else 'CREDITED'}"))
        for said in rail.answers:
            events.append((said.at_ms, f"{bank} #{said.n}: {reference} said {said.status} by {said.channel}"))
        for batch in {sent.batch for sent in rail.transmissions}:
            for said in books.whole.get((rail.bank, batch), []):
                events.append((said.at_ms, f"{bank} #{said.n}: whole {batch} said {said.status} by {said.channel}"))
    lines = [f"{_time(at)} {what}" for at, what in sorted(events, key=lambda event: event[0])]
    for one in story.receipts:
        lines.append(f"receipt {one.receipt_id}: attempt {one.attempt} {one.outcome} {one.reason} {one.reference}")
    return lines


def _time(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, _SHANGHAI).strftime("%m-%d %H:%M:%S")


if __name__ == "__main__":
    sys.exit(main())
