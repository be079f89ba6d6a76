"""What a pain.002 of iso20022 proves: the sample, acknowledgements, lines, refusals of whole files, contradictions."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from itertools import product

import pytest
from pyiso20022.pain import pain_002_001_10 as pain
from xsdata.formats.dataclass.serializers import XmlSerializer
from xsdata.models.datatype import XmlDateTime

from adapters.contract import Proof, Reason, Unreadable
from tests.adapters.iso20022_kit import (
    FIRST,
    MSG,
    SAMPLES,
    SECOND,
    heads,
    lines_of,
    make_adapter,
    reason,
    report,
    status_file,
    tx,
)

SAMPLE = (SAMPLES / "pain.002.001.10.xml").read_bytes()


def test_sample_is_read() -> None:
    """The sample proves a credit under the bank's reference, of unknown amount and day, and a rejection."""
    credited, rejected = make_adapter().parse(status_file(SAMPLE))
    assert (credited.proof, credited.reference, credited.host_reference) == (Proof.CREDITED, FIRST, "H20261125000101")
    assert (credited.reason, credited.amount_fen, credited.post_date) == (None, None, None)
    assert (rejected.proof, rejected.reference, rejected.reason) == (Proof.REJECTED, SECOND, Reason.ACCOUNT_CLOSED)
    assert (rejected.code, rejected.text, rejected.host_reference) == ("AC04", "账户已销户", None)
    assert {credited.submission, rejected.submission} == {MSG}
    assert {credited.artefact, rejected.artefact} == {status_file(SAMPLE).sha256}


def test_truncated_report_yields_nothing() -> None:
    """A report cut at any byte, inside a character or between two elements, is unreadable as a whole."""
    bank = make_adapter()
    for length in range(len(SAMPLE)):
        if SAMPLE[:length].rstrip() == SAMPLE.rstrip():
            continue
        with pytest.raises(Unreadable):
            bank.parse(status_file(SAMPLE[:length]))


def test_a_report_built_by_an_independent_library_is_read() -> None:
    """What another library writes by the schema is understood, with amounts where it gives them."""
    settled = pain.PaymentTransaction105(
        orgnl_end_to_end_id=FIRST,
        tx_sts="ACCC",
        acct_svcr_ref="H1",
        orgnl_tx_ref=pain.OriginalTransactionReference28(
            amt=pain.AmountType4Choice(
                instd_amt=pain.ActiveOrHistoricCurrencyAndAmount(value=Decimal("600.00"), ccy="CNY")
            )
        ),
    )
    why = pain.StatusReasonInformation12(rsn=pain.StatusReason6Choice(cd="BE01"), addtl_inf=["户名不符"])
    refused = pain.PaymentTransaction105(orgnl_end_to_end_id=SECOND, tx_sts="RJCT", sts_rsn_inf=[why])
    message = pain.CustomerPaymentStatusReportV10(
        grp_hdr=pain.GroupHeader86(msg_id="BK1", cre_dt_tm=XmlDateTime.from_string("2026-11-25T09:00:00+08:00")),
        orgnl_grp_inf_and_sts=pain.OriginalGroupHeader17(
            orgnl_msg_id=MSG, orgnl_msg_nm_id="pain.001.001.09", orgnl_nb_of_txs="2", grp_sts="PART"
        ),
        orgnl_pmt_inf_and_sts=[
            pain.OriginalPaymentInstruction32(orgnl_pmt_inf_id=f"{MSG}-1", tx_inf_and_sts=[settled, refused])
        ],
    )
    text = XmlSerializer().render(pain.Document(cstmr_pmt_sts_rpt=message))
    read = list(make_adapter().parse(status_file(text.encode())))
    assert lines_of(read) == [
        (FIRST, Proof.CREDITED, None),
        (SECOND, Proof.REJECTED, Reason.NAME_MISMATCH),
    ]
    assert [(e.amount_fen, e.host_reference, e.text) for e in read] == [(60000, "H1", ""), (None, None, "户名不符")]


# --- the submission as a whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "proof", "reason_given"),
    [
        ("RCVD", Proof.RECEIVED, None),
        ("PDNG", Proof.RECEIVED, None),
        ("ACTC", Proof.RECEIVED, None),
        ("ACCP", Proof.RECEIVED, None),
        ("ACSP", Proof.RECEIVED, None),
        ("ACWC", Proof.RECEIVED, None),
        ("PART", Proof.RECEIVED, None),
        ("ACSC", Proof.IN_PROCESS, Reason.BANK_BUSY),
        ("ACCC", Proof.IN_PROCESS, Reason.BANK_BUSY),
        ("CANC", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("XXXX", Proof.IN_DOUBT, Reason.UNKNOWN),
        ("", Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
def test_a_group_without_lines_pays_nobody(group: str, proof: Proof, reason_given: Reason | None) -> None:
    """Whatever a group claims, without a line nobody is credited by it, even where settled means credited."""
    for bank in (make_adapter(), make_adapter(settled_is_credited=True)):
        assert heads(list(bank.parse(status_file(report(group=group))))) == [(proof, reason_given)]


@pytest.mark.parametrize(
    ("codes", "proof", "reason_given"),
    [
        (["AM04"], Proof.NOT_TAKEN, Reason.FUNDS_SHORT),
        (["FF01"], Proof.NOT_TAKEN, Reason.FORMAT),
        (["DS02"], Proof.NOT_TAKEN, Reason.SIGNATURE),
        (["DS0H"], Proof.NOT_TAKEN, Reason.SIGNATURE),
        (["DS07"], Proof.IN_DOUBT, Reason.UNKNOWN),
        (["AM05"], Proof.IN_DOUBT, None),
        (["AC04"], Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        (["AC04", "BE01"], Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        (["AM04", "FF01"], Proof.IN_DOUBT, Reason.UNKNOWN),
        (["AC04", "AM05"], Proof.IN_DOUBT, Reason.UNKNOWN),
        (["NARR"], Proof.IN_DOUBT, Reason.UNKNOWN),
        (["ZZ99"], Proof.IN_DOUBT, Reason.UNKNOWN),
        ([], Proof.IN_DOUBT, Reason.UNKNOWN),
    ],
)
def test_a_refused_group_is_judged_by_its_reason(codes: list[str], proof: Proof, reason_given: Reason | None) -> None:
    """Nothing taken, all lines rejected, or doubt: by the reasons, all of which must prove the same."""
    (evidence,) = make_adapter().parse(status_file(report(group="RJCT", reasons="".join(map(reason, codes)))))
    assert (evidence.proof, evidence.reason, evidence.submission) == (proof, reason_given, MSG)
    assert (evidence.reference, evidence.code) == (None, codes[0] if codes else "RJCT")


def test_a_proprietary_reason_is_doubt() -> None:
    """A bank's own word beside a rejection is in no table, even where it looks like a code."""
    own = "<StsRsnInf><Rsn><Prtry>AC04</Prtry></Rsn></StsRsnInf>"
    for more in (own, own + reason("AC04")):
        (evidence,) = make_adapter().parse(status_file(report(group="RJCT", reasons=more)))
        assert evidence.proof is Proof.IN_DOUBT


def test_a_whole_file_refused_for_one_line() -> None:
    """The bad line is rejected for its reason; every other one was not taken, one by one, and may come again."""
    content = report(tx(FIRST), tx(SECOND, "RJCT", "BE01"), tx("THIRD"), group="RJCT")
    read = list(make_adapter(refuses_whole_file=True).parse(status_file(content)))
    assert lines_of(read) == [
        (FIRST, Proof.NOT_TAKEN, Reason.NOT_EXECUTED),
        (SECOND, Proof.REJECTED, Reason.NAME_MISMATCH),
        ("THIRD", Proof.NOT_TAKEN, Reason.NOT_EXECUTED),
    ]
    assert heads(read) == []  # the whole file would be sent again with its bad line


def test_a_refusal_that_does_not_list_every_line_is_unreadable() -> None:
    """Of a refused file every line must be named: what is left out would be neither paid nor free."""
    for content in (
        report(tx(FIRST), tx(SECOND, "RJCT", "BE01"), group="RJCT", count=3),
        report(tx(FIRST), tx(SECOND), group="RJCT"),
        report(tx(FIRST, "ACCC", host="H1"), tx(SECOND, "RJCT", "BE01"), group="RJCT"),
        report(tx(FIRST, "PDNG"), tx(SECOND, "RJCT", "BE01"), group="RJCT"),
    ):
        with pytest.raises(Unreadable):
            make_adapter().parse(status_file(content))


def test_a_refused_group_may_list_rejected_lines_alone() -> None:
    """Lines that are rejected each for a reason of its own need no others beside them to be believed."""
    content = report(tx(FIRST, "RJCT", "AC04"), tx(SECOND, "RJCT", "BE01"), group="RJCT", count=3)
    assert lines_of(list(make_adapter().parse(status_file(content)))) == [
        (FIRST, Proof.REJECTED, Reason.ACCOUNT_CLOSED),
        (SECOND, Proof.REJECTED, Reason.NAME_MISMATCH),
    ]


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "host", "proof"),
    [
        ("ACCC", "H1", Proof.CREDITED),
        ("ACCC", "", Proof.IN_DOUBT),
        ("ACSC", "H1", Proof.IN_PROCESS),
        ("ACSP", "", Proof.IN_PROCESS),
        ("PDNG", "H1", Proof.IN_PROCESS),
        ("ACWP", "H1", Proof.IN_PROCESS),
        ("ACCP", "", Proof.IN_PROCESS),
        ("ACTC", "", Proof.IN_PROCESS),
        ("ACWC", "", Proof.IN_PROCESS),
        ("ACFC", "", Proof.IN_PROCESS),
        ("RCVD", "", Proof.IN_PROCESS),
        ("CANC", "", Proof.IN_DOUBT),
        ("PART", "", Proof.IN_DOUBT),
        ("PAID", "H1", Proof.IN_DOUBT),
        ("accc", "H1", Proof.IN_DOUBT),
        ("", "H1", Proof.IN_DOUBT),
    ],
)
def test_line_statuses(status: str, host: str, proof: Proof) -> None:
    """Only ACCC with the bank's own reference is a credit; a status that no table lists is doubt."""
    (evidence,) = make_adapter().parse(status_file(report(tx(FIRST, status, host=host))))
    assert (evidence.proof, evidence.reference, evidence.code) == (proof, FIRST, status)


def test_a_pending_line_that_is_suspicious_is_doubt() -> None:
    """PDNG beside NARR is more than waiting, and asked about; beside any other reason the line waits."""
    content = report(tx(FIRST, "PDNG", "NARR"), tx(SECOND, "PDNG", "AC04"))
    assert lines_of(list(make_adapter().parse(status_file(content)))) == [
        (FIRST, Proof.IN_DOUBT, Reason.UNKNOWN),
        (SECOND, Proof.IN_PROCESS, Reason.BANK_BUSY),
    ]


def test_settled_is_credited_only_where_the_agreement_says_so() -> None:
    """ACSC counts as a credit by the setting alone, and then too only with the bank's reference."""
    content = report(tx(FIRST, "ACSC", host="H1"), tx(SECOND, "ACSC"), group="ACSC")
    by_agreement = make_adapter(settled_is_credited=True)
    assert [e.proof for e in make_adapter().parse(status_file(content))] == [Proof.IN_PROCESS] * 2
    assert [e.proof for e in by_agreement.parse(status_file(content))] == [Proof.CREDITED, Proof.IN_PROCESS]


# What DOMAIN section 3 says, written out once more; AC06 and AC13 stand there twice, with one way back.
REASONS = {
    Reason.ACCOUNT_NOT_FOUND: (Proof.REJECTED, "AC01 AC03"),
    Reason.NAME_MISMATCH: (Proof.REJECTED, "BE01 RR03"),
    Reason.ID_MISMATCH: (Proof.REJECTED, "BE23"),
    Reason.ACCOUNT_CLOSED: (Proof.REJECTED, "AC04"),
    Reason.ACCOUNT_FROZEN: (Proof.REJECTED, "AC06"),
    Reason.ACCOUNT_DORMANT: (Proof.REJECTED, "AC13"),
    Reason.ACCOUNT_CLASS_LIMIT: (Proof.REJECTED, "AM14"),
    Reason.ACCOUNT_TYPE: (Proof.REJECTED, "AC14 AG01"),
    Reason.BANK_CODE_INVALID: (Proof.REJECTED, "RC01 RC04"),
    Reason.AMOUNT: (Proof.REJECTED, "AM02 AM12"),
    Reason.BENEFICIARY_DECEASED: (Proof.REJECTED, "MD07"),
    Reason.DUPLICATE: (Proof.IN_DOUBT, "AM05"),
    Reason.FUNDS_SHORT: (Proof.NOT_TAKEN, "AM04"),
    Reason.FORMAT: (Proof.NOT_TAKEN, "FF01"),
    Reason.SIGNATURE: (Proof.NOT_TAKEN, "DS02 DS04 DS08 DS09 DS0A DS0B DS0C DS0D DS0E DS0F DS0G DS0H"),
    Reason.BANK_BUSY: (Proof.IN_PROCESS, "PDNG ACSP ACSC ACWP ACWC ACCP ACTC ACFC RCVD"),
    Reason.UNKNOWN: (Proof.IN_DOUBT, "NARR CANC"),
}


def test_code_table_has_no_default() -> None:
    """Every code of the manual has its proof and reason; every other one of its shape has none, ACCC among them."""
    expected = {code: (proof, why) for why, (proof, codes) in REASONS.items() for code in codes.split()}
    classify = make_adapter().classify
    letters, ends = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789ABCDEFGH"
    shapes = {"".join(each) for each in product(letters, letters, ends, ends)} | set(expected)
    assert all(classify(code) == expected.get(code) for code in shapes)
    assert (classify("ACCC"), classify("")) == (None, (Proof.IN_DOUBT, Reason.UNKNOWN))


@pytest.mark.parametrize("code", sorted(code for _, codes in REASONS.values() for code in codes.split()))
def test_a_rejected_line_is_judged_by_its_reason(code: str) -> None:
    """RJCT proves what its reason's code proves; a status in the place of a reason proves nothing."""
    (evidence,) = make_adapter().parse(status_file(report(tx(FIRST, "RJCT", code))))
    is_status = code in f"{REASONS[Reason.BANK_BUSY][1]} CANC".split()
    expected = (Proof.IN_DOUBT, Reason.UNKNOWN) if is_status else make_adapter().classify(code)
    assert (evidence.proof, evidence.reason) == expected


def test_a_rejection_without_a_reason_is_doubt() -> None:
    """RJCT alone, with NARR, or with a code that no table lists does not send anybody back to the department."""
    content = report(tx(FIRST, "RJCT"), tx(SECOND, "RJCT", "NARR"), tx("THIRD", "RJCT", "ZZ99"))
    read = list(make_adapter().parse(status_file(content)))
    assert [(e.proof, e.reason) for e in read] == [(Proof.IN_DOUBT, Reason.UNKNOWN)] * 3
    assert [e.code for e in read] == ["RJCT", "NARR", "ZZ99"]


def test_day_and_amount_are_read_where_the_bank_gives_them() -> None:
    """The day of settlement and an amount beside a line are evidence; a moved amount outweighs an instructed one."""
    day = "<FctvIntrBkSttlmDt><Dt>2026-11-25</Dt></FctvIntrBkSttlmDt>"
    instructed = '<Amt><InstdAmt Ccy="CNY">600.00</InstdAmt></Amt>'
    moved = '<IntrBkSttlmAmt Ccy="CNY">599.99</IntrBkSttlmAmt>'
    for given, fen in ((instructed, 60000), (moved + instructed, 59999)):
        content = report(tx(FIRST, "ACCC", host="H1", more=f"{day}<OrgnlTxRef>{given}</OrgnlTxRef>"))
        (evidence,) = make_adapter().parse(status_file(content))
        assert (evidence.post_date, evidence.amount_fen) == (dt.date(2026, 11, 25), fen)


@pytest.mark.parametrize(
    "amount", ["600.001", "-600.00", "+600.00", "6e2", "1_000.00", "６00.00", "600,00", ".5", "600.", "", "1" * 17]
)
def test_amounts_that_are_none_are_unreadable(amount: str) -> None:
    """An amount with a fraction of a fen, a sign, an exponent or digits that are not ASCII is no amount."""
    more = f'<OrgnlTxRef><Amt><InstdAmt Ccy="CNY">{amount}</InstdAmt></Amt></OrgnlTxRef>'
    with pytest.raises(Unreadable):
        make_adapter().parse(status_file(report(tx(FIRST, "ACCC", host="H1", more=more))))


# --- the whole must fit ----------------------------------------------------------------------------------------------

PER_STATUS = "<NbOfTxsPerSts><DtldNbOfTxs>{}</DtldNbOfTxs><DtldSts>{}</DtldSts></NbOfTxsPerSts>"
GOOD = tx(FIRST, "ACCC", host="H1")
MORE_COUNT = "<OrgnlNbOfTxs>{}</OrgnlNbOfTxs>"


@pytest.mark.parametrize(
    "content",
    [
        report(GOOD, tx(SECOND, "PDNG"), count=1),
        report(GOOD, count="one"),
        report(GOOD, count="１"),
        report(GOOD, count=2, more=MORE_COUNT.format(1)),
        report(GOOD, reasons=PER_STATUS.format(2, "ACCC")),
        report(GOOD, reasons=PER_STATUS.format(1, "RJCT")),
        report(GOOD, group="ACCC", more="<PmtInfSts>RJCT</PmtInfSts>"),
        report(GOOD, tx(SECOND, "RJCT", "AC04"), group="ACCC"),
        report(GOOD, tx(SECOND, "PDNG"), group="ACSC"),
        report(tx("", "ACCC", host="H1")),
        report(tx("a b", "ACCC", host="H1")),
        report(tx(FIRST, "ACCC", host="H 1")),
        report(tx(FIRST, "ACCC", host="H1", more="<TxSts>RJCT</TxSts>")),
        report(tx(FIRST, "ACCC", host="H1", more="<AcctSvcrRef>H2</AcctSvcrRef>")),
        report(tx(FIRST, "ACCC", host="H1", more="<FctvIntrBkSttlmDt><Dt>2026-11-31</Dt></FctvIntrBkSttlmDt>")),
        report(tx(FIRST, "AC<!-- -->CC", host="H1")),
        report(tx(FIRST, "AC<?x?>CC", host="H1")),
        report(GOOD).replace(f"<OrgnlPmtInfId>{MSG}-1".encode(), f"<OrgnlPmtInfId>{MSG}-2".encode()),
        report(GOOD).replace(b">pain.001.001.09<", b">camt.055.001.08<"),
        report(GOOD).replace(b"pain.002.001.10", b"pain.002.001.03"),
        report(GOOD).replace(b"CstmrPmtStsRpt", b"CstmrPmtRvsl"),
        report(GOOD, msg="DF202611240005"),
    ],
)
def test_reports_that_contradict_themselves_are_unreadable(content: bytes) -> None:
    """Wrong counts, two words where one may stand, another message or submission: no line of it counts."""
    with pytest.raises(Unreadable):
        make_adapter().parse(status_file(content))


def test_a_report_that_lists_a_line_twice_is_unreadable() -> None:
    """Refused and paid in one report: nobody takes the one that happens to stand first for the truth."""
    twice = report(tx(FIRST, "RJCT", "AC04"), tx(FIRST, "ACCC", host="H1"), count=2)
    with pytest.raises(Unreadable):
        list(make_adapter().parse(status_file(twice)))


def test_a_report_need_not_list_every_line() -> None:
    """Lines told before or still open may be left out; numbers by status are then of the submission, not the list."""
    content = report(GOOD, count=3, reasons=PER_STATUS.format(2, "ACCC"))
    assert lines_of(list(make_adapter().parse(status_file(content)))) == [(FIRST, Proof.CREDITED, None)]


def test_unreadable_and_evidence_quote_nothing_personal() -> None:
    """No refusal of a report carries its content, and the bank's words are kept without long numbers."""
    broken = report(tx(FIRST, "RJCT", "AC04", text="6299990000000000038 已销户")).replace(b"</Document>", b"")
    with pytest.raises(Unreadable) as caught:
        make_adapter().parse(status_file(broken))
    assert "629999" not in str(caught.value)
    assert caught.value.__context__ is None
    words = "账户6299990000000000038 已\u200b销户"
    (evidence,) = make_adapter().parse(status_file(report(tx(FIRST, "RJCT", "AC04", text=words))))
    assert evidence.text == "账户* 已销户"


@pytest.mark.parametrize(
    "name",
    [
        "20261125/pain002_DF202611240005_01.xml",
        f"20261125/pain002_{MSG}.xml",
        f"20261125/{MSG}.xml",
        f"20261125/pain002_{MSG}_01.xml.ok",
        "20261125/../x.xml",
        "",
    ],
)
def test_report_under_another_name_is_unreadable(name: str) -> None:
    """A report speaks only for the submission that its own file name says."""
    with pytest.raises(Unreadable):
        make_adapter().parse(status_file(SAMPLE, name))
