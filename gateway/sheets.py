"""Reads tables as counties and banks export them: CSV in UTF-8 or GB18030, with Chinese titles in their usual variants.

Cells come out as they are written. Faults name row and column, never a value; where the title row is missing, the
"titles" are somebody's data and are not repeated either. A row at a time, so that size costs no memory.
"""

from __future__ import annotations

import codecs
import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from gateway.tables import TableFault

MOST_BYTES: Final = 512 * 1024 * 1024
MOST_FAULTS: Final = 20
_BLOCK_BYTES = 1024 * 1024

# The words in use for each column, after width folding and without spaces and "(元)"; the first is the usual one.
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "line": ("序号", "编号", "line"),
    "name": ("补贴对象姓名", "姓名", "补贴对象", "户主姓名", "受益人姓名", "name"),
    "id_no": ("身份证号", "身份证号码", "公民身份号码", "身份证", "id_no"),
    "phone": ("手机号", "手机号码", "联系电话", "电话", "phone"),
    "address": ("家庭住址", "住址", "地址", "address"),
    "bank_name": ("开户银行", "开户行", "银行名称", "bank_name"),
    "bank_no": ("行号", "联行号", "开户行行号", "bank_no"),
    "account": ("银行账号", "银行卡号", "账号", "卡号", "社会保障卡号", "account"),
    "account_kind": ("账户类型", "账户种类", "account_kind"),
    "quantity": ("补贴数量", "数量", "补贴面积", "quantity"),
    "unit": ("单位", "unit"),
    "rate": ("补贴标准", "标准", "rate"),
    "amount": ("补贴金额", "金额", "发放金额", "amount"),
    "remark": ("备注", "remark"),
}
FIELDS: Final = tuple(_ALIASES)
_FIELD_OF: Final = {alias: field for field, aliases in _ALIASES.items() for alias in aliases}


class Row(NamedTuple):
    """``row`` counts in the file, ``number`` only the rows with content; ``cells`` is by field."""

    row: int
    number: int
    cells: Mapping[str, str]


def title(field: str) -> str:
    """The usual word for a column; the field itself where there is none."""
    return _ALIASES[field][0] if field in _ALIASES else field


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file whose encoding and titles were understood."""

    path: Path
    encoding: str
    columns: tuple[str | None, ...]  # the field of each column; None for one without title and content

    @classmethod
    def open(cls, path: Path, required: Sequence[str]) -> Sheet:
        """TableFault when the file cannot be read, is too large, or lacks a required column."""
        try:
            if path.stat().st_size > MOST_BYTES:
                raise TableFault([f"{path.name}: is larger than {MOST_BYTES} bytes"])
            encoding = _encoding(path)
            return cls(path, encoding, _columns(path, encoding, required))
        except OSError as error:
            raise TableFault([f"{path.name}: cannot be read ({type(error).__name__})"]) from None

    def rows(self) -> Iterator[Row]:
        """Rows without any content, which spreadsheets leave at the end, are left out."""
        untitled = [place for place, field in enumerate(self.columns) if field is None]
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(file, strict=True)
            number = 0
            try:
                next(reader, None)
                for cells in reader:
                    if not any(cells):
                        continue
                    number += 1
                    # A trailing comma makes a column without a title; it may stand there as long as it is empty.
                    if len(cells) != len(self.columns) or any(cells[place] for place in untitled):
                        raise TableFault([self.fault(reader.line_num, "has not as many cells as there are titles")])
                    by_field = {field: cell for field, cell in zip(self.columns, cells, strict=True) if field}
                    yield Row(reader.line_num, number, by_field)
            except csv.Error:
                raise TableFault([self.fault(reader.line_num, "is not CSV")]) from None

    def fault(self, row: int, what: str) -> str:
        return f"{self.path.name}: row {row}: {what}"


def _encoding(path: Path) -> str:
    """UTF-8 where the whole file is UTF-8, else GB18030; never ``gb2312``, which turns A1A4 into another interpunct.

    Chinese text in GB18030 is no valid UTF-8 for long, and the words of the title row have to be found anyhow.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        return encoding
    raise TableFault([f"{path.name}: is neither UTF-8 nor GB18030"])


def _columns(path: Path, encoding: str, required: Sequence[str]) -> tuple[str | None, ...]:
    with path.open(encoding=encoding, newline="") as file:
        try:
            titles = next(csv.reader(file, strict=True), [])
        except csv.Error:
            raise TableFault([f"{path.name}: row 1: is not CSV"]) from None
    fields = tuple(_FIELD_OF.get(_folded(word)) for word in titles)
    named = any(word.strip() for word in titles)
    # Chinese in the wrong encoding is still text, only nobody's.
    faults = ["no title is known: is the file GB18030 or UTF-8?"] if named and not any(fields) else []
    faults += [
        f"column {number}: is no title that is known"
        for number, (word, field) in enumerate(zip(titles, fields, strict=True), start=1)
        if word.strip() and field is None
    ]
    faults += [f"{title(field)}: the column is missing" for field in required if field not in fields]
    faults += [f"{title(field)}: stands twice" for field in FIELDS if fields.count(field) > 1]
    if faults:
        raise TableFault([f"{path.name}: row 1, {fault}" for fault in faults[:MOST_FAULTS]])
    return fields


def _folded(word: str) -> str:
    """A title without width, spaces, line breaks and the unit in brackets."""
    return "".join(unicodedata.normalize("NFKC", word).split()).removesuffix("(元)").lower()
