"""``json_https`` being called, and reading what was kept: only the bank's own, fresh, well-formed words count."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from adapters.banks.json_https import JsonHttpsBank
from adapters.contract import Artefact, CallbackRefused, Proof, Reason, Unreadable
from tests.adapters.json_https_kit import BATCH, REF, Keys, algorithm, dump, item, message, page, sign

SAMPLES = Path(__file__).parents[1] / "data" / "json_https"
PATH = "/callbacks/bank_c"
WALL = dt.datetime(2026, 7, 1, 12, 0, tzinfo=dt.UTC)
NONCE = "00112233445566778899aabbccddeeff"
SAMPLE = (SAMPLES / "callback_items_final.json").read_bytes()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def adapter(keys: Keys) -> JsonHttpsBank:
    return keys.adapter()


@dataclasses.dataclass
class Call:
    """A callback as the bank would send it, before somebody spoils it."""

    keys: Keys
    body: bytes = SAMPLE
    method: str = "POST"
    path: str = PATH
    nonce: str = NONCE
    age_seconds: int = 0

    def headers(self, key: Any = None) -> dict[str, str]:
        signer = key or self.keys.bank
        timestamp = str(int(WALL.timestamp()) - self.age_seconds)
        text = message(self.method, self.path, timestamp, self.nonce, self.body)
        return {
            "X-Timestamp": timestamp,
            "X-Nonce": self.nonce,
            "X-Sign-Alg": algorithm(signer),
            "X-Signature": sign(signer, text),
        }


def refusal(adapter: JsonHttpsBank, headers: Any, body: bytes = SAMPLE, path: str = PATH, method: str = "POST") -> str:
    with pytest.raises(CallbackRefused) as caught:
        adapter.verify_callback(method, path, headers, body, WALL)
    return caught.value.reason


def test_sample_callback_is_taken(adapter: JsonHttpsBank, keys: Keys) -> None:
    """The manual's sample, signed, is taken: its event, its batch, and exactly its bytes to keep."""
    call = Call(keys)
    taken = adapter.verify_callback("POST", PATH, CIMultiDict(call.headers()), SAMPLE, WALL)
    assert (taken.event_id, taken.submissions) == ("evt_0001", (BATCH,))
    assert taken.artefact == Artefact.of("callback.evt_0001", SAMPLE)


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300])
def test_callbacks_within_the_skew_are_taken(adapter: JsonHttpsBank, keys: Keys, age: int) -> None:
    """Five minutes to either side are within the channel's skew."""
    assert adapter.verify_callback("POST", PATH, Call(keys, age_seconds=age).headers(), SAMPLE, WALL)


@pytest.mark.parametrize(("age", "reason"), [(301, "STALE"), (-301, "FROM_THE_FUTURE"), (86_400, "STALE")])
def test_old_and_future_callbacks_are_refused(adapter: JsonHttpsBank, keys: Keys, age: int, reason: str) -> None:
    """A soundly signed callback outside the skew is refused: it may be a recording."""
    assert refusal(adapter, Call(keys, age_seconds=age).headers()) == reason


def test_signature_belongs_to_these_bytes(adapter: JsonHttpsBank, keys: Keys) -> None:
    """A recorded signature on another body, path or method, or with one byte or the nonce altered, is refused."""
    headers = Call(keys).headers()
    other = (SAMPLES / "callback_items_failed.json").read_bytes()
    assert refusal(adapter, headers, other) == "BAD_SIGNATURE"
    assert refusal(adapter, headers, SAMPLE + b" ") == "BAD_SIGNATURE"
    assert refusal(adapter, headers, path="/callbacks/bank_d") == "BAD_SIGNATURE"
    assert refusal(adapter, headers, path=PATH + "?x=1") == "BAD_SIGNATURE"
    assert refusal(adapter, {**headers, "X-Nonce": NONCE[::-1]}) == "BAD_SIGNATURE"
    assert refusal(adapter, headers, method="PUT") == "METHOD"
    later = str(int(WALL.timestamp()) + 1)
    assert refusal(adapter, {**headers, "X-Timestamp": later}) == "BAD_SIGNATURE"


def test_only_the_bank_signs(adapter: JsonHttpsBank, keys: Keys) -> None:
    """A stranger's key, our own key, another algorithm's name or no signature at all: refused."""
    call = Call(keys)
    assert refusal(adapter, call.headers(keys.stranger)) == "BAD_SIGNATURE"
    assert refusal(adapter, call.headers(keys.gateway)) == "BAD_SIGNATURE"
    assert refusal(adapter, {**call.headers(), "X-Sign-Alg": "ED25519"}) == "WRONG_ALGORITHM"
    assert refusal(adapter, {**call.headers(), "X-Sign-Alg": "none"}) == "WRONG_ALGORITHM"
    for name, reason in (
        ("X-Signature", "UNSIGNED"),
        ("X-Sign-Alg", "WRONG_ALGORITHM"),
        ("X-Timestamp", "TIMESTAMP"),
        ("X-Nonce", "NONCE"),
    ):
        assert refusal(adapter, {key: text for key, text in call.headers().items() if key != name}) == reason


@pytest.mark.parametrize("nonce", ["", "0011", NONCE + "00", "g" * 32, NONCE + "\n"])
def test_nonce_has_its_form(adapter: JsonHttpsBank, keys: Keys, nonce: str) -> None:
    """A nonce that is not 32 hexadecimal digits is refused, although it was signed."""
    assert refusal(adapter, Call(keys, nonce=nonce).headers()) == "NONCE"


def test_repeated_header_is_refused(adapter: JsonHttpsBank, keys: Keys) -> None:
    """A signed header that comes twice says two things: refused, not resolved."""
    headers = CIMultiDict(Call(keys).headers())
    headers.add("x-nonce", NONCE[::-1])
    assert refusal(adapter, headers) == "REPEATED_HEADER"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "UNREADABLE"),
        (b"ok", "UNREADABLE"),
        (b"[]", "UNREADABLE"),
        (b'{"batchNo":"A","batchNo":"B","eventId":"e"}', "UNREADABLE"),
        (dump({"eventId": "e"}), "UNREADABLE"),
        (dump({"batchNo": "../x", "eventId": "e"}), "UNREADABLE"),
        (dump({"batchNo": BATCH}), "EVENT_ID"),
        (dump({"batchNo": BATCH, "eventId": 7}), "EVENT_ID"),
        (dump({"batchNo": BATCH, "eventId": ""}), "EVENT_ID"),
        (dump({"batchNo": BATCH, "eventId": "e" * 65}), "EVENT_ID"),
        (dump({"batchNo": BATCH, "eventId": "a/b"}), "EVENT_ID"),
    ],
)
def test_signed_body_has_its_form(adapter: JsonHttpsBank, keys: Keys, body: bytes, reason: str) -> None:
    """A signed body without one readable batch and event id is refused with its reason."""
    assert refusal(adapter, Call(keys, body).headers(), body) == reason


def test_oversize_callback_is_refused_before_anything(keys: Keys) -> None:
    """A body above the cap is refused before any work is spent on it."""
    adapter = keys.adapter(http={"max_answer_bytes": len(SAMPLE) - 1})
    assert refusal(adapter, Call(keys).headers()) == "OVERSIZE"


def test_callback_without_items_is_still_a_bell(adapter: JsonHttpsBank, keys: Keys) -> None:
    """A kind of event that we do not know is taken as a reason to ask about its batch; it proves nothing."""
    body = dump({"batchNo": BATCH, "eventId": "evt_9", "type": "BATCH_CLOSED"})
    taken = adapter.verify_callback("POST", PATH, Call(keys, body).headers(), body, WALL)
    assert taken.submissions == (BATCH,)
    with pytest.raises(Unreadable):
        adapter.parse(taken.artefact)


def test_samples_are_read(adapter: JsonHttpsBank) -> None:
    """The manual's page and both callbacks give the evidence that they show."""
    expected = {
        "GET_items_page.json": (Proof.CREDITED, None, 88050, "B9-1", dt.date(2026, 11, 24)),
        "callback_items_final.json": (Proof.CREDITED, None, 88050, "B9-1", dt.date(2026, 11, 24)),
        "callback_items_failed.json": (Proof.REJECTED, Reason.NAME_MISMATCH, None, None, None),
    }
    for name, facts in expected.items():
        artefact = Artefact.of(name, (SAMPLES / name).read_bytes())
        (one,) = adapter.parse(artefact)
        assert (one.proof, one.reason, one.amount_fen, one.host_reference, one.post_date) == facts
        assert one.artefact == artefact.sha256
        assert one.submission == json.loads(artefact.content)["batchNo"]
    assert one.text == "账号户名不符"


def test_parse_is_pure(adapter: JsonHttpsBank, keys: Keys) -> None:
    """Equal bytes give equal evidence, in the order of the bytes, from any instance."""
    artefact = Artefact.of("page", dump(page(item(2), item(1, "UNKNOWN"), item(3, "FAILED", reasonCode="CARD_LOST"))))
    first = list(adapter.parse(artefact))
    assert first == list(adapter.parse(artefact)) == list(keys.adapter().parse(artefact))
    assert [one.reference for one in first] == [REF.format(number) for number in (2, 1, 3)]


def test_truncated_page_yields_nothing(adapter: JsonHttpsBank) -> None:
    """A page cut at any byte is unreadable as a whole, and says so before the first piece of evidence."""
    whole = dump(page(item(1), item(2)))
    for length in range(len(whole)):
        with pytest.raises(Unreadable):
            adapter.parse(Artefact.of("cut", whole[:length]))
    assert len(list(adapter.parse(Artefact.of("whole", whole)))) == 2


@pytest.mark.parametrize(
    "row", [{}, {"ref": 7}, {"ref": "lower"}, {"ref": ""}, {"ref": "A" * 31}, {"ref": "A\n"}, "text", None, [1]]
)
def test_one_broken_item_spoils_the_page(adapter: JsonHttpsBank, row: Any) -> None:
    """An item that names nobody makes the page unreadable: who knows what the others mean."""
    with pytest.raises(Unreadable):
        adapter.parse(Artefact.of("page", dump({"batchNo": BATCH, "items": [item(1), row], "next": None})))


def test_unreadable_quotes_nothing(adapter: JsonHttpsBank) -> None:
    """Whatever is wrong with an artefact, the error holds none of it."""
    for body in (b'{"name":"canary"', dump({"batchNo": "canary"}), dump(page(item(1, ref="canary")))):
        with pytest.raises(Unreadable) as caught:
            adapter.parse(Artefact.of("page", body))
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_banks_words_are_bounded(adapter: JsonHttpsBank) -> None:
    """The bank's text is cut to a bound and loses what a terminal or a log would act on."""
    row = item(1, "FAILED", reasonCode="ACCT_CLOSED", reason="已\x1b[2J销\u202e户\n" + "x" * 500)
    (one,) = adapter.parse(Artefact.of("page", dump(page(row))))
    assert one.text.startswith("已[2J销户x")
    assert len(one.text) <= 120


def test_banks_words_lose_the_numbers_of_people(adapter: JsonHttpsBank) -> None:
    """An account or ID number that a bank writes into its words for people does not come through in clear."""
    row = item(1, "FAILED", reasonCode="ACCT_CLOSED", reason="账号6299990000000000020户名659999199001010012不符")
    (one,) = adapter.parse(Artefact.of("page", dump(page(row))))
    assert one.text == "账号*户名*不符"
