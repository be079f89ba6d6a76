"""The adapter of a bank that speaks signed JSON over HTTPS: lines into its bytes, its answers into evidence.

``submit`` sends once and turns whatever the bank *signed* into evidence; an answer that it did not sign, or that is no
answer of its manual, is IN_DOUBT whatever its status. ``probe`` raises when the bank could not be asked (no answer, or
none that can be believed): a question that got no answer teaches nothing, and must not weaken what is known.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
import unicodedata
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from adapters.banks.json_https import codes
from adapters.banks.json_https.answers import (
    BatchHead,
    Items,
    Listing,
    batch_no,
    code_of,
    judge_batch,
    judge_submission,
    next_cursor,
    read_object,
)
from adapters.banks.json_https.keys import IdCipher, load_signer, load_verifier
from adapters.banks.json_https.settings import JsonHttpsSettings
from adapters.banks.json_https.wire import SignedChannel
from adapters.contract import (
    AnswerKind,
    Artefact,
    Callback,
    CallbackRefused,
    Capabilities,
    Evidence,
    Line,
    NotFound,
    Proof,
    Reason,
    Rendered,
    Submission,
    Unreadable,
)
from adapters.wire.http import AnswerUnusable, HttpFault, HttpTransport, HttpWire, client_tls
from schemas.money import yuan_text_from_fen

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_REFERENCE = re.compile(r"[0-9A-Z]{1,30}")
_SUBMISSION = re.compile(r"[A-Z0-9]{1,20}")
_ACCOUNT = re.compile(r"[0-9]{1,32}")
_ID_NO = re.compile(r"[0-9]{17}[0-9X]")
_EVENT_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_RETRY_AFTER = re.compile(r"[0-9]{1,5}")
_ACCOUNT_KINDS: Final = frozenset({"SSCARD", "CARD", "PASSBOOK"})
_RESIDENT_CARD: Final = "01"
_LONGEST_NAME: Final = 100
# Control characters, surrogates and private-use characters: the last would encode, but no two banks agree on them.
_UNWRITABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co"})
_PING_NUMBER: Final = "PING0000000000000000"  # never minted: ours begin with DF


def transport_of(settings: JsonHttpsSettings) -> HttpTransport:
    return HttpTransport(settings.base_url, settings.http, client_tls(settings.tls))


class JsonHttpsBank:
    """One configured bank. Holds keys and settings, no state."""

    def __init__(self, name: str, settings: JsonHttpsSettings, channel: SignedChannel, id_cipher: IdCipher) -> None:
        self._name = name
        self._settings = settings
        self._channel = channel
        self._id_cipher = id_cipher

    @classmethod
    def from_settings(cls, name: str, settings: JsonHttpsSettings) -> JsonHttpsBank:
        """Reads the key files. Raises OSError or ValueError, neither of which holds any of a key."""
        signer = load_signer(settings.signing_algorithm, settings.signing_key_file.read_bytes())
        verifier = load_verifier(settings.bank_signing_algorithm, settings.bank_public_key_file.read_bytes())
        id_cipher = IdCipher(settings.id_cipher, settings.id_cipher_key_file.read_text("ascii").strip())
        return cls(name, settings, SignedChannel(settings.app_id, signer, verifier), id_cipher)

    @property
    def name(self) -> str:
        return self._name

    def capabilities(self) -> Capabilities:
        agreed = self._settings
        return Capabilities(
            answers=frozenset({AnswerKind.POLL, AnswerKind.CALLBACK}),
            not_found=NotFound.AUTHORITATIVE,
            settling_seconds=agreed.settling_seconds,
            idempotent_by_reference=True,
            idempotency_window_seconds=agreed.idempotency_window_seconds,
            idempotency_compares_payload=True,
            answers_carry_amounts=True,
            max_lines=agreed.max_lines,
            max_bytes=agreed.max_bytes,
            max_total_fen=agreed.max_total_fen,
            encoding="utf-8",
            reference_alphabet=_ALPHABET,
            reference_length=26,
            acknowledgement_due_seconds=agreed.acknowledgement_due_seconds,
            result_due_seconds=agreed.result_due_seconds,
            return_horizon_days=agreed.return_horizon_days,
            max_in_flight=agreed.max_in_flight,
            submit_interval_milliseconds=agreed.submit_interval_milliseconds,
            probe_interval_milliseconds=agreed.probe_interval_milliseconds,
            questions_at_once=2
            + agreed.max_lines // agreed.items_per_page,  # the head, full pages, and one that is not
            refuses_whole_file=False,
            can_cancel=False,
            callback_is_proof=agreed.callback_is_proof,
            opens=agreed.opens,
            cut_off=agreed.cut_off,
            working_days_only=agreed.working_days_only,
        )

    def classify(self, code: str) -> tuple[Proof, Reason] | None:
        return codes.classify(code)

    # Writing

    def refuse(self, line: Line) -> Reason | None:
        name = line.name.reveal()
        if not 1 <= len(name) <= _LONGEST_NAME:
            return Reason.FORMAT
        if any(unicodedata.category(character) in _UNWRITABLE for character in name):
            return Reason.NAME_NOT_ENCODABLE
        well_formed = (
            _REFERENCE.fullmatch(line.reference)
            and line.id_type == _RESIDENT_CARD
            and _ID_NO.fullmatch(line.id_no.reveal())
            and _ACCOUNT.fullmatch(line.account.reveal())
            and line.account_kind in _ACCOUNT_KINDS
            and 0 < line.amount_fen <= self._settings.max_total_fen
        )
        return None if well_formed else Reason.FORMAT

    def render(self, submission: Submission, lines: Sequence[Line], at: dt.datetime) -> Rendered:
        references = tuple(line.reference for line in lines)
        if not lines or len(set(references)) != len(references):
            raise ValueError("a submission has lines, and each has its own reference")
        if any(self.refuse(line) is not None for line in lines):
            raise ValueError("a line that this bank cannot be sent")
        if _SUBMISSION.fullmatch(submission.reference) is None:
            raise ValueError("a submission reference that this bank cannot be sent")
        total_fen = sum(line.amount_fen for line in lines)
        payload = json.dumps(
            self._document(submission, lines, total_fen, at),
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            sort_keys=True,
        ).encode("utf-8")
        return Rendered(
            submission=submission.reference,
            payload=payload,
            sha256=hashlib.sha256(payload).hexdigest(),
            remote_name=f"{submission.reference}.json",
            references=references,
            total_fen=total_fen,
            rendered_at=at,
        )

    def _document(
        self, submission: Submission, lines: Sequence[Line], total_fen: int, at: dt.datetime
    ) -> dict[str, Any]:
        return {
            "batchNo": submission.reference,
            "callbackUrl": self._settings.callback_url,
            "currency": "CNY",
            "debtor": {"accountNo": submission.debit_account.reveal(), "name": submission.debit_name},
            "instructionCount": len(lines),
            "items": [
                {
                    "accountKind": line.account_kind,
                    "accountName": line.name.reveal(),
                    "accountNo": line.account.reveal(),
                    "amount": yuan_text_from_fen(line.amount_fen),
                    "idNoCipher": self._id_cipher.seal(line.reference, line.id_no.reveal()),
                    "idType": line.id_type,
                    "ref": line.reference,
                }
                for line in lines
            ],
            "purpose": {"code": submission.programme, "text": submission.purpose},
            "totalAmount": yuan_text_from_fen(total_fen),
            "valueDate": at.date().isoformat(),
        }

    # Sending

    async def submit(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        """Once. NotReached and AnswerLost go through: the core judges them by ``wire.crossed``."""
        try:
            answer = await self._channel.post(
                wire, "/v1/batches", f"{rendered.submission}.submit", rendered.payload, rendered.submission
            )
            document = read_object(answer.body)
        except (AnswerUnusable, Unreadable) as fault:
            return [_doubt(rendered, wire, _code_of_fault(fault))]
        evidence = judge_submission(answer.status, document, rendered, answer.artefact.sha256)
        wait = answer.headers.get("retry-after", "")
        if evidence.reason is Reason.BANK_BUSY and _RETRY_AFTER.fullmatch(wait):
            evidence = dataclasses.replace(evidence, text=f"retry after {wait} s")
        return [evidence]

    # Asking

    async def probe(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        """The head of the batch, then its items page by page. Raises HttpFault when the head got no usable answer."""
        label = f"{rendered.submission}.batch"
        answer = await self._channel.get(wire, f"/v1/batches/{rendered.submission}", label)
        try:
            document = read_object(answer.body)
            if (answer.status, code_of(document)) == codes.NOT_FOUND:
                absent = Evidence(Proof.ABSENT, submission=rendered.submission, code="NOT_FOUND")
                return [_from(absent, answer.artefact)]
            if answer.status != 200:
                raise AnswerUnusable(f"HTTP_{answer.status}")
            if batch_no(document) != rendered.submission:
                return [_doubt(rendered, wire, "WRONG_BATCH")]
            head = BatchHead.of(document, answer.artefact.sha256)
        except Unreadable as fault:
            return [_doubt(rendered, wire, _code_of_fault(fault))]
        return judge_batch(head, await self._listing(rendered, wire), rendered)

    async def _listing(self, rendered: Rendered, wire: HttpWire) -> Listing:
        """Every page that can be read. What ends the reading early is told apart: silence is no doubt, nonsense is."""
        listing = Listing()
        limit = self._settings.items_per_page
        seen: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            if cursor in seen or len(listing.evidence) > len(rendered.references) + limit:
                listing.fault = "CURSOR_LOOP"
                return listing
            seen.add(cursor)
            target = f"/v1/batches/{rendered.submission}/items?after={quote(cursor, safe='')}&limit={limit}"
            try:
                answer = await self._channel.get(wire, target, f"{rendered.submission}.items-{len(seen)}")
                if answer.status != 200:
                    return listing
                document = read_object(answer.body)
                page = Items.of(document, answer.artefact.sha256)
                cursor = next_cursor(document)
            except HttpFault:
                return listing
            except Unreadable:
                listing.fault = "UNREADABLE_PAGE"
                return listing
            if page.submission != rendered.submission or len(page.evidence) > limit:
                listing.fault = "WRONG_PAGE"
                return listing
            if not page.evidence and cursor is not None:
                listing.fault = "CURSOR_LOOP"
                return listing
            listing.add(page)
        listing.complete = True
        return listing

    async def collect(self, wire: HttpWire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        """Nothing to collect: this bank has no files. See BANK.md for how a return is learned."""
        nothing: tuple[tuple[Artefact, str], ...] = ()
        for found in nothing:
            yield found

    async def settle(self, artefact: Artefact, wire: HttpWire) -> None:
        """Nothing to archive at the bank's side."""

    async def cancel(self, rendered: Rendered, wire: HttpWire) -> list[Evidence]:
        raise NotImplementedError("this bank's manual has no cancellation")

    async def ping(self, wire: HttpWire) -> None:
        """Ask for a batch that cannot exist: both certificates and both signatures are proved by the answer."""
        answer = await self._channel.get(wire, f"/v1/batches/{_PING_NUMBER}", "ping")
        if answer.status != 404:
            raise AnswerUnusable(f"HTTP_{answer.status}")

    # Being called and reading what was kept

    def parse(self, artefact: Artefact) -> Iterator[Evidence]:
        """The items of a callback or of a page; raises Unreadable before the first of them."""
        return iter(Items.of(read_object(artefact.content), artefact.sha256).evidence)

    def verify_callback(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, wall: dt.datetime
    ) -> Callback:
        if len(body) > self._settings.http.max_answer_bytes:
            raise CallbackRefused("OVERSIZE")
        self._channel.check_callback(method, path, headers, body, wall)
        try:
            document = read_object(body)
            submission = batch_no(document)
        except Unreadable:
            raise CallbackRefused("UNREADABLE") from None
        event_id = document.get("eventId")
        if not isinstance(event_id, str) or _EVENT_ID.fullmatch(event_id) is None:
            raise CallbackRefused("EVENT_ID")
        return Callback(event_id, Artefact.of(f"callback.{event_id}", body), (submission,))


def _doubt(rendered: Rendered, wire: HttpWire, code: str) -> Evidence:
    doubt = Evidence(Proof.IN_DOUBT, submission=rendered.submission, reason=Reason.UNKNOWN, code=code)
    return _from(doubt, wire.artefacts[-1]) if wire.artefacts else doubt


def _from(evidence: Evidence, artefact: Artefact) -> Evidence:
    return dataclasses.replace(evidence, artefact=artefact.sha256)


def _code_of_fault(fault: AnswerUnusable | Unreadable) -> str:
    return fault.code if isinstance(fault, AnswerUnusable) else "UNREADABLE"
