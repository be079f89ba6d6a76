"""Makes county lists of any size: invented people under the unassigned prefix, no two alike, spread over four banks."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.world.desk_list import TITLES

LINES_PER_BATCH = 10_000
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_FIRST_BIRTHDAY = dt.date(1950, 1, 1)
_BIRTHDAYS = 20_000
_BANKS = ("402881000015", "103881000011", "403881000017", "104881000012")
_SURNAMES = "王李张刘陈杨赵黄周吴"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


def resident_id(person: int) -> str:
    """A valid number of nobody: prefix 659999, a real birthday, a sequence, the check character."""
    day = _FIRST_BIRTHDAY + dt.timedelta(days=person % _BIRTHDAYS)
    body = f"659999{day:%Y%m%d}{person // _BIRTHDAYS:03d}"
    return body + _CHECKS[sum(int(digit) * weight for digit, weight in zip(body, _WEIGHTS, strict=True)) % 11]


def line(person: int, number: int) -> dict[str, str]:
    amount = 100 + person % 9_000
    return {
        "line": str(number),
        "name": _SURNAMES[person % 10] + _GIVEN[person // 10 % 20] + _GIVEN[person // 200 % 20],
        "id_no": resident_id(person),
        "phone": f"1{30 + person % 9}{person % 100_000_000:08d}",
        "address": "某某县某某乡1村1号",
        "bank_name": "某某银行",
        "bank_no": _BANKS[person % 4],
        "account": f"629999{person:013d}",
        "account_kind": "银行卡",
        "quantity": "1.0",
        "unit": "亩",
        "rate": f"{amount}.00",
        "amount": f"{amount}.{person % 100:02d}",
        "remark": "",
    }


def write_lists(
    directory: Path, payouts: int, lines_per_batch: int = LINES_PER_BATCH, about: Mapping[str, str] = _NOTHING
) -> list[dict[str, Any]]:
    """Lists of at most so many lines each; what a plan of the world wants to know of them. ``about`` replaces members
    of every header."""
    directory.mkdir(parents=True, exist_ok=True)
    lists = []
    titles = {field: title for title, field in TITLES.items()}
    for number, start in enumerate(range(0, payouts, lines_per_batch)):
        name = f"659999-XJ-NY-01-2026-B{number:03d}"
        rows = [line(person, person - start + 1) for person in range(start, min(start + lines_per_batch, payouts))]
        with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(titles.values())
            writer.writerows([row[field] for field in titles] for row in rows)
        header = {
            "batch_id": name,
            "issuer": "659999-finance",
            "issuing_kind": "FINANCE",
            "county": "659999",
            "programme": "XJ-NY-01",
            "period": "2026",
            "document_no": "某某财农〔2026〕18号",
            "line_department": "659999-agriculture",
            "list_received_at": "2026-11-24T10:00:00+08:00",
            "funds_received_at": "2026-11-24T09:30:00+08:00",
            **about,
        }
        (directory / f"{name}.json").write_text(json.dumps(header, ensure_ascii=False))
        lists.append({"list": str(directory / f"{name}.csv"), "header": str(directory / f"{name}.json")})
    return lists
