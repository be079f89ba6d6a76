"""What an SMS provider's adapter and the notices step promise each other: results, reports, and what was never seen.

A message sent twice costs no money but it says twice that money came, so the rule is the bank's rule: *an unknown
outcome is asked about, never sent again*. The order of things, for one call of at most ``max_messages`` notices:

1. commit the call (batch id and refs), then ``send`` it, once;
2. ``NotSent`` (with ``NotTaken``, its documented form): nobody was written to; the same call may travel later;
3. a result ACCEPTED or REFUSED is final for its message; UNKNOWN is not;
4. for UNKNOWN, ask ``reports``. A report proves that the provider has the message. ``NoAnswer`` proves nothing: ask
   again. ``NeverSeen`` permits another ``send`` of the same call, and only once ``never_seen_is_proof`` says so. A ref
   that is missing from the reports of a call the provider knows proves nothing either.

A provider that neither answers ``reports`` nor calls back, but reports over its own connection, is ``PushesReports``.

The person is never charged: a report with ``billed`` RECEIVER is a broken promise that somebody must hear of.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from adapters.contract import NotFound
from schemas.masked import Phone

_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_REF = re.compile(r"[0-9A-Za-z_.-]{1,64}")
_SIGNATURE = re.compile(r"【([^【】]{2,12})】")


class SmsOutcome(StrEnum):
    ACCEPTED = "ACCEPTED"  # the provider has it; a delivery report follows
    REFUSED = "REFUSED"  # the provider (or the adapter, before sending) will not deliver it, finally
    UNKNOWN = "UNKNOWN"  # no clear answer past the point of no return: ask
    NOT_TAKEN = "NOT_TAKEN"  # nothing of it left, or the provider documents that it took none: it may travel later


class SmsStatus(StrEnum):
    DELIVERED = "DELIVERED"
    UNDELIVERED = "UNDELIVERED"
    PENDING = "PENDING"  # the provider has it; also any status word that no table lists


class Billed(StrEnum):
    SENDER = "SENDER"
    RECEIVER = "RECEIVER"


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One notice on its way. ``ref`` is ours and names no person; ``text`` begins with its signature in 【】.

    ``serial`` is the same message as a number, counted up for ever, for providers that can echo nothing but digits.
    """

    ref: str
    phone: Phone
    text: str = field(repr=False)
    serial: int = 0


@dataclass(frozen=True, slots=True)
class SmsResult:
    """What ``send`` learned of one message. ``code`` is the provider's word, or ours where it gave none.

    ``part_ids`` are the provider's ids of the parts it took, where it reports on each part by itself.
    """

    ref: str
    code: str
    provider_id: str | None
    outcome: SmsOutcome
    part_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SmsReport:
    """What became of one message. ``ref`` is None where only the provider's id is named; ``billed`` None, not told.

    ``batch_id`` is the call it belongs to: the one asked about, or in a callback the one the provider names, if any.
    """

    ref: str | None
    provider_id: str
    status: SmsStatus
    billed: Billed | None
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class PushedReport:
    """What became of one *part*, told over the provider's own connection.

    ``provider_id`` names the part. ``serial`` is ``SmsMessage.serial`` modulo ``modulus`` as the provider echoed it,
    None where it echoes none; ``phone`` is whom it speaks of, to tell two messages of one remainder apart.
    """

    provider_id: str
    status: SmsStatus
    serial: int | None = None
    modulus: int = 0
    phone: Phone | None = None
    billed: Billed | None = None


@dataclass(frozen=True, slots=True)
class SmsCapabilities:
    """A provider's manual as data."""

    max_messages: int
    idempotent: bool
    not_found: NotFound
    settling_seconds: int  # gateway-clock seconds after the last ``send`` before "never seen" is believed


class NotSent(Exception):
    """Nothing of the call can have reached a person: it may be sent again later, unchanged.

    ``code`` is from a closed set and quotes nothing. ``hold`` is true where the same call would fail the same way
    (key, format, signature not registered): hold this provider and call a person instead of burning the queue.
    """

    def __init__(self, code: str, *, hold: bool = False, retry_after_seconds: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.hold = hold
        self.retry_after_seconds = retry_after_seconds


class NotTaken(NotSent):
    """The call arrived, and the provider documents for this answer that it took none of its messages."""


class NeverSeen(Exception):
    """The provider says that it has no call of this id. What that is worth: ``never_seen_is_proof``."""


class NoAnswer(Exception):
    """A question that got no clear answer; nothing was learned. The message is a code and quotes nothing."""


def never_seen_is_proof(capabilities: SmsCapabilities, sent_at: dt.datetime, asked_at: dt.datetime) -> bool:
    """Whether NeverSeen, answered to a question asked at ``asked_at``, permits sending again.

    ``sent_at`` is when the last ``send`` of the call *ended*: its bytes may have been on the way until then.
    """
    settled_at = sent_at + dt.timedelta(seconds=capabilities.settling_seconds)
    return capabilities.not_found is NotFound.AUTHORITATIVE and asked_at >= settled_at


def mobile(phone: Phone) -> str | None:
    """The eleven digits of a mobile number, or None: a landline or no number gets no SMS. For the wire only."""
    digits = phone.reveal().replace(" ", "").removeprefix("+86")
    return digits if _MOBILE.fullmatch(digits) else None


def check_call(batch_id: str, messages: Sequence[SmsMessage], capabilities: SmsCapabilities) -> str:
    """The one signature that all messages of a call share; ValueError for a call that must not be made at all."""
    if not 1 <= len(messages) <= capabilities.max_messages:
        raise ValueError(f"a call carries 1 to {capabilities.max_messages} messages, not {len(messages)}")
    refs = {message.ref for message in messages}
    if len(refs) != len(messages):
        raise ValueError("a ref stands twice in one call")
    if not all(_REF.fullmatch(ref) for ref in (batch_id, *refs)):
        raise ValueError("batch id and refs are 1 to 64 of [0-9A-Za-z_.-]")
    signatures = {match.group(1) if (match := _SIGNATURE.match(message.text)) else "" for message in messages}
    if len(signatures) != 1 or "" in signatures:
        raise ValueError("all texts of a call begin with the same signature in 【】")
    return signatures.pop()


class SmsProvider(Protocol):
    """The translator of one provider. It never retries, never decides, and never sees the store."""

    @property
    def name(self) -> str: ...

    def capabilities(self) -> SmsCapabilities: ...

    async def send(self, batch_id: str, messages: Sequence[SmsMessage]) -> list[SmsResult]:
        """Send one call, once; one result per message, in order.

        Raises NotSent while nothing can have gone out, ValueError for a call that ``check_call`` refuses. From the
        point of no return on it raises neither: whatever has no clear answer is UNKNOWN.
        """

    async def reports(self, batch_id: str) -> list[SmsReport]:
        """Ask, read-only, what became of a call. Raises NeverSeen or NoAnswer; an empty list proves nothing."""

    def verify_report_callback(self, headers: Mapping[str, str], body: bytes, wall: dt.datetime) -> list[SmsReport]:
        """Signature, age, form over the raw bytes; raises CallbackRefused. ``wall`` is real time. A report may come
        again (providers repeat them, and a replay within the age limit looks the same): applying it is idempotent."""

    async def close(self) -> None: ...


@runtime_checkable
class PushesReports(Protocol):
    """The optional ability of a provider that reports over a connection of its own, part by part.

    The order of things: ``take_reports``, commit, ``confirm_reports``. A report that was not confirmed is given again,
    and one whose connection died comes again from the provider, so applying it is idempotent.
    """

    @property
    def connected(self) -> bool:
        """Whether the connection stands right now."""

    @property
    def unreadable(self) -> int:
        """How many deliveries were refused since the start because they claim to be reports and cannot be read."""

    def parts(self, message: SmsMessage) -> int:
        """How many parts ``message`` is sent as. Pure: the same for ever, also for what was sent before a restart."""

    async def take_reports(self, most: int) -> list[PushedReport]:
        """The oldest reports not yet confirmed. Keeps the connection up; waits about a second when there are none."""

    async def confirm_reports(self, count: int) -> None:
        """The oldest ``count`` have been taken over for good: tell the provider."""


@dataclass(frozen=True, slots=True)
class SmsProfile:
    """What a provider's module offers to the configuration."""

    name: str
    settings: type[Any]  # a pydantic model: the provider's configuration section, extra fields forbidden
    provider: Any  # Callable[[str, settings], SmsProvider]; first argument is the configured name
