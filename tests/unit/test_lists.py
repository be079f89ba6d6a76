"""Reading a county's list: encodings, titles, totals, parts, and faults that name places and never people."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from gateway import lists
from gateway.lists import CountyList, ListHeader, read_header, read_list
from gateway.tables import TableFault
from schemas.codec import encode, parse_message
from schemas.v1 import BatchPart, IssuingKind, Kind

DATA = Path(__file__).resolve().parents[1] / "data/real_name_list"
LIST, HEADER = DATA / "farmland_fertility_2026.csv", DATA / "farmland_fertility_2026.json"
TITLES = ["序号", "姓名", "身份证号", "手机号", "银行账号", "账户类型", "行号", "补贴金额(元)"]
ROW = ["1", "测试甲", "659999197001010019", "13800138000", "6299990000007000023", "银行卡", "402881000015", "10.50"]
SECRETS = ("测试甲", "659999197001010019", "13800138000", "6299990000007000023")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def written(rows: list[list[str]], titles: list[str] | None = None) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([titles or TITLES, *rows])
    return text.getvalue()


def numbered(count: int) -> list[list[str]]:
    return [[str(number), *ROW[1:]] for number in range(1, count + 1)]


def faults_of(path: Path) -> str:
    with pytest.raises(TableFault) as caught:
        read_list(path)
    told = "\n".join(caught.value.faults)
    assert not any(secret in told for secret in SECRETS)
    return told


def parts_of(path: Path, lines_per_part: int = 1000) -> list[BatchPart]:
    return list(read_list(path).build(read_header(HEADER), lines_per_part))


# --- The county's own list ------------------------------------------------------------------------------------------


def test_the_county_list_becomes_three_parts_with_the_same_totals() -> None:
    """3,000 lines in GB18030 become parts of 1,000, each of which carries the exact totals of the whole."""
    parts = parts_of(LIST)
    assert [(part.part, part.parts, part.lines, len(part.items)) for part in parts] == [
        (number, 3, 3000, 1000) for number in (1, 2, 3)
    ]
    assert [item.line for part in parts for item in part.items] == list(range(1, 3001))
    amounts = [row["补贴金额(元)"] for row in csv.DictReader(LIST.read_bytes().decode("gb18030").splitlines())]
    thousandths = sum(int(yuan) * 1000 + int(rest.ljust(3, "0")) for yuan, rest in (a.split(".") for a in amounts))
    total = f"{thousandths // 1000}.{thousandths % 1000:03d}".removesuffix("0")
    assert {part.amount for part in parts} == {total}


def test_lines_are_taken_as_they_are_written() -> None:
    """Nothing is mended: interpuncts, separators and foreign digits reach intake as the county wrote them."""
    rows = list(csv.DictReader(LIST.read_bytes().decode("gb18030").splitlines()))
    for row, item in zip(rows, (item for part in parts_of(LIST) for item in part.items), strict=True):
        assert item.name.reveal() == row["补贴对象姓名"]
        assert item.id_no.reveal() == row["身份证号"]
        assert item.account.reveal() == row["银行账号"]
        assert (item.account_kind, item.bank_no, item.amount) == (row["账户类型"], row["行号"], row["补贴金额(元)"])
        assert item.phone.reveal() == row["手机号"]
        assert item.address.reveal() == row["家庭住址"]


def test_equal_lists_become_equal_bytes() -> None:
    """Publishing a list again sends the same bytes, which intake counts as nothing new; they pass the strict reader."""
    first, second = ([encode(part) for part in parts_of(LIST)] for _ in range(2))
    assert first == second
    assert [parse_message(Kind.BATCH, raw).part for raw in first] == [1, 2, 3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_encodings_give_the_same_messages(file: Path, encoding: str) -> None:
    """UTF-8 with and without a mark and GB18030 are told apart by the file itself."""
    text = LIST.read_bytes().decode("gb18030")
    file.write_bytes(text.encode(encoding))
    assert [encode(part) for part in parts_of(file)] == [encode(part) for part in parts_of(LIST)]
    assert read_list(file).sheet.encoding == ("gb18030" if encoding == "gb18030" else "utf-8-sig")


def test_the_interpunct_of_gb18030_is_the_legal_one(file: Path) -> None:
    """A1A4 is read as U+00B7, which the gb2312 codec would have made U+30FB."""
    file.write_bytes(written([[ROW[0], "阿·尼", *ROW[2:]]]).encode("gb18030"))
    assert b"\xa1\xa4" in file.read_bytes()
    assert parts_of(file)[0].items[0].name.reveal() == "阿\u00b7尼"


# --- Titles, numbers, sums ------------------------------------------------------------------------------------------


def test_titles_vary_in_width_spaces_and_words(file: Path) -> None:
    """Full-width brackets, spaces and line breaks in titles, and the usual other words, are understood."""
    titles = ["编号", "户主姓名", "身份证\n号码", "联系 电话", "卡号", "账户种类", "联行号", "补贴金额（元）"]
    file.write_text(written([ROW], titles), encoding="utf-8")
    item = parts_of(file)[0].items[0]
    assert (item.name.reveal(), item.phone.reveal(), item.amount) == ("测试甲", "13800138000", "10.50")


def test_a_list_without_numbers_and_accounts(file: Path) -> None:
    """Lines are numbered by place where there is no such column, and an absent column is empty."""
    file.write_text(written([["甲", "1", "2.00"], ["乙", "2", "3.00"]], ["姓名", "身份证号", "金额"]), encoding="utf-8")
    items = parts_of(file)[0].items
    assert [(item.line, item.account.reveal(), item.remark) for item in items] == [(1, "", ""), (2, "", "")]


def test_the_sum_counts_what_is_no_amount_as_zero(file: Path) -> None:
    """The sum is over the amounts as written; what could be paid at all is counted apart, for the funding."""
    amounts = ["10.50", "0.005", "1,000.00", "", "-3.00", "0.00"]
    rows = [[str(number), *ROW[1:-1], amount] for number, amount in enumerate(amounts, start=1)]
    file.write_text(written(rows), encoding="utf-8")
    listed = read_list(file)
    assert parts_of(file)[0].amount == "10.505"
    assert listed.payable_fen == 1050


def test_parts_are_cut_as_asked(file: Path) -> None:
    """The last part holds the rest; no line is in two parts."""
    file.write_text(written(numbered(7)), encoding="utf-8")
    parts = parts_of(file, 3)
    assert [[item.line for item in part.items] for part in parts] == [[1, 2, 3], [4, 5, 6], [7]]
    assert {part.parts for part in parts} == {3}


def test_empty_rows_at_the_end_are_no_lines(file: Path) -> None:
    """What a spreadsheet leaves below the table is ignored, also in a column without a title."""
    text = written([[*ROW, ""], [""] * 9, [""] * 9], [*TITLES, ""])
    file.write_text(text, encoding="utf-8")
    assert read_list(file).lines == 1


def test_numbers_run_from_one(file: Path) -> None:
    """What the gateway would refuse as DUPLICATE_LINE is a fault here, once where the run breaks, not ever after."""
    broken = "序号: does not follow the line above: numbers run from 1 without gap or repetition"
    file.write_text(written([[number, *ROW[1:]] for number in ("1", "2", "4", "5", "5", "6")]), encoding="utf-8")
    assert faults_of(file).splitlines() == [f"list.csv: row {row}, {broken}" for row in (4, 6)]
    file.write_text(written([[number, *ROW[1:]] for number in ("1", "x", "3")]), encoding="utf-8")
    assert faults_of(file) == "list.csv: row 3, 序号: is not a line number"


# --- Faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([["2", *ROW[1:]]], "row 2, 序号: does not follow"),
        ([["1", *ROW[1:]], ["1", *ROW[1:]]], "row 3, 序号: does not follow"),
        ([["2", *ROW[1:]], ["1", *ROW[1:]]], "row 3, 序号: does not follow"),
        ([["合计", *ROW[1:]]], "row 2, 序号: is not a line number"),
        ([["۱", *ROW[1:]]], "row 2, 序号: is not a line number"),
        ([["0", *ROW[1:]]], "row 2, 序号: is not a line number"),
        ([["1000001", *ROW[1:]]], "row 2, 序号: Input should be less than or equal to 1000000"),
        ([ROW[:-1]], "row 2: has not as many cells as there are titles"),
        ([[*ROW, "x"]], "row 2: has not as many cells as there are titles"),
        ([["1", "王" * 201, *ROW[2:]]], "row 2, 补贴对象姓名: String should have at most 200 characters"),
        ([], "holds no lines"),
    ],
)
def test_rows_that_cannot_become_lines(file: Path, rows: list[list[str]], fault: str) -> None:
    """What would make the message impossible is told by row and title, never by value."""
    file.write_text(written(rows), encoding="utf-8")
    assert fault in faults_of(file)


def test_all_faults_are_told_up_to_a_bound(file: Path) -> None:
    """Several rows are told at once, and a file that is wrong everywhere is told in twenty lines."""
    file.write_text(written([["x", *ROW[1:]] for _ in range(500)]), encoding="utf-8")
    told = faults_of(file).splitlines()
    assert len(told) == 20
    assert told[1].startswith("list.csv: row 3")


def test_a_list_has_a_bound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many lines as a batch may have are read, one more is a fault."""
    monkeypatch.setattr(lists, "MOST_LINES_IN_BATCH", 3)
    file.write_text(written(numbered(3)), encoding="utf-8")
    assert read_list(file).lines == 3
    file.write_text(written(numbered(50)), encoding="utf-8")
    assert faults_of(file) == "list.csv: holds more than 3 lines"


@pytest.mark.parametrize(
    ("titles", "fault"),
    [
        (["姓名", "身份证号"], "补贴金额: the column is missing"),
        (["姓名", "补贴对象姓名", "身份证号", "金额"], "补贴对象姓名: stands twice"),
        (["姓名", "身份证号", "金额", "测试甲"], "column 4: is no title that is known"),
    ],
)
def test_titles_that_do_not_hold(file: Path, titles: list[str], fault: str) -> None:
    """Missing, doubled and unknown titles are told; an unknown title, which may be a person's row, is not repeated."""
    file.write_text(written([], titles), encoding="utf-8")
    assert fault in faults_of(file)


def test_a_file_without_titles_tells_nobody(file: Path) -> None:
    """Where the first row is a person's, its cells stay untold."""
    file.write_text(written([], ROW), encoding="utf-8")
    assert "column 2: is no title that is known" in faults_of(file)


def test_titles_in_another_encoding_are_asked_about(file: Path) -> None:
    """Where not one title is known the encoding is the likely cause, and is asked about; one unknown title is not."""
    asked = "list.csv: row 1, no title is known: is the file GB18030 or UTF-8?"
    file.write_bytes(written([ROW], TITLES[:3]).encode("big5", "replace"))
    assert faults_of(file).splitlines()[0] == asked
    file.write_text(written([], [*TITLES, "杂项"]), encoding="utf-8")
    assert asked not in faults_of(file)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xff\xff\xff", "is neither UTF-8 nor GB18030"),
        (b"", "补贴对象姓名: the column is missing"),
        (written([]).encode() + b'1,"x', "is not CSV"),
    ],
)
def test_files_that_are_no_list(file: Path, content: bytes, fault: str) -> None:
    """Broken bytes, nothing, and a quotation mark that never closes are told in one line."""
    file.write_bytes(content)
    assert fault in faults_of(file)
    assert "cannot be read (FileNotFoundError)" in faults_of(file.with_name("none.csv"))


def test_a_list_that_shrinks_while_it_is_read_is_not_published(file: Path) -> None:
    """Parts are never built over other lines than the totals were counted on."""
    file.write_text(written(numbered(4)), encoding="utf-8")
    listed: CountyList = read_list(file)
    file.write_text(written(numbered(2)), encoding="utf-8")
    with pytest.raises(TableFault, match="was changed"):
        list(listed.build(read_header(HEADER), 2))


# --- The header file ------------------------------------------------------------------------------------------------


def header_with(tmp_path: Path, **changes: object) -> Path:
    values = {**json.loads(HEADER.read_text(encoding="utf-8")), **changes}
    path = tmp_path / "header.json"
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}), encoding="utf-8")
    return path


def test_the_header_names_the_batch() -> None:
    """The county's header is read, and finance that issues a list is the bureau it reports to."""
    header = read_header(HEADER)
    assert (header.batch_id, header.programme, header.issuing_kind) == (
        "659999-XJ-NY-01-2026-0001",
        "XJ-NY-01",
        IssuingKind.FINANCE,
    )
    assert parts_of(LIST)[0].finance_bureau == header.issuer == "659999-finance"


def test_a_department_names_its_finance_bureau(tmp_path: Path) -> None:
    """A list issued by a department must say which bureau hears of it."""
    with pytest.raises(TableFault, match="finance_bureau is missing"):
        read_header(header_with(tmp_path, issuing_kind="DEPARTMENT"))
    header: ListHeader = read_header(header_with(tmp_path, issuing_kind="DEPARTMENT", finance_bureau="659999-finance"))
    assert header.finance_bureau == "659999-finance"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"county": "65999"}, "county: "),
        ({"batch_id": None}, "batch_id: Field required"),
        ({"list_received_at": "2026-11-24T10:00:00"}, "list_received_at: "),
        ({"测试甲": "x"}, "?: Extra inputs"),
        ({"period": 2026}, "period: "),
    ],
)
def test_header_faults(tmp_path: Path, changes: dict[str, object], fault: str) -> None:
    """Each wrong member is named; one that is not ours is not."""
    with pytest.raises(TableFault) as caught:
        read_header(header_with(tmp_path, **changes))
    assert fault in caught.value.faults[0]
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":1,"a":2}', b"\xff", b"x" * 70_000])
def test_what_is_no_header(tmp_path: Path, content: bytes) -> None:
    """Broken, ambiguous and oversize files are refused with the file's name."""
    path = tmp_path / "header.json"
    path.write_bytes(content)
    with pytest.raises(TableFault, match=r"header\.json"):
        read_header(path)
    with pytest.raises(TableFault, match="FileNotFoundError"):
        read_header(tmp_path / "none.json")


def test_the_funding_covers_what_can_be_paid(tmp_path: Path) -> None:
    """Without an amount in the header the funding is the sum of all amounts that are amounts; its id is stable."""
    listed, header = read_list(LIST), read_header(HEADER)
    funding = header.funding(listed.payable_fen)
    assert funding.funding_id == "659999-XJ-NY-01-2026-0001-F1"
    assert funding.amount == "15733737.55"
    assert funding.received_at == header.funds_received_at
    explicit = read_header(header_with(tmp_path, funds_amount="20000000.00", funding_id="F-7"))
    assert (explicit.funding(1).amount, explicit.funding(1).funding_id) == ("20000000.00", "F-7")
    with pytest.raises(TableFault, match="funds_received_at is missing"):
        read_header(header_with(tmp_path, funds_received_at=None)).funding(1)
