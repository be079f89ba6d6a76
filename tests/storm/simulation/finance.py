"""Finance: publishes lists and money, reads its receipts, and orders what the seed lets it order."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gateway.approval import AUDIENCE, SigningKey, sign
from gateway.clock import Clock
from schemas.money import sum_as_written
from schemas.v1 import Kind
from tests.store import kit
from tests.storm.simulation.bank import PERIOD, PROGRAMME
from tests.storm.simulation.broker import Broker, Message

LINES_A_LIST = 100  # so a line's number at the bank is 100 times its list's, plus its own
BANK_NUMBERS = ("402881000015", "103881000011")  # of the two banks, by the agreements of the tests


class Finance:
    """``at`` runs something at a later moment. Corrections and second thoughts are drawn from ``second``, apart from
    ``luck``: a month without any is the month that it would be if there were none."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        key: SigningKey,
        luck: random.Random,
        at: Callable[[dt.timedelta, Callable[[], Any]], None],
        second: random.Random,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._key = key
        self._luck = luck
        self._at = at
        self._heard = 0
        self._orders = 0
        self._second = second
        self.recalls: dict[str, int] = {}  # by batch: the number of the record that recalled it, counted from 1
        self.silent = False
        self.lines: dict[int, int] = {}  # lines of each list

    def publish(self, kind: Kind, body: dict[str, Any]) -> None:
        """Sign and publish; some records more than once."""
        raw = json.dumps(body, ensure_ascii=False).encode()
        signature = sign(raw, kind, self._key, "finance-1", AUDIENCE, self._clock.now()).encode()
        message = Message(kind, raw, signature, int(self._clock.now().timestamp() * 1000))
        self._broker.inbound += [message] * (1 if self._luck.random() < 0.8 else 2)

    def publish_list(self, number: int, lines: int) -> None:
        """A list of ``lines`` lines in one or two parts; its money comes before, between or days after them."""
        self.lines[number] = lines
        items = []
        for place in range(1, lines + 1):
            key = number * LINES_A_LIST + place
            account = f"6299990{key:012d}"
            items.append({**kit.line(key, bank_no=self._luck.choice(BANK_NUMBERS), account=account), "line": place})
        parts = self._luck.choice((1, 2)) if lines > 1 else 1
        size = -(-lines // parts)
        now = self._clock.now()
        head = {
            "schema": "payout.batch-part/v1",
            "issuer": kit.ISSUER,
            "batch_id": batch_id(number),
            "county": "659999",
            "programme": PROGRAMME,
            "period": PERIOD,
            "document_no": f"某某财农〔2026〕{number}号",
            "issuing_kind": "FINANCE",
            "finance_bureau": kit.ISSUER,
            "line_department": "659999-agriculture",
            "list_received_at": now.isoformat(timespec="seconds"),
            "parts": parts,
            "lines": lines,
            "amount": sum_as_written(item["amount"] for item in items),
        }
        for part in range(parts):
            body = {**head, "part": part + 1, "items": items[part * size : (part + 1) * size]}
            wait = dt.timedelta(hours=part * self._luck.random() * 3)
            self._at(wait, partial(self.publish, Kind.BATCH, body))
        self._at(dt.timedelta(hours=self._luck.choice((0, 1, 30)) * self._luck.random()), lambda: self._fund(number))
        self._think_again(number, lines, wait)

    def _fund(self, number: int) -> None:
        self.publish(
            Kind.FUNDING,
            {
                "schema": "payout.funding/v1",
                "issuer": kit.ISSUER,
                "funding_id": f"F-{number}",
                "batch_id": batch_id(number),
                "amount": f"{self.lines[number]}00.00",
                "received_at": self._clock.now().isoformat(timespec="seconds"),
            },
        )

    def _think_again(self, number: int, lines: int, whole: dt.timedelta) -> None:
        """Some lists are recalled, and single lines cancelled: from when they are ``whole`` on, before anything was
        sent or in the middle."""
        if self._second.random() < 0.3:
            self._at(whole + self._second_wait(), lambda: self.order("RECALL", batch_id(number), None, None))
        for line in range(1, lines + 1):
            if self._second.random() < 0.1:
                self._at(whole + self._second_wait(), partial(self.order, "CANCEL", batch_id(number), line, 1))

    def _second_wait(self) -> dt.timedelta:
        return dt.timedelta(hours=self._second.choice((0, 0.01, 3, 20, 60)) * self._second.random())

    def _corrected(self, batch: str, line: int) -> dict[str, str] | None:
        """What a re-verification changed: mostly the account, now and then the name, the bank or the ID; or nothing."""
        chance = self._second.random()
        if chance < 0.3:
            return None
        key = int(batch[-4:]) * LINES_A_LIST + line
        version = self._second.randint(1, 9)
        details = {"account": f"629999{version}{key:012d}"}  # its last digits are the line's number at the bank
        if chance > 0.6:
            details["name"] = f"测试{'甲乙丙丁戊己庚辛壬'[version - 1]}"
        if chance > 0.75:
            details["bank_no"] = self._second.choice(BANK_NUMBERS)
        if chance > 0.9:
            details["id_no"] = kit.line(key + LINES_A_LIST // 2)["id_no"]
        return details

    def read_receipts(self) -> None:
        """What failed or came back is ordered again, or cancelled, hours or days later; or nobody bothers."""
        records, self._heard = self._broker.published[self._heard :], len(self._broker.published)
        for topic, _, value in records:
            if topic != "receipts":
                continue
            chunk = json.loads(value)
            for receipt in chunk["receipts"]:
                if receipt["outcome"] in ("failed", "returned") and receipt["attempt"] > 0:
                    self._answer(chunk["batch_id"], receipt["line"], receipt["attempt"])

    def _answer(self, batch: str, line: int, attempt: int) -> None:
        chance = self._luck.random()
        if chance < 0.15:
            return
        kind = "REISSUE" if chance < 0.85 else "CANCEL"
        wait = dt.timedelta(hours=60 * self._luck.random() ** 2)
        self._at(wait, lambda: self.order(kind, batch, line, attempt))
        if self._luck.random() < 0.15:  # a second thought, or another clerk
            again = "CANCEL" if self._luck.random() < 0.3 else "REISSUE"
            self._at(wait * 2 * self._luck.random(), lambda: self.order(again, batch, line, attempt))

    def order(self, kind: str, batch: str, line: int | None, attempt: int | None) -> None:
        if self.silent:
            return
        self._orders += 1
        if kind == "RECALL":
            self.recalls.setdefault(batch, len(self._broker.inbound) + 1)
        details = self._corrected(batch, line) if kind == "REISSUE" and line is not None else None
        self.publish(
            Kind.ORDER,
            {
                "schema": "payout.order/v1",
                "issuer": kit.ISSUER,
                "order_id": f"O-{self._orders}",
                "kind": kind,
                "batch_id": batch,
                "line": line,
                "attempt": attempt,
                "document_no": "某某财农〔2026〕99号",
                "details": details,
            },
        )

    def write_down(self, directory: Path, keys: bytes) -> None:
        """Everything published, in the form in which the checker reads it."""
        (directory / "keys.json").write_bytes(keys)
        for number, message in enumerate(self._broker.inbound, start=1):
            about = {
                "kind": message.kind.value,
                "jws": message.signature.decode(),
                "at_ms": message.at_ms,
                "wall_ms": message.at_ms,  # there is one clock here
            }
            (directory / f"{number:08d}.{message.kind.value}").write_bytes(message.raw)
            (directory / f"{number:08d}.json").write_text(json.dumps(about))


def batch_id(number: int) -> str:
    return f"659999-XJ-NY-01-2026-{number:04d}"
