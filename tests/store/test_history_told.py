"""What an auditor reads in each event of a batch's history: the whole of it, and nothing that is somebody's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from adapters.contract import Reason
from gateway.pacing import AUTOMATIC_ATTEMPTS
from schemas.v1 import Kind
from tests.store import kit
from tests.store.kit import Gateway
from tests.store.test_again import refuse_for_ever
from tests.store.test_fencing import claim_to_send, rendered, sending
from tests.store.test_held_together import references
from tests.store.test_limits import lower
from tests.store.test_payment import credited, rejected
from tests.store.test_statements import TODAY, entry, state
from tests.store.test_statements_hold import later

Event = tuple[str, dict[str, Any]]


async def events(gateway: Gateway, batch_no: int = 1) -> list[Event]:
    """Every event of a batch and its body, in order."""
    async with gateway.store.engine.connection() as connection:
        rows = await connection.fetch("SELECT event, body FROM history WHERE batch_no = $1 ORDER BY seq", batch_no)
    return [(row["event"], json.loads(row["body"])) for row in rows]


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


async def test_how_a_list_came_in_was_judged_and_cut(gateway: Gateway) -> None:
    """The digests of what was signed, the keys, each refused line with its reason, the money, the clock, the bytes."""
    lines = [kit.line(1), kit.line(2, account=""), kit.line(3, amount="7.00")]
    parts = gateway.signed_parts(lines, parts=2)
    for part in parts:
        await gateway.intake.take_batch(*part)
    await gateway.fund("107.00")
    await gateway.judge()
    await gateway.send()
    told = await events(gateway)
    (funding,) = [body for event, body in told if event == "FUNDING"]
    assert len(bytes.fromhex(funding.pop("digest"))) == 32
    (sent,) = gateway.bank.sent
    assert told == [
        ("PART", {"part": 1, "digest": sha256(parts[0][0]), "key": "finance-1"}),
        ("PART", {"part": 2, "digest": sha256(parts[1][0]), "key": "finance-1"}),
        ("LIST_COMPLETE", {"parts": 2, "lines": 3}),
        ("FUNDING", {"funding": "F-1", "amount_fen": 10_700}),
        ("JUDGED", {"part": 1, "approved": 1, "approved_fen": 10_000, "refused": [[2, "ACCOUNT_MISSING"]]}),
        ("JUDGED", {"part": 2, "approved": 1, "approved_fen": 700, "refused": []}),
        ("FUNDED", {"clock": "2026-11-24T02:00:00+00:00", "limit": "2026-11-28T00:00:00+08:00"}),
        ("PLANNED", {"to_line": 3, "submissions": [[1, 2]]}),
        ("RENDERED", {"submission": 1, "name": sent.remote_name, "digest": sent.sha256, "lines": 2}),
        ("SENDING", {"submission": 1, "fence": 2}),
        ("EVIDENCE", {"bank": "rcc_file", "lines": [], "frozen": [], "submissions": [[1, "SENDING", "SUBMITTED"]]}),
    ]


async def test_what_became_of_the_lines(gateway: Gateway) -> None:
    """Each outcome with the bank's code and number, what was frozen, and the orders by name, line and attempt."""
    await gateway.pay(3)
    before = len(await events(gateway))
    await gateway.answer(credited(gateway, 1), rejected(gateway, 2), credited(gateway, 3, amount_fen=10_001))
    await gateway.order("REISSUE", "O-1", 2, 1)
    await gateway.order("CANCEL", "O-2", 2, 2)
    _, reissued, cancelled = told = (await events(gateway))[before:]
    reference = reissued[1].pop("reference")
    assert told[0] == (
        "EVIDENCE",
        {
            "bank": "rcc_file",
            "lines": [[1, 1, "CREDITED", "0000", "H1"], [2, 1, "REJECTED", "3018", None]],
            "frozen": [3],
            "submissions": [],
        },
    )
    assert reissued == ("REISSUED", {"order": "O-1", "line": 2, "attempt": 2})
    assert cancelled == ("CANCELLED", {"order": "O-2", "line": 2, "attempt": 2})
    receipts = [one for one in await gateway.published() if one["outcome"] == "cancelled"]
    assert [(one["attempt"], one["reference"]) for one in receipts] == [(2, reference)]


async def test_a_recall_says_how_many_it_took_back(gateway: Gateway) -> None:
    """The order's name, and the lines that will not be paid by it."""
    await gateway.batch([kit.line(1), kit.line(2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.order("RECALL", "O-9", None, None)
    assert (await events(gateway))[-1] == ("RECALLED", {"order": "O-9", "lines": 2})


async def test_what_waits_for_a_statement_and_is_called_back_names_its_file(gateway: Gateway) -> None:
    """Set aside: of which file, and how many lines. Called back when nothing holds them: of which file, how many."""
    gateway.bank.submits = kit.refuse_connection
    await gateway.pay(2)
    gateway.bank.submits = kit.received
    shown = [entry(reference) for reference in await references(gateway)]
    await state(gateway, TODAY, *shown)
    before = len(await events(gateway))
    await later(gateway)
    assert (await events(gateway))[before:] == [("SET_ASIDE", {"submission": 1, "lines": 2})]
    await gateway.order("RECALL", "O-9", None, None)
    await state(gateway, TODAY)
    await later(gateway)
    told = [body for event, body in await events(gateway) if event == "RECALLED"]
    assert told == [{"order": "O-9", "lines": 0}, {"submission": 3, "lines": 2}]


async def test_a_list_that_does_not_add_up_says_why_it_was_refused(gateway: Gateway) -> None:
    """Refused for its sums after its last part; refused because a part never came. Neither counts as complete."""
    await gateway.intake.take_batch(
        *gateway.signed(Kind.BATCH, kit.part_body("B-1", [kit.line(1)], [kit.line(1)]) | {"amount": "1.00"})
    )
    assert [event for event, _ in await events(gateway)] == ["PART", "REFUSED"]
    assert (await events(gateway))[-1] == ("REFUSED", {"reason": "WRONG_TOTALS"})
    await gateway.intake.take_batch(*gateway.signed_parts([kit.line(1), kit.line(2)], "B-2", parts=2)[0])
    assert await gateway.watch_parts(hours=24)
    assert (await events(gateway, 2))[-1] == ("REFUSED", {"reason": "PART_MISSING"})


async def test_whose_call_was_left_alone_is_in_the_history(gateway: Gateway) -> None:
    """SENDING by a process that is gone: the submission that nobody knows anything of."""
    await rendered(gateway)
    claim = await claim_to_send(gateway)
    await sending(gateway, claim)
    await gateway.store.submissions.release(claim)
    assert await gateway.verify.doubt_abandoned()
    assert (await events(gateway))[-2:] == [
        ("SENDING", {"submission": 1, "fence": claim.fence}),
        ("ABANDONED", {"submission": 1}),
    ]


async def test_what_is_too_much_for_the_bank_is_taken_back_into_a_new_submission(gateway: Gateway) -> None:
    """Bytes that were never sent and no longer fit: which submission they were, and into which their lines went."""
    await gateway.batch([kit.line(1), kit.line(2)])
    await gateway.fund("200.00")
    await gateway.judge()
    await gateway.cut_and_render()
    lower(gateway, max_lines=1)
    while await gateway.dispatch.send(gateway.entry):
        pass
    taken = [body for event, body in await events(gateway) if event == "TAKEN_BACK"]
    assert taken == [{"submission": 1, "into": 2}]
    kept, *others = await gateway.store.reads.submissions(1)
    assert (kept["state"], kept["open_lines"], kept["probe_at"]) == ("RETIRED", 0, None)
    assert [(one["state"], one["open_lines"]) for one in others] == [("PLANNED", 2)]


async def test_what_the_core_gave_up_is_told_line_by_line(gateway: Gateway) -> None:
    """Refused as often as it tries by itself: the event names the lines that people have to decide now."""
    await gateway.pay(2)
    await gateway.answer(credited(gateway, 2))
    await refuse_for_ever(gateway, Reason.FUNDS_SHORT, AUTOMATIC_ATTEMPTS)
    given_up = [body["given_up"] for event, body in await events(gateway) if "given_up" in body]
    assert given_up == [[1]]


async def test_a_resent_file_names_the_lines_that_are_in_its_bytes(gateway: Gateway) -> None:
    """A line that could not be written for the bank is in no bytes; one that the bank refused was."""
    gateway.bank.unwritable = {"龘"}
    await gateway.batch([kit.line(1), kit.line(2, name="龘"), kit.line(3)])
    await gateway.fund("300.00")
    await gateway.judge()
    await gateway.send()
    await gateway.answer(rejected(gateway, 1))
    (submission,) = await gateway.store.reads.submissions(1)
    assert (
        await gateway.store.submissions.sent_references(submission["submission_id"]) == gateway.bank.sent[0].references
    )
    assert len(gateway.bank.sent[0].references) == 2
