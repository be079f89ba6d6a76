"""The batch file of rcc_file, judged by the sample and by a reader of our own that shares no line with the adapter."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.banks.rcc_file.bank import RccFileAdapter, RccFileSettings
from adapters.contract import Line, Reason, Submission
from schemas.masked import AccountNumber, IdNumber
from tests.adapters.rcc_file_kit import (
    AT,
    SAMPLE_LINES,
    SAMPLES,
    SETTINGS,
    SFTP,
    STEM,
    SUBMISSION,
    artefact,
    line,
    make_adapter,
    result,
    row,
    sm3,
)


def test_sample_is_reproduced_byte_for_byte() -> None:
    """Rendering the sample's lines gives the sample's bytes, name, total and references, twice alike."""
    rendered = make_adapter().render(SUBMISSION, SAMPLE_LINES, AT)
    assert rendered.payload == (SAMPLES / f"{STEM}.txt").read_bytes()
    assert rendered.remote_name == f"up/20261124/{STEM}.txt"
    assert (rendered.total_fen, rendered.references) == (271506, tuple(each.reference for each in SAMPLE_LINES))
    assert rendered.sha256 == hashlib.sha256(rendered.payload).hexdigest()
    assert make_adapter().render(SUBMISSION, SAMPLE_LINES, AT) == rendered


def test_business_date_is_shanghai() -> None:
    """The date in the file is Shanghai's, whatever offset the clock came with; a clock without one is refused."""
    utc = dt.datetime(2026, 11, 23, 16, 30, tzinfo=dt.UTC)
    assert b"|20261124|AG0801|" in make_adapter().render(SUBMISSION, SAMPLE_LINES, utc).payload
    with pytest.raises(ValueError, match="offset"):
        make_adapter().render(SUBMISSION, SAMPLE_LINES, AT.replace(tzinfo=None))


def read_independently(payload: bytes) -> list[dict[str, str]]:
    """Read a batch file character by character from its first byte, as a bank's GB18030 reader would."""
    text = payload.decode("gb18030", errors="strict")
    assert text.endswith("\r\n")
    rows = [each.split("|") for each in text[:-2].split("\r\n")]
    head, trailer = rows[0], rows[-1]
    assert (head[0], trailer[0], len(head), len(trailer)) == ("H", "T", 13, 4)
    assert trailer[3] == sm3(payload[: payload.rindex(b"T|")])
    names = ["D", "line", "ref", "account", "name", "id_type", "id_no", "amount", "programme", "purpose", "period"]
    lines = [dict(zip(names, each, strict=True)) for each in rows[1:-1]]
    assert head[9:11] == trailer[1:3] == [str(len(lines)), str(sum(int(each["amount"]) for each in lines))]
    return lines


NAMES = st.text(st.one_of(st.characters(), st.characters(min_codepoint=0x3400, max_codepoint=0x9FFF)), max_size=30)


@settings(deadline=None)  # what is promised is the bytes, not the time on a busy machine
@given(st.lists(st.tuples(NAMES, st.integers(-1, 10**13)), min_size=1, max_size=5))
def test_what_is_written_is_what_arrives(people: list[tuple[str, int]]) -> None:
    """Whatever the name and amount: either the line is refused, or an independent reader gets exactly the same."""
    bank = make_adapter()
    lines = [line(number, name, amount) for number, (name, amount) in enumerate(people)]
    accepted = [each for each in lines if bank.refuse(each) is None]
    if len(accepted) < len(lines):
        with pytest.raises(ValueError):
            bank.render(SUBMISSION, lines, AT)
    if accepted:
        read = read_independently(bank.render(SUBMISSION, accepted, AT).payload)
        assert [(each["ref"], each["name"], int(each["amount"])) for each in read] == [
            (each.reference, each.name.reveal(), each.amount_fen) for each in accepted
        ]


def test_every_character_that_ends_in_the_separator_travels() -> None:
    """Each of the 118 GBK characters whose second byte is that of "|" is accepted and arrives, in names and texts."""
    characters = []
    for first in range(0x81, 0xFF):
        try:
            characters.append(bytes([first, 0x7C]).decode("gbk"))
        except UnicodeDecodeError:
            continue
    assert len(characters) == 118
    bank = make_adapter(max_lines=200)
    lines = [line(0, f"张{c}·{c}", reference=f"REF{n}", purpose=c * 10) for n, c in enumerate(characters)]
    read = read_independently(bank.render(SUBMISSION, lines, AT).payload)
    assert [each["name"] for each in read] == [f"张{c}·{c}" for c in characters]
    assert [each["purpose"] for each in read] == [c * 10 for c in characters]
    for c in characters:
        content = result(row(1, 100, "F", "3031", "|", text=f"{c}文{c}"))
        assert [each.text for each in bank.parse(artefact(content))] == [f"{c}文{c}"]


@pytest.mark.parametrize("name", ["䶮", "㛃", "𠅤", "古丽·买买提", "O'Neil-Smith Jr.", "好" * 50])
def test_names_beyond_gbk_are_accepted(name: str) -> None:
    """GB18030 holds what GBK cannot; such a name is written, never refused and never replaced."""
    bank = make_adapter()
    assert bank.refuse(line(name=name)) is None
    assert read_independently(bank.render(SUBMISSION, [line(name=name)], AT).payload)[0]["name"] == name


HOSTILE = ["a|b", "a\rb", "a\nb", "a\tb", "a\x00b", "\x85", "\u2028", "\ue000", "\uf8ff", "\U000f0000", "\U0010fffd"]


@pytest.mark.parametrize(
    "name", ["", *HOSTILE, "\ud800", "张\udfff", "\u9fb4", "\ufe10", "\u1e3f", "好" * 51, "䶮𠅤" * 20]
)
def test_names_that_cannot_travel_are_refused(name: str) -> None:
    """A separator, a control, private-use or torn character, or too many bytes: the line is refused, nothing is cut."""
    bank = make_adapter()
    assert bank.refuse(line(name=name)) is Reason.NAME_NOT_ENCODABLE
    with pytest.raises(ValueError) as caught:
        bank.render(SUBMISSION, [line(1), line(2, name=name)], AT)
    assert str(caught.value) == "line 2 cannot be written: NAME_NOT_ENCODABLE"
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"account": AccountNumber("62999|0001")}, Reason.FORMAT),
        ({"account": AccountNumber("")}, Reason.FORMAT),
        ({"account": AccountNumber("6" * 33)}, Reason.FORMAT),
        ({"account": AccountNumber("٦٢٩٩٩٩")}, Reason.FORMAT),
        ({"id_no": IdNumber("65999919800101002x")}, Reason.FORMAT),
        ({"id_no": IdNumber("6599991980010100211")}, Reason.FORMAT),
        ({"id_type": "1"}, Reason.FORMAT),
        ({"reference": "x" * 5}, Reason.FORMAT),
        ({"reference": "A" * 27}, Reason.FORMAT),
        ({"programme": "XJ-NY-0000001"}, Reason.FORMAT),
        ({"period": "2026\n"}, Reason.FORMAT),
        ({"period": "2026-11Q"}, Reason.FORMAT),
        ({"purpose": "好" * 11}, Reason.FORMAT),
        ({"purpose": "a|b"}, Reason.FORMAT),
        ({"amount_fen": 0}, Reason.AMOUNT),
        ({"amount_fen": -1}, Reason.AMOUNT),
        ({"amount_fen": 10**13}, Reason.AMOUNT),
    ],
)
def test_other_fields_that_do_not_fit_are_refused(changes: dict[str, Any], reason: Reason) -> None:
    """Each field is checked against the manual's length and alphabet before anything is written."""
    assert make_adapter().refuse(line(**changes)) is reason
    with pytest.raises(ValueError):
        make_adapter().render(SUBMISSION, [line(**changes)], AT)


def test_files_beyond_a_limit_are_not_rendered() -> None:
    """Too many lines, bytes or money, no line, a reference twice, or a head that does not fit: ValueError, no bytes."""
    two = [line(1), line(2)]
    cases: list[tuple[RccFileAdapter, Submission, list[Line]]] = [
        (make_adapter(max_lines=1), SUBMISSION, two),
        (make_adapter(max_total_fen=199), SUBMISSION, two),
        (make_adapter(max_file_bytes=1_024), SUBMISSION, [line(n) for n in range(10)]),
        (make_adapter(), SUBMISSION, []),
        (make_adapter(), SUBMISSION, [line(1), line(1)]),
        (make_adapter(), dataclasses.replace(SUBMISSION, reference="A" * 21), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, debit_name="好" * 31), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, debit_name="a|b"), two),
        (make_adapter(), dataclasses.replace(SUBMISSION, debit_account=AccountNumber("")), two),
    ]
    for bank, submission, lines in cases:
        with pytest.raises(ValueError):
            bank.render(submission, lines, AT)


def test_settings_are_strict() -> None:
    """Unknown fields, fields out of range and identifiers that do not fit the file are refused."""
    for wrong in (
        {"colour": "red"},
        {"max_lines": 0},
        {"org": "402XJ00012"},
        {"org": "a|b"},
        {"biz": ""},
        {"settling_seconds": 0},
        {"sftp": SFTP | {"port": 0}},
    ):
        with pytest.raises(ValidationError):
            RccFileSettings.model_validate(SETTINGS | wrong)


def test_capabilities_say_what_the_manual_says() -> None:
    """Limits, hours and dues come from the configuration; the safety facts do not."""
    capabilities = make_adapter(opens="08:30", cut_off="17:00", max_lines=500, settling_seconds=600).capabilities()
    assert (capabilities.opens, capabilities.cut_off) == (dt.time(8, 30), dt.time(17, 0))
    assert (capabilities.max_lines, capabilities.settling_seconds) == (500, 600)
    assert (capabilities.reference_length, capabilities.encoding) == (26, "gb18030")
    assert set(capabilities.reference_alphabet) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert not capabilities.idempotent_by_reference
    assert not capabilities.can_cancel
