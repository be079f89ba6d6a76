"""The manual of a rehearsal: the little that an adapter's author writes so that the kit can play the author's bank.

Why there is one
----------------

The kit brings the servers, the keys, the faults, the people to be paid, and the judgement. It does not know how *your*
bank writes "credited". That is what a rehearsal says, in four methods, and nothing else: it has no server and no
clock, and it never decides what happens. Write it from the bank's manual, not from your adapter: a rehearsal that
shares the adapter's encoder makes the same mistake twice, and the kit sees nothing.

``Profile.rehearsal`` names it as ``"package.module:ATTRIBUTE"``: a class, or a function, called without arguments.

The four methods
----------------

``settings(site, configured)``
    A configuration section of your profile that leads to the kit: address, keys and time limits from ``site``, and
    everything else as in ``configured`` (empty, or an operator's own section), or as you choose. Mostly one line::

        return {"org": "402XJ0001", **configured, "sftp": site.sftp()}

``read(request)``
    Reads what arrived, as the *bank* reads it: the bytes of a submission give a ``Received``, anything else (a
    question, an ``.ok`` file, a heartbeat) gives None. This is the witness for names that were cut, references that
    changed and payments sent twice, so read every field from the bytes. Raise ``ValueError`` for a submission that
    your bank would not understand.

``answer(told)``
    Writes what the bank says on an *occasion* of the closed list below. ``told.lines`` has one ``Said`` for each line
    the bank speaks of: which occasion, which amount, which booking. An occasion that your bank has no words for:
    ``raise CannotSay("why, from the manual")``; the reason is shown to everybody who runs the kit. It is not accepted
    for the occasions without which nothing would be proved: ``TAKEN``, ``RESULTS``, ``CREDITED``, ``REJECTED``,
    ``IN_PROCESS``, ``RETURNED``, and ``TAKEN_BEFORE`` where the capabilities say that the bank is idempotent.
    ``recorded.py`` makes this method out of recorded exchanges. A bank that answers in pages cuts ``told.lines`` by
    what ``told.request`` asks for; its settings make a page shorter than the 60 lines that the kit's longest list has.

``golden()``
    One submission from the bank's manual and the exact bytes that the manual shows for it. It is asked of a rehearsal
    of its own, after ``settings(site, {})``.

A bank that calls back has a fifth, ``callback(told)``; a bank of framed TCP has ``frame(buffer)`` and
``framed(payload)``, and ``is_private(configured)`` where its line may go without TLS; a bank of files has
``directories``, those that it keeps before anything arrives. A bank that signs adds what its channel promises:
``forged(told)``, ``is_bound(request)``, ``sealed(artefact)``.

How each kind of bank is asked
------------------------------

In a case the kit sends one submission, mostly of three lines, and then has the bank say things about it.

``Kind.HTTP`` and ``Kind.TCP``: ``answer`` is called for each request or frame that arrives. ``told.request`` is that
request. When it is a submission, ``told.occasion`` is what the bank says of it (``TAKEN``, ``FORMAT_REFUSED``...).
When it is a question, ``told.occasion`` is ``NOT_FOUND``, ``TAKEN`` (it has it, no line is worked on yet) or
``RESULTS`` (it says something about each of ``told.lines``, and nothing of the others); a question that your adapter
asks in several requests (head, then pages) calls it several times with the same ``told`` but for the request. A
question about a submission or line that nobody sent (a ping) has ``told.submission`` None and ``told.occasion``
``NOT_FOUND``. A bank that is asked for what it publishes (returns, statements) tells there what it has booked of
``told.lines``.

``Kind.SFTP``: the bank speaks by itself. ``answer`` is called when the kit wants it to, with ``told.request`` None, and
gives ``Files``: what to write, move and remove in the bank's tree, where the uploaded files lie as the adapter left
them. ``told.serial`` counts from 1 and gives the files of one batch their numbers.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from adapters.contract import Artefact, Line, Submission


class Kind(StrEnum):
    """What the adapter talks over; the kit has one counterpart for each."""

    HTTP = "HTTP"  # requests over mutual TLS, or plain where the settings say http
    SFTP = "SFTP"  # files in a tree
    TCP = "TCP"  # frames on a byte stream, with or without TLS


class Occasion(StrEnum):
    """What a bank may come to say. The first group is about a submission, the second about a line."""

    TAKEN = "TAKEN"  # the bank has the submission; nobody is paid by that
    RESULTS = "RESULTS"  # the bank says something about each line of ``told.lines``
    NOT_FOUND = "NOT_FOUND"  # it says that it never had the submission
    TAKEN_BEFORE = "TAKEN_BEFORE"  # "duplicate": it has this submission already
    FORMAT_REFUSED = "FORMAT_REFUSED"  # it took nothing of a submission that it finds malformed
    FUNDS_SHORT = "FUNDS_SHORT"  # it took nothing, because the fiscal account does not cover it
    BUSY = "BUSY"  # it took nothing, because it has too much to do
    ERROR_AFTER_TAKING = "ERROR_AFTER_TAKING"  # an error of its systems (5xx, 9999), and it has it all the same
    ODD_CODE = "ODD_CODE"  # a code for the submission that the manual does not list
    NO_CODE = "NO_CODE"  # an answer to the submission whose code is blank

    CREDITED = "CREDITED"
    REJECTED = "REJECTED"  # with a code that the manual lists as final
    IN_PROCESS = "IN_PROCESS"
    SUSPICIOUS = "SUSPICIOUS"  # the bank itself does not know
    LINE_ODD_CODE = "LINE_ODD_CODE"  # "failed", with a code that the manual does not list
    LINE_NO_CODE = "LINE_NO_CODE"  # "failed", and the code is blank
    LINE_DUPLICATE = "LINE_DUPLICATE"  # "duplicate": this reference is known, and may be paid already
    RETURNED = "RETURNED"  # it was credited and came back


class CannotSay(Exception):
    """This bank has no words for an occasion; the text is the reason, for people, from the bank's manual."""


BUSINESS_DAY: Final = dt.date(2026, 11, 24)  # the bank's: of every submission, and of the first booking of each line
EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """Something that arrived at the bank.

    HTTP: ``method``, ``target`` (path and query as sent), ``headers`` (names in lower case), ``body``. TCP: the
    frame as ``body``, with its header. SFTP: the path that a file was renamed to, without a leading slash, as
    ``target`` and its content as ``body``.
    """

    kind: Kind
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, repr=False)
class ReceivedLine:
    """One line as the bank reads it. None for what this bank's format does not carry."""

    reference: str
    account: str
    name: str
    amount_fen: int
    id_no: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """One submission as the bank reads it: what stands in its head, not what the lines add up to.

    ``same`` is what has to be equal when the bank is sent it again: the whole payload, mostly; without a flag
    "this is a resend" or a time of sending where the bank's format has one in the head. ``debit_account`` is the
    account of ours that pays, where the format names it; ``resend`` what such a flag says, None where there is none.
    """

    reference: str
    count: int
    total_fen: int
    lines: tuple[ReceivedLine, ...]
    same: bytes
    debit_account: str | None = None
    resend: bool | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Said:
    """What the bank says of one line. ``booking`` numbers the bookings of a line: another one has another host
    reference, the same one has the same. ``amount_fen`` is the amount to say, right or wrong; ``text`` the bank's
    words for people, which may be careless."""

    line: ReceivedLine
    number: int  # of the line in its submission, from 1
    occasion: Occasion
    amount_fen: int
    booking: int = 1
    text: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Told:
    """What the bank is to say now. ``submission`` is None when it has none, or claims so; ``arrived`` is the request
    or file in which it came. ``day`` is the bank's today, on which it writes: BUSINESS_DAY, or days later when it tells
    of a return. What it booked before keeps its day and its host reference, however often it is told."""

    occasion: Occasion
    submission: Received | None
    lines: tuple[Said, ...] = ()
    request: Request | None = None
    day: dt.date = BUSINESS_DAY
    serial: int = 1
    arrived: Request | None = None
    wall: dt.datetime = EPOCH  # real time, for a time stamp that proves an answer to be young


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The answer to a request. The kit adds the length."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """What the bank does in its tree: removes, then moves (old path to new), then writes. Paths are relative."""

    write: Mapping[str, bytes] = field(default_factory=dict)
    move: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()


Reply = HttpReply | Files | bytes  # bytes: a frame, with its header


@dataclass(frozen=True, slots=True)
class Golden:
    """A submission of the bank's manual. ``remote_name`` "" where the manual shows none."""

    submission: Submission
    lines: tuple[Line, ...]
    at: dt.datetime
    payload: bytes
    remote_name: str = ""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the kit listens, and the keys of this run. The directory may be written to, and vanishes afterwards.

    Time limits matter: the kit stays silent to see what your adapter makes of it, so ``patience_milliseconds`` must
    become the adapter's own limit for one answer.
    """

    folder: Path
    port: int
    host: str = "localhost"
    patience_milliseconds: int = 1_000
    connect_milliseconds: int = 3_000

    @property
    def origin(self) -> str:
        return f"https://{self.host}:{self.port}"

    def tls(self) -> dict[str, str]:
        """Settings for ``adapters.wire``'s ``TlsFiles``: our certificate, and the CA of the bank's."""
        return {
            "ca_file": str(self.folder / "ca.pem"),
            "certificate_file": str(self.folder / "client.pem"),
            "private_key_file": str(self.folder / "client.key"),
        }

    def http(self) -> dict[str, int]:
        """Settings for ``HttpLimits``."""
        return {
            "connect_timeout_milliseconds": self.connect_milliseconds,
            "silence_timeout_milliseconds": self.patience_milliseconds,
            "total_timeout_milliseconds": self.connect_milliseconds + self.patience_milliseconds,
        }

    def sftp(self) -> dict[str, Any]:
        """Settings for ``SftpSettings``."""
        return {
            "host": self.host,
            "port": self.port,
            "username": SFTP_USER,
            "password_file": str(self.folder / "password"),
            "known_hosts_file": str(self.folder / "known_hosts"),
            "connect_timeout_seconds": -(-self.connect_milliseconds // 1000),
            "call_timeout_seconds": -(-self.patience_milliseconds // 1000),
        }

    def tcp(self) -> dict[str, Any]:
        """Settings for ``TcpSettings``, but for the framing, which is the bank's."""
        return {"host": self.host, "port": self.port, "tls": self.tls(), **self.http()}


SFTP_USER: Final = "gateway"


class Rehearsal(Protocol):
    """Plays one bank. It opens no connection, asks no clock, and keeps nothing but what its settings say (a framing, an
    encoding) and the keys that it made. One serves a whole run, in which what is configured does not change."""

    @property
    def kind(self) -> Kind: ...

    def settings(self, site: Site, configured: Mapping[str, Any]) -> dict[str, Any]:
        """A section of the profile that leads to ``site``. May write key files of its own into ``site.folder``; it is
        called several times in a run and must then keep them."""

    def read(self, request: Request) -> Received | None:
        """A submission as the bank reads it, None for what is none; ValueError for one it cannot read."""

    def answer(self, told: Told) -> Reply:
        """The bank's words for an occasion, or CannotSay."""

    def golden(self) -> Golden:
        """A sample of the manual; for the settings that ``settings(site, {})`` gives."""


@runtime_checkable
class RehearsesCallbacks(Protocol):
    """The fifth method, for a bank that calls back."""

    def callback(self, told: Told) -> Request:
        """A genuine callback that says ``told.lines`` of ``told.submission``, signed as the bank signs."""


@runtime_checkable
class RehearsesForgeries(Protocol):
    """What a bank adds whose answers on the line bear a signature or a MAC."""

    def forged(self, told: Told) -> Mapping[str, Reply]:
        """``answer(told)`` as somebody gives it who has not the bank's key, or who changed it on its way: each under
        the words for what is wrong with it ("no signature", "another key", "a changed amount"). Not Kind.SFTP."""


@runtime_checkable
class RehearsesBoundAnswers(Protocol):
    """What a bank adds whose answers bear something of their question: a nonce, a number that is used once."""

    def is_bound(self, request: Request) -> bool:
        """Whether the answer to this request can be told from the answer to an earlier one that asked the same."""


@runtime_checkable
class RehearsesSeals(Protocol):
    """What a bank adds whose files, or pages that are kept, bear a digest, a signature or a MAC."""

    def sealed(self, artefact: Artefact) -> Sequence[tuple[int, int]]:
        """Which bytes of what the adapter collected its seal covers: from, and up to; none where it has no seal. The
        seal itself is covered."""


@runtime_checkable
class RehearsesFiles(Protocol):
    """What a bank of files adds."""

    @property
    def directories(self) -> Sequence[str]:
        """The directories of its tree, relative, that are there before anything arrives."""


@runtime_checkable
class RehearsesFrames(Protocol):
    """What a bank of framed TCP adds."""

    def frame(self, buffer: bytes) -> int | None:
        """How many bytes the first frame in ``buffer`` has, header included; None while that cannot be told."""

    def framed(self, payload: bytes) -> bytes:
        """A frame of these bytes, for an answer that somebody on the way shortened and framed anew. The header has
        one length, whatever it says."""


@runtime_checkable
class RehearsesPrivateLines(Protocol):
    """What a bank of framed TCP adds that is spoken to without TLS where the line itself is guarded."""

    def is_private(self, configured: Mapping[str, Any]) -> bool:
        """Whether the bank of this section is spoken to without TLS; ``settings`` then gives none either."""
