"""Judging lines and corrected details, against the county's real list and case by case."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import policy
from gateway.policy import AccountKind, Approved, Binding, Corrected, Payee, Refused, Rules, Scope
from gateway.reference import load_agreements
from schemas.masked import AccountNumber, IdNumber, PersonName, Phone
from schemas.v1 import LineReason

DATA = Path(__file__).resolve().parents[1] / "data"
DAY = dt.date(2026, 11, 24)
AGREEMENTS = load_agreements(DATA / "agreements.csv", "adapter_issue_main_job")
RULES = Rules(DAY, Scope.SCHEME, {a.bank_no: a for a in AGREEMENTS if a.valid_on(DAY)})
ID = "659999197001010019"
OTHER_ID = "65999919850615002X"
CARD = "6299990000007000023"
BANK, OTHER_BANK, EXPIRED_BANK = "402881000015", "103881000011", "105881000013"
KEPT = Binding(AccountNumber("6299990000007000031"), AccountKind.PASSBOOK, OTHER_BANK)


@dataclass(frozen=True)
class Line:
    """A line that is paid, unless a test changes it."""

    name: PersonName = field(default_factory=lambda: PersonName("阿不都·尼亚孜"))
    id_no: IdNumber = field(default_factory=lambda: IdNumber(ID))
    phone: Phone = field(default_factory=lambda: Phone("13800138000"))
    account: AccountNumber = field(default_factory=lambda: AccountNumber(CARD))
    account_kind: str = "社会保障卡"
    bank_no: str = BANK
    amount: str = "1234.56"


@dataclass(frozen=True)
class Correction:
    name: PersonName | None = None
    id_no: IdNumber | None = None
    phone: Phone | None = None
    account: AccountNumber | None = None
    account_kind: str | None = None
    bank_no: str | None = None


def approved(line: Line, binding: Binding | None = None) -> Approved:
    verdict = policy.judge(RULES, line, binding)
    assert isinstance(verdict, Approved), verdict
    return verdict


def refused(line: Line, binding: Binding | None = None, rules: Rules = RULES) -> Refused:
    verdict = policy.judge(rules, line, binding)
    assert isinstance(verdict, Refused), verdict
    return verdict


# --- The county's list ----------------------------------------------------------------------------------------------


def county_list() -> list[Line]:
    text = (DATA / "real_name_list/farmland_fertility_2026.csv").read_bytes().decode("gb18030")
    return [
        Line(
            PersonName(row["补贴对象姓名"]),
            IdNumber(row["身份证号"]),
            Phone(row["手机号"]),
            AccountNumber(row["银行账号"]),
            row["账户类型"],
            row["行号"],
            row["补贴金额(元)"],
        )
        for row in csv.DictReader(text.splitlines())
    ]


def test_the_county_list_is_judged_as_expected_line_by_line() -> None:
    """All 180 refusals, with their details, and all 2,820 payments of the real list are as its owner expects."""
    rows = csv.DictReader((DATA / "real_name_list/expected.csv").read_text(encoding="utf-8").splitlines())
    special = {int(row["line"]): row for row in rows}
    seen: set[IdNumber] = set()

    def is_duplicate(person: IdNumber) -> bool:
        known = person in seen
        seen.add(person)
        return known

    outcomes = {}
    for number, line in enumerate(county_list(), start=1):
        verdict = policy.judge(RULES, line, None, is_duplicate)
        expected = special.get(number, {"outcome": "pay", "reason": ""})
        if isinstance(verdict, Refused):
            code, _, detail = expected["reason"].partition(": ")
            outcomes[number] = "refuse"
            assert (verdict.reason, expected["outcome"]) == (code, "refuse"), number
            assert verdict.detail == detail or code == "ACCOUNT_MISSING", number
        else:
            outcomes[number] = "pay"
            assert expected["outcome"] == "pay", number
            assert (verdict.payee.phone is None) == expected["reason"].startswith("no mobile"), number
            assert (verdict.payee.raw_name is not None) == expected["reason"].startswith("interpunct"), number
    assert list(outcomes.values()).count("refuse") == 180
    assert list(outcomes.values()).count("pay") == 2820


def test_cards_of_the_list_pass_luhn() -> None:
    """The check digit of every card in the list holds, and fails when one digit is changed."""
    cards = [line.account for line in county_list() if line.account and line.account_kind != "存折"]
    assert all(map(policy.luhn_holds, cards))
    wrong = [AccountNumber(card.reveal()[:-1] + str((int(card.reveal()[-1]) + 1) % 10)) for card in cards]
    assert not any(map(policy.luhn_holds, wrong))
    assert not policy.luhn_holds(AccountNumber("abc"))


# --- One line -------------------------------------------------------------------------------------------------------


def test_an_approved_line_carries_what_a_payment_needs() -> None:
    """Name, ID, account, kind, phone, fen and agreement come out as written, and nothing of it prints in clear."""
    verdict = approved(Line())
    assert verdict.amount_fen == 123456
    assert verdict.agreement.bank == "rcc_file"
    payee = verdict.payee
    assert payee.name.reveal() == "阿不都·尼亚孜"
    assert payee.raw_name is None
    assert (payee.id_no.reveal(), payee.account.reveal(), payee.bank_no) == (ID, CARD, BANK)
    assert payee.account_kind is AccountKind.SSCARD
    assert payee.phone == Phone("13800138000")
    printed = repr(verdict)
    assert not any(secret in printed for secret in (ID, CARD, "13800138000", "尼亚孜"))


PRECEDENCE = [
    (LineReason.OUT_OF_SCOPE, {"account_kind": "现金"}),
    (LineReason.NAME_INVALID, {"name": PersonName("王|三")}),
    (LineReason.ID_INVALID, {"id_no": IdNumber("659999197001010018")}),
    (LineReason.AMOUNT_INVALID, {"amount": "0.00"}),
    (LineReason.ACCOUNT_MISSING, {"account": AccountNumber("")}),
    (LineReason.NO_AGREEMENT, {"bank_no": "999881000099"}),
]


@pytest.mark.parametrize("place", range(len(PRECEDENCE)))
def test_precedence(place: int) -> None:
    """Of several faults the first in the order of DESIGN section 6 is the one given; a duplicate comes last of all."""
    line = Line()
    for _, change in reversed(PRECEDENCE[place:]):
        line = replace(line, **change)  # type: ignore[arg-type]
    verdict = policy.judge(RULES, line, None, lambda person: True)
    assert isinstance(verdict, Refused)
    assert verdict.reason is PRECEDENCE[place][0]
    duplicate = policy.judge(RULES, Line(), None, lambda person: True)
    assert isinstance(duplicate, Refused)
    assert duplicate.reason is LineReason.DUPLICATE_BENEFICIARY
    assert [reason for reason, _ in PRECEDENCE] == list(LineReason)[:-1]


@pytest.mark.parametrize(
    ("kind", "detail"), [("现金", policy.CASH), ("CASH", policy.CASH), ("支票", policy.UNKNOWN_KIND)]
)
def test_other_kinds_of_payment_are_out_of_scope(kind: str, detail: str) -> None:
    """Cash, and kinds that nobody knows, are refused before anything else is looked at."""
    assert refused(Line(account_kind=kind)) == (LineReason.OUT_OF_SCOPE, detail)


def test_social_insurance_is_out_of_scope() -> None:
    """Every line of a social-insurance programme is refused."""
    rules = replace(RULES, scope=Scope.SOCIAL_INSURANCE)
    assert refused(Line(), rules=rules) == (LineReason.OUT_OF_SCOPE, policy.SOCIAL_INSURANCE)


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("社会保障卡", "SSCARD"),
        ("社保卡", "SSCARD"),
        ("SSCARD", "SSCARD"),
        ("银行卡", "CARD"),
        ("CARD", "CARD"),
        ("存折", "PASSBOOK"),
        ("PASSBOOK", "PASSBOOK"),
        ("", "CARD"),
    ],
)
def test_account_kinds_are_normalised(written: str, kind: str) -> None:
    """Chinese and English words come out as one of three kinds."""
    assert approved(Line(account_kind=written)).payee.account_kind == kind


@pytest.mark.parametrize(
    ("text", "fen"), [("0.01", 1), ("1", 100), ("1.5", 150), ("10318.00", 1031800), ("10000000.00", 1_000_000_000)]
)
def test_amounts_that_hold(text: str, fen: int) -> None:
    """Yuan with up to two decimals are fen, exactly."""
    assert approved(Line(amount=text)).amount_fen == fen


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("441.005", policy.TOO_MANY_DECIMALS),
        ("1.000", policy.TOO_MANY_DECIMALS),
        ("0", policy.ZERO),
        ("0.00", policy.ZERO),
        ("10000000.01", policy.TOO_LARGE),
        ("99999999999999999999", policy.NOT_AN_AMOUNT),
        *[
            (text, policy.NOT_AN_AMOUNT)
            for text in (
                "",
                "-1.00",
                "+1.00",
                "1,000.00",
                "1_000",
                "1E+2",
                "01.00",
                ".5",
                "1.",
                " 1.00",
                "1.00\n",
                "１.00",
            )
        ],
        ("۱۲.00", policy.NOT_AN_AMOUNT),
        ("NaN", policy.NOT_AN_AMOUNT),
    ],
)
def test_amounts_that_do_not_hold(text: str, detail: str) -> None:
    """Anything but a plain positive amount below the bound is refused, and says why."""
    assert refused(Line(amount=text)) == (LineReason.AMOUNT_INVALID, detail)


@given(st.integers(1, policy.DEFAULT_MAX_AMOUNT_FEN))
def test_every_amount_in_fen_comes_back(fen: int) -> None:
    """No amount is rounded."""
    assert policy.amount_in_fen(f"{fen // 100}.{fen % 100:02d}") == fen


def test_the_bound_is_the_callers() -> None:
    """A lower bound per payout can be set."""
    rules = replace(RULES, max_amount_fen=100)
    assert refused(Line(amount="1.01"), rules=rules).detail == policy.TOO_LARGE
    assert isinstance(policy.judge(rules, Line(amount="1.00")), Approved)


# --- Accounts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_kept_account_fills_in_for_a_missing_one(blank: str) -> None:
    """Without an account on the line the kept one is used with its own kind and bank; without either it is refused."""
    line = Line(account=AccountNumber(blank), account_kind="", bank_no="")
    payee = approved(line, KEPT).payee
    assert (payee.account, payee.account_kind, payee.bank_no) == KEPT
    assert refused(line) == (LineReason.ACCOUNT_MISSING, policy.NO_ACCOUNT)


def test_the_account_on_the_line_comes_first() -> None:
    """A kept account never replaces the one on the signed line, not even one that is wrong."""
    assert approved(Line(), KEPT).payee.account.reveal() == CARD
    assert refused(Line(account=AccountNumber("62-99|1")), KEPT) == (LineReason.ACCOUNT_MISSING, policy.NOT_AN_ACCOUNT)


@pytest.mark.parametrize("account", ["1234", "1" * 33, "6299 9900 0000", "۶۲۹۹۹۹۰۰۰۰", CARD + "\n", "629999|0000"])
def test_what_is_no_account_is_refused(account: str) -> None:
    """Too short, too long, foreign digits, spaces and separators never reach a bank."""
    assert refused(Line(account=AccountNumber(account))).detail == policy.NOT_AN_ACCOUNT


def test_who_needs_a_look_up() -> None:
    """Only a payable person without an account on the line is looked up, under the canonical ID."""
    nothing = AccountNumber("")
    assert policy.person_without_account(RULES, Line()) is None
    assert policy.person_without_account(RULES, Line(account=nothing)) == IdNumber(ID)
    lowercase = Line(account=nothing, id_no=IdNumber(OTHER_ID.lower()))
    assert policy.person_without_account(RULES, lowercase) == IdNumber(OTHER_ID)
    assert policy.person_without_account(RULES, Line(account=nothing, account_kind="现金")) is None
    assert policy.person_without_account(RULES, Line(account=nothing, id_no=IdNumber("1"))) is None


@pytest.mark.parametrize("bank_no", ["999881000099", EXPIRED_BANK, "", "402881000015 "])
def test_a_bank_without_an_agreement_on_the_day(bank_no: str) -> None:
    """An unknown bank, an expired agreement and a bank number that only looks right are refused."""
    assert refused(Line(bank_no=bank_no)) == (LineReason.NO_AGREEMENT, policy.NO_AGREEMENT)


def test_an_agreement_holds_on_its_first_and_on_its_last_day() -> None:
    """Both days are the agreement's own; the day before and the day after are not."""
    agreement = replace(AGREEMENTS[0], valid_from=DAY, valid_to=DAY + dt.timedelta(days=1))
    days = [DAY + dt.timedelta(days=number) for number in (-1, 0, 1, 2)]
    assert [agreement.valid_on(day) for day in days] == [False, True, True, False]


def test_a_kept_account_is_judged_when_it_is_loaded() -> None:
    """What a bank says it keeps for a person comes in under the rules of a line, for the canonical person."""
    id_no = IdNumber(OTHER_ID.lower())
    assert policy.judge_binding(DAY, id_no, KEPT.account, "存折", OTHER_BANK) == (IdNumber(OTHER_ID), KEPT)


@pytest.mark.parametrize(
    ("id_no", "account", "kind", "bank_no", "reason", "detail"),
    [
        (ID, CARD, "现金", BANK, LineReason.OUT_OF_SCOPE, policy.CASH),
        (ID, CARD, "", BANK, LineReason.OUT_OF_SCOPE, policy.UNKNOWN_KIND),
        (ID, CARD, "支票", BANK, LineReason.OUT_OF_SCOPE, policy.UNKNOWN_KIND),
        (ID[:-1] + "8", CARD, "存折", BANK, LineReason.ID_INVALID, None),
        (ID, "", "存折", BANK, LineReason.ACCOUNT_MISSING, policy.NOT_AN_ACCOUNT),
        (ID, CARD, "存折", BANK + "0", LineReason.NO_AGREEMENT, policy.NOT_A_BANK),
    ],
)
def test_what_cannot_be_kept(
    id_no: str, account: str, kind: str, bank_no: str, reason: LineReason, detail: str | None
) -> None:
    """A kept account that no line could carry is refused at loading, and the detail says why."""
    verdict = policy.judge_binding(DAY, IdNumber(id_no), AccountNumber(account), kind, bank_no)
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason
    assert detail in (None, verdict.detail)


# --- Persons --------------------------------------------------------------------------------------------------------


def test_a_mapped_name_keeps_its_raw_form() -> None:
    """The canonical name is paid and the form of the list is kept beside it."""
    payee = approved(Line(name=PersonName("阿不都\u30fb尼亚孜"))).payee
    assert payee.name.reveal() == "阿不都·尼亚孜"
    assert payee.raw_name == PersonName("阿不都\u30fb尼亚孜")


def test_a_lowercase_check_character_is_the_same_person() -> None:
    """The duplicate question is asked about one form per person."""
    digits = "65999919420103007"
    asked: list[str] = []

    def is_duplicate(person: IdNumber) -> bool:
        asked.append(person.reveal())
        return False

    for case in ("X", "x"):
        verdict = policy.judge(RULES, Line(id_no=IdNumber(digits + case)), None, is_duplicate)
        assert isinstance(verdict, Approved)
    assert asked == [digits + "X"] * 2


@pytest.mark.parametrize("written", ["13800138000", "+8613800138000", "+86 138 0013 8000", " 138 00138000"])
def test_mobile_numbers(written: str) -> None:
    """+86 and spaces are notation."""
    assert approved(Line(phone=Phone(written))).payee.phone == Phone("13800138000")


@pytest.mark.parametrize(
    "written", ["", "0998-3480886", "12800138000", "1380013800", "138001380001", "١٣٨٠٠١٣٨٠٠٠", "无"]
)
def test_no_mobile_number_is_paid_without_sms(written: str) -> None:
    """A landline, a wrong number or none is no reason to refuse: the payee has no phone."""
    assert approved(Line(phone=Phone(written))).payee.phone is None


# --- Corrected details ----------------------------------------------------------------------------------------------

BEFORE = Payee(
    PersonName("王三"), None, IdNumber(ID), Phone("13800138000"), AccountNumber(CARD), AccountKind.CARD, BANK
)


def corrected(correction: Correction) -> Corrected | Refused:
    return policy.judge_details(RULES, BEFORE, correction)


def test_unchanged_details_stay() -> None:
    """An order without changes pays the same payee under the agreement of today."""
    verdict = corrected(Correction())
    assert isinstance(verdict, Corrected)
    assert verdict.payee == BEFORE
    assert verdict.agreement.bank_no == BANK


def test_every_detail_can_be_corrected() -> None:
    """Changed fields replace the old ones and are normalised as on a list."""
    verdict = corrected(
        Correction(
            PersonName("阿\u2022尼"), IdNumber(OTHER_ID), Phone("+86 13900139000"), KEPT.account, "存折", OTHER_BANK
        )
    )
    assert isinstance(verdict, Corrected)
    assert verdict.payee == Payee(
        PersonName("阿·尼"),
        PersonName("阿\u2022尼"),
        IdNumber(OTHER_ID),
        Phone("13900139000"),
        KEPT.account,
        AccountKind.PASSBOOK,
        OTHER_BANK,
    )
    assert verdict.agreement.bank == "json_https"


@pytest.mark.parametrize(
    ("correction", "reason"),
    [
        (Correction(account_kind="现金"), LineReason.OUT_OF_SCOPE),
        (Correction(account_kind=""), LineReason.OUT_OF_SCOPE),
        (Correction(name=PersonName("王三 ")), LineReason.NAME_INVALID),
        (Correction(id_no=IdNumber("659999197001010018")), LineReason.ID_INVALID),
        (Correction(account=AccountNumber("")), LineReason.ACCOUNT_MISSING),
        (Correction(bank_no=EXPIRED_BANK), LineReason.NO_AGREEMENT),
    ],
)
def test_corrected_details_are_judged_as_a_line(correction: Correction, reason: LineReason) -> None:
    """No order brings in what a list could not."""
    verdict = corrected(correction)
    assert isinstance(verdict, Refused)
    assert verdict.reason is reason


def test_an_agreement_that_ended_stops_a_reissue_too() -> None:
    """Unchanged details do not help when the bank has no agreement any more."""
    verdict = policy.judge_details(replace(RULES, agreements={}), BEFORE, Correction())
    assert isinstance(verdict, Refused)
    assert verdict.reason is LineReason.NO_AGREEMENT


# --- The words of the house -----------------------------------------------------------------------------------------


def test_what_finance_reads_and_files_say_is_spelled_once() -> None:
    """Details stand in refusals, kinds and scopes in files and columns: a changed spelling is a changed interface."""
    assert policy.DEFAULT_MAX_AMOUNT_FEN == 10_000_000_00
    assert [kind.value for kind in AccountKind] == ["SSCARD", "CARD", "PASSBOOK"]
    assert [scope.value for scope in Scope] == ["SCHEME", "SOCIAL_INSURANCE"]
    details = (
        *(policy.CASH, policy.UNKNOWN_KIND, policy.SOCIAL_INSURANCE),
        *(policy.NOT_AN_AMOUNT, policy.TOO_MANY_DECIMALS, policy.ZERO, policy.TOO_LARGE),
        *(policy.NO_ACCOUNT, policy.NOT_AN_ACCOUNT, policy.NOT_A_BANK, policy.NO_AGREEMENT, policy.DUPLICATE),
    )
    assert " / ".join(details) == (
        "cash payment / unknown account kind / social-insurance programme / "
        "not a plain amount / more than two decimals / zero / above the upper bound / "
        "no account on the line and none kept / not an account number / not a bank number of 12 digits / "
        "bank has no agreement for the county / same programme, period and ID as another line"
    )
