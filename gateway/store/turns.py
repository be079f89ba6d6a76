"""The turns of a bank's login, as an adapter's transport takes them: one for each question, of all processes together.

A call may put one question or twenty, and only the transport knows how many. So a transport that can (``TakesTurns``)
takes each question's turn itself, here, on the database's clock; for any other one a call counts as one question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from adapters.contract import NoTurn, TakesTurns, Turn
from gateway.banks import Bank
from gateway.store.limits import Limits


def hand_out(limits: Limits, banks: Mapping[str, Bank], call_seconds: int) -> None:
    """Give every transport that takes turns the ones of its own login; half of a call may go on waiting for them."""
    for bank in banks.values():
        if isinstance(bank.transport, TakesTurns):
            bank.transport.take_turns_from(Login(limits, bank, call_seconds * 500).conversation)


class Login:
    """One bank's login."""

    def __init__(self, limits: Limits, bank: Bank, patience_milliseconds: int) -> None:
        self._limits = limits
        self._bank = bank.name
        self._interval = bank.capabilities.probe_interval_milliseconds
        self._patience_milliseconds = patience_milliseconds

    def conversation(self) -> Turn:
        """The turns of one call, which wait no longer than our patience, all of them together."""
        left = self._patience_milliseconds

        async def turn() -> None:
            nonlocal left
            while wait := await self._limits.take_probe_turn(self._bank, self._interval):
                if wait > left:
                    raise NoTurn
                left -= wait
                await asyncio.sleep(wait / 1000)

        return turn
