"""Hand-made histories for proving the checker: signed inputs, a bank's ledger and receipts, written line by line.

Nothing here runs a gateway or a bank. A history is told event by event, each one later than the one before, so that a
test can tell a clean one and then break exactly one thing in it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import io
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.world.checker import __main__ as checker

DATA = Path(__file__).resolve().parents[1] / "data"
ISSUER, BATCH, PROGRAMME, PERIOD = "659999-finance", "B-2026-0001", "XJ-NY-01", "2026"
START_MS = 1_795_485_600_000  # 2026-11-24T02:00:00Z
TABLES = {
    "submissions": "n INTEGER PRIMARY KEY, at_ms, wall_ms, batch, source, transmission, size, sha256, payload, verdict,"
    " code, count, total_fen, debit_account, programme, fault",
    "lines": "submission, line, reference, account, name, id_no, amount_fen, programme, period, nth, plan",
    "credits": "n, at_ms, submission, line, reference, account, amount_fen, post_date, host_ref",
    "returns": "n, at_ms, submission, line, reference, account, amount_fen, post_date, host_ref, code",
    "answers": "n, at_ms, wall_ms, submission, batch, line, reference, status, code, amount_fen, channel, artefact",
    "faults": "n, at_ms, wall_ms, fault, batch, submission, reference, detail",
    "artefacts": "id INTEGER PRIMARY KEY, n, at_ms, channel, name, batch, submission, sound, body",
    "deliveries": "n, at_ms, wall_ms, artefact, how, detail",
}


def resident_id(serial: int) -> str:
    """A valid number of nobody."""
    digits = f"65999919800101{serial:03d}"
    total = sum(int(digit) * (1 << (17 - place)) for place, digit in enumerate(digits))
    return digits + "10X98765432"[total % 11]


def item(line: int, **changes: str) -> dict[str, Any]:
    """A line that may be paid, 100.00 yuan and a fen for each line number."""
    return {
        "line": line,
        "name": f"测试买买提·第{line}号",
        "id_no": resident_id(line),
        "phone": f"1380013{line:04d}",
        "address": f"某某县测试乡{line}村",
        "bank_name": "某某农商银行",
        "bank_no": "402881000015",
        "account": f"629999000000{line:07d}",
        "account_kind": "银行卡",
        "quantity": "1.0",
        "unit": "亩",
        "rate": "100.00",
        "amount": f"100.{line:02d}",
        "remark": "",
        **changes,
    }


@dataclass
class Sent:
    """One line of one transmission, as later events refer to it."""

    submission: int
    batch: str
    line: int
    reference: str
    account: str
    amount_fen: int


@dataclass
class History:
    directory: Path
    items: list[dict[str, Any]]
    ticks: int = 0
    messages: int = 0
    chunks: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)  # message id -> when finance read it, real

    def __post_init__(self) -> None:
        self.inputs = self.directory / "inputs"
        self.inputs.mkdir(parents=True)
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        entry = {
            "kid": "k1",
            "alg": "EdDSA",
            "issuer": ISSUER,
            "kinds": ["batch", "funding", "order"],
            "not_before": "2026-01-01T00:00:00+08:00",
            "not_after": "2027-01-01T00:00:00+08:00",
            "public": {"kty": "OKP", "crv": "Ed25519", "x": _b64(public)},
            "revoked_at": None,
        }
        (self.inputs / "keys.json").write_text(json.dumps({"keys": [entry]}))
        for table in ("agreements.csv", "programmes.csv"):
            (self.inputs / table).write_bytes((DATA / table).read_bytes())
        self.ledger = self.directory / "rcc_file" / "ledger.sqlite"  # the bank that the lines' number belongs to
        self.ledger.parent.mkdir()
        self.database = sqlite3.connect(self.ledger, isolation_level=None)
        for name, columns in TABLES.items():
            self.database.execute(f"CREATE TABLE {name} ({columns})")

    def tick(self) -> tuple[int, int, int]:
        """The number and the two times of the next event: a minute of business, a second of real time."""
        self.ticks += 1
        return self.ticks, START_MS + self.ticks * 60_000, START_MS + self.ticks * 1000

    def publish(self, kind: str, document: dict[str, Any], *, signed: bool = True) -> str:
        """Returns the SHA-256 of the message, by which a refusal names it."""
        self.messages += 1
        _, at_ms, wall_ms = self.tick()
        raw = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
        typ = {"batch": "payout-batch-part+jws", "funding": "payout-funding+jws", "order": "payout-order+jws"}[kind]
        header = {"alg": "EdDSA", "kid": "k1", "typ": typ, "aud": "payout-gateway", "iat": at_ms // 1000}
        protected = _b64(json.dumps({**header, "b64": False, "crit": ["b64"]}).encode())
        jws = f"{protected}..{_b64(self.key.sign(protected.encode() + b'.' + raw))}" if signed else None
        stem = self.inputs / f"{self.messages:08d}"
        stem.with_suffix(f".{kind}").write_bytes(raw)
        stem.with_suffix(".json").write_text(json.dumps({"kind": kind, "jws": jws, "at_ms": at_ms, "wall_ms": wall_ms}))
        return hashlib.sha256(raw).hexdigest()

    def refuse(self, order: str, reason: str) -> None:
        """The gateway refuses an order, named by its digest."""
        self.refusals.append(json.dumps({"order_id": "O", "digest": order, "reason": reason}))

    def approve(self, *, funds: str = "99999.00", signed: bool = True, batch: str = BATCH) -> None:
        fen = [_written(each["amount"]) for each in self.items]
        self.publish(
            "batch",
            {
                "schema": "payout.batch-part/v1",
                "issuer": ISSUER,
                "batch_id": batch,
                "county": "659999",
                "programme": PROGRAMME,
                "period": PERIOD,
                "document_no": "1",
                "issuing_kind": "FINANCE",
                "finance_bureau": "f",
                "line_department": "d",
                "list_received_at": "2026-11-24T10:00:00+08:00",
                "part": 1,
                "parts": 1,
                "lines": len(self.items),
                "amount": f"{sum(fen) // 100}.{sum(fen) % 100:02d}",
                "items": self.items,
            },
            signed=signed,
        )
        if funds:
            self.publish(
                "funding",
                {
                    "schema": "payout.funding/v1",
                    "issuer": ISSUER,
                    "funding_id": f"F-{batch}",
                    "batch_id": batch,
                    "amount": funds,
                    "received_at": "2026-11-24T09:30:00+08:00",
                },
            )

    def order(self, kind: str, line: int, attempt: int, details: dict[str, str] | None = None) -> str:
        return self.publish(
            "order",
            {
                "schema": "payout.order/v1",
                "issuer": ISSUER,
                "order_id": f"O-{self.messages}",
                "kind": kind,
                "batch_id": BATCH,
                "line": line,
                "attempt": attempt,
                "document_no": "2",
                "details": details,
            },
        )

    def send(self, line: int, reference: str, *, batch: str = "", verdict: str = "taken", **changes: Any) -> Sent:
        """The bank receives this line; ``changes`` are what it finds different from the list."""
        n, at_ms, wall_ms = self.tick()
        listed = next(each for each in self.items if each["line"] == line)
        batch = batch or f"DF{reference}"
        row = {
            "account": listed["account"],
            "name": listed["name"],
            "id_no": listed["id_no"],
            "amount_fen": _written(listed["amount"]),
            "programme": PROGRAMME,
            "period": PERIOD,
            "plan": "accept",
            **changes,
        }
        self.database.execute(
            "INSERT INTO submissions (n, at_ms, wall_ms, batch, transmission, verdict) VALUES (?,?,?,?,1,?)",
            (n, at_ms, wall_ms, batch, verdict),
        )
        self.database.execute(
            "INSERT INTO lines (submission, line, reference, account, name, id_no, amount_fen, programme, period, plan)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            (n, line, reference, *(row[name] for name in ("account", "name", "id_no", "amount_fen")),
             row["programme"], row["period"], row["plan"]),
        )  # fmt: skip
        return Sent(n, batch, line, reference, row["account"], row["amount_fen"])

    def move(self, sent: Sent, *, back: bool = False, amount_fen: int | None = None) -> None:
        n, at_ms, _ = self.tick()
        table = "returns" if back else "credits"
        self.database.execute(
            f"INSERT INTO {table} (n, at_ms, submission, line, reference, account, amount_fen) VALUES (?,?,?,?,?,?,?)",
            (n, at_ms, sent.submission, sent.line, sent.reference, sent.account, amount_fen or sent.amount_fen),
        )

    def answer(
        self,
        sent: Sent,
        status: str,
        *,
        whole: bool = False,
        channel: str = "query",
        artefact: str = "",
        amount_told: bool = True,
        code: str = "",
    ) -> None:
        n, at_ms, wall_ms = self.tick()
        self.database.execute(
            "INSERT INTO answers (n, at_ms, wall_ms, submission, batch, line, reference, status, amount_fen, channel,"
            " artefact, code) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (n, at_ms, wall_ms, sent.submission, sent.batch, 0 if whole else sent.line,
             "" if whole else sent.reference, status, sent.amount_fen if amount_told else None, channel, artefact,
             code),
        )  # fmt: skip

    def paid(self, line: int, reference: str, attempt: int = 1, **changes: Any) -> Sent:
        """Sent, credited, answered and told."""
        sent = self.send(line, reference, **changes)
        self.move(sent)
        self.answer(sent, "CREDITED")
        self.tell(line, attempt, "credited", reference)
        return sent

    def rejected(self, line: int, reference: str, attempt: int = 1) -> Sent:
        sent = self.send(line, reference)
        self.answer(sent, "REJECTED", code="3018")
        self.tell(line, attempt, "failed", reference, reason="ACCOUNT_CLOSED")
        return sent

    def came_back(self, sent: Sent, attempt: int = 1) -> None:
        self.move(sent, back=True)
        self.answer(sent, "RETURNED")
        self.tell(sent.line, attempt, "returned", sent.reference, reason="RETURNED_AFTER_CREDIT")

    def tell(
        self, line: int, attempt: int, outcome: str, reference: str = "", batch: str = BATCH, **changes: Any
    ) -> str:
        """One receipt in a record of its own; returns the record's text, so that it can be repeated."""
        listed = next(each for each in self.items if each["line"] == line)
        _, at_ms, wall_ms = self.tick()
        number = 1 if batch == BATCH else int(batch.removeprefix("B-"))
        receipt = {
            "receipt_id": f"{number}-{line}/{attempt}/{outcome}",
            "line": line,
            "payout_id": f"{number}-{line}" if attempt else None,
            "attempt": attempt,
            "outcome": outcome,
            "reason": None,
            "amount": listed["amount"],
            "late": False,
            "reference": reference or None,
            "final_at": dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(),
            **changes,
        }
        chunk = {
            "schema": "payout.receipts/v1",
            "message_id": f"r-{len(self.chunks)}",
            "issuer": ISSUER,
            "batch_id": batch,
            "receipts": [receipt],
        }
        self.chunks.append(json.dumps(chunk))
        self.heard[f"r-{len(self.chunks) - 1}"] = wall_ms
        return self.chunks[-1]

    def report(self, conflict: int, batch: str = BATCH) -> None:
        self.reports.append(
            json.dumps(
                {
                    "report_id": "1/1",
                    "issuer": ISSUER,
                    "batch_id": batch,
                    "revision": len(self.reports) + 1,
                    "conflict": {"count": conflict, "amount": "0.00"},
                }
            )
        )

    def _read_ms(self, value: str) -> int | None:
        return self.heard.get(json.loads(value).get("message_id"))

    def check(self, *arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        """Runs the checker over the history: exit status, its last line, everything printed before."""
        for name, values in (("receipts", self.chunks), ("reports", self.reports), ("refusals", self.refusals)):
            lines = [
                json.dumps({"topic": name, "partition": 0, "offset": n, "value": v, "wall_ms": self._read_ms(v)})
                for n, v in enumerate(values)
            ]
            (self.directory / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        asked = ["--inputs", self.inputs, "--ledger", self.ledger]
        for name in ("receipts", "reports", "refusals"):
            asked += [f"--{name}", self.directory / f"{name}.jsonl"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            status = checker.main([str(word) for word in (*asked, *arguments)])
        *before, last = printed.getvalue().splitlines()
        return status, json.loads(last), "\n".join(before)


def second_batch(history: History, batch: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of one line, like the first."""
    first = json.loads((history.inputs / "00000001.batch").read_bytes())
    return {**first, "batch_id": batch, "lines": len(items), "amount": items[0]["amount"], "items": items}


def funding(batch: str) -> dict[str, str]:
    return {
        "schema": "payout.funding/v1",
        "issuer": ISSUER,
        "funding_id": f"F-{batch}",
        "batch_id": batch,
        "amount": "9999.00",
        "received_at": "2026-11-24T09:30:00+08:00",
    }


def recall(batch: str) -> dict[str, Any]:
    return {
        "schema": "payout.order/v1",
        "issuer": ISSUER,
        "order_id": f"R-{batch}",
        "kind": "RECALL",
        "batch_id": batch,
        "line": None,
        "attempt": None,
        "document_no": "3",
        "details": None,
    }


def clean(directory: Path) -> History:
    """Everything that may legally happen to a payout, once: nothing of it is a violation."""
    history = History(directory, [item(line) for line in range(1, 9)] + [item(9, account_kind="现金", account="")])
    history.approve()
    history.tell(9, 0, "failed", reason="OUT_OF_SCOPE")
    history.paid(1, "REF1")
    history.rejected(2, "REF2")
    history.order("REISSUE", 2, 1, {"account": "6299990000000990002", "name": "测试买买提•改名"})
    history.paid(2, "REF2B", 2, account="6299990000000990002", name="测试买买提·改名")
    history.came_back(history.paid(3, "REF3"))
    history.order("REISSUE", 3, 1)
    history.paid(3, "REF3B", 2)
    history.rejected(4, "REF4")  # waits for an order
    history.rejected(5, "REF5")
    history.order("CANCEL", 5, 1)
    history.tell(5, 2, "cancelled")
    lost = history.send(6, "REF6", verdict="lost")
    history.answer(lost, "ABSENT", whole=True)
    history.paid(6, "REF6", batch=lost.batch)
    alone = history.send(7, "REF7")
    history.answer(alone, "RECEIVED", whole=True)
    history.answer(alone, "IN_PROCESS")
    history.answer(alone, "ABSENT")  # not executed: the last word on this line, of a file that the bank has
    history.tell(7, 1, "failed", "REF7", reason="NOT_EXECUTED")
    history.paid(7, "REF7B", 2)
    history.came_back(history.paid(8, "REF8"))  # waits for an order
    history.chunks.append(history.chunks[1])  # Kafka delivers a record twice
    return history


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _written(amount: str) -> int:
    yuan, _, cents = amount.partition(".")
    return int(yuan) * 100 + int(cents.ljust(2, "0"))
