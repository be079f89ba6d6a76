"""The HTTP batch adapter against a scripted provider: what it sends, what it believes, and what it never does."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import hmac
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from adapters.contract import NotFound
from adapters.sms.contract import (
    Billed,
    NeverSeen,
    NoAnswer,
    NotSent,
    NotTaken,
    SmsCapabilities,
    SmsMessage,
    SmsOutcome,
    SmsProvider,
    SmsStatus,
    never_seen_is_proof,
)
from adapters.sms.http_batch import PROFILE, HttpBatch, HttpBatchSettings
from tests.adapters.pki_kit import Authority
from tests.adapters.sms_kit import (
    DELIVERED,
    KEY,
    NOW,
    SIGNATURE,
    Handler,
    Scripted,
    accept,
    answering,
    drop,
    hang,
    message,
    messages,
    settings,
)


@dataclass
class World:
    provider: HttpBatch
    centre: Scripted


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    centre = Scripted(accept)
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", centre.handle)
    async with TestServer(application) as server:
        origin = f"http://127.0.0.1:{server.port}"
        provider = HttpBatch("sms", settings(tmp_path, origin), unix_seconds=lambda: int(NOW.timestamp()))
        yield World(provider, centre)
        await provider.close()


async def test_every_call_says_that_the_sender_pays(world: World) -> None:
    """The request names the bank as the one to bill, its account, its signature, and each person's own text."""
    await world.provider.send("7", [message("a", "+86 138 0000 0001", SIGNATURE + "甲"), message("b", "15900000002")])
    assert world.centre.call() == {
        "account": "bank",
        "batchId": "7",
        "billing": "SENDER",
        "signature": "某某农商银行",
        "messages": [
            {"ref": "a", "phone": "13800000001", "text": SIGNATURE + "甲"},
            {"ref": "b", "phone": "15900000002", "text": SIGNATURE + "测试"},
        ],
    }


async def test_requests_are_signed_over_the_bytes_that_travel(world: World) -> None:
    """Method, path with query, time and body are under the signature, and the key itself never travels."""
    world.centre.answer = answering({"reports": []})
    await world.provider.reports("7")
    ((line, body, headers),) = world.centre.seen
    assert line == "GET /sms/reports?batchId=7"
    timestamp = str(int(NOW.timestamp()))
    signed_text = f"GET\n/sms/reports?batchId=7\n{timestamp}\n{hashlib.sha256(body).hexdigest()}"
    assert headers["X-Timestamp"] == timestamp
    assert headers["X-Signature"] == hmac.new(KEY, signed_text.encode(), hashlib.sha256).hexdigest()
    assert KEY.decode() not in str(headers)


async def test_accepted_and_refused_are_told_apart(world: World) -> None:
    """Each message has its own result, in the order sent, whatever the order of the answer."""
    results = [
        {"ref": "b", "code": "BAD_NUMBER"},
        {"ref": "a", "code": "OK", "msgId": "M1"},
        {"ref": "c", "code": "SOMETHING_NEW", "msgId": "M3"},
        {"ref": "d", "code": "OK"},
    ]
    world.centre.answer = answering({"code": "OK", "results": results})
    found = await world.provider.send("7", [message(ref) for ref in "abcde"])
    assert [(each.ref, each.outcome, each.code) for each in found] == [
        ("a", SmsOutcome.ACCEPTED, "OK"),
        ("b", SmsOutcome.REFUSED, "BAD_NUMBER"),
        ("c", SmsOutcome.UNKNOWN, "UNLISTED"),  # a word that no table lists is no refusal
        ("d", SmsOutcome.UNKNOWN, "UNLISTED"),  # accepted, but without an id
        ("e", SmsOutcome.UNKNOWN, "MISSING"),
    ]
    assert found[0].provider_id == "M1"


async def test_a_landline_is_refused_here_and_the_others_go(world: World) -> None:
    """No SMS goes to what is no mobile number, and it holds nobody else up."""
    found = await world.provider.send("7", [message("a", "0991-1234567"), message("b"), message("c", "١٣٨٠٠٠٠٠٠٠١")])
    assert [each.outcome for each in found] == [SmsOutcome.REFUSED, SmsOutcome.ACCEPTED, SmsOutcome.REFUSED]
    assert [each["ref"] for each in world.centre.call()["messages"]] == ["b"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (drop, "BROKEN"),
        (hang, "SILENCE"),
        (answering(b"temporarily out of order", 500), "UNREADABLE"),
        (answering({"code": "OK", "results": []}, 500), "HTTP_500"),
        (answering({"code": "THROTTLED"}, 503), "HTTP_503"),
        (answering({"code": "WHO_KNOWS"}, 400), "HTTP_400"),
        (answering(b"Forbidden", 403), "UNREADABLE"),
        (answering(b""), "UNREADABLE"),
        (answering(b'{"code":"OK","results":[{"ref":"1042-1'), "UNREADABLE"),
        (answering(b'{"code":"THROTTLED","code":"OK","results":[]}'), "UNREADABLE"),
        (answering({"code": "OK", "results": [], "more": 1}), "UNREADABLE"),
        (answering({"code": "OK", "results": [{"ref": "x", "code": "OK", "msgId": "M"}]}), "FOREIGN_REF"),
        (answering({"code": "OK", "results": [{"ref": "1042-1-1-ARRIVAL", "code": "BAD_NUMBER"}] * 2}), "MISSING"),
        (answering(b" " * 30_000), "OVERSIZE"),
        (answering(gzip.compress(b" " * 10**6), headers={"Content-Encoding": "gzip"}), "ENCODED"),
        (answering(b"", 307, {"Location": "/elsewhere"}), "REDIRECT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_whatever_is_not_clear_is_unknown_and_is_sent_once(world: World, answer: Handler, code: str) -> None:
    """Past the point of no return only a clear answer counts; nothing is sent a second time, nowhere is gone to."""
    world.centre.answer = answer
    (found,) = await world.provider.send("7", messages(1))
    assert (found.outcome, found.code, found.provider_id) == (SmsOutcome.UNKNOWN, code, None)
    assert [line for line, _, _ in world.centre.seen] == ["POST /sms/batch"]


async def test_not_sent_is_said_only_while_nothing_left(tmp_path: Path) -> None:
    """A provider that nobody can connect to was sent nothing, and that is a fact of its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        provider = HttpBatch("sms", settings(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(NotSent) as caught:
            await provider.send("7", messages(2))
        with pytest.raises(NoAnswer):
            await provider.reports("7")
        await provider.close()
    assert type(caught.value) is NotSent
    assert not caught.value.hold


@pytest.mark.parametrize(
    ("status", "code", "hold"),
    [
        (429, "THROTTLED", False),
        (401, "KEY", True),
        (400, "FORMAT", True),
        (400, "SIGNATURE", True),
        (400, "BILLS_RECEIVER", True),
    ],
)
async def test_documented_refusals_of_a_call_took_nothing(world: World, status: int, code: str, hold: bool) -> None:
    """Where the manual says that nothing was taken, the call may travel later; a fault of ours holds the provider."""
    world.centre.answer = answering({"code": code}, status, {"Retry-After": "3"})
    with pytest.raises(NotTaken) as caught:
        await world.provider.send("7", messages(2))
    assert (caught.value.code, caught.value.hold, caught.value.retry_after_seconds) == (code, hold, 3)


@pytest.mark.parametrize(
    "call",
    [
        messages(101),
        [],
        [message("a"), message("a")],
        [message("a b")],
        [message("a", text="没有签名")],
        [message("a"), message("b", text="【另一家银行】测试")],
        [message("a", text=SIGNATURE + "\ud842")],
    ],
    ids=["101", "none", "twice", "ref", "unsigned", "two signatures", "half a pair"],
)
async def test_a_call_that_must_not_be_made_is_not_made(world: World, call: list[SmsMessage]) -> None:
    """101 messages, none, a ref twice, mixed signatures or half a character: refused before anything is sent."""
    with pytest.raises(ValueError) as caught:
        await world.provider.send("7", call)
    assert type(caught.value) is ValueError  # a UnicodeEncodeError would carry the whole call
    assert world.centre.seen == []
    assert len(await world.provider.send("7", messages(100))) == 100


async def test_reports_say_what_became_of_each(world: World) -> None:
    """Delivered, not delivered, still open; a word no table lists is open, never a failure."""
    words = ["DELIVRD", "UNDELIV", "EXPIRED", "REJECTD", "ACCEPTD", "SOMETHING_NEW"]
    world.centre.answer = answering({"reports": [{"msgId": f"M{word}", "status": word} for word in words]})
    found = await world.provider.reports("7")
    late = SmsStatus.UNDELIVERED
    assert [each.status for each in found] == [
        SmsStatus.DELIVERED, late, late, late, SmsStatus.PENDING, SmsStatus.PENDING
    ]  # fmt: skip
    assert {(each.ref, each.billed, each.batch_id) for each in found} == {(None, None, "7")}


async def test_a_charged_receiver_is_surfaced(world: World) -> None:
    """A report that says the person paid says so to the core too."""
    world.centre.answer = answering({"reports": [{**DELIVERED, "billed": "RECEIVER"}, DELIVERED]})
    assert [each.billed for each in await world.provider.reports("7")] == [Billed.RECEIVER, Billed.SENDER]


async def test_never_seen_is_not_an_empty_answer(world: World) -> None:
    """Only the provider's own NOT_FOUND says that it never had the call; an empty list says nothing at all."""
    world.centre.answer = answering({"code": "NOT_FOUND"}, 404)
    with pytest.raises(NeverSeen):
        await world.provider.reports("7")
    world.centre.answer = answering({"reports": []})
    assert await world.provider.reports("7") == []


@pytest.mark.parametrize(
    "answer",
    [
        drop,
        hang,
        answering(b"Not Found", 404),
        answering({"code": "NO_ROUTE"}, 404),
        answering({"code": "KEY"}, 401),
        answering({"code": "NOT_FOUND"}),
        answering({"reports": [{"msgId": "M1"}]}),
        answering({"reports": [{**DELIVERED, "batchId": "8"}]}),
        answering(b'{"reports":[],"reports":[]}'),
    ],
)
async def test_a_question_without_a_clear_answer_teaches_nothing(world: World, answer: Handler) -> None:
    """A 404 of some proxy, a broken answer or another call's reports are no proof of absence."""
    world.centre.answer = answer
    with pytest.raises(NoAnswer):
        await world.provider.reports("7")
    assert len(world.centre.seen) == 1


def test_never_seen_counts_after_the_settling_time_only() -> None:
    """An answer "never seen" permits sending again only where it is authoritative and the last call has settled."""
    manual = SmsCapabilities(100, False, NotFound.AUTHORITATIVE, 600)
    assert not never_seen_is_proof(manual, NOW, NOW + dt.timedelta(seconds=599))
    assert never_seen_is_proof(manual, NOW, NOW + dt.timedelta(seconds=600))
    shrug = SmsCapabilities(100, False, NotFound.MEANINGLESS, 600)
    assert not never_seen_is_proof(shrug, NOW, NOW + dt.timedelta(days=9))


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "http://sms.example.org"},
        {"origin": "https://sms.example.org"},
        {"origin": "http://user@127.0.0.1:1"},
        {"origin": "http://127.0.0.1:1/path"},
        {"origin": "ftp://127.0.0.1"},
        {"tls": {"ca_file": "ca.pem", "certificate_file": "c.pem", "private_key_file": "k.pem"}},
        {"key_file": "missing.key"},
        {"retries": 3},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_open_channels_and_unknown_settings_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Texts never travel in clear to another machine, and a misspelt setting is a fault."""
    with pytest.raises(ValidationError):
        settings(tmp_path, **({"origin": "http://127.0.0.1:1"} | wrong))


@pytest.mark.parametrize("channel", ["provider only", "both sides", "stranger"])
async def test_texts_travel_only_to_the_provider_that_proves_itself(tmp_path: Path, channel: str) -> None:
    """Over https, with or without a certificate of ours; to a stranger's certificate not one byte is sent."""
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    context = authority.server_context(authority.issue("localhost"))
    mine = authority.issue("gateway", client=True)
    names: dict[str, Any] = {"ca_file": authority.file}
    if channel == "both sides":
        files = {"certificate_file": mine.certificate, "private_key_file": mine.key}
        names = {"tls": {"ca_file": authority.file, **files}}
    else:
        context.verify_mode = ssl.CERT_NONE
        names["ca_file"] = stranger.file if channel == "stranger" else authority.file
    centre = Scripted(accept)
    application = web.Application()
    application.router.add_post("/sms/batch", centre.handle)
    server = TestServer(application, scheme="https", host="localhost")
    await server.start_server(ssl=context)
    provider = HttpBatch("sms", settings(tmp_path, f"https://localhost:{server.port}", **names))
    if channel == "stranger":
        with pytest.raises(NotSent):
            await provider.send("7", messages(1))
        assert centre.seen == []
    else:
        assert [each.outcome for each in await provider.send("7", messages(1))] == [SmsOutcome.ACCEPTED]
    await provider.close()
    await server.close()


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    """A key that could be guessed does not start."""
    short = tmp_path / "short.key"
    short.write_bytes(b"fifteen bytes..\n")
    with pytest.raises(ValueError, match="fewer than 16") as caught:
        HttpBatch("sms", settings(tmp_path, "http://127.0.0.1:1", key_file=short))
    assert "fifteen" not in str(caught.value)


async def test_nothing_personal_prints(world: World) -> None:
    """A message shows neither text nor number; the profile makes what the contract promises."""
    assert "测试" not in repr(message("a"))
    assert "0000" not in repr(message("a")).replace("****0001", "")
    provider: SmsProvider = world.provider
    assert provider.capabilities() == SmsCapabilities(100, False, NotFound.AUTHORITATIVE, 600)
    assert (PROFILE.name, PROFILE.provider, PROFILE.settings) == ("http_batch", HttpBatch, HttpBatchSettings)
