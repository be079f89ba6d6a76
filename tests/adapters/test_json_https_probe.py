"""``json_https`` asking: what the head of a batch and its items prove, and when a line counts as never received."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from adapters.contract import Evidence, Proof, Reason
from adapters.wire.http import AnswerLost, AnswerUnusable, NotReached
from tests.adapters.json_https_kit import BATCH, REF, Keys, Reply, World, head, item, page, rendered, world

HEAD = f"/v1/batches/{BATCH}"
ITEMS = f"{HEAD}/items"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def at_the_bank(keys: Keys) -> AsyncIterator[World]:
    async with world(keys, items_per_page=2) as met:
        yield met


async def probed(met: World, lines: int = 3) -> tuple[Evidence, dict[str, Evidence]]:
    """The word about the whole submission, and the last word about each line."""
    async with met.transport.wire() as wire:
        evidence = await met.adapter.probe(rendered(met.adapter, lines), wire)
        kept = {artefact.sha256 for artefact in wire.artefacts}
    assert all(one.artefact in kept and one.submission == BATCH for one in evidence)
    assert {request.method for request in met.bank.seen} == {"GET"}
    whole = [one for one in evidence if one.reference is None]
    assert len(whole) == 1
    return whole[0], {one.reference: one for one in evidence if one.reference is not None}


def lists(met: World, status: str, *pages: dict[str, Any], **about: Any) -> None:
    met.bank.says("GET", HEAD, Reply(200, head(status, **about)))
    met.bank.says("GET", ITEMS, *(Reply(200, one) for one in pages))


async def test_all_pages_are_read(at_the_bank: World) -> None:
    """A done batch is read page by page with the bank's cursor, and each credit carries all that proves it."""
    lists(at_the_bank, "DONE", page(item(1), item(2), after="c/1+="), page(item(3)))
    whole, lines = await probed(at_the_bank)
    assert (whole.proof, whole.code) == (Proof.RECEIVED, "DONE")
    assert set(lines) == {REF.format(number) for number in (1, 2, 3)}
    third = lines[REF.format(3)]
    assert (third.proof, third.amount_fen, third.host_reference) == (Proof.CREDITED, 88050, "B9-3")
    assert third.post_date == dt.date(2026, 11, 24)
    targets = [request.target for request in at_the_bank.bank.seen]
    assert targets == [HEAD, f"{ITEMS}?after=&limit=2", f"{ITEMS}?after=c%2F1%2B%3D&limit=2"]


async def test_not_found_is_absent(at_the_bank: World) -> None:
    """A signed 404 NOT_FOUND says that the bank never had the batch; whether to believe it yet is the core's."""
    at_the_bank.bank.says("GET", HEAD, Reply(404, {"code": "NOT_FOUND"}))
    whole, lines = await probed(at_the_bank)
    assert (whole.proof, lines) == (Proof.ABSENT, {})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, {"code": "NOT_FOUND"}, signed=False),
        Reply(404, {"code": "NOT_FOUND"}, nonce="0" * 32),
        Reply(404, {"code": "NOT_FOUND"}, signed_status=200),
        Reply(404, {"code": "NO_SUCH_PATH"}),
        Reply(404, b"not found", signed=False),
        Reply(200, head(), signed_body=b"{}"),
        Reply(401, {"code": "SIGNATURE"}),
        Reply(429, {"code": "RATE_LIMITED"}),
        Reply(500, {}),
        Reply(503, b"busy", signed=False),
        Reply(302, b"", headers={"Location": "/x"}),
    ],
)
async def test_question_without_answer_teaches_nothing(at_the_bank: World, reply: Reply) -> None:
    """Unsigned, forged, played back, refused or broken: the probe fails aloud and weakens nothing that is known."""
    at_the_bank.bank.says("GET", HEAD, reply)
    async with at_the_bank.transport.wire() as wire:
        with pytest.raises(AnswerUnusable):
            await at_the_bank.adapter.probe(rendered(at_the_bank.adapter), wire)
        assert len(wire.artefacts) == 1  # kept, although it was not understood


async def test_lost_probe_is_an_exception(at_the_bank: World) -> None:
    """A dropped connection while asking goes through; it is asked once, not again on the side."""
    at_the_bank.bank.says("GET", HEAD, Reply(hang_up=True))
    async with at_the_bank.transport.wire() as wire:
        with pytest.raises(AnswerLost):
            await at_the_bank.adapter.probe(rendered(at_the_bank.adapter), wire)
    assert len(at_the_bank.bank.seen) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**head(), "batchNo": "DF202611240004"}, "WRONG_BATCH"),
        ({**head(), "batchNo": None}, "UNREADABLE"),
        (head(status="CLOSED"), "UNREADABLE"),
        ({**head(), "instructionCount": "3"}, "UNREADABLE"),
        ({**head(), "instructionCount": True}, "UNREADABLE"),
        ({**head(), "totalAmount": 2641}, "UNREADABLE"),
        (b'{"batchNo":"DF202611240003","instructionCount":3,"status":"DONE","totalAmount":2641.50}', "UNREADABLE"),
        (head(total="2,641.50"), "UNREADABLE"),
        (b'{"status":"DONE","status":"PROCESSING"}', "UNREADABLE"),
        (b"DONE", "UNREADABLE"),
    ],
)
async def test_signed_nonsense_is_doubt(at_the_bank: World, body: Any, code: str) -> None:
    """What the bank did sign, but of another batch or not in the manual's form, is doubt about the submission."""
    at_the_bank.bank.says("GET", HEAD, Reply(200, body))
    whole, lines = await probed(at_the_bank)
    assert (whole.proof, whole.reason, whole.code, lines) == (Proof.IN_DOUBT, Reason.UNKNOWN, code, {})


@pytest.mark.parametrize(
    ("status", "first", "proof"),
    [
        ("ACCEPTED", None, Proof.RECEIVED),
        ("PROCESSING", None, Proof.IN_PROCESS),
        ("ACCEPTED", item(1, "PROCESSING"), Proof.IN_PROCESS),
        ("DONE", item(1, "PROCESSING"), Proof.IN_PROCESS),
    ],
)
async def test_one_word_for_lines_in_process(
    at_the_bank: World, status: str, first: dict[str, Any] | None, proof: Proof
) -> None:
    """Lines that the bank is working on are one word about the submission, not a word each."""
    rows = [first or item(1), item(2)]
    lists(at_the_bank, status, page(*rows), count=2, total="1761.00")
    whole, lines = await probed(at_the_bank, 2)
    assert whole.proof is proof
    assert set(lines) == {row["ref"] for row in rows if row["status"] != "PROCESSING"}


@pytest.mark.parametrize(
    ("row", "proof", "reason", "code"),
    [
        (
            item(1, "FAILED", reasonCode="ACCT_CLOSED", reason="已销户"),
            Proof.REJECTED,
            Reason.ACCOUNT_CLOSED,
            "ACCT_CLOSED",
        ),
        (item(1, "FAILED", reasonCode="DUPLICATE"), Proof.IN_DOUBT, Reason.DUPLICATE, "DUPLICATE"),
        (item(1, "FAILED", reasonCode="NEW_CODE"), Proof.IN_DOUBT, Reason.UNKNOWN, "NEW_CODE"),
        (item(1, "FAILED", reasonCode="PROCESSING"), Proof.IN_DOUBT, Reason.UNKNOWN, "PROCESSING"),
        (item(1, "FAILED", reasonCode=["X"]), Proof.IN_DOUBT, Reason.UNKNOWN, "MALFORMED"),
        (item(1, "FAILED"), Proof.IN_DOUBT, Reason.UNKNOWN, "FAILED"),
        (item(1, "PENDING_REVIEW"), Proof.IN_PROCESS, None, "PENDING_REVIEW"),
        (item(1, "UNKNOWN"), Proof.IN_DOUBT, Reason.UNKNOWN, "UNKNOWN"),
        (item(1, "PAID"), Proof.IN_DOUBT, Reason.UNKNOWN, "PAID"),
        (item(1, "success"), Proof.IN_DOUBT, Reason.UNKNOWN, "MALFORMED"),
        (item(1, "RETURNED", reasonCode="ACCT_FROZEN"), Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "ACCT_FROZEN"),
        (item(1, "RETURNED", reasonCode="NEW"), Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "NEW"),
        (item(1, "RETURNED"), Proof.RETURNED, Reason.RETURNED_AFTER_CREDIT, "RETURNED"),
        # A final word that does not carry what proves it is no final word.
        (item(1, amount=880.5), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, amount=88050), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, amount="880.5"), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, amount="8_80.50"), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, amount="٨٨٠.٥٠"), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, amount=None), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, bankRef=None), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, bankRef=""), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, postDate=None), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, postDate="20261124"), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, postDate="2026-02-30"), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, "FAILED", reasonCode="ACCT_CLOSED", amount=880.5), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, "FAILED", reasonCode="ACCT_CLOSED", amount=None), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, "RETURNED", bankRef=None), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
        (item(1, "PENDING_REVIEW", amount=880.5), Proof.IN_DOUBT, Reason.UNKNOWN, "INCOMPLETE_ITEM"),
    ],
)
async def test_line_statuses(
    at_the_bank: World, row: dict[str, Any], proof: Proof, reason: Reason | None, code: str
) -> None:
    """Each status proves what the manual says and no more; only what moved money carries an amount."""
    lists(at_the_bank, "DONE", page(row), count=1, total="880.50")
    _, lines = await probed(at_the_bank, 1)
    line = lines[REF.format(1)]
    assert (line.proof, line.reason, line.code) == (proof, reason, code)
    moved = proof is Proof.RETURNED
    assert (line.amount_fen, line.host_reference) == ((88050, "B9-1") if moved else (None, None))


async def test_another_amount_is_reported_as_it_is(at_the_bank: World) -> None:
    """The adapter hides nothing: a credit of another amount is evidence with that amount, for the core to judge."""
    lists(at_the_bank, "DONE", page(item(1, amount="880.49")), count=1, total="880.50")
    _, lines = await probed(at_the_bank, 1)
    assert (lines[REF.format(1)].proof, lines[REF.format(1)].amount_fen) == (Proof.CREDITED, 88049)


async def test_missing_line_is_absent_in_books_that_close(at_the_bank: World) -> None:
    """The bank is done, all pages are read, and its own count and sum say that it never had the third line."""
    lists(at_the_bank, "DONE", page(item(1), item(2)), count=2, total="1761.00")
    whole, lines = await probed(at_the_bank)
    assert whole.proof is Proof.RECEIVED
    third = lines[REF.format(3)]
    assert (third.proof, third.reason, third.code) == (Proof.ABSENT, Reason.NOT_EXECUTED, "MISSING_ITEM")


@pytest.mark.parametrize(
    ("why", "status", "pages", "about"),
    [
        ("it counts three", "DONE", [page(item(1), item(2))], {"count": 3, "total": "2641.50"}),
        ("it counts three of two sums", "DONE", [page(item(1), item(2))], {"count": 3, "total": "1761.00"}),
        ("the sum is another", "DONE", [page(item(1), item(2))], {"count": 2, "total": "1761.01"}),
        ("a wrong reference", "DONE", [page(item(1), item(2), after="x"), page(item(9))], {}),
        ("one line twice", "DONE", [page(item(1), item(2), after="x"), page(item(2))], {}),
        ("an unreadable amount", "DONE", [page(item(1), item(2, amount=880.5))], {"count": 2, "total": "880.50"}),
        ("still at work", "PROCESSING", [page(item(1), item(2))], {"count": 2, "total": "1761.00"}),
        ("only accepted", "ACCEPTED", [page()], {"count": 0, "total": "0.00"}),
    ],
)
async def test_missing_line_is_never_absent_otherwise(
    at_the_bank: World, why: str, status: str, pages: list[dict[str, Any]], about: dict[str, Any]
) -> None:
    """Anything less than closed books leaves a missing line in doubt or unsaid: ABSENT would pay it again."""
    lists(at_the_bank, status, *pages, **about)
    _, lines = await probed(at_the_bank)
    assert Proof.ABSENT not in {line.proof for line in lines.values()}, why
    third = lines.get(REF.format(3))
    assert (third.proof if third else None) is (Proof.IN_DOUBT if status == "DONE" else None)


@pytest.mark.parametrize(
    ("code", "pages"),
    [
        ("CURSOR_LOOP", [page(item(1), item(2), after="x"), page(item(3), after="x")]),
        ("CURSOR_LOOP", [page(item(1), item(2), after="x"), page(after="y")]),
        ("WRONG_PAGE", [page(item(1), item(2), item(3))]),
        ("WRONG_PAGE", [page(item(1), item(2), after="x"), {**page(item(3)), "batchNo": "DF202611240004"}]),
        ("UNREADABLE_PAGE", [page(item(1), item(2), after="x"), {"batchNo": BATCH, "items": [item(3)]}]),
        ("UNREADABLE_PAGE", [page(item(1), item(2), after="x"), {"batchNo": BATCH, "items": {}, "next": None}]),
        ("UNREADABLE_PAGE", [page(item(1), item(2), after="x"), page(item(3, ref="no ref"))]),
        ("UNREADABLE_PAGE", [page(item(1), item(2), after="x"), {**page(item(3)), "next": 7}]),
        ("UNREADABLE_PAGE", [page(item(1), item(2), after="x"), {**page(item(3)), "next": "\n"}]),
    ],
)
async def test_pages_that_make_no_sense(at_the_bank: World, code: str, pages: list[dict[str, Any]]) -> None:
    """Cursors that go round, pages too long, of another batch or broken: doubt, no line absent, the rest is kept."""
    lists(at_the_bank, "DONE", *pages)
    whole, lines = await probed(at_the_bank)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, code)
    assert {line.proof for line in lines.values()} <= {Proof.CREDITED}
    assert len(at_the_bank.bank.seen) <= 4


@pytest.mark.parametrize("rows", [[], [item(1), item(2)]], ids=["empty", "full"])
async def test_endless_listing_ends(at_the_bank: World, rows: list[dict[str, Any]]) -> None:
    """A bank that always has one more page with a new cursor is left after a bounded number of them."""
    lists(at_the_bank, "DONE", *(page(*rows, after=f"c{number}") for number in range(100)))
    whole, _ = await probed(at_the_bank)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, "CURSOR_LOOP")
    assert len(at_the_bank.bank.seen) <= 5


@pytest.mark.parametrize("second", [Reply(500, {}), Reply(hang_up=True), Reply(200, page(item(3)), signed=False)])
async def test_lost_page_keeps_what_was_read(at_the_bank: World, second: Reply) -> None:
    """When a later page cannot be had, the earlier ones count, no line is absent, and nothing unsigned is read."""
    at_the_bank.bank.says("GET", HEAD, Reply(200, head("DONE")))
    at_the_bank.bank.says("GET", ITEMS, Reply(200, page(item(1), item(2), after="x")), second)
    whole, lines = await probed(at_the_bank)
    assert whole.proof is Proof.RECEIVED
    assert set(lines) == {REF.format(1), REF.format(2)}


@pytest.mark.parametrize("about", [{"count": 4}, {"total": "2641.51"}])
async def test_another_batch_under_our_number_is_doubt(at_the_bank: World, about: dict[str, Any]) -> None:
    """Count or sum that are not those of our bytes: the bank has something else under this number."""
    lists(at_the_bank, "PROCESSING", page(item(1), item(2), after="x"), page(item(3)), **about)
    whole, lines = await probed(at_the_bank)
    assert (whole.proof, whole.code) == (Proof.IN_DOUBT, "TOTALS_DIFFER")
    assert len(lines) == 3


async def test_strange_reference_is_passed_on(at_the_bank: World) -> None:
    """A credit under a reference that is not of this submission is not swallowed: the core matches references."""
    lists(at_the_bank, "DONE", page(item(9)), count=1, total="880.50")
    _, lines = await probed(at_the_bank, 1)
    assert lines[REF.format(9)].proof is Proof.CREDITED
    assert lines[REF.format(1)].proof is Proof.IN_DOUBT


async def test_ping_needs_the_banks_signature(at_the_bank: World, keys: Keys) -> None:
    """A ping is a question about a batch that cannot exist; only the bank's signed "not found" is contact."""
    path = "/v1/batches/PING0000000000000000"
    at_the_bank.bank.says("GET", path, Reply(404, {"code": "NOT_FOUND"}))
    async with at_the_bank.transport.wire() as wire:
        await at_the_bank.adapter.ping(wire)
    for faulty in (Reply(404, {}, signed=False), Reply(404, {}, key=keys.stranger), Reply(503, {})):
        at_the_bank.bank.says("GET", path, faulty)
        async with at_the_bank.transport.wire() as wire:
            with pytest.raises(AnswerUnusable):
                await at_the_bank.adapter.ping(wire)


async def test_nothing_to_collect_settle_or_cancel(keys: Keys) -> None:
    """A bank without files gives nothing to collect, asks nobody for that, and cannot cancel."""
    adapter, transport = keys.adapter(), keys.settings()
    async with world(keys) as met, met.transport.wire() as wire:
        assert [found async for found in met.adapter.collect(wire, "")] == []
        with pytest.raises(NotImplementedError):
            await met.adapter.cancel(rendered(adapter), wire)
        assert met.bank.seen == []
    assert transport.base_url == "https://localhost:1"


async def test_bank_that_is_down_is_not_reached(keys: Keys) -> None:
    """Asking a bank that is down raises; it proves nothing about the submission."""
    async with world(keys) as met:
        down = met.transport
    async with down.wire() as wire:
        with pytest.raises(NotReached):
            await keys.adapter().probe(rendered(keys.adapter()), wire)
    await down.close()
