"""Notices say what they must, have the length that is billed, are never torn, and go out within sending hours."""

from __future__ import annotations

import copy
import csv
import datetime as dt
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.texts import (
    DEFAULT_TEMPLATES,
    EACH_PART_UNITS,
    ONE_PART_UNITS,
    SHANGHAI,
    NoticeFacts,
    NoticeKind,
    TemplateError,
    Templates,
    check_signature,
    next_sending_time,
    notice_reference,
    split,
    utf16_units,
)

DATA = Path(__file__).parents[1] / "data"
CHINESE = Templates.parse(DEFAULT_TEMPLATES)
# Placeholder words: what counts is a second script beneath the first, not its grammar.
BILINGUAL = """
[zh]
free = "本短信免费"
ARRIVAL = "尾号{tail}于{month}月{day}日入账{amount}元，{policy}({period})，{free}"
REISSUE_ARRIVAL = "尾号{tail}于{month}月{day}日补发{amount}元，{policy}({period})，{free}"
CORRECTION = "尾号{tail}于{month}月{day}日退回{amount}元，{policy}({period})，{free}"
[ug]
free = "ھەقسىز"
ARRIVAL = "{tail} {month}/{day} {amount} {policy} {free}"
REISSUE_ARRIVAL = "{tail} {month}/{day} {amount} {policy} {free}"
CORRECTION = "{tail} {month}/{day} {amount} {policy} {free}"
[ug.policies]
"耕地地力保护补贴" = "تېرىلغۇ"
"""


def facts(**changes: Any) -> NoticeFacts:
    sound: dict[str, Any] = {
        "signature": "某某农商银行",
        "policy": "耕地地力保护补贴",
        "period": "2026",
        "amount_fen": 123456,
        "on": dt.date(2026, 11, 25),
        "account_tail": "0019",
    }
    return NoticeFacts(**(sound | changes))


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def test_arrival_is_the_approved_text() -> None:
    """The arrival text is, letter for letter and unit for unit, the one the bank had approved."""
    built = CHINESE.build(NoticeKind.ARRIVAL, facts())
    assert built.text == (
        "【某某农商银行】您尾号0019账户11月25日入账1234.56元，项目：耕地地力保护补贴(2026年)。本短信免费。"
    )
    assert (built.units, built.parts) == (59, 1)


@pytest.mark.parametrize("programme", rows("programmes.csv"), ids=lambda row: row["code"])
def test_arrival_of_every_programme_fits_one_part(programme: dict[str, str]) -> None:
    """No programme's arrival costs two messages, whatever bank signs it, for any amount a person is paid."""
    for agreement in rows("agreements.csv"):
        for kind in (NoticeKind.ARRIVAL, NoticeKind.REISSUE_ARRIVAL):
            built = CHINESE.build(
                kind,
                facts(
                    signature=agreement["sms_signature"],
                    policy=programme["sms_name"],
                    amount_fen=99_999_99,
                    on=dt.date(2026, 12, 31),
                ),
            )
            assert built.parts == 1, (kind, built.units)
            assert programme["sms_name"] in built.text


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_kind_says_what_the_rules_demand(kind: NoticeKind) -> None:
    """Policy, period, amount, date, last four of the account, and that it is free, in every kind of notice."""
    text = CHINESE.build(kind, facts()).text
    for said in ("耕地地力保护补贴", "2026年", "1234.56元", "11月25日", "尾号0019", "免费"):
        assert said in text, said
    assert text.startswith("【某某农商银行】")


def test_correction_cannot_be_taken_for_an_arrival() -> None:
    """After a return the person reads that the money went back, not that it came."""
    text = CHINESE.build(NoticeKind.CORRECTION, facts()).text
    assert "退回" in text
    assert "入账" not in text
    assert "补发入账" in CHINESE.build(NoticeKind.REISSUE_ARRIVAL, facts()).text


@pytest.mark.parametrize(
    ("period", "said"),
    [
        ("2026", "2026年"),
        ("2026-03", "2026年3月"),
        ("202611", "2026年11月"),
        ("2026-Q3", "2026年3季度"),
        ("2026-13", "2026-13"),
        ("上半年", "上半年"),
    ],
)
def test_periods_are_said_as_people_say_them(period: str, said: str) -> None:
    """A period in a known shape is spelled out; any other is shown as it is, never guessed."""
    assert f"({said})" in CHINESE.build(NoticeKind.ARRIVAL, facts(period=period)).text


@pytest.mark.parametrize(
    ("fen", "said"), [(1, "0.01元"), (10, "0.10元"), (100, "1.00元"), (10**13, "100000000000.00元")]
)
def test_amounts_are_exact(fen: int, said: str) -> None:
    """Every fen is shown, with two decimals."""
    assert f"入账{said}" in CHINESE.build(NoticeKind.ARRIVAL, facts(amount_fen=fen)).text


def test_second_language_stands_beneath_the_first() -> None:
    """Uyghur comes in addition to Chinese, in the same message, by data alone, with its own name of the policy."""
    built = Templates.parse(tomllib.loads(BILINGUAL)).build(NoticeKind.ARRIVAL, facts())
    chinese, uyghur = built.text.split("\n")
    assert chinese == "【某某农商银行】尾号0019于11月25日入账1234.56元，耕地地力保护补贴(2026)，本短信免费"
    assert uyghur == "0019 11/25 1234.56 تېرىلغۇ ھەقسىز"
    assert built.units == utf16_units(built.text) > ONE_PART_UNITS
    assert built.parts == 2


def test_chinese_is_mandatory() -> None:
    """Templates without Chinese are refused, whatever else they hold."""
    data = tomllib.loads(BILINGUAL)
    del data["zh"]
    with pytest.raises(TemplateError, match="zh: the section is missing"):
        Templates.parse(data)


@pytest.mark.parametrize("word", ["{policy}", "{amount}", "{month}", "{day}", "{tail}", "{free}"])
@pytest.mark.parametrize("kind", NoticeKind)
def test_template_without_a_mandatory_word_is_refused(kind: NoticeKind, word: str) -> None:
    """A template that would hide the policy, the amount, the date, the account or the price is never used."""
    data = copy.deepcopy(tomllib.loads(BILINGUAL))
    data["ug"][kind] = data["ug"][kind].replace(word, "")
    with pytest.raises(TemplateError) as caught:
        Templates.parse(data)
    assert caught.value.faults == (f"ug.{kind}: must say {word[1:-1]}",)


def test_all_faults_are_named_at_once() -> None:
    """One reading names everything that is wrong with a set of templates."""
    broken = {
        "zh": {
            "free": "",
            "ARRIVAL": "{policy.__class__}",
            "REISSUE_ARRIVAL": "【假】{policy}{amount}{month}{day}{tail}{free}",
            "CORRECTION": "{policy}{amount}{month}{day}{tail}{free}{name}",
            "period": {"week": "x", "year": "{month}"},
            "extra": "x",
        },
        "en": {},
    }
    with pytest.raises(TemplateError) as caught:
        Templates.parse(broken)
    named = {fault.split(":")[0] for fault in caught.value.faults}
    assert named == {
        "en",
        "zh.extra",
        "zh.free",
        "zh.ARRIVAL",
        "zh.REISSUE_ARRIVAL",
        "zh.CORRECTION",
        "zh.period.week",
        "zh.period.year",
    }


@pytest.mark.parametrize("signature", ["某行", "某某农商银行", "十二个字符的银行短信签名"])
def test_signature_of_two_to_twelve_characters_is_kept(signature: str) -> None:
    """A registered signature opens the text, in its brackets."""
    assert CHINESE.build(NoticeKind.ARRIVAL, facts(signature=signature)).text.startswith(f"【{signature}】您")


@pytest.mark.parametrize(
    "signature", ["", "行", "一二三四五六七八九十一二三", "某【行", "某 行", "某\n行", "某\ue000", "某\u200b行"]
)
def test_other_signatures_are_refused(signature: str) -> None:
    """A signature too short, too long, with brackets, blanks or characters no screen shows, is refused."""
    with pytest.raises(ValueError, match="2 to 12"):
        check_signature(signature)


@pytest.mark.parametrize(
    "unfit",
    [
        {"account_tail": "019"},
        {"account_tail": "00190"},
        {"account_tail": "００１９"},
        {"account_tail": "001\n"},
        {"policy": ""},
        {"policy": "补贴】您"},
        {"policy": "补\ud800贴"},
        {"policy": "补" * 37},
        {"period": "2026\n"},
        {"amount_fen": 0},
        {"amount_fen": -1},
    ],
)
def test_unfit_values_are_refused_without_quoting_them(unfit: dict[str, Any]) -> None:
    """What does not belong into a notice raises before anything is built, and the error does not repeat it."""
    with pytest.raises(ValueError) as caught:
        CHINESE.build(NoticeKind.ARRIVAL, facts(**unfit))
    for value in unfit.values():
        assert not str(value) or str(value) not in str(caught.value)


def test_values_with_braces_are_not_read_again() -> None:
    """A value is filled in as it is; it cannot open blanks of its own."""
    assert "项目：{amount}(" in CHINESE.build(NoticeKind.ARRIVAL, facts(policy="{amount}")).text


def test_texts_do_not_print() -> None:
    """A finished text and the account's tail never show when an object is printed."""
    assert "0019" not in repr(facts())
    assert "0019" not in repr(CHINESE.build(NoticeKind.ARRIVAL, facts()))


def test_reference_is_the_key_of_the_notice() -> None:
    """Payout, attempt and kind, and nothing else, name a notice."""
    assert notice_reference("1042-17", 2, NoticeKind.REISSUE_ARRIVAL) == "1042-17-2-REISSUE_ARRIVAL"


def test_seventy_units_are_one_part_and_seventy_one_are_two() -> None:
    """The border between one message and two lies exactly where the operators put it."""
    assert [len(split("字" * units)) for units in (0, 70, 71, 134, 135)] == [1, 1, 2, 2, 3]
    # U+20164 takes two units: 35 of them fill one message; a part of 67 holds 33 and leaves a unit empty.
    assert [len(split("𠅤" * count)) for count in (35, 36, 66, 67)] == [1, 2, 2, 3]


@settings(max_examples=10_000, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from("补a𠅤😀·"), st.characters(exclude_categories=["Cs"])), max_size=300))
def test_parts_are_whole_in_every_case(text: str) -> None:
    """Parts put together are the text, none is longer than its limit, none holds half a character, none is in vain."""
    parts = split(text)
    assert "".join(parts) == text
    lengths = [len(part.encode("utf-16-le")) // 2 for part in parts]  # would raise on half a surrogate pair
    assert sum(lengths) == utf16_units(text) == len(text.encode("utf-16-le")) // 2
    if len(parts) == 1:
        assert lengths[0] <= ONE_PART_UNITS
    else:
        assert sum(lengths) > ONE_PART_UNITS
        assert max(lengths) <= EACH_PART_UNITS
        assert min(lengths[:-1]) >= EACH_PART_UNITS - 1  # at most the one unit that a pair did not fit into
        assert lengths[-1] > 0


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("2026-11-24T09:29:59.999999+08:00", "2026-11-24T09:30:00+08:00"),
        ("2026-11-24T09:30:00+08:00", "2026-11-24T09:30:00+08:00"),
        ("2026-11-24T20:59:59+08:00", "2026-11-24T20:59:59+08:00"),
        ("2026-11-24T21:00:00+08:00", "2026-11-25T09:30:00+08:00"),
        ("2026-12-31T23:00:00+08:00", "2027-01-01T09:30:00+08:00"),
        ("2026-11-24T13:00:00+00:00", "2026-11-25T09:30:00+08:00"),  # 21:00 in Beijing
        ("2026-11-24T22:00:00+00:00", "2026-11-25T09:30:00+08:00"),  # 06:00 in Beijing, the next day
    ],
)
def test_notices_wait_for_sending_hours(now: str, then: str) -> None:
    """Within 09:30 to 21:00 Beijing time a notice goes at once, outside it waits for the next opening."""
    found = next_sending_time(at(now))
    assert found == at(then)
    assert found.tzinfo is SHANGHAI


def test_midnight_ends_the_day() -> None:
    """Hours that close at 00:00 close at the day's end; 00:00 to 00:00 never closes."""
    late = at("2026-11-24T23:59:00+08:00")
    assert next_sending_time(late, dt.time(9), dt.time(0)) == late
    assert next_sending_time(at("2026-11-25T00:00:00+08:00"), dt.time(9), dt.time(0)) == at("2026-11-25T09:00:00+08:00")
    assert next_sending_time(at("2026-11-25T03:00:00+08:00"), dt.time(0), dt.time(0)) == at("2026-11-25T03:00:00+08:00")


def test_senseless_hours_are_refused() -> None:
    """Hours that end before they begin, or a time without its zone, are a fault, not a guess."""
    with pytest.raises(ValueError, match="end after they begin"):
        next_sending_time(at("2026-11-24T12:00:00+08:00"), dt.time(21), dt.time(9))
    with pytest.raises(ValueError, match="aware"):
        next_sending_time(at("2026-11-24T12:00:00"))


@given(st.integers(0, 730 * 86_400), st.integers(-720, 720))
def test_a_sending_time_is_open_and_next(seconds: int, offset_minutes: int) -> None:
    """Whatever the hour, the time given is within hours, not in the past, less than a day away, and stays itself."""
    zone = dt.timezone(dt.timedelta(minutes=offset_minutes))
    now = dt.datetime(2026, 1, 1, tzinfo=zone) + dt.timedelta(seconds=seconds)
    found = next_sending_time(now)
    assert dt.time(9, 30) <= found.time() < dt.time(21)
    assert now <= found < now + dt.timedelta(days=1)
    assert next_sending_time(found) == found
