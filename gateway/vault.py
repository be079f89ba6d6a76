"""The vault: people's details between clear and sealed, each seal bound to the row it belongs to.

The context of a seal names table and row, so a blob copied to another row does not open. Nothing else in the gateway
builds such a context.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final
from uuid import UUID

from gateway.policy import AccountKind, Binding, Payee
from gateway.privacy import BlindIndex, KeyFileFault, Keys, Seals, load_keys
from schemas.masked import AccountNumber, IdNumber, PersonName, Phone

BENEFICIARY_COLUMN: Final = "payouts.beneficiary"


class Vault:
    """Seals and opens; finds a person again by a blind index of the resident ID."""

    def __init__(self, seals: Seals, beneficiary: BlindIndex, keys: Keys | None = None) -> None:
        self._seals = seals
        self._beneficiary = beneficiary
        self._keys = keys

    @classmethod
    def of(cls, keys: Keys) -> Vault:
        return cls(keys.sealer(), keys.blind_index(BENEFICIARY_COLUMN), keys)

    def renew(self, keys: Keys) -> None:
        """Seal under the file's active key from now on, and open under all of its keys.

        KeyFileFault, and nothing changes, for a file that would make a stored row unreadable or a person a stranger:
        another blind key, or a known key that is gone or different. Dropping a key needs a restart, knowingly.
        """
        if self._keys is not None:
            if keys.blind != self._keys.blind:
                raise KeyFileFault("the blind key differs: nobody would be found again, and duplicates would be paid")
            for kid, key in self._keys.sealing.items():
                if keys.sealing.get(kid) != key:
                    raise KeyFileFault(f"sealing key {kid} is gone or differs: rows sealed with it would not open")
        self._seals, self._keys = keys.sealer(), keys

    @classmethod
    def load(cls, path: Path) -> Vault:
        """KeyFileFault or OSError when the keys cannot be used."""
        return cls.of(load_keys(path))

    def person(self, id_no: IdNumber) -> UUID:
        return self._beneficiary.of(id_no)

    def seal_payee(self, payee: Payee, payout: int, order_no: int = 0) -> bytes:
        """The details of a payout, or (``order_no`` > 0) those of an attempt that a signed order made."""
        fields = (
            payee.name.reveal(),
            payee.raw_name.reveal() if payee.raw_name else None,
            payee.id_no.reveal(),
            payee.phone.reveal() if payee.phone else None,
            payee.account.reveal(),
            payee.account_kind.value,
            payee.bank_no,
        )
        return self._seals.seal(json.dumps(fields, ensure_ascii=False).encode(), _payee_context(payout, order_no))

    def payee(self, sealed: bytes, payout: int, order_no: int = 0) -> Payee:
        """SealBroken when the blob does not belong there."""
        name, raw_name, id_no, phone, account, kind, bank_no = json.loads(
            self._seals.unseal(sealed, _payee_context(payout, order_no))
        )
        return Payee(
            PersonName(name),
            PersonName(raw_name) if raw_name else None,
            IdNumber(id_no),
            Phone(phone) if phone else None,
            AccountNumber(account),
            AccountKind.__members__[kind],
            bank_no,
        )

    def seal_binding(self, binding: Binding, person: UUID) -> bytes:
        fields = (binding.account.reveal(), binding.account_kind.value, binding.bank_no)
        return self._seals.seal(json.dumps(fields).encode(), _context("account_bindings", (person,)))

    def binding(self, sealed: bytes, person: UUID) -> Binding:
        account, kind, bank_no = json.loads(self._seals.unseal(sealed, _context("account_bindings", (person,))))
        return Binding(AccountNumber(account), AccountKind(kind), bank_no)

    def seal(self, plaintext: bytes, table: str, *row: object) -> bytes:
        """Whole artefacts: signed bytes, rendered bytes, bank answers, texts, raw fields of refused lines."""
        return self._seals.seal(plaintext, _context(table, row))

    def unseal(self, sealed: bytes, table: str, *row: object) -> bytes:
        return self._seals.unseal(sealed, _context(table, row))

    @property
    def head(self) -> bytes:
        """What every blob sealed from now on begins with."""
        return self._seals.head

    def reseal(self, sealed: bytes, table: str, *row: object) -> bytes:
        """The same content under the active key, for the same row; SealBroken when it does not belong there."""
        context = _context(table, row)
        return self._seals.seal(self._seals.unseal(sealed, context), context)


def _payee_context(payout: int, order_no: int) -> bytes:
    return _context("attempts", (payout, order_no)) if order_no else _context("payouts", (payout,))


def _context(table: str, row: tuple[object, ...]) -> bytes:
    return ":".join((table, *(str(part) for part in row))).encode()
