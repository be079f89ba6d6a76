"""What camt.054 and camt.053 of iso20022 prove: returns, the day's statement, and nothing that does not add up."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from pyiso20022.camt import camt_053_001_08 as camt
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.models.datatype import XmlDate, XmlDateTime

from adapters.contract import Artefact, Booking, GivesStatements, Proof, Reason, Unreadable
from schemas.masked import AccountNumber
from tests.adapters.iso20022_kit import (
    FIRST,
    MSG,
    SAMPLES,
    SECOND,
    account_day,
    balance,
    came_back,
    entry,
    make_adapter,
    notice_file,
    notification,
    paid,
    report,
    statement,
    statement_file,
    status_file,
    transaction,
    tx,
)

SAMPLE = (SAMPLES / "camt.054.001.08.return.xml").read_bytes()
DAY = dt.date(2026, 11, 25)


# --- camt.054 --------------------------------------------------------------------------------------------------------


def test_sample_is_a_return() -> None:
    """The sample proves that a credit came back: amount, day, booking and reason."""
    (evidence,) = make_adapter().parse(notice_file(SAMPLE))
    assert (evidence.proof, evidence.reference, evidence.submission) == (Proof.RETURNED, FIRST, MSG)
    assert (evidence.reason, evidence.code, evidence.text) == (Reason.ACCOUNT_CLOSED, "AC04", "退票:账户已销户")
    assert (evidence.amount_fen, evidence.host_reference) == (60000, "H20261127000009")
    assert evidence.post_date == dt.date(2026, 11, 27)
    assert evidence.artefact == notice_file(SAMPLE).sha256


def test_truncated_notification_yields_nothing() -> None:
    """A notification cut at any byte is unreadable as a whole."""
    for length in range(len(SAMPLE.rstrip())):
        with pytest.raises(Unreadable):
            make_adapter().parse(notice_file(SAMPLE[:length]))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("AC04", Reason.ACCOUNT_CLOSED),
        ("BE01", Reason.NAME_MISMATCH),
        ("AM05", Reason.RETURNED_AFTER_CREDIT),
        ("AM04", Reason.RETURNED_AFTER_CREDIT),
        ("NARR", Reason.RETURNED_AFTER_CREDIT),
        ("ZZ99", Reason.RETURNED_AFTER_CREDIT),
    ],
)
def test_reason_of_a_return(code: str, reason: Reason) -> None:
    """Money that came back came back, whatever the code; the code only says why, where the table has it."""
    (evidence,) = make_adapter().parse(notice_file(notification(came_back(FIRST, code))))
    assert (evidence.proof, evidence.reason, evidence.code) == (Proof.RETURNED, reason, code)


def test_other_money_is_nothing_of_ours() -> None:
    """A debit, a credit without a return's reason, and what is not booked prove nothing about anybody."""
    returned = "<RtrInf><Rsn><Cd>AC04</Cd></Rsn></RtrInf>"
    for other in (
        entry(f"<NtryDtls>{transaction(FIRST)}</NtryDtls>"),
        entry(f"<NtryDtls>{transaction(FIRST, more=returned)}</NtryDtls>"),
        entry(f"<NtryDtls>{transaction(FIRST, mark='CRDT')}</NtryDtls>", mark="CRDT"),
        entry("", mark="CRDT"),
        came_back(FIRST, status="PDNG"),
    ):
        assert list(make_adapter().parse(notice_file(notification(other)))) == []


def test_a_return_without_day_or_booking_is_doubt() -> None:
    """A return without its day, or without the bank's reference, is asked about and not believed."""
    day, host = "<BookgDt><Dt>2026-11-25</Dt></BookgDt>", "<AcctSvcrRef>H9</AcctSvcrRef>"
    for booked in (day, host):
        (evidence,) = make_adapter().parse(notice_file(notification(came_back(FIRST, booked=booked))))
        assert (evidence.proof, evidence.reason) == (Proof.IN_DOUBT, Reason.UNKNOWN)


def test_a_return_that_names_no_line_is_doubt_with_its_amount() -> None:
    """Money came back and nobody says whose: told with its amount, and proving nothing of any line."""
    (evidence,) = make_adapter().parse(notice_file(notification(came_back("NOTPROVIDED"))))
    assert (evidence.proof, evidence.reason, evidence.reference) == (Proof.IN_DOUBT, Reason.UNKNOWN, None)
    assert evidence.amount_fen == 60_000


def test_a_time_of_booking_is_a_day_of_the_bank() -> None:
    """A booking time in another offset counts on the day it has in Shanghai."""
    booked = "<BookgDt><DtTm>2026-11-25T18:00:00Z</DtTm></BookgDt><AcctSvcrRef>H9</AcctSvcrRef>"
    (evidence,) = make_adapter().parse(notice_file(notification(came_back(FIRST, booked=booked))))
    assert evidence.post_date == dt.date(2026, 11, 26)


SUMMARY = "<TxsSummry><{0}><NbOfNtries>{1}</NbOfNtries><Sum>{2}</Sum></{0}></TxsSummry>"


@pytest.mark.parametrize(
    "content",
    [
        notification(came_back(FIRST).replace("600.00", "599.99", 1)),  # the entry, not its transaction
        notification(came_back(FIRST).replace("CRDT", "DBIT", 1)),
        notification(came_back(FIRST).replace('Ccy="CNY"', 'Ccy="USD"', 1)),
        notification(came_back(FIRST), summary=SUMMARY.format("TtlNtries", 2, "600.00")),
        notification(came_back(FIRST), summary=SUMMARY.format("TtlNtries", 1, "601.00")),
        notification(came_back(FIRST), summary=SUMMARY.format("TtlCdtNtries", 0, "0.00")),
        notification(came_back(FIRST), summary=SUMMARY.format("TtlDbtNtries", 1, "600.00")),
        notification(came_back("a b")),
        notification(came_back(FIRST)).replace(b"camt.054", b"camt.053"),
        notification(came_back(FIRST)).replace(b"BkToCstmrDbtCdtNtfctn", b"BkToCstmrStmt"),
        notification(entry(f"<NtryDtls>{transaction(FIRST, '300.00') * 3}</NtryDtls>")),
    ],
)
def test_notifications_that_do_not_add_up_are_unreadable(content: bytes) -> None:
    """Sums, numbers, marks or currency that contradict each other, or another message: no return is believed."""
    with pytest.raises(Unreadable):
        make_adapter().parse(notice_file(content))


def test_sums_that_agree_are_read() -> None:
    """The same sums, right, stand in no way."""
    for name, number, total in (("TtlNtries", 1, "600.00"), ("TtlCdtNtries", 1, "600"), ("TtlDbtNtries", 0, "0.00")):
        content = notification(came_back(FIRST), summary=SUMMARY.format(name, number, total))
        assert len(list(make_adapter().parse(notice_file(content)))) == 1


# --- camt.053 --------------------------------------------------------------------------------------------------------


def both(opening: str, closing: str) -> str:
    return balance("OPBD", opening) + balance("CLBD", closing)


GOOD = statement(account_day(paid(FIRST, SECOND), came_back("EARLIER"), balances=both("10000.00", "9400.00")))


def test_statement_is_read() -> None:
    """Debits line by line with their booking and submission, and returns; of credits to payees it says nothing."""
    bank = make_adapter()
    assert isinstance(bank, GivesStatements)
    stated = bank.statement(statement_file(GOOD))
    assert stated is not None
    assert (stated.day, stated.debit_account) == (DAY, AccountNumber("6599990000000017"))
    assert stated.artefact == statement_file(GOOD).sha256
    assert [(e.booking, e.reference, e.amount_fen, e.host_reference) for e in stated.entries] == [
        (Booking.DEBIT, FIRST, 60000, "H1"),
        (Booking.DEBIT, SECOND, 60000, "H2"),
        (Booking.RETURN, "EARLIER", 60000, "H9"),
    ]
    assert {(e.post_date, e.submission) for e in stated.entries} == {(DAY, MSG)}


def test_a_debit_proves_nothing_about_the_payee() -> None:
    """Of a statement only returns are evidence, and the same return as in a notification is the same evidence."""
    (evidence,) = make_adapter().parse(statement_file(GOOD))
    (notified,) = make_adapter().parse(notice_file(notification(came_back("EARLIER"))))
    assert (evidence.proof, evidence.reference, evidence.artefact) == (
        Proof.RETURNED,
        "EARLIER",
        statement_file(GOOD).sha256,
    )
    assert (evidence.host_reference, evidence.post_date) == (notified.host_reference, notified.post_date)
    assert (evidence.amount_fen, evidence.reason) == (notified.amount_fen, notified.reason)


def test_a_statement_built_by_an_independent_library_is_read() -> None:
    """What another library writes by the schema is understood: balances, a batch and its transactions."""

    def yuan(text: str) -> camt.ActiveOrHistoricCurrencyAndAmount:
        return camt.ActiveOrHistoricCurrencyAndAmount(value=Decimal(text), ccy="CNY")

    def bal(kind: str, amount: str) -> camt.CashBalance8:
        return camt.CashBalance8(
            tp=camt.BalanceType13(cd_or_prtry=camt.BalanceType10Choice(cd=kind)),
            amt=yuan(amount),
            cdt_dbt_ind=camt.CreditDebitCode.CRDT,
            dt=camt.DateAndDateTime2Choice(dt=XmlDate.from_string("2026-11-25")),
        )

    line = camt.EntryTransaction10(
        refs=camt.TransactionReferences6(msg_id=MSG, acct_svcr_ref="H1", end_to_end_id=FIRST),
        amt=yuan("600.00"),
        cdt_dbt_ind=camt.CreditDebitCode.DBIT,
    )
    batch = camt.BatchInformation2(msg_id=MSG, nb_of_txs="1", ttl_amt=yuan("600.00"))
    booked = camt.ReportEntry10(
        amt=yuan("600.00"),
        cdt_dbt_ind=camt.CreditDebitCode.DBIT,
        sts=camt.EntryStatus1Choice(cd="BOOK"),
        bookg_dt=camt.DateAndDateTime2Choice(dt=XmlDate.from_string("2026-11-25")),
        acct_svcr_ref="B1",
        bk_tx_cd=camt.BankTransactionCodeStructure4(),
        ntry_dtls=[camt.EntryDetails9(btch=batch, tx_dtls=[line])],
    )
    whose = camt.AccountIdentification4Choice(othr=camt.GenericAccountIdentification1(id="6599990000000017"))
    part = camt.AccountStatement9(
        id="1", acct=camt.CashAccount39(id=whose), bal=[bal("OPBD", "600.00"), bal("CLBD", "0.00")], ntry=[booked]
    )
    head = camt.GroupHeader81(msg_id="BK1", cre_dt_tm=XmlDateTime.from_string("2026-11-26T01:00:00+08:00"))
    document = camt.Document(bk_to_cstmr_stmt=camt.BankToCustomerStatementV08(grp_hdr=head, stmt=[part]))
    stated = make_adapter().statement(statement_file(XmlSerializer().render(document).encode()))
    assert stated is not None
    assert [(e.booking, e.reference, e.amount_fen, e.host_reference, e.submission) for e in stated.entries] == [
        (Booking.DEBIT, FIRST, 60000, "H1", MSG)
    ]


def test_other_money_stands_in_the_balance_alone() -> None:
    """Funds that came in are part of the sum and no entry; what is not booked yet is part of neither."""
    funds = entry("", "5000.00", "CRDT")
    pending = entry("", "77.00", "DBIT", "PDNG")
    content = statement(account_day(funds, pending, paid(FIRST), balances=both("0.00", "4400.00")))
    stated = make_adapter().statement(statement_file(content))
    assert stated is not None
    assert [(e.booking, e.reference) for e in stated.entries] == [(Booking.DEBIT, FIRST)]


def test_a_batch_without_its_lines_is_one_debit() -> None:
    """Where the bank tells a batch's total alone, the entry names the submission and no reference."""
    batch = f'<Btch><MsgId>{MSG}</MsgId><NbOfTxs>2</NbOfTxs><TtlAmt Ccy="CNY">1200.00</TtlAmt></Btch>'
    details = f"<NtryDtls>{batch}</NtryDtls>"
    content = statement(account_day(entry(details, "1200.00"), balances=both("1200.00", "0.00")))
    stated = make_adapter().statement(statement_file(content))
    assert stated is not None
    (only,) = stated.entries
    assert (only.booking, only.reference, only.submission, only.amount_fen) == (Booking.DEBIT, None, MSG, 120000)


def test_an_overdrawn_account_adds_up() -> None:
    """A balance with the mark DBIT is below zero."""
    balances = balance("OPBD", "100.00") + balance("CLBD", "500.00", "DBIT")
    assert make_adapter().statement(statement_file(statement(account_day(paid(FIRST), balances=balances)))) is not None


def test_several_accounts_are_one_statement_of_the_agreement() -> None:
    """One file a day holds all accounts: with more than one of them, it is complete for the whole agreement."""
    first = account_day(paid(FIRST), balances=both("600.00", "0.00"))
    other = account_day(paid(SECOND), balances=both("600.00", "0.00"), account="6599990000000025")
    stated = make_adapter().statement(statement_file(statement(first, other)))
    assert stated is not None
    assert stated.debit_account is None
    assert [e.reference for e in stated.entries] == [FIRST, SECOND]


def test_other_files_are_no_statement() -> None:
    """A status report and a notification are no statement."""
    bank = make_adapter()
    assert bank.statement(status_file(report(tx(FIRST, "PDNG")))) is None
    assert bank.statement(notice_file(SAMPLE)) is None
    assert bank.statement(Artefact.of("20261126/camt053_2026112.xml", GOOD)) is None


def pages(number: int, last: str) -> str:
    return f"<StmtPgntn><PgNb>{number}</PgNb><LastPgInd>{last}</LastPgInd></StmtPgntn>"


DEBIT, SUM = paid(FIRST, SECOND), both("1200.00", "0.00")


@pytest.mark.parametrize(
    "content",
    [
        statement(account_day(DEBIT, balances=both("1200.00", "0.01"))),
        statement(account_day(DEBIT, balances=balance("OPBD", "1200.00"))),
        statement(account_day(DEBIT, balances=balance("CLBD", "0.00"))),
        statement(account_day(DEBIT, balances=SUM + balance("CLBD", "0.00"))),
        statement(account_day(DEBIT, balances=balance("OPBD", "1200.00") + balance("CLBD", "0.00", day="2026-11-24"))),
        statement(account_day(paid(FIRST, SECOND, number=3), balances=SUM)),
        statement(account_day(paid(FIRST, SECOND, total="1200.01"), balances=SUM)),
        statement(account_day(DEBIT.replace('CNY">600.00', 'CNY">600.01', 1), balances=SUM)),
        statement(account_day(DEBIT.replace("DBIT", "CRDT", 1), balances=SUM)),
        statement(account_day(DEBIT.replace("DBIT", "BOTH"), balances=SUM)),
        statement(account_day(DEBIT.replace("<BookgDt><Dt>2026-11-25</Dt></BookgDt>", ""), balances=SUM)),
        statement(account_day(DEBIT, balances=SUM, more=pages(1, "false"))),
        statement(account_day(DEBIT, balances=SUM, more=pages(2, "true"))),
        statement(account_day(DEBIT, balances=SUM, account="")),
        statement(account_day(DEBIT, balances=SUM), account_day(balances=both("1.00", "1.00"))),  # one account twice
        statement(),
        statement(account_day(DEBIT, balances=SUM)).replace(b"camt.053", b"camt.052"),
    ],
)
def test_statements_that_do_not_add_up_are_unreadable(content: bytes) -> None:
    """Balances, batches, pages, days and accounts must all fit, or the day is as good as not stated."""
    for read in (make_adapter().statement, make_adapter().parse):
        with pytest.raises(Unreadable):
            read(statement_file(content))


def test_the_good_statement_is_good() -> None:
    """What the cases above break is sound before it is broken, on one page too."""
    for more in ("", pages(1, "true")):
        content = statement(account_day(DEBIT, balances=SUM, more=more))
        assert make_adapter().statement(statement_file(content)) is not None


def test_statement_of_another_day_than_its_name_is_unreadable() -> None:
    """A statement closes the day that its file name says, and that day must exist."""
    for day in ("20261124", "20261131"):
        with pytest.raises(Unreadable):
            make_adapter().statement(statement_file(GOOD, day))


def test_truncated_statement_yields_nothing() -> None:
    """A statement cut at any byte is unreadable as a whole."""
    for length in range(0, len(GOOD), 7):
        with pytest.raises(Unreadable):
            make_adapter().parse(statement_file(GOOD[:length]))
