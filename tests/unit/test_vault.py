"""The vault: each seal belongs to one row, and opens nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy import AccountKind, Binding, Payee
from gateway.privacy import Broken, KeyFileFault, SealBroken, fresh_key_file, parse_keys
from gateway.vault import Vault
from schemas.masked import AccountNumber, IdNumber, PersonName, Phone

PAYEE = Payee(
    PersonName("阿依古丽·买买提"),
    PersonName("阿依古丽•买买提"),
    IdNumber("65999919800101001X"),
    Phone("13800000001"),
    AccountNumber("6299990000000000001"),
    AccountKind.SSCARD,
    "402881000015",
)
PLAIN = PAYEE._replace(raw_name=None, phone=None)


@pytest.fixture
def vault() -> Vault:
    return Vault.of(parse_keys(fresh_key_file().encode()))


def refusal(vault: Vault, sealed: bytes, payout: int, order_no: int = 0) -> Broken:
    with pytest.raises(SealBroken) as broken:
        vault.payee(sealed, payout, order_no)
    return broken.value.reason


@pytest.mark.parametrize("payee", [PAYEE, PLAIN])
@pytest.mark.parametrize("order_no", [0, 7])
def test_details_come_back_as_they_were(vault: Vault, payee: Payee, order_no: int) -> None:
    """Every field, absent ones as absent; and nothing of them can be read in the blob."""
    sealed = vault.seal_payee(payee, 17, order_no)
    assert vault.payee(sealed, 17, order_no) == payee
    for secret in (payee.name, payee.id_no, payee.account):
        assert secret.reveal().encode() not in sealed


def test_details_open_only_for_their_payout_and_order(vault: Vault) -> None:
    """Moved to another payout, to another order's attempt, or from one kind to the other: it does not open."""
    own, ordered = vault.seal_payee(PAYEE, 17), vault.seal_payee(PAYEE, 17, 3)
    assert refusal(vault, own, 18) is Broken.ALTERED
    assert refusal(vault, own, 17, 3) is Broken.ALTERED
    assert refusal(vault, ordered, 17) is Broken.ALTERED
    assert refusal(vault, ordered, 17, 4) is Broken.ALTERED
    assert refusal(vault, ordered, 18, 3) is Broken.ALTERED


def test_whole_artefacts_open_only_in_their_row(vault: Vault) -> None:
    """Table and every part of the key are under the seal."""
    sealed = vault.seal(b"bytes", "batch_parts", 1, 2)
    assert vault.unseal(sealed, "batch_parts", 1, 2) == b"bytes"
    for table, row in (("refused_lines", (1, 2)), ("batch_parts", (2, 1)), ("batch_parts", (12,)), ("batch_parts", ())):
        with pytest.raises(SealBroken):
            vault.unseal(sealed, table, *row)


def test_a_kept_account_belongs_to_its_person(vault: Vault) -> None:
    """An account copied to another person's row does not open, so nobody is paid into it."""
    one, two = (vault.person(IdNumber(number)) for number in ("659999198001010010", "659999198001010029"))
    binding = Binding(PAYEE.account, PAYEE.account_kind, PAYEE.bank_no)
    sealed = vault.seal_binding(binding, one)
    assert vault.binding(sealed, one) == binding
    with pytest.raises(SealBroken):
        vault.binding(sealed, two)


def test_a_person_is_found_again_however_the_number_was_written(vault: Vault) -> None:
    """Small x and full-width digits are the same person; another number and another key are not."""
    person = vault.person(PAYEE.id_no)
    assert vault.person(IdNumber("65999919800101001x")) == person
    assert vault.person(IdNumber("６５９９９９１９８００１０１００１Ｘ")) == person
    assert vault.person(IdNumber("659999198001010010")) != person
    assert Vault.of(parse_keys(fresh_key_file().encode())).person(PAYEE.id_no) != person


def test_a_blob_of_other_keys_does_not_open(vault: Vault) -> None:
    """Neither under another key of the same id nor under an id that is gone."""
    assert refusal(vault, Vault.of(parse_keys(fresh_key_file().encode())).seal_payee(PAYEE, 17), 17) is Broken.ALTERED
    other = Vault.of(parse_keys(fresh_key_file("k2").encode())).seal_payee(PAYEE, 17)
    assert refusal(vault, other, 17) is Broken.UNKNOWN_KEY


def test_keys_come_from_a_file_or_not_at_all(tmp_path: Path) -> None:
    """A key file that cannot be used is named as a fault, without a word of its content."""
    path = tmp_path / "keys.json"
    path.write_text(fresh_key_file())
    sealed = Vault.load(path).seal_payee(PAYEE, 1)
    assert Vault.load(path).payee(sealed, 1) == PAYEE
    path.write_text('{"active": "k1", "sealing": {"k1": "c2VjcmV0"}, "blind": "c2VjcmV0"}')
    with pytest.raises(KeyFileFault) as fault:
        Vault.load(path)
    assert "c2VjcmV0" not in str(fault.value)
    with pytest.raises(OSError):
        Vault.load(tmp_path / "none")
