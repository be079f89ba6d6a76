"""The example texts in deploy/: Uyghur beneath Chinese, one notice, cut into the parts that are billed."""

from __future__ import annotations

import datetime as dt
import tomllib

import pytest

from adapters.sms.link.longtext import cut
from gateway.texts import NoticeFacts, NoticeKind, Templates, split, utf16_units
from tests.house.tree import ROOT

EXAMPLE = ROOT / "deploy" / "sms_templates.example.toml"
FACTS = NoticeFacts("某某农商银行", "耕地地力保护补贴", "2026", 123456, dt.date(2026, 11, 25), "0019")


@pytest.mark.parametrize(
    ("kind", "billed"), [(NoticeKind.ARRIVAL, 3), (NoticeKind.REISSUE_ARRIVAL, 4), (NoticeKind.CORRECTION, 4)]
)
def test_both_languages_are_one_notice_of_few_parts(kind: NoticeKind, billed: int) -> None:
    """Signature first, Chinese before Uyghur; length and parts as they are billed and as they are sent, none torn."""
    text = Templates.parse(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))).build(kind, FACTS)
    chinese, uyghur = text.text.split("\n")
    assert chinese.startswith("【某某农商银行】")
    assert "ھەقسىز" in uyghur
    assert "تېرىلغۇ يەر" in uyghur
    assert text.units == utf16_units(text.text)
    parts = cut(text.text, 1)
    assert text.parts == len(parts) == billed
    assert [part.body.decode("utf-16-be") for part in parts] == list(split(text.text))


def test_without_the_uyghur_section_notices_are_chinese_in_one_part() -> None:
    """The additional language is turned on by its section alone."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    text = Templates.parse({"zh": data["zh"]}).build(NoticeKind.ARRIVAL, FACTS)
    assert (text.units, text.parts) == (59, 1)


def test_an_interpunct_counts_as_one_unit_and_survives_the_cut() -> None:
    """U+00B7 in a right-to-left text is one unit like any other character."""
    text = "ئابدۇلھەمىد·" * 12
    assert utf16_units(text) == len(text)
    assert "".join(part.body.decode("utf-16-be") for part in cut(text, 1)) == text
