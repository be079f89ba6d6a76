"""The county's list as signed parts: the CSV that finance keeps, and its header, turned into version 1 messages."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.codec import parse_message
from schemas.money import sum_as_written
from schemas.v1 import Kind

TITLES = {
    "序号": "line",
    "补贴对象姓名": "name",
    "身份证号": "id_no",
    "手机号": "phone",
    "家庭住址": "address",
    "开户银行": "bank_name",
    "行号": "bank_no",
    "银行账号": "account",
    "账户类型": "account_kind",
    "补贴数量": "quantity",
    "单位": "unit",
    "补贴标准(元)": "rate",
    "补贴金额(元)": "amount",
    "备注": "remark",
}


def canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def read_list(path: Path, lines: int = 0) -> list[dict[str, Any]]:
    """The rows of a county's list as they are written; the first ``lines`` of them, 0 = all."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("gb18030")
    rows = csv.DictReader(text.splitlines())
    items = [{field: row[title] or "" for title, field in TITLES.items()} for row in rows]
    for item in items:
        item["line"] = int(item["line"])
    return items[: lines or None]


def written(items: Iterable[Mapping[str, Any]]) -> bytes:
    """The table of a list as spreadsheets save it; ``read_list`` reads it back."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(TITLES))
    writer.writeheader()
    writer.writerows({title: item[field] for title, field in TITLES.items()} for item in items)
    return text.getvalue().encode("utf-8-sig")


def parts(header: dict[str, Any], items: list[dict[str, Any]], lines_per_part: int) -> Iterator[tuple[str, bytes]]:
    """Identity and bytes of each part; every part repeats the whole batch's header and totals."""
    count = -(-len(items) // lines_per_part)
    head = {
        "schema": "payout.batch-part/v1",
        **{name: header[name] for name in ("issuer", "batch_id", "county", "programme", "period", "document_no")},
        **{name: header[name] for name in ("issuing_kind", "line_department", "list_received_at")},
        "finance_bureau": header.get("finance_bureau", header["issuer"]),
        "parts": count,
        "lines": len(items),
        "amount": sum_as_written(item["amount"] for item in items),
    }
    for part in range(1, count + 1):
        slice_ = items[(part - 1) * lines_per_part : part * lines_per_part]
        raw = canonical({**head, "part": part, "items": slice_})
        parse_message(Kind.BATCH, raw)  # what we send is what we promised
        yield f"{header['batch_id']}/{part}", raw


def funding(header: dict[str, Any], items: list[dict[str, Any]]) -> tuple[str, bytes]:
    """The money for everything on the list that is an amount at all: never less than what will be approved."""
    plain = [item["amount"] for item in items if _two_decimals(item["amount"])]
    funding_id = f"{header['batch_id']}-F1"
    raw = canonical(
        {
            "schema": "payout.funding/v1",
            "issuer": header["issuer"],
            "funding_id": funding_id,
            "batch_id": header["batch_id"],
            "amount": sum_as_written(plain),
            "received_at": header["funds_received_at"],
        }
    )
    parse_message(Kind.FUNDING, raw)
    return funding_id, raw


def has_mobile(item: dict[str, Any]) -> bool:
    """Whether the person can be told by SMS."""
    return re.fullmatch(r"1[3-9][0-9]{9}", "".join(item["phone"].split()).removeprefix("+86")) is not None


def _two_decimals(amount: str) -> bool:
    whole, _, cents = amount.partition(".")
    return whole.isascii() and whole.isdigit() and len(cents) <= 2 and (not cents or cents.isdigit())
