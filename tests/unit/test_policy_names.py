"""Names: the interpunct, what may not stand in one, and when two are the same."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import names

LOOK_ALIKES = "\u2022\u2027\u2219\u22c5\u30fb\uff65"


@pytest.mark.parametrize("dot", LOOK_ALIKES)
def test_each_look_alike_becomes_the_legal_interpunct(dot: str) -> None:
    """All six look-alikes are mapped to U+00B7, which NFKC would not have done."""
    assert names.canonical(f"阿不都{dot}尼亚孜") == "阿不都\u00b7尼亚孜"
    assert unicodedata.normalize("NFKC", dot) != "\u00b7"


def test_the_legal_interpunct_survives_the_bank_file_encoding() -> None:
    """The canonical interpunct is A1A4 in GB18030, the one that banks know."""
    assert names.canonical("阿\u30fb尼").encode("gb18030")[2:4] == b"\xa1\xa4"


@given(st.text(max_size=150))
def test_nothing_else_is_changed(name: str) -> None:
    """Whatever the name, only look-alikes change, one for one, and a second mapping changes nothing."""
    mapped = names.canonical(name)
    assert len(mapped) == len(name)
    assert all(
        new == old or (old in LOOK_ALIKES and new == names.INTERPUNCT) for old, new in zip(name, mapped, strict=True)
    )
    assert names.canonical(mapped) == mapped


@pytest.mark.parametrize(
    "name",
    [
        "黄娜",
        "珅建国",
        "䶮",
        "㛃𠅤",
        "阿不都热合曼·阿不都克力木",
        "Nur Muhammad",
        "张　三",
        "O'Brien-Smith",
        "王" * 50,
        "王" * 100,
        "𱁬",
    ],
)
def test_real_names_hold(name: str) -> None:
    """Rare and new hanzi, the interpunct, Latin letters, inner spaces and fifty or a hundred characters may be paid."""
    assert names.fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", names.EMPTY),
        ("   ", names.EMPTY),
        ("\u3000", names.EMPTY),
        ("王" * 101, names.TOO_LONG),
        ("王|三", names.SEPARATOR),
        ("王三|", names.SEPARATOR),
        ("王三\r\n", names.SEPARATOR),
        ("王\n三", names.SEPARATOR),
        ("王\t三", names.SEPARATOR),
        ("王\x00三", names.SEPARATOR),
        ("王\x7f", names.SEPARATOR),
        ("王\x85", names.SEPARATOR),
        ("王\u2028三", names.SEPARATOR),
        (" 王三", names.SPACE_AT_EDGE),
        ("王三\u3000", names.SPACE_AT_EDGE),
        ("王\ue000", names.PRIVATE_USE),
        ("王\uf8ff", names.PRIVATE_USE),
        ("王\U000f0000", names.PRIVATE_USE),
        ("王\U0010fffd", names.PRIVATE_USE),
        ("王\ufffd", names.DAMAGED),
        ("王\u200b三", names.DAMAGED),
        ("\u202e王三", names.DAMAGED),
        ("王\ufeff", names.DAMAGED),
        ("王" + chr(0xD800), names.DAMAGED),
        ("王\uffff", names.DAMAGED),
        ("王\ufffe", names.DAMAGED),
    ],
)
def test_names_that_cannot_be_paid(name: str, fault: str) -> None:
    """What frames files, hides, was damaged or means nothing outside one computer goes back to the department."""
    assert names.fault(name) == fault


@given(st.text(max_size=120))
def test_a_name_that_holds_reaches_a_framed_file_whole(name: str) -> None:
    """A name without fault can be written in GB18030 between separators and read back equal, decoding first."""
    canonical = names.canonical(name)
    if names.fault(canonical) is None:
        record = f"1|{canonical}|2\r\n".encode("gb18030")
        assert record.decode("gb18030").removesuffix("\r\n").split("|") == ["1", canonical, "2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("阿不都·尼亚孜", "阿不都\u2022尼亚孜"),
        ("张三", "张 三"),
        ("张三", " 张\u3000三 "),
        ("ABC", "ＡＢＣ"),
        ("阿·尼", "阿\uff65尼"),
    ],
)
def test_the_same_person_written_differently(one: str, other: str) -> None:
    """Interpunct, width and spaces do not make another name."""
    assert names.same(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("张三", "张叁"), ("张三", "张三丰"), ("abc", "ABC"), ("阿·尼", "阿尼"), ("ﬁ", "fi")]
)
def test_another_name(one: str, other: str) -> None:
    """Everything else is exact: case, look-alike hanzi, a missing interpunct, ligatures."""
    assert not names.same(one, other)
