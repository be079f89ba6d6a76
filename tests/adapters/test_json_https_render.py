"""``json_https`` writing: the sample's bytes, sealed ID numbers, refusals before sending, and its configuration."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from adapters.banks.json_https import PROFILE, JsonHttpsBank
from adapters.contract import AnswerKind, BankAdapter, Line, NotFound, Proof, Reason, TakesCallbacks
from adapters.registry import load
from schemas.masked import AccountNumber, IdNumber, PersonName
from tests.adapters.json_https_kit import AT, ID_KEY, REF, SUBMISSION, Keys, line, rendered

SAMPLES = Path(__file__).parents[1] / "data" / "json_https"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def adapter(keys: Keys) -> JsonHttpsBank:
    return keys.adapter()


def opened(cipher: str, reference: str) -> str:
    """What the bank reads out of idNoCipher, by the bank's own means."""
    sealed = base64.b64decode(cipher.removeprefix("AES-256-GCM:"))
    return AESGCM(bytes.fromhex(ID_KEY)).decrypt(sealed[:12], sealed[12:], reference.encode()).decode()


def test_bytes_are_those_of_the_sample(adapter: JsonHttpsBank) -> None:
    """The manual's own example comes out byte for byte, but for the sealed ID number."""
    payload = adapter.render(SUBMISSION, [line()], AT).payload
    cipher = json.loads(payload)["items"][0]["idNoCipher"]
    sample = (SAMPLES / "POST_v1_batches.json").read_bytes()
    assert payload.replace(cipher.encode(), b"AES-256-GCM:<base64>") == sample


def test_render_is_pure(adapter: JsonHttpsBank, keys: Keys) -> None:
    """Equal arguments give equal bytes, from another instance too; the digest, count and sum are those of the bytes."""
    first, again = rendered(adapter), rendered(keys.adapter())
    assert first == again
    document = json.loads(first.payload)
    assert document["instructionCount"] == len(first.references) == 3
    assert document["totalAmount"] == "2641.50"
    assert first.total_fen == 264150
    assert first.references == tuple(entry["ref"] for entry in document["items"])
    assert rendered(adapter, 2).sha256 != first.sha256


def test_id_number_is_sealed_to_its_reference(adapter: JsonHttpsBank) -> None:
    """The bank can open each ID number with its key and reference; moved to another item it does not open."""
    payload = rendered(adapter).payload
    assert b"659999199001010012" not in payload
    items = json.loads(payload)["items"]
    assert [opened(entry["idNoCipher"], entry["ref"]) for entry in items] == ["659999199001010012"] * 3
    assert len({entry["idNoCipher"] for entry in items}) == 3
    with pytest.raises(InvalidTag):
        opened(items[0]["idNoCipher"], items[1]["ref"])


def test_value_date_is_the_day_of_rendering(adapter: JsonHttpsBank) -> None:
    """The value date is the day of the clock that was passed in, in its own time zone."""
    assert json.loads(adapter.render(SUBMISSION, [line()], AT).payload)["valueDate"] == "2026-11-24"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": PersonName("买买提·吐尔逊")}, None),
        ({"name": PersonName("㛃𠅤䶮")}, None),
        ({"name": PersonName("张\ue000")}, Reason.NAME_NOT_ENCODABLE),
        ({"name": PersonName("张\ud800")}, Reason.NAME_NOT_ENCODABLE),
        ({"name": PersonName("张\n三")}, Reason.NAME_NOT_ENCODABLE),
        ({"name": PersonName("张\u200b三")}, Reason.NAME_NOT_ENCODABLE),
        ({"name": PersonName("")}, Reason.FORMAT),
        ({"name": PersonName("张" * 101)}, Reason.FORMAT),
        ({"id_type": "02"}, Reason.FORMAT),
        ({"id_no": IdNumber("65999919900101001")}, Reason.FORMAT),
        ({"id_no": IdNumber("65999919900101001x")}, Reason.FORMAT),
        ({"id_no": IdNumber("٦59999199001010012")}, Reason.FORMAT),
        ({"id_no": IdNumber("659999199001010012\n")}, Reason.FORMAT),
        ({"account": AccountNumber("6299 9900")}, Reason.FORMAT),
        ({"account": AccountNumber("6" * 33)}, Reason.FORMAT),
        ({"account_kind": "CASH"}, Reason.FORMAT),
        ({"reference": "with-hyphen"}, Reason.FORMAT),
        ({"reference": "A" * 31}, Reason.FORMAT),
        ({"amount_fen": 0}, Reason.FORMAT),
        ({"amount_fen": -1}, Reason.FORMAT),
        ({"amount_fen": 10**15 + 1}, Reason.FORMAT),
    ],
)
def test_refusals_before_sending(adapter: JsonHttpsBank, changes: dict[str, object], reason: Reason | None) -> None:
    """A line that cannot be written is refused with its reason, and render writes exactly what refuse lets pass."""
    odd = dataclasses.replace(line(), **changes)  # type: ignore[arg-type]
    assert adapter.refuse(odd) is reason
    if reason is None:
        assert odd.name.reveal() in adapter.render(SUBMISSION, [odd], AT).payload.decode()
    else:
        with pytest.raises(ValueError) as caught:
            adapter.render(SUBMISSION, [line(2), odd], AT)
        assert "659999" not in str(caught.value)


@pytest.mark.parametrize("lines", [[], [line(1), line(1)]], ids=["none", "one reference twice"])
def test_render_refuses_a_submission_that_is_none(adapter: JsonHttpsBank, lines: list[Line]) -> None:
    """No lines, or one reference on two of them: nothing is rendered."""
    with pytest.raises(ValueError):
        adapter.render(SUBMISSION, lines, AT)


@pytest.mark.parametrize("reference", ["", "DF/../x", "DF2026112400000000031", "df1"])
def test_render_refuses_a_reference_that_is_none(adapter: JsonHttpsBank, reference: str) -> None:
    """A batch number that would not fit the path or the manual is refused before it is in any bytes."""
    with pytest.raises(ValueError):
        adapter.render(dataclasses.replace(SUBMISSION, reference=reference), [line()], AT)


def test_profile_keeps_the_contract(adapter: JsonHttpsBank) -> None:
    """The registry finds the profile, and what it makes is a bank adapter that takes callbacks."""
    translator: BankAdapter = adapter
    assert load("json_https") is PROFILE
    assert translator.name == "bank_c"
    assert isinstance(adapter, TakesCallbacks)


def test_capabilities_are_the_manual(adapter: JsonHttpsBank, keys: Keys) -> None:
    """What the bank promises is said as data; a callback is no proof unless the agreement says so."""
    able = adapter.capabilities()
    assert able.answers == {AnswerKind.POLL, AnswerKind.CALLBACK}
    assert (able.not_found, able.idempotent_by_reference, able.can_cancel) == (NotFound.AUTHORITATIVE, True, False)
    assert (able.max_lines, able.callback_is_proof) == (1_000, False)
    assert keys.adapter(callback_is_proof=True, max_lines=7).capabilities().max_lines == 7
    assert keys.adapter(callback_is_proof=True).capabilities().callback_is_proof
    # What the core mints from these two must be writable and must be accepted back.
    minted = "".join(sorted(able.reference_alphabet))[-able.reference_length :]
    assert adapter.refuse(dataclasses.replace(line(), reference=minted)) is None
    assert len(REF.format(1)) == able.reference_length


def test_every_documented_reason_is_classified(adapter: JsonHttpsBank) -> None:
    """The manual's thirteen reason codes have their reason; "duplicate" is a question, an unlisted code is nothing."""
    rejected = {
        "ACCT_NAME_MISMATCH": Reason.NAME_MISMATCH,
        "ACCT_NOT_FOUND": Reason.ACCOUNT_NOT_FOUND,
        "ACCT_CLOSED": Reason.ACCOUNT_CLOSED,
        "ACCT_FROZEN": Reason.ACCOUNT_FROZEN,
        "ACCT_DORMANT": Reason.ACCOUNT_DORMANT,
        "CARD_LOST": Reason.CARD_LOST_OR_EXPIRED,
        "SSCARD_INACTIVE": Reason.SSCARD_NOT_ACTIVATED,
        "CLASS_LIMIT": Reason.ACCOUNT_CLASS_LIMIT,
        "ACCT_TYPE": Reason.ACCOUNT_TYPE,
        "BANK_NO": Reason.BANK_CODE_INVALID,
        "AMOUNT": Reason.AMOUNT,
        "DECEASED": Reason.BENEFICIARY_DECEASED,
    }
    assert {code: adapter.classify(code) for code in rejected} == {
        code: (Proof.REJECTED, reason) for code, reason in rejected.items()
    }
    assert adapter.classify("DUPLICATE") == (Proof.IN_DOUBT, Reason.DUPLICATE)
    assert adapter.classify("NEW_CODE") is None
    assert adapter.classify("") is None


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://localhost:1"},
        {"base_url": "https://localhost/prefix"},
        {"signing_algorithm": "SM2"},
        {"id_cipher": "SM4"},
        {"signing_key_file": "missing.pem"},
        {"items_per_page": 501},
        {"callback_url": "ftp://x"},
        {"surplus": 1},
        {"http": {"max_answer_bytes": 0}},
    ],
)
def test_wrong_settings_are_refused(keys: Keys, change: dict[str, Any]) -> None:
    """A setting outside the manual, a missing key file or an unknown name is refused at start."""
    with pytest.raises(ValidationError):
        keys.settings(**change)


@pytest.mark.parametrize(
    ("field", "content"),
    [
        ("signing_key_file", "id.key"),
        ("signing_key_file", "bank-ca-gateway.key"),  # an EC key where RSA-PSS is agreed
        ("bank_public_key_file", "signing.pem"),
        ("id_cipher_key_file", "bank-ca.pem"),
    ],
)
def test_wrong_key_is_refused_without_a_word_of_it(keys: Keys, field: str, content: str) -> None:
    """A key file that holds something else is refused at start, and the fault quotes nothing of it."""
    with pytest.raises(ValueError) as caught:
        keys.adapter(**{field: content})
    secret = (keys.folder / content).read_text().split("\n")
    assert not any(part and part in str(caught.value) for part in secret)
