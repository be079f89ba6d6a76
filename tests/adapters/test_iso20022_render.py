"""The pain.001 of iso20022, judged by the sample, the published schema, and two readers that share nothing with us."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import random
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sepaxml
from lxml import etree
from pydantic import ValidationError
from pyiso20022.pain import pain_001_001_09
from xsdata.formats.dataclass.parsers import XmlParser

from adapters.banks.iso20022.bank import Iso20022Adapter
from adapters.banks.iso20022.settings import Iso20022Settings
from adapters.contract import AnswerKind, Line, NotFound, Reason, Submission
from schemas.masked import AccountNumber, IdNumber
from tests.adapters.iso20022_kit import AT, MSG, SAMPLE_LINES, SAMPLES, SETTINGS, SFTP, SUBMISSION, line, make_adapter

IN_THE_DOCUMENT = "{urn:iso:std:iso:20022:tech:xsd:pain.001.001.09}"


@cache
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(Path(sepaxml.__file__).parent / "schemas" / "pain.001.001.09.xsd"))


def validate(payload: bytes) -> None:
    schema().assertValid(etree.fromstring(payload))


def test_sample_is_reproduced_byte_for_byte() -> None:
    """Rendering the sample's lines gives the sample's bytes, name, total and references, twice alike; it is valid."""
    rendered = make_adapter().render(SUBMISSION, SAMPLE_LINES, AT)
    assert rendered.payload == (SAMPLES / "pain.001.001.09.xml").read_bytes()
    assert rendered.remote_name == f"in/20261124/{MSG}.xml"
    assert (rendered.total_fen, rendered.references) == (120000, tuple(each.reference for each in SAMPLE_LINES))
    assert rendered.sha256 == hashlib.sha256(rendered.payload).hexdigest()
    assert make_adapter().render(SUBMISSION, SAMPLE_LINES, AT) == rendered
    validate(rendered.payload)


def test_business_date_is_shanghai() -> None:
    """Time and day in the document are Shanghai's, whatever offset the clock came with; one without is refused."""
    utc = dt.datetime(2026, 11, 23, 16, 30, 5, 999_999, tzinfo=dt.UTC)
    rendered = make_adapter().render(SUBMISSION, SAMPLE_LINES, utc)
    assert b"<CreDtTm>2026-11-24T00:30:05+08:00</CreDtTm>" in rendered.payload
    assert b"<ReqdExctnDt><Dt>2026-11-24</Dt></ReqdExctnDt>" in rendered.payload
    assert rendered.remote_name.startswith("in/20261124/")
    with pytest.raises(ValueError, match="offset"):
        make_adapter().render(SUBMISSION, SAMPLE_LINES, AT.replace(tzinfo=None))


def read_by_the_oracle(payload: bytes) -> pain_001_001_09.CustomerCreditTransferInitiationV09:
    document = XmlParser().from_bytes(payload, pain_001_001_09.Document)
    assert document.cstmr_cdt_trf_initn is not None
    return document.cstmr_cdt_trf_initn


def test_an_independent_library_reads_every_field() -> None:
    """What the head says is ours, exact and the same twice, and the payee pays nothing (ChrgBr DEBT)."""
    lines = [line(1, amount_fen=1), line(2, amount_fen=9), line(3, amount_fen=123_456_789_012_3)]
    payload = make_adapter(initiating_party_name="A & B", category_purpose="SSBE").render(SUBMISSION, lines, AT).payload
    message = read_by_the_oracle(payload)
    head, (payment,) = message.grp_hdr, message.pmt_inf
    assert (head.msg_id, payment.pmt_inf_id) == (MSG, f"{MSG}-1")
    assert str(head.cre_dt_tm) == "2026-11-24T10:20:00+08:00"
    assert head.nb_of_txs == payment.nb_of_txs == "3"
    assert str(head.ctrl_sum) == str(payment.ctrl_sum) == "12345678901.33"
    assert head.initg_pty.nm == "A & B"
    assert head.initg_pty.id.org_id.othr[0].id == "65999901"
    assert (payment.pmt_mtd.value, payment.btch_bookg, payment.chrg_br.value) == ("TRF", True, "DEBT")
    assert payment.pmt_tp_inf.svc_lvl[0].prtry == "NORM"
    assert payment.pmt_tp_inf.ctgy_purp.cd == "SSBE"
    assert str(payment.reqd_exctn_dt.dt) == "2026-11-24"
    assert payment.dbtr.nm == SUBMISSION.debit_name
    assert payment.dbtr_acct.id.othr.id == SUBMISSION.debit_account.reveal()
    assert payment.dbtr_acct.ccy == "CNY"
    agent = payment.dbtr_agt.fin_instn_id.clr_sys_mmb_id
    assert (agent.clr_sys_id.cd, agent.mmb_id) == ("CNAPS", "402881000015")


def test_an_independent_library_reads_every_field_of_a_line() -> None:
    """Each line arrives with its own reference, amount of exactly two decimals, bank, name, ID number and account."""
    lines = [
        line(1, "O'Neil <& Söhne>", 5, bank_no="102881000011", programme="XJ-LC-1", purpose="A&B", period="2026-11"),
        line(2, "𠅤䶮·買買提", 7_000_000_01, account=AccountNumber("65A0001"), id_no=IdNumber("65999919800101002X")),
    ]
    (payment,) = read_by_the_oracle(make_adapter().render(SUBMISSION, lines, AT).payload).pmt_inf
    texts = ["0.05", "7000000.01"]
    for number, (given, read, amount) in enumerate(zip(lines, payment.cdt_trf_tx_inf, texts, strict=True), start=1):
        assert read.pmt_id.instr_id == f"{MSG}-{number:06d}"
        assert read.pmt_id.end_to_end_id == given.reference
        assert (str(read.amt.instd_amt.value), read.amt.instd_amt.ccy) == (amount, "CNY")
        member = read.cdtr_agt.fin_instn_id.clr_sys_mmb_id
        assert (member.clr_sys_id.cd, member.mmb_id) == ("CNAPS", given.bank_no)
        assert read.cdtr.nm == given.name.reveal()
        (paper,) = read.cdtr.id.prvt_id.othr
        assert (paper.id, paper.schme_nm.cd) == (given.id_no.reveal(), "NIDN")
        assert read.cdtr_acct.id.othr.id == given.account.reveal()
        assert read.purp.cd == "GOVT"
        assert read.rmt_inf.ustrd == [f"{given.programme} {given.purpose} {given.period}"]


HOSTILE = [
    *("<&>\"'", "]]>", "<!--", "<![CDATA[", "&amp;", "&#0;", "\u00a0", "\u3000", " ", "·", "•", "珅瑋獆", "\u202e"),
    *("\x00", "\x07", "\t", "\n", "\r", "\x7f", "\x85", "\u2028", "\ud800", "\udfff", "\ue000", "\uf8ff", "\ufffe"),
    *("\uffff", "\ufdd0", "\U000f0000", "\U0010ffff", "\U0001fffd", "\u200b", "\ufeff", "𠅤", "䶮", "e\u0301"),
]


def hostile_names(count: int) -> list[str]:
    chance = random.Random(20261124)

    def part() -> str:
        if chance.random() < 0.3:
            return chance.choice(HOSTILE)
        return chr(chance.choice((chance.randrange(0x110000), chance.randrange(0x4E00, 0x9FFF), chance.randrange(128))))

    return ["".join(part() for _ in range(chance.randrange(0, 8))) for _ in range(count)]


def test_ten_thousand_hostile_names_arrive_or_are_refused() -> None:
    """Whatever the name: the line is refused, or a reader of the standard library gets exactly the same back."""
    bank = make_adapter(max_lines=10_000)
    lines = [line(0, name, reference=f"REF{number}") for number, name in enumerate(hostile_names(10_000))]
    accepted = [each for each in lines if bank.refuse(each) is None]
    assert {bank.refuse(each) for each in lines} == {None, Reason.NAME_NOT_ENCODABLE}
    assert 3_000 < len(accepted) < 9_000  # both ways are tried
    root = ElementTree.fromstring(bank.render(SUBMISSION, accepted, AT).payload)
    people = root.iter(f"{IN_THE_DOCUMENT}CdtTrfTxInf")
    read = [
        (each.findtext(f".//{IN_THE_DOCUMENT}EndToEndId"), each.findtext(f"{IN_THE_DOCUMENT}Cdtr/{IN_THE_DOCUMENT}Nm"))
        for each in people
    ]
    assert read == [(each.reference, each.name.reveal()) for each in accepted]


def test_what_is_accepted_is_valid() -> None:
    """Every accepted name, at every length the schema allows, makes a document that the published schema accepts."""
    bank = make_adapter(max_lines=2_000)
    names = [*hostile_names(1_000), "好" * 140, "𠅤" * 140, "x", "O'Neil-Smith Jr."]
    lines = [line(0, name, reference=f"REF{number}") for number, name in enumerate(names)]
    validate(bank.render(SUBMISSION, [each for each in lines if bank.refuse(each) is None], AT).payload)


def test_extremes_are_valid() -> None:
    """The longest fields and the greatest amount that are accepted are those of the schema."""
    bank = make_adapter(max_total_fen=10**18 - 1)
    longest = line(
        name="好" * 140,
        reference="A" * 35,
        amount_fen=10**18 - 1,
        account=AccountNumber("6" * 34),
        id_no=IdNumber("9" * 18),
        programme="XJ-NY-000001",
        purpose="好" * 119,  # with programme, period and two blanks: 140
        period="2026-11",
    )
    assert bank.refuse(longest) is None
    validate(bank.render(dataclasses.replace(SUBMISSION, debit_name="好" * 140), [longest], AT).payload)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "a\u3000", "a\tb", "a\nb", "a\rb", "a\x00b", "\x85", "\u2028", "\ud800", "张\udfff"]
)
def test_names_that_cannot_travel_are_refused(name: str) -> None:
    """A blank at an end, a control or torn character: the line is refused, nothing is cut, and no error names it."""
    bank = make_adapter()
    assert bank.refuse(line(name=name)) is Reason.NAME_NOT_ENCODABLE
    with pytest.raises(ValueError) as caught:
        bank.render(SUBMISSION, [line(1), line(2, name=name)], AT)
    assert str(caught.value) == "line 2 cannot be written: NAME_NOT_ENCODABLE"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["\ue000", "\uf8ff", "\ufffe", "\uffff", "\U000f0000", "\U0010fffd", "好" * 141])
def test_names_beyond_the_schema_or_the_standard_are_refused(name: str) -> None:
    """Private-use characters, what XML cannot carry, and 141 characters are refused as a line."""
    assert make_adapter().refuse(line(name=name)) is Reason.NAME_NOT_ENCODABLE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"account": AccountNumber("62999<0001")}, Reason.FORMAT),
        ({"account": AccountNumber("")}, Reason.FORMAT),
        ({"account": AccountNumber("6" * 35)}, Reason.FORMAT),
        ({"account": AccountNumber("٦٢٩٩٩٩")}, Reason.FORMAT),
        ({"id_no": IdNumber("65999919800101002x")}, Reason.FORMAT),
        ({"id_no": IdNumber("6599991980010100211")}, Reason.FORMAT),
        ({"id_type": "02"}, Reason.FORMAT),
        ({"bank_no": "40388100001"}, Reason.FORMAT),
        ({"bank_no": "٤٠٣٨٨١٠٠٠٠١٧"}, Reason.FORMAT),
        ({"reference": "x" * 5}, Reason.FORMAT),
        ({"reference": "A" * 36}, Reason.FORMAT),
        ({"programme": "XJ-NY-0000001"}, Reason.FORMAT),
        ({"period": "2026\n"}, Reason.FORMAT),
        ({"purpose": "好" * 130}, Reason.FORMAT),
        ({"purpose": "a\x00b"}, Reason.FORMAT),
        ({"purpose": ""}, Reason.FORMAT),
        ({"amount_fen": 0}, Reason.AMOUNT),
        ({"amount_fen": -1}, Reason.AMOUNT),
        ({"amount_fen": 10**18}, Reason.AMOUNT),
    ],
)
def test_other_fields_that_do_not_fit_are_refused(changes: dict[str, Any], reason: Reason) -> None:
    """Each field is checked against the schema's length and the manual's alphabet before anything is written."""
    assert make_adapter().refuse(line(**changes)) is reason
    with pytest.raises(ValueError):
        make_adapter().render(SUBMISSION, [line(**changes)], AT)


def test_files_beyond_a_limit_are_not_rendered() -> None:
    """Too many lines, bytes or money, no line, a reference twice, or a head that does not fit: ValueError, no bytes."""
    two = [line(1), line(2)]
    cases: list[tuple[Iso20022Adapter, Submission, list[Line]]] = [
        (make_adapter(max_lines=1), SUBMISSION, two),
        (make_adapter(max_total_fen=119_999), SUBMISSION, two),
        (make_adapter(max_file_bytes=1_024), SUBMISSION, two),
        (make_adapter(max_total_fen=10**18 - 1), SUBMISSION, [line(1, amount_fen=10**18 - 1), line(2)]),
        (make_adapter(), SUBMISSION, []),
        (make_adapter(), SUBMISSION, [line(1), line(1)]),
        (make_adapter(), dataclasses.replace(SUBMISSION, reference="A" * 21), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, reference="../A"), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, debit_name="好" * 141), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, debit_account=AccountNumber("")), two),
    ]
    for bank, submission, lines in cases:
        with pytest.raises(ValueError):
            bank.render(submission, lines, AT)


def test_settings_are_strict() -> None:
    """Unknown fields, fields out of range and identifiers that do not fit the document are refused."""
    for wrong in (
        {"colour": "red"},
        {"max_lines": 0},
        {"max_total_fen": 10**18},
        {"initiating_party_name": "好" * 141},
        {"initiating_party_name": "a\x00b"},
        {"initiating_party_id": "a<b"},
        {"debtor_agent": "40288100001"},
        {"category_purpose": "GOV"},
        {"service_level": ""},
        {"settling_seconds": 0},
        {"sftp": SFTP | {"port": 0}},
    ):
        with pytest.raises(ValidationError):
            Iso20022Settings.model_validate(SETTINGS | wrong)


def test_capabilities_say_what_the_manual_says() -> None:
    """Limits, hours and the manner of refusing come from the configuration; the safety facts do not."""
    given = make_adapter(opens="08:30", cut_off="17:00", max_lines=500, settling_seconds=600, refuses_whole_file=True)
    can = given.capabilities()
    assert (can.opens, can.cut_off, can.max_lines, can.settling_seconds) == (dt.time(8, 30), dt.time(17, 0), 500, 600)
    assert can.refuses_whole_file
    assert not make_adapter().capabilities().refuses_whole_file
    assert (can.answers, can.not_found) == (frozenset({AnswerKind.FILE}), NotFound.AUTHORITATIVE)
    assert (can.reference_length, can.encoding) == (26, "utf-8")
    assert not can.answers_carry_amounts
    assert not can.idempotent_by_reference
    assert not can.can_cancel
