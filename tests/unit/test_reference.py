"""The tables that people maintain: what is loaded, and how their faults are told."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import pytest

from gateway import reference
from gateway.policy import Scope
from gateway.tables import Table, TableFault, matches
from schemas.masked import AccountNumber

ROOT = Path(__file__).resolve().parents[2]
SEEDS = ROOT / "deploy/reference"
PROGRAMMES = (SEEDS / "programmes.csv").read_text(encoding="utf-8")
AGREEMENTS = (SEEDS / "agreements.csv").read_text(encoding="utf-8")
CALENDAR = (SEEDS / "calendar.csv").read_text(encoding="utf-8")
HEADER = AGREEMENTS.splitlines()[0]
DEBIT_ACCOUNT = "6599990000000017"
AGREEMENT = f"659999,402881000015,某某农商银行,rcc_file,{DEBIT_ACCOUNT},专户,某某农商银行,2025-01-01,2027-12-31"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def faults_of(load: object, *arguments: object) -> tuple[str, ...]:
    assert callable(load)
    with pytest.raises(TableFault) as caught:
        load(*arguments)
    return caught.value.faults


def test_the_seeds_load_and_hold_what_the_county_pays_with() -> None:
    """The shipped tables are whole: 28 programmes, five agreements (four valid), a calendar to the end of 2026."""
    loaded = reference.load(SEEDS / "programmes.csv", SEEDS / "agreements.csv", SEEDS / "calendar.csv")
    assert len(loaded.programmes) == 28
    assert loaded.programmes["XJ-NY-01"].sms_name == "耕地地力保护补贴"
    assert {programme.scope for programme in loaded.programmes.values()} == {Scope.SCHEME}
    assert len(loaded.agreements) == 5
    assert set(loaded.valid_agreements("659999", dt.date(2026, 11, 24))) == {
        "402881000015",
        "103881000011",
        "403881000017",
        "104881000012",
    }
    assert loaded.calendar.horizon() == dt.date(2026, 12, 31)


def test_the_shipped_tables_are_the_published_ones() -> None:
    """Programmes are the published list byte for byte, and agreements name the four kinds of bank."""
    assert (SEEDS / "programmes.csv").read_bytes() == (ROOT / "tests/data/programmes.csv").read_bytes()
    published = list(csv.DictReader((ROOT / "tests/data/agreements.csv").read_text(encoding="utf-8").splitlines()))
    shipped = list(csv.DictReader(AGREEMENTS.splitlines()))
    assert [row["adapter"] for row in shipped] == [row["adapter_issue_banks"] for row in published]
    assert [row["debit_account"] for row in shipped] == [row["debit_account"] for row in published]


def test_rules_hold_on_one_day_in_one_county() -> None:
    """The first and the last day of an agreement count, the day after and another county do not."""
    loaded = reference.load(SEEDS / "programmes.csv", SEEDS / "agreements.csv", SEEDS / "calendar.csv")
    programme = loaded.programmes["XJ-NY-01"]
    expiring = "105881000013"
    assert expiring in loaded.rules(programme, "659999", dt.date(2023, 1, 1)).agreements
    assert expiring in loaded.rules(programme, "659999", dt.date(2025, 12, 31)).agreements
    assert expiring not in loaded.rules(programme, "659999", dt.date(2026, 1, 1)).agreements
    assert not loaded.rules(programme, "659998", dt.date(2025, 12, 31)).agreements


def test_the_adapter_column_is_chosen(table: Path) -> None:
    """One table may carry several columns of adapters; the configuration names the one that counts."""
    table.write_text(f"{HEADER},later\n{AGREEMENT},iso20022\n", encoding="utf-8")
    assert [agreement.bank for agreement in reference.load_agreements(table)] == ["rcc_file"]
    assert [agreement.bank for agreement in reference.load_agreements(table, "later")] == ["iso20022"]
    assert faults_of(reference.load_agreements, table, "none") == ("table.csv: line 1, none: the column is missing",)


def test_account_numbers_stay_masked(table: Path) -> None:
    """Neither an agreement nor the fault of its row prints the debit account."""
    table.write_text(f"{HEADER}\n{AGREEMENT}\n", encoding="utf-8")
    agreement = reference.load_agreements(table)[0]
    assert agreement.debit_account == AccountNumber(DEBIT_ACCOUNT)
    assert DEBIT_ACCOUNT not in repr(agreement)
    table.write_text(f"{HEADER}\n{AGREEMENT.replace(DEBIT_ACCOUNT, DEBIT_ACCOUNT + '|')}\n", encoding="utf-8")
    assert DEBIT_ACCOUNT not in "".join(faults_of(reference.load_agreements, table))


def test_all_faults_of_a_table_are_told_at_once(table: Path) -> None:
    """Each wrong cell has its own line, with row and column, and never the value."""
    table.write_text(f"{HEADER}\n65999,x,,Bad,1,专户,一,2025-13-01,20271231\n1,2\n", encoding="utf-8")
    faults = faults_of(reference.load_agreements, table)
    columns = [fault.removeprefix("table.csv: line 2, ").split(":")[0] for fault in faults[:-1]]
    wrong = ["county", "bank_no", "bank_name", "debit_account", "sms_signature", "valid_from", "valid_to", "adapter"]
    assert columns == wrong
    assert faults[-1] == "table.csv: line 3, row: has 2 cells, the header has 9"


def test_agreements_do_not_overlap(table: Path) -> None:
    """For one county, bank and day there is one agreement; a successor from the next day on is right."""
    ended = AGREEMENT.replace("2027-12-31", "2026-06-30")
    table.write_text(f"{HEADER}\n{ended}\n{AGREEMENT.replace('2025-01-01', '2026-07-01')}\n", encoding="utf-8")
    assert len(reference.load_agreements(table)) == 2
    table.write_text(f"{HEADER}\n{ended}\n{AGREEMENT.replace('2025-01-01', '2026-06-30')}\n", encoding="utf-8")
    assert "line 3, bank_no: has another agreement" in faults_of(reference.load_agreements, table)[0]
    later_first = f"{HEADER}\n{AGREEMENT.replace('2025-01-01', '2026-06-30')}\n{ended}\n"
    table.write_text(later_first, encoding="utf-8")
    assert "line 3, bank_no: has another agreement" in faults_of(reference.load_agreements, table)[0]
    table.write_text(f"{HEADER}\n{AGREEMENT.replace('2025-01-01', '2027-12-31')}\n", encoding="utf-8")
    assert len(reference.load_agreements(table)) == 1
    table.write_text(f"{HEADER}\n{AGREEMENT.replace('2025-01-01', '2028-01-01')}\n", encoding="utf-8")
    assert "valid_to: is before valid_from" in faults_of(reference.load_agreements, table)[0]


def test_a_programme_may_be_out_of_scope(table: Path) -> None:
    """A column ``scope`` marks social insurance; other words are faults."""
    head, row = PROGRAMMES.splitlines()[0], PROGRAMMES.splitlines()[1]
    table.write_text(f"{head},scope\n{row},SOCIAL_INSURANCE\n", encoding="utf-8")
    assert reference.load_programmes(table)["XJ-ZF-01"].scope is Scope.SOCIAL_INSURANCE
    table.write_text(f"{head},scope\n{row},PENSION\n", encoding="utf-8")
    assert "scope: is neither" in faults_of(reference.load_programmes, table)[0]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        (0, "XJ_NY", "code"),
        (1, "长" * 37, "full_name"),
        (4, "【补贴】", "sms_name"),
        (5, "耕地地力保护补贴资金项", "bank_purpose"),
        (6, "耕地补贴款", "passbook_abstract"),
    ],
)
def test_approved_texts_that_do_not_fit_are_faults(table: Path, column: int, value: str, fault: str) -> None:
    """A text too long for a bank or an SMS is refused at loading: code never cuts it."""
    cells = PROGRAMMES.splitlines()[1].split(",")
    cells[column] = value
    table.write_text(f"{PROGRAMMES.splitlines()[0]}\n{','.join(cells)}\n", encoding="utf-8")
    assert f"line 2, {fault}: " in faults_of(reference.load_programmes, table)[0]


def test_a_purpose_may_fill_the_banks_field(table: Path) -> None:
    """Twenty bytes in GB18030 fit, one more does not, and characters of four bytes count as four."""
    for purpose, fits in (
        ("耕地地力保护补贴资金", True),
        ("耕地地力保护补贴资金1", False),
        ("㐀" * 5, True),
        ("㐀" * 6, False),
    ):
        cells = PROGRAMMES.splitlines()[1].split(",")
        cells[5] = purpose
        table.write_text(f"{PROGRAMMES.splitlines()[0]}\n{','.join(cells)}\n", encoding="utf-8")
        if fits:
            assert reference.load_programmes(table)[cells[0]].bank_purpose == purpose
        else:
            assert "line 2, bank_purpose: " in faults_of(reference.load_programmes, table)[0]


def test_a_programme_stands_once(table: Path) -> None:
    """Two rows for one code are a fault, not a silent last one wins."""
    table.write_text(PROGRAMMES + PROGRAMMES.splitlines()[1] + "\n", encoding="utf-8")
    assert faults_of(reference.load_programmes, table) == ("table.csv: line 30, code: stands twice",)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("2026-10-01,OFF,again", "stands twice"),
        ("2026-10-12,WORK,Monday", "is a weekday"),
        ("2026-10-32,OFF,x", "is not a date"),
        ("20261011,WORK,x", "is not a date"),
        ("2026-10-11,off,x", "is neither OFF nor WORK nor REGIONAL"),
        ("2027-05-01,OFF,Labour Day", "the year 2027 is incomplete"),
    ],
)
def test_calendar_faults(table: Path, row: str, fault: str) -> None:
    """A slip in the calendar is found before a deadline is counted on it; half a year counts as none."""
    table.write_text(f"{CALENDAR}{row}\n", encoding="utf-8")
    assert fault in faults_of(reference.load_calendar, table)[0]


@pytest.mark.parametrize("day", ["2026-01-01", "2026-10-01"])
def test_a_year_without_its_fixed_holidays_is_incomplete(table: Path, day: str) -> None:
    """New Year's Day and National Day are never worked: a year that lacks either was not loaded whole."""
    kept = [row for row in CALENDAR.splitlines() if not row.startswith(day)]
    table.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert faults_of(reference.load_calendar, table) == (
        "table.csv: date: the year 2026 is incomplete: New Year's Day or National Day is not off",
    )


def test_a_regional_day_loads_no_year(table: Path) -> None:
    """Regional holidays come in beside the legal table and make no year known."""
    table.write_text(f"{CALENDAR}2027-03-10,REGIONAL,regional\n", encoding="utf-8")
    calendar = reference.load_calendar(table)
    assert dt.date(2027, 3, 10) in calendar.regional
    assert not calendar.known(dt.date(2027, 3, 10))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("序号\n".encode("gb18030"), "table.csv: file: is not UTF-8"),
        (b"date,kind\n", "table.csv: line 1, name: the column is missing"),
        (b"date,kind,name,name\n", "table.csv: line 1, header: names a column twice"),
        (b"date,kind,name,more\n", "table.csv: line 1, header: names a column that is not known"),
        (b'date,kind,name\n2026-01-01,OFF,"x', "is not CSV"),
        (b"", "the column is missing"),
    ],
)
def test_files_that_are_no_table(table: Path, content: bytes, fault: str) -> None:
    """Another encoding, other columns, an open quotation mark or nothing at all is told in one line."""
    table.write_bytes(content)
    assert any(fault in told for told in faults_of(reference.load_calendar, table))


def test_a_byte_order_mark_and_a_missing_file(table: Path) -> None:
    """A table saved by a spreadsheet loads; a file that is not there is a fault, not a traceback."""
    assert faults_of(reference.load_calendar, table) == ("table.csv: file: cannot be read (FileNotFoundError)",)
    table.write_text(CALENDAR, encoding="utf-8-sig")
    assert reference.load_calendar(table).horizon() == dt.date(2026, 12, 31)


def test_a_table_has_a_bound(table: Path) -> None:
    """A file of the permitted size is read, one byte more is a fault."""
    table.write_text("a\n1\n", encoding="utf-8")
    checks = {"a": matches("1", "is not 1")}
    assert [row["a"] for _, row in Table(table, checks, most_bytes=4).rows()] == ["1"]
    small = Table(table, checks, most_bytes=3)
    assert list(small.rows()) == []
    with pytest.raises(TableFault, match=r"^table\.csv: file: is larger than 3 bytes$"):
        small.finish()


def test_faults_of_all_tables_come_together(tmp_path: Path) -> None:
    """Loading the reference names what is wrong in each of the three files."""
    faults = faults_of(reference.load, tmp_path / "p.csv", tmp_path / "a.csv", tmp_path / "c.csv")
    assert [fault.split(":")[0] for fault in faults] == ["p.csv", "a.csv", "c.csv"]


def test_endless_faults_are_cut(table: Path) -> None:
    """A file that is wrong in every row is told in a bounded number of lines."""
    table.write_text("date,kind,name\n" + "x,y,z\n" * 5000, encoding="utf-8")
    faults = faults_of(reference.load_calendar, table)
    assert len(faults) == 101
    assert faults[-1].endswith("there are more faults")
