"""From an agreement and a bank's capabilities to a route: what the books need to know to cut lines for it."""

from __future__ import annotations

from gateway.banks import Bank
from gateway.policy import Agreement
from gateway.store.planning import Route


def route_of(agreement: Agreement, bank: Bank) -> Route:
    """What the books need to know to cut lines for this agreement."""
    can = bank.capabilities
    return Route(
        debit_account=agreement.debit_account.reveal(),
        debit_name=agreement.debit_name,
        sms_signature=agreement.sms_signature,
        max_lines=can.max_lines,
        max_total_fen=can.max_total_fen,
        reference_alphabet=can.reference_alphabet,
        reference_length=can.reference_length,
    )
