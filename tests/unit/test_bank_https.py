"""The simulated HTTPS bank as a process: mTLS, signatures, submissions, queries and their faults."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bank import hand, outlook
from tests.bank.certificates import prepare
from tests.bank.hand import Client, Reply
from tests.bank.json_signing import Gate, Signer, text_of
from tests.bank.process import PATIENCE_SECONDS, BankProcess, until

Make = Callable[..., BankProcess]
GONE = (aiohttp.ClientError, ConnectionError, TimeoutError)
FOR_EVER_SECONDS = 10**9


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of keys for all banks of this module."""
    made = tmp_path_factory.mktemp("keys")
    prepare(made)
    return made


@pytest.fixture
def make(tmp_path: Path, keys: Path) -> Iterator[Make]:
    made: list[BankProcess] = []

    def one(**settings: Any) -> BankProcess:
        made.append(BankProcess(tmp_path / str(len(made)), "json_https", hang_real_seconds=1, **settings))
        made[-1].borrow_keys(keys)
        return made[-1]

    yield one
    for bank in made:
        bank.child.kill()


async def _client(bank: BankProcess) -> Client:
    if not bank.ready:
        await bank.start()
    return Client(prepare(bank.disk), bank.port)


def _signed_by_the_bank(client: Client, path: str, reply: Reply) -> bool:
    """Whether the answer's own signature holds, checked as the gateway would."""
    gate = Gate(client.paths.bank_signing_public, "")
    text = text_of(str(reply.status), path, reply.headers["X-Timestamp"], reply.headers["X-Nonce"], reply.raw)
    return gate._genuine(text, reply.headers.get("X-Signature", ""))


async def _done(client: Client, batch: str) -> Reply:
    """Ask until the batch is done."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (reply := await client.get(f"/v1/batches/{batch}")).body.get("status") != "DONE":
        assert time.monotonic() < deadline, "never done"
        await asyncio.sleep(0.05)
    return reply


async def _credited(bank: BankProcess, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(bank.rows("SELECT n FROM credits")) < count:
        assert time.monotonic() < deadline, "never credited"
        await asyncio.sleep(0.05)


async def test_a_batch_is_accepted_paid_and_can_be_asked_about(make: Make) -> None:
    """202 as the sample, DONE, a page, one item and the statement, every answer signed over its bytes."""
    bank = make()
    client = await _client(bank)
    reply = await client.post("DF1", hand.payments(3))
    assert (reply.status, reply.body["batchNo"], reply.body["code"]) == (202, "DF1", "ACCEPTED")
    assert reply.body["bankBatchId"].startswith("B9")
    assert _signed_by_the_bank(client, "/v1/batches", reply)
    done = await _done(client, "DF1")
    assert done.body == {"batchNo": "DF1", "instructionCount": 3, "status": "DONE", "totalAmount": "370.35"}
    path = "/v1/batches/DF1/items?after=&limit=2"
    page = await client.get(path)
    assert _signed_by_the_bank(client, path, page)
    assert [item["ref"] for item in page.body["items"]] == [hand.reference(1), hand.reference(2)]
    assert set(page.body["items"][0]) == {"amount", "bankRef", "postDate", "ref", "status"}
    last = await client.get(f"/v1/batches/DF1/items?after={page.body['next']}&limit=2")
    assert (len(last.body["items"]), last.body["next"]) == (1, None)
    item = await client.get(f"/v1/items/{hand.reference(3)}")
    assert item.body == {**last.body["items"][0], "batchNo": "DF1"}
    statement = await client.get(f"/v1/statements?date={item.body['postDate']}&after=&limit=500")
    assert (statement.body["count"], statement.body["totalAmount"]) == (3, "370.35")
    assert bank.column("SELECT id_no FROM lines LIMIT 1") == ["659999198001010021"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"X-Signature": "AAAA"}, 401),
        ({"X-Timestamp": "1700000000"}, 401),
        ({"X-App-Id": "stranger"}, 401),
        ({"X-Sign-Alg": "ED25519"}, 401),
        ({"Idempotency-Key": "DF2"}, 400),
    ],
)
async def test_a_request_that_is_not_the_gateways_takes_nothing(make: Make, more: dict[str, str], status: int) -> None:
    """Altered signature, old timestamp, unknown application, other algorithm or key: refused, and so in the ledger."""
    bank = make()
    client = await _client(bank)
    reply = await client.post("DF1", hand.payments(1), **more)
    assert reply.status == status
    assert bank.column("SELECT verdict FROM submissions") == ["refused"]
    assert not bank.rows("SELECT * FROM credits")


async def test_a_nonce_is_good_once_and_a_certificate_is_needed(make: Make) -> None:
    """A replayed request is refused; a client without, or with a stranger's, certificate does not even connect."""
    bank = make()
    client = await _client(bank)
    body = hand.batch_json("DF1", hand.payments(1), client.cipher_key)
    headers = {**client.signer.headers("POST", "/v1/batches", body), "Idempotency-Key": "DF1"}
    replies = [await client.request("POST", "/v1/batches", body, headers) for _ in range(2)]
    assert [reply.status for reply in replies] == [202, 401]
    paths = client.paths
    for chain in (None, (paths.stranger_client, paths.stranger_client_key)):
        client.tls = ssl.create_default_context(cafile=paths.ca)
        if chain:
            client.tls.load_cert_chain(*chain)
        with pytest.raises(GONE):
            await client.get("/v1/batches/DF1")


SUBMISSION_FAULTS = [
    ("timeout_after_accept", 0, "taken", []),
    ("drop_after_accept", 0, "taken", []),
    ("http_5xx_after_accept", 5, "taken", []),
    ("conflict_409_after_accept", 409, "taken", ["DUPLICATE"]),
    ("conflict_409_other_digest", 409, "taken", []),
    ("garbage_answer", 200, "taken", []),
    ("unsigned_answer", 202, "taken", []),
    ("hostile_redirect", 307, "taken", []),
    ("timeout_before_accept", 0, "lost", []),
    ("drop_before_accept", 0, "lost", []),
    ("http_5xx_before_accept", 5, "lost", []),
    ("rate_limited", 429, "refused", ["NOT_TAKEN"]),
    ("funds_short", 402, "refused", ["NOT_TAKEN"]),
]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[BankProcess]:
    """One bank in which each batch number has its own fault."""
    listed = {f"DF{number}": [case[0]] for number, case in enumerate(SUBMISSION_FAULTS)}
    directory = tmp_path_factory.mktemp("faulty")
    bank = BankProcess(directory, "json_https", hang_real_seconds=1, programme={"submissions": listed})
    bank.borrow_keys(keys)
    bank.begin()
    yield bank
    bank.child.kill()


@pytest.mark.parametrize("number", range(len(SUBMISSION_FAULTS)), ids=[case[0] for case in SUBMISSION_FAULTS])
async def test_each_submission_fault_fires_and_the_second_transmission_passes(faulty: BankProcess, number: int) -> None:
    """What is answered, what was taken and what the ledger says of both; the same bytes again are a clean 202."""
    fault, status, verdict, answered = SUBMISSION_FAULTS[number]
    client, batch, lines = await _client(faulty), f"DF{number}", hand.payments(1, start=number + 1)
    where = f"WHERE batch = '{batch}'"
    try:
        reply = await client.post(batch, lines)
    except GONE:
        assert status == 0
    else:
        assert reply.status == status or reply.status // 100 == status
        signed = "X-Signature" in reply.headers and _signed_by_the_bank(client, "/v1/batches", reply)
        assert signed == (fault not in ("garbage_answer", "unsigned_answer"))
        if reply.status == 409:
            right = hashlib.sha256(hand.batch_json(batch, lines, client.cipher_key)).hexdigest()
            assert (reply.body["digest"] == right) == (fault == "conflict_409_after_accept")
    assert faulty.column(f"SELECT fault FROM faults {where}") == [fault]
    assert faulty.column(f"SELECT verdict FROM submissions {where}") == [verdict]
    assert faulty.column(f"SELECT status FROM answers {where} AND channel = 'reply'") == answered
    plans = f"SELECT plan FROM lines WHERE account = '{lines[0].account}'"
    assert faulty.column(plans) == (["accept"] if verdict == "taken" else [""])
    assert (await client.post(batch, lines)).status == 202
    await _done(client, batch)
    credits_ = faulty.column(f"SELECT count(*) FROM credits WHERE account = '{lines[0].account}'")
    assert credits_ == [2 if verdict == "taken" else 1]


@pytest.mark.parametrize("fault", ["hostile_oversize", "hostile_gzip_bomb", "hostile_slow"])
async def test_hostile_answers_are_as_big_or_as_slow_as_they_claim(make: Make, fault: str) -> None:
    """An answer of 32 MiB, one that unpacks to it, and one that dribbles; the submission was taken each time."""
    bank = make(programme={"submissions": {"*": [fault]}})
    client = await _client(bank)
    try:
        reply = await client.post("DF1", hand.payments(1))
    except GONE:
        assert fault == "hostile_slow"
    else:
        assert (reply.headers.get("Content-Encoding") == "gzip") == (fault == "hostile_gzip_bomb")
        assert len(reply.raw) > (2**24 if fault == "hostile_oversize" else 1000)
    assert bank.column("SELECT fault FROM faults") == [fault]
    assert bank.column("SELECT verdict FROM submissions") == ["taken"]


async def test_a_duplicate_is_answered_with_the_digest_of_what_the_bank_has(make: Make) -> None:
    """With deduplication the same key again is 409 and pays nothing, whether the bytes are the same or not."""
    bank = make(deduplicate="by_file_id")
    client = await _client(bank)
    assert (await client.post("DF1", hand.payments(1))).status == 202
    for lines in (hand.payments(1), hand.payments(2)):
        reply = await client.post("DF1", lines)
        digest = hashlib.sha256(hand.batch_json("DF1", hand.payments(1), client.cipher_key)).hexdigest()
        assert (reply.status, reply.body) == (409, {"code": "DUPLICATE", "digest": digest})
    await _done(client, "DF1")
    assert bank.column("SELECT count(*) FROM credits") == [1]


async def test_never_received_is_absent_and_too_early_is_not_found(make: Make) -> None:
    """404 for a lost submission is NOT_FOUND before the settling time and ABSENT, which is authoritative, after it."""
    bank = make(programme={"submissions": {"*": ["drop_before_accept"]}}, settling_seconds=FOR_EVER_SECONDS)
    client = await _client(bank)
    assert (await client.get("/v1/batches/DF0")).body == {"code": "NOT_FOUND"}
    with pytest.raises(GONE):
        await client.post("DF1", hand.payments(1))
    assert (await client.get("/v1/batches/DF1")).status == 404
    assert (await client.get(f"/v1/items/{hand.reference(1)}")).status == 404
    bank.child.kill()
    await bank.start(settling_seconds=0)
    assert (await client.get(f"/v1/items/{hand.reference(1)}")).status == 404
    assert (await client.get("/v1/batches/DF1")).status == 404
    said = bank.rows("SELECT batch, reference, status FROM answers WHERE channel = 'query' ORDER BY n")
    assert said == [
        ("DF0", "", "ABSENT"),
        ("DF1", "", "NOT_FOUND"),
        ("DF1", hand.reference(1), "NOT_FOUND"),
        ("DF1", hand.reference(1), "ABSENT"),
        ("DF1", "", "ABSENT"),
    ]


@pytest.mark.parametrize(("fault", "word"), [("not_found_until_settled", "NOT_FOUND"), ("hidden", "ABSENT")])
async def test_a_submission_can_hide_and_appear(make: Make, fault: str, word: str) -> None:
    """Within the settling time that is honest; `hidden` says ABSENT and breaks that word, and the ledger shows it."""
    two_real_seconds = {"not_found_seconds": 120, "hidden_seconds": 120}
    settling = FOR_EVER_SECONDS if word == "NOT_FOUND" else 0
    programme = {"submissions": {"*": [fault]}, **two_real_seconds}
    bank = make(programme=programme, settling_seconds=settling, scale=60)
    client = await _client(bank)
    with pytest.raises(GONE):
        await client.post("DF1", hand.payments(1))
    await _done(client, "DF1")
    said = bank.column("SELECT status FROM answers WHERE channel = 'query' AND line = 0 ORDER BY n")
    assert word in said
    assert ("ABSENT" in said, "NOT_FOUND" in said) == (fault == "hidden", fault != "hidden")
    assert bank.column("SELECT count(*) FROM credits") == [1]


@pytest.mark.parametrize(
    ("fault", "status"), [("query_timeout", 0), ("query_drop", 0), ("query_5xx", 503), ("query_garbage", 200)]
)
async def test_each_query_fault_fires(make: Make, fault: str, status: int) -> None:
    """A query that fails is logged as a fault, and tells nothing."""
    bank = make(programme={"rates": {fault: 10_000}})
    client = await _client(bank)
    await client.post("DF1", hand.payments(1))
    try:
        reply = await client.get("/v1/batches/DF1")
    except GONE:
        assert status == 0
    else:
        assert reply.status == status
        assert ("X-Signature" in reply.headers) == (fault == "query_5xx")
    assert bank.column("SELECT fault FROM faults") == [fault]
    assert not bank.rows("SELECT * FROM answers WHERE channel = 'query'")


async def test_a_query_can_be_stale_or_deny_while_settling(make: Make) -> None:
    """Stale: paid long ago, still PROCESSING. Denied: 404 only within the settling time, so the bank keeps its word."""
    bank = make(programme={"rates": {"query_stale": 10_000}})
    client = await _client(bank)
    await client.post("DF1", hand.payments(1))
    await until(lambda: bank.rows("SELECT * FROM credits"))
    page = await client.get("/v1/batches/DF1/items?after=&limit=500")
    assert [item["status"] for item in page.body["items"]] == ["PROCESSING"]
    assert (await client.get("/v1/batches/DF1")).body["status"] == "ACCEPTED"
    denying = make(programme={"rates": {"query_not_found": 10_000}}, settling_seconds=FOR_EVER_SECONDS)
    client = await _client(denying)
    await client.post("DF1", hand.payments(1))
    assert (await client.get("/v1/batches/DF1")).status == 404
    denying.child.kill()
    await denying.start(settling_seconds=0)
    assert (await client.get("/v1/batches/DF1")).status == 200
    said = denying.column("SELECT status FROM answers WHERE channel = 'query' ORDER BY n")
    assert said[0] == "NOT_FOUND"
    assert "ABSENT" not in said


async def test_every_status_has_its_form(make: Make) -> None:
    """Rejected, returned, pending and suspicious items look as the manual says."""
    texts = ["reject:NAME_MISMATCH", "credit_then_return:600:ACCOUNT_CLOSED", "pending_for_ever", "suspect_then_settle"]
    accounts = {hand.account(number): [text] for number, text in enumerate(texts, 1)}
    bank = make(programme={"accounts": accounts, "late_seconds": [900_000, 900_000]})
    client = await _client(bank)
    await client.post("DF1", hand.payments(4))
    await until(lambda: bank.rows("SELECT * FROM returns"))
    items = (await client.get("/v1/batches/DF1/items?after=&limit=500")).body["items"]
    assert [item["status"] for item in items] == ["FAILED", "RETURNED", "PROCESSING", "UNKNOWN"]
    assert (items[0]["reasonCode"], items[1]["reasonCode"]) == ("ACCT_NAME_MISMATCH", "ACCT_CLOSED")
    assert bank.column("SELECT host_ref FROM returns") == [items[1]["bankRef"]]
    assert {item["amount"] for item in items} == {"123.45"}


async def test_kill_9_after_accepting_pays_once(make: Make) -> None:
    """Killed at any moment around its answers, the bank pays what it has once and knows it afterwards."""
    bank = make(synchronous="FULL", processing_seconds=300)
    client = await _client(bank)
    for number in range(1, 6):
        await client.post(f"DF{number}", hand.payments(200, start=number * 1000))
        await asyncio.sleep(0.1 * number)
        bank.child.kill()
        await bank.start()
    for number in range(1, 6):
        await _done(client, f"DF{number}")
    assert bank.rows("SELECT count(*), count(DISTINCT reference) FROM credits") == [(1000, 1000)]


async def test_the_other_algorithm_works_as_well(make: Make) -> None:
    """With Ed25519 keys on both sides everything is signed with them."""
    keys = {"gateway_public_key": "keys/gateway_ed25519.pub.pem", "signing_key": "keys/bank_ed25519.pem"}
    bank = make(json_https=keys)
    client = await _client(bank)
    client.signer = Signer(client.paths.gateway_ed25519)
    reply = await client.post("DF1", hand.payments(1))
    assert (reply.status, reply.headers["X-Sign-Alg"]) == (202, "ED25519")


async def test_a_credit_that_the_statement_tells_first_is_logged_as_told(make: Make) -> None:
    """Whoever asks for the day before asking for the lines has the bank's word, and the ledger shows it."""
    bank = make()
    client = await _client(bank)
    await client.post("DF1", hand.payments(2))
    await _credited(bank, 2)
    date = bank.column("SELECT post_date FROM credits LIMIT 1")[0]
    asked = f"/v1/statements?date={date[:4]}-{date[4:6]}-{date[6:]}&after=&limit=500"
    told = "SELECT reference, status, channel FROM answers WHERE status = 'CREDITED' AND channel = 'query'"
    assert not bank.rows(told)
    assert outlook.untold_credits(bank.disk) == 2
    await client.get(asked)
    assert outlook.untold_credits(bank.disk) == 0
    await client.get(asked)
    expected = [(hand.reference(number), "CREDITED", "query") for number in (1, 2)]
    assert sorted(map(tuple, bank.rows(told))) == expected
