"""Four banks, each a real adapter whose wire ends in a simulated bank in this process.

What the adapter writes is handed to the bank's desk as the channel would hand it over; what the bank then writes is
kept here, so that a test decides what of it arrives, in which shape, how often and in which order. Files and kept
exchanges arrive by ``collect``, callbacks by their own door.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.banks.iso20022 import PROFILE as ISO
from adapters.banks.json_https import PROFILE as JSON
from adapters.banks.rcc_file import PROFILE as RCC
from adapters.banks.xml_tcp import PROFILE as XML
from adapters.contract import Artefact, Evidence, Proof, Rendered
from adapters.wire.folders import sealed
from tests.adapters import iso20022_kit, rcc_file_kit
from tests.bank import hand
from tests.bank import json_format as json_form
from tests.bank.book import Desk, misname
from tests.bank.certificates import Certificates, prepare
from tests.bank.file_results import FileResults
from tests.bank.held import Held, HeldBank, HeldMachine
from tests.bank.held_iso import HeldIso
from tests.bank.json_desk import JsonDesk
from tests.bank.model import Submission
from tests.bank.restore import load
from tests.bank.xml_format import Asked, tag

CALLBACK: Final = "/callbacks/json_https"


class Wire:
    """A wire into the bank's desk. ``spoil`` is what happens to an answer on its way."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.crossed = False
        self.artefacts: list[Artefact] = []
        self._answer = answer

    async def ask(self, payload: bytes, accept: Callable[[Artefact], Any], *, label: str, fresh: bool = False) -> Any:
        self.artefacts.append(Artefact.of(label, self._answer(payload)))
        return accept(self.artefacts[-1])


class Rig(ABC):
    """``adapter`` is what the gateway gets as its bank, transport included."""

    profile: str
    bank_no: str
    adapter: Any
    held: Any

    def __init__(self) -> None:
        self.files: list[Artefact] = []
        self.adapter.submit = self._submit
        self.adapter.collect = self._collect
        self.adapter.settle = self._settle
        self.adapter.wire = self._wire
        self.adapter.close = self._settle

    # -- the gateway's side

    async def _submit(self, rendered: Rendered, wire: Wire) -> list[Evidence]:
        wire.crossed = True
        self.take(rendered)
        return [Evidence(Proof.RECEIVED, submission=rendered.submission)]

    async def _collect(self, wire: Wire, cursor: str) -> AsyncIterator[tuple[Artefact, str]]:
        for number, artefact in enumerate(self.files, start=1):
            if number > int(cursor or 0):
                yield artefact, str(number)

    async def _settle(self, *_: object) -> None:
        return None

    @asynccontextmanager
    async def _wire(self) -> AsyncIterator[Wire]:
        yield Wire(self.answer)

    def answer(self, question: bytes) -> bytes:
        raise NotImplementedError("this bank is not asked")

    # -- the bank's side

    @abstractmethod
    def take(self, rendered: Rendered) -> None:
        """Bytes reach the bank."""

    @abstractmethod
    async def written(self) -> list[Artefact]:
        """All that the bank has written so far, oldest first, in the shape in which the adapter gets it."""

    @abstractmethod
    def falsified(self, submission: Submission, other: Submission) -> dict[str, Artefact]:
        """By what is wrong: ``totals`` (none for a bank that tells none), ``unknown``, ``other batch``, ``older``."""

    @property
    def submissions(self) -> list[Submission]:
        return [self.held.book.by_number[n] for n in sorted(self.held.book.by_number)]

    def truth(self) -> dict[str, int]:
        """Credits less returns of each reference, by the bank's own ledger."""
        net = {line.reference: 0 for submission in self.submissions for line in submission.lines}
        for table, sign in (("credits", 1), ("returns", -1)):
            for reference in self.held.column(f"SELECT reference FROM {table}"):
                net[reference] += sign
        return net


class FileRig(Rig):
    """A bank of files, on its own disk."""

    outbox: str

    def take(self, rendered: Rendered) -> None:
        path = self.held.directory / "sftp" / rendered.remote_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rendered.payload)
        self._seal_upload(path, rendered.payload)
        self.held.desk.scan()

    def _seal_upload(self, path: Path, payload: bytes) -> None:
        """Nothing: most banks take the file as it is."""

    async def written(self) -> list[Artefact]:
        root = self.held.directory / "sftp" / self.outbox
        names = self.held.column("SELECT name FROM artefacts ORDER BY id")
        return [self._artefact(name, (root / name).read_bytes()) for name in names if (root / name).exists()]

    def _artefact(self, name: str, content: bytes) -> Artefact:
        return Artefact.of(name, content)

    def results(self) -> FileResults[Any]:
        raise NotImplementedError

    def falsified(self, submission: Submission, other: Submission) -> dict[str, Artefact]:
        results, now = self.results(), self.held.book.now_ms()
        rows = results.rows([line for line in submission.lines if results.tells(line)])
        others = results.rows([line for line in other.lines if results.tells(line)])

        def file(told: list[Any], *, wrong: bool = False, name: str = "") -> Artefact:
            name = name or results.name(submission, results.reserve(submission), now)
            return self._artefact(name, results.body(submission, told, now, wrong))

        stranger = results.stranger(rows[-1], misname(submission.lines[-1].reference), now)
        return {
            "totals": file(rows, wrong=True),
            "unknown": file([stranger]),
            "other batch": file(others),
            "older": file([self._older(row) for row in rows], name=results.name(submission, 1, now)),
        }

    def _older(self, row: Any) -> Any:
        raise NotImplementedError


class RccRig(FileRig):
    profile, bank_no, outbox = "rcc_file", "402881000015", "down"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.held = HeldBank(folder, monkeypatch, **settings)
        self.adapter = RCC.adapter(self.profile, RCC.settings.model_validate(rcc_file_kit.SETTINGS))
        super().__init__()

    def _seal_upload(self, path: Path, payload: bytes) -> None:
        path.with_name(path.name + ".ok").write_bytes(hand.ok(payload))

    def _artefact(self, name: str, content: bytes) -> Artefact:
        return Artefact.of(name, content if name.endswith(".ack") else sealed(hand.ok(content), content))

    def results(self) -> FileResults[Any]:
        return self.held.desk.results  # type: ignore[no-any-return]

    def _older(self, row: Any) -> Any:
        return row._replace(status="P", code="2007", text="处理中", post_date="", host_ref="")


class IsoRig(FileRig):
    profile, bank_no, outbox = "iso20022", "103881000011", "out"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.held = HeldIso(folder, monkeypatch, **settings)
        self.adapter = ISO.adapter(self.profile, ISO.settings.model_validate(iso20022_kit.SETTINGS))
        super().__init__()

    def results(self) -> FileResults[Any]:
        return self.held.desk._reports  # type: ignore[no-any-return]

    def _older(self, row: Any) -> Any:
        return row._replace(status="PDNG", code="", text="", host_ref="")


class XmlRig(Rig):
    """Its results are answers; kept as such, they are read like anything that is collected."""

    profile, bank_no = "xml_tcp", "104881000012"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.held = HeldMachine(folder, monkeypatch, **settings)
        facts = {
            "tcp": {"host": "localhost", "port": 1, "framing": "digits8"},
            "encoding": "gbk",
            "channel": "YKT01",
            "corporation": "65999901",
            "mac_key_file": str(Certificates(folder).mac_key),
            "debit_accounts": ["6599990000000041"],
            "own_bank_numbers": [self.bank_no],
            "submit_interval_milliseconds": 0,
            "probe_interval_milliseconds": 0,
            "first_statement_days": 1,
        }
        self.adapter = XML.adapter(self.profile, XML.settings.model_validate(facts, context={"base": folder}))
        self._books = self.adapter.collect
        self._read, self._cursor = list[Artefact](), ""
        self.spoil: Callable[[bytes], bytes] = bytes
        super().__init__()

    def take(self, rendered: Rendered) -> None:
        self.held.put(rendered.payload)

    def answer(self, question: bytes) -> bytes:
        return self.spoil(self.held.put(question).document)

    async def written(self) -> list[Artefact]:
        replies = [
            Artefact.of(f"{one.batch}.DF1002", self._reply("DF1002", self._items(one, one))) for one in self.submissions
        ]
        async for artefact, cursor in self._books(Wire(self.answer), self._cursor):
            self._read.append(artefact)
            self._cursor = cursor
        return replies + self._read

    def falsified(self, submission: Submission, other: Submission) -> dict[str, Artefact]:
        reference = submission.lines[0].reference
        one = self._items(submission, submission, lines=1)
        return {
            "totals": self._wrong_totals(),
            "unknown": self._kept("unknown", one.replace(reference, misname(reference))),
            "other batch": self._kept("other", self._items(submission, other)),
            "older": self._kept(submission.batch, self._items(submission, submission, "query_stale")),
        }

    def _wrong_totals(self) -> Artefact:
        """The latest statement with one item more than it holds, its MAC right."""
        kept = next(one for one in reversed(self._read) if b"<KIND>" in one.content)
        size = int(kept.content[:8])
        question, answer = kept.content[8 : 8 + size], kept.content[16 + size :]
        answer = re.sub(rb"<TOTALNUM>([0-9]+)", lambda found: b"<TOTALNUM>1" + found[1], answer)
        body = answer[answer.index(b"<BODY>") : answer.index(b"</BANK>")]
        mac = self.held.desk.code.mac(body).encode()
        answer = re.sub(rb"<MAC>[0-9a-f]{64}</MAC>", b"<MAC>" + mac + b"</MAC>", answer)
        return Artefact.of(kept.name, b"".join(b"%08d" % len(part) + part for part in (question, answer)))

    def _kept(self, name: str, body: str) -> Artefact:
        return Artefact.of(f"{name}.DF1002", self._reply("DF1002", body))

    def _items(self, named: Submission, told: Submission, fault: str | None = None, lines: int = 1_000) -> str:
        body: str = self.held.desk._queries._items(told, told.lines[:lines], fault).body
        return body.replace(tag("BATCHNO", told.batch), tag("BATCHNO", named.batch))

    def _reply(self, trade: str, body: str) -> bytes:
        answer: bytes = self.held.desk._reply(Asked(trade, "90000000000000000001", ""), "0000", body)
        return answer


class _HeldHttps(Held):
    """The HTTPS bank without its server."""

    profile = "json_https"

    def sit_down(self) -> Desk:
        self.desk = JsonDesk(self.book)
        load(self.book)
        self.desk.restore()
        return self.desk

    def look_around(self) -> None:
        """Everything of this bank is in its book."""


class JsonRig(Rig):
    """It calls back, and its signed word is proof."""

    profile, bank_no = "json_https", "403881000017"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        keys = prepare(folder)
        told = {"callback_url": f"https://localhost{CALLBACK}", "signing_key": str(keys.bank_ed25519)}
        self.held = _HeldHttps(folder, monkeypatch, json_https=told, **settings)
        facts = {
            "base_url": "https://localhost:1",
            "app_id": "payout-gateway",
            "tls": {
                "ca_file": str(keys.ca),
                "certificate_file": str(keys.client),
                "private_key_file": str(keys.client_key),
            },
            "signing_algorithm": "ED25519",
            "signing_key_file": str(keys.gateway_ed25519),
            "bank_signing_algorithm": "ED25519",
            "bank_public_key_file": str(keys.bank_ed25519_public),
            "id_cipher_key_file": str(keys.id_cipher_key),
            "callback_url": f"https://localhost{CALLBACK}",
            "callback_is_proof": True,
        }
        self.adapter = JSON.adapter(self.profile, JSON.settings.model_validate(facts, context={"base": folder}))
        self._cipher = AESGCM(bytes.fromhex(keys.id_cipher_key.read_text()))
        super().__init__()

    def take(self, rendered: Rendered) -> None:
        book = self.held.book
        upload = json_form.parse_batch(rendered.payload, self._cipher)
        book.take(upload, book.transmission(upload.batch), "")
        book.commit()

    async def written(self) -> list[Artefact]:
        query = "SELECT name, body FROM artefacts WHERE channel = 'callback' ORDER BY id"
        return [Artefact.of(name, body) for name, body in self.held.rows(query)]

    def headers(self, body: bytes) -> Mapping[str, str]:
        """The bank's signature over whatever it is: a hostile body is the bank's own."""
        return self.held.desk.signer.headers("POST", CALLBACK, body)  # type: ignore[no-any-return]

    def falsified(self, submission: Submission, other: Submission) -> dict[str, Artefact]:
        items = [json_form.item(line) for line in submission.lines]
        stranger = {**items[0], "ref": misname(submission.lines[0].reference)}
        return {
            "unknown": self._event(submission, [stranger]),
            "other batch": self._event(submission, [json_form.item(line) for line in other.lines]),
            "older": self._event(submission, [json_form.stale(line) for line in submission.lines]),
        }

    def _event(self, submission: Submission, items: list[dict[str, object]]) -> Artefact:
        event = f"evt_{hashlib.sha256(json_form.encode(items)).hexdigest()[:12]}"
        return Artefact.of(event, json_form.event(event, submission.batch, items))


RIGS: Final[dict[str, Callable[..., Rig]]] = {rig.profile: rig for rig in (RccRig, XmlRig, JsonRig, IsoRig)}
