"""What a bank's adapter and the core promise each other: evidence, proofs, reasons, capabilities.

An adapter translates. It turns lines into a bank's bytes and a bank's bytes into *evidence*; it never decides what
happens to a payout, never retries a paying call, and never sees the store. The core reads evidence through one total
table (``gateway/states.py``), so everything a bank can say must fit one of nine proofs.

The rule that costs money when broken: *if it is not certain that the bank refused, the proof is IN_DOUBT.*
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol, runtime_checkable

from schemas.masked import AccountNumber, IdNumber, PersonName


class Proof(StrEnum):
    """What a bank's answer proves. No member means "probably"."""

    NOT_SENT = "NOT_SENT"  # no byte the bank could act on has left this machine
    NOT_TAKEN = "NOT_TAKEN"  # the bank documents that it took nothing: the same bytes may travel later
    ABSENT = "ABSENT"  # the bank says, authoritatively and after its settling time, that it never had it
    IN_DOUBT = "IN_DOUBT"  # anything else that is not one of the others: ask, never send
    RECEIVED = "RECEIVED"  # the bank has the submission; nobody is paid by that
    IN_PROCESS = "IN_PROCESS"  # the bank is working on it
    CREDITED = "CREDITED"  # the payee's account was credited
    REJECTED = "REJECTED"  # the bank will not pay this line, finally
    RETURNED = "RETURNED"  # it was credited and came back


class Reason(StrEnum):
    """Why money did not arrive; the closed list of DOMAIN section 3, shared by all banks."""

    ACCOUNT_NOT_FOUND = "ACCOUNT_NOT_FOUND"
    NAME_MISMATCH = "NAME_MISMATCH"
    ID_MISMATCH = "ID_MISMATCH"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    ACCOUNT_DORMANT = "ACCOUNT_DORMANT"
    CARD_LOST_OR_EXPIRED = "CARD_LOST_OR_EXPIRED"
    SSCARD_NOT_ACTIVATED = "SSCARD_NOT_ACTIVATED"
    ACCOUNT_CLASS_LIMIT = "ACCOUNT_CLASS_LIMIT"
    ACCOUNT_TYPE = "ACCOUNT_TYPE"
    BANK_CODE_INVALID = "BANK_CODE_INVALID"
    AMOUNT = "AMOUNT"
    DUPLICATE = "DUPLICATE"
    RETURNED_AFTER_CREDIT = "RETURNED_AFTER_CREDIT"
    FUNDS_SHORT = "FUNDS_SHORT"
    FORMAT = "FORMAT"
    SIGNATURE = "SIGNATURE"
    NAME_NOT_ENCODABLE = "NAME_NOT_ENCODABLE"
    NOT_EXECUTED = "NOT_EXECUTED"
    BENEFICIARY_DECEASED = "BENEFICIARY_DECEASED"
    BANK_BUSY = "BANK_BUSY"
    UNKNOWN = "UNKNOWN"


GREATEST_TOTAL_FEN: Final = 2**63 - 1  # what one column of the books holds


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing a bank's answer proves.

    ``reference`` names one attempt; ``None`` means every attempt of ``submission``. ``submission`` is the submission's
    own reference where the answer names it. The core adds the bank: an adapter cannot speak for another bank.
    ``amount_fen`` is what the bank says it moved; ValueError for more than the books can hold. ``artefact`` is the
    SHA-256 (hex) of the bytes this was read from.
    """

    proof: Proof
    reference: str | None = None
    submission: str | None = None
    reason: Reason | None = None
    code: str = ""
    text: str = ""
    amount_fen: int | None = None
    host_reference: str | None = None
    post_date: dt.date | None = None
    artefact: str | None = None

    def __post_init__(self) -> None:
        if self.amount_fen is not None and abs(self.amount_fen) > GREATEST_TOTAL_FEN:
            raise ValueError("an amount is larger than the books can hold")


@dataclass(frozen=True, slots=True)
class Line:
    """One payout on its way to one bank. Personal fields print masked; ``reveal()`` is for the wire only."""

    reference: str
    name: PersonName
    id_type: str  # "01" resident identity card
    id_no: IdNumber
    account: AccountNumber
    account_kind: str  # SSCARD, CARD, PASSBOOK
    bank_no: str  # 12-digit CNAPS number of the bank that keeps the account
    amount_fen: int
    programme: str
    purpose: str  # at most 20 bytes in GB18030
    period: str


@dataclass(frozen=True, slots=True)
class Submission:
    """The head that all lines of one submission share."""

    reference: str  # minted by the core, unique for ever, at most 20 characters of [A-Z0-9]
    county: str
    debit_account: AccountNumber
    debit_name: str
    programme: str
    purpose: str
    period: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """The exact bytes of one submission, fixed before anything is sent and persisted (sealed) by the core."""

    submission: str
    payload: bytes
    sha256: str
    remote_name: str
    references: tuple[str, ...]
    total_fen: int
    rendered_at: dt.datetime  # gateway clock, Asia/Shanghai; the business date of the submission
    transmission: int = 1  # to ``submit``: which one this is, 1 = the first; to ``probe``: how many there were

    def __repr__(self) -> str:
        return f"Rendered({self.submission}, {len(self.payload)} bytes, {len(self.references)} lines)"


@dataclass(frozen=True, slots=True)
class Artefact:
    """Bytes a bank gave us: a result file, an acknowledgement, a reply, a callback. Kept sealed, keyed by digest."""

    name: str
    content: bytes
    sha256: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Artefact:
        return cls(name, content, hashlib.sha256(content).hexdigest())

    def __repr__(self) -> str:
        return f"Artefact({self.name}, {len(self.content)} bytes, {self.sha256[:12]})"


class Unreadable(Exception):
    """An artefact that cannot be trusted as a whole (digest, trailer, count, truncation). It yields no evidence at all.

    The message never quotes the artefact's content.
    """


class TooLarge(ValueError):
    """From ``render``: more lines, bytes or money than this bank takes in one submission. The core sends two instead.

    Raising it spares the work of writing what does not fit; a result beyond ``max_bytes`` is treated the same.
    """


class CallbackRefused(Exception):
    """A callback whose signature, age or form is wrong. ``reason`` is a short code for the metric and the audit log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AnswerKind(StrEnum):
    """How this bank's answers come; several may hold."""

    SYNC = "SYNC"  # the reply to a submission can already be final
    POLL = "POLL"  # results are had by ``probe``, on a front-loaded schedule
    CALLBACK = "CALLBACK"  # the bank calls back
    FILE = "FILE"  # the bank publishes results, returns or statements, which ``collect`` fetches


class NotFound(StrEnum):
    """What this bank's "not found" is worth."""

    NO_QUERY = "NO_QUERY"
    MEANINGLESS = "MEANINGLESS"
    AUTHORITATIVE = "AUTHORITATIVE"  # after ``settling_seconds``, and only then


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A bank's manual as data. An adapter's tests have to prove the safety facts; the core enforces the rest.

    ``max_in_flight`` counts submissions on the wire, of all gateway processes together: from just before a call begins
    until its answer is recorded, or its dead process fenced off. What the bank has taken and works on is not in flight.
    """

    answers: frozenset[AnswerKind]
    not_found: NotFound
    settling_seconds: int  # gateway-clock seconds after the last transmission before "not found" is believed
    idempotent_by_reference: bool
    idempotency_window_seconds: int
    idempotency_compares_payload: bool
    answers_carry_amounts: bool
    max_lines: int
    max_bytes: int
    max_total_fen: int
    encoding: str
    reference_alphabet: str
    reference_length: int
    acknowledgement_due_seconds: int
    result_due_seconds: int
    return_horizon_days: int
    max_in_flight: int
    submit_interval_milliseconds: int  # real time, per login: at least so long between two submissions; 0 = no limit
    probe_interval_milliseconds: int  # the same between two questions; 0 = no limit
    refuses_whole_file: bool
    can_cancel: bool
    callback_is_proof: bool = False
    questions_at_once: int = 1  # the most that one call of probe or collect puts; they have to fit into it
    opens: dt.time = dt.time(0, 0)
    cut_off: dt.time = dt.time(0, 0)  # 00:00 = midnight, end of the day
    working_days_only: bool = False


class Wire(Protocol):
    """One conversation with a bank. It, not the adapter, knows whether the point of no return was passed."""

    @property
    def crossed(self) -> bool:
        """True from just before the first byte on which the bank could act (HTTP request, TCP frame, SFTP rename)."""

    @property
    def artefacts(self) -> Sequence[Artefact]:
        """Every answer received so far, in order, whether or not the adapter understood it."""


def proof_of_raising(wire: Wire | None) -> Proof:
    """What an exception out of ``submit`` proves, whatever it is: the wire alone decides, and without one (it could
    not even be opened) nothing can have left."""
    return Proof.IN_DOUBT if wire is not None and wire.crossed else Proof.NOT_SENT


class Transport(Protocol):
    """A bank's connection pool; ``wire()`` opens one conversation with fresh ``crossed`` and ``artefacts``."""

    def wire(self) -> AbstractAsyncContextManager[Any]: ...

    async def close(self) -> None: ...


class NoTurn(Exception):
    """The pace of the bank's login leaves no turn for a question now, so it was not put."""


Turn = Callable[[], Awaitable[None]]  # waits for the turn of one question; raises NoTurn


def unpaced() -> Turn:
    """The turns of a login without a pace, or of a transport that nobody has given any."""

    async def turn() -> None:
        return None

    return turn


@runtime_checkable
class TakesTurns(Protocol):
    """The optional ability of a transport whose calls may put several questions, also before a payment.

    It takes the turn of each question itself, just before its first byte. Without it a call counts as one question.
    """

    def take_turns_from(self, conversation: Callable[[], Turn]) -> None:
        """``conversation`` gives the turns of one wire; it is called once for each."""


class BankAdapter(Protocol):
    """The translator of one bank. ``wire`` arguments are the concrete wire of the profile's own transport."""

    @property
    def name(self) -> str: ...

    def capabilities(self) -> Capabilities: ...

    def refuse(self, line: Line) -> Reason | None:
        """Pure. Why this line cannot be written for this bank (NAME_NOT_ENCODABLE, FORMAT), before sending, or None."""

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        """Pure: equal arguments give equal bytes. Raises ValueError on a line that ``refuse`` would have named, and
        may raise TooLarge."""

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        """Pure. All evidence of one collected artefact or callback, or Unreadable before the first of it."""

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        """The bank's line code by table; None (a code no table lists) is IN_DOUBT and a counter, never a failure."""

    async def submit(self, rendered: Rendered, wire: Any) -> list[Evidence]:
        """Send once. Any exception is judged by the core through ``wire.crossed``; nothing is retried here."""

    async def probe(self, rendered: Rendered, wire: Any) -> list[Evidence]:
        """Ask, read-only, what became of a submission and its lines."""

    def collect(self, wire: Any, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        """New artefacts since ``cursor`` ("" at first), oldest first, each with the cursor to keep after it."""

    async def settle(self, artefact: Artefact, wire: Any) -> None:
        """Archive at the bank's side; called only after the artefact and its evidence are committed. Repeatable."""

    async def cancel(self, rendered: Rendered, wire: Any) -> list[Evidence]:
        """Ask the bank to drop a submission, where ``can_cancel``; raises NotImplementedError otherwise."""

    async def ping(self, wire: Any) -> None:
        """Harmless contact; raises when the bank cannot be reached."""


class Booking(StrEnum):
    """What an entry of a bank's statement says that happened."""

    CREDIT = "CREDIT"  # the payee was credited: proof
    DEBIT = "DEBIT"  # the fiscal account was debited; of the payee this proves nothing
    RETURN = "RETURN"  # it came back: proof
    INCOMING = "INCOMING"  # money came in under this name, and no word that it is a return: no proof; ours or nothing


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """One booked line of a statement; ``reference`` is ours, or None where the bank names none."""

    booking: Booking
    reference: str | None
    amount_fen: int
    post_date: dt.date
    host_reference: str | None = None
    submission: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """One day (bank time) of one fiscal account, complete: what is not in it was not booked on that day."""

    day: dt.date
    debit_account: AccountNumber | None  # None: all accounts of this bank's agreement
    entries: tuple[StatementEntry, ...]
    artefact: str

    def __post_init__(self) -> None:
        if sum(abs(entry.amount_fen) for entry in self.entries) > GREATEST_TOTAL_FEN:
            raise ValueError("a day's bookings add up to more than the books can hold")


@runtime_checkable
class GivesStatements(Protocol):
    """The optional ability of a bank whose ``collect`` also brings daily statements."""

    def statement(self, artefact: Artefact) -> Statement | None:
        """Pure. The statement that an artefact is, None when it is something else, Unreadable when it cannot be
        trusted as a whole. ``parse`` of the same artefact yields what its entries prove (CREDIT, RETURN)."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A verified callback. ``event_id`` deduplicates; ``submissions`` names what it speaks of, to be asked about."""

    event_id: str
    artefact: Artefact
    submissions: tuple[str, ...] = field(default=())


@runtime_checkable
class TakesCallbacks(Protocol):
    """The optional ability of a bank that calls back."""

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        """Check signature, age and form over the raw bytes; raises CallbackRefused. ``wall`` is real time: skew is a
        property of the channel, not of the payment calendar."""


@runtime_checkable
class TellsPlaintext(Protocol):
    """The optional ability of a settings model, or of a model in it, that may lead somewhere without TLS or SSH.

    Whoever runs the gateway is warned of each host. Settings without it lead nowhere in the clear; ``TcpSettings``
    has it, so only a field of your own (a host, an http URL) asks for it. ``wire/clear.py`` helps to write it.
    """

    def in_the_clear(self) -> Sequence[str]:
        """Pure. The hosts beyond this machine to which *this* model's fields let bytes travel unencrypted: names or
        addresses alone, never the rest of a URL, which may hold a secret."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a package offers under the entry-point group ``payout_gateway.adapters``."""

    name: str
    settings: type[Any]  # a pydantic model: the bank's configuration section, extra fields forbidden
    adapter: Any  # Callable[[str, settings], BankAdapter]; first argument is the configured name
    transport: Any  # Callable[[settings], Transport]
    rehearsal: str = ""  # "module:attribute" of what plays this bank for ``gateway adapter check``; see conformance
