"""Money: text in and out by pattern, sums exact, no float anywhere."""

from __future__ import annotations

import ast
import inspect
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import money
from schemas.money import (
    billionths_as_written,
    billionths_of_sum,
    fen_from_yuan_text,
    sum_as_written,
    sum_text,
    yuan_text_from_fen,
)

NOT_YUAN = [
    "", "1", "1.", "1.2", "1.234", ".12", "-1.00", "+1.00", " 1.00", "1.00 ", "1.00\n", "1,000.00", "1_000.00", "1e2",
    "1E+2", "NaN", "Infinity", "0x10.00", "１.00", "۱.00", "٣.00", "1.0०", "1.00.00", "12345678901234.00", "1。00",
    "¥1.00", "1.00元",
]  # fmt: skip


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_fen_and_yuan_are_inverse(fen: int) -> None:
    """Every amount that fits survives the way out and back, and reads as the decimal it is."""
    text = yuan_text_from_fen(fen)
    assert fen_from_yuan_text(text) == fen
    assert Decimal(text) * 100 == fen


def test_yuan_examples() -> None:
    """The readings that a person expects, at the edges."""
    assert fen_from_yuan_text("0.00") == 0
    assert fen_from_yuan_text("0.01") == 1
    assert fen_from_yuan_text("0001.10") == 110
    assert fen_from_yuan_text("9999999999999.99") == 10**15 - 1
    assert yuan_text_from_fen(5) == "0.05"
    assert yuan_text_from_fen(123456) == "1234.56"


@pytest.mark.parametrize("text", NOT_YUAN)
def test_anything_else_is_no_amount(text: str) -> None:
    """What only looks like an amount is refused, and the error does not repeat it."""
    with pytest.raises(ValueError, match="1 to 13 ASCII digits") as caught:
        fen_from_yuan_text(text)
    assert not text or text not in str(caught.value) or text == "1"


def test_nothing_is_negative() -> None:
    """No negative amount can be written."""
    with pytest.raises(ValueError):
        yuan_text_from_fen(-1)
    with pytest.raises(ValueError):
        sum_text(-1)


@pytest.mark.parametrize(
    ("texts", "total"),
    [
        ([], "0.00"),
        (["1", "2.5", "3.005"], "6.505"),
        (["0.1"] * 10, "1.00"),
        (["0.000000001", "0.999999999"], "1.00"),
        (["13288.00", "6802.95"], "20090.95"),
        (["1.2345678901", "-5", "abc", "", "1e3", "１", "۱", "1.", ".5", "1\n", "12345678901234"], "0.00"),
        (["7", "abc"], "7.00"),
        (["9999999999999.999999999"] * 2, "19999999999999.999999998"),
    ],
)
def test_sum_as_written(texts: list[str], total: str) -> None:
    """The sum is exact over plain decimals, and a text that is none counts as zero."""
    assert sum_as_written(texts) == total


@given(st.lists(st.decimals(min_value=0, max_value=10**12, places=9), max_size=50))
def test_sum_agrees_with_decimal(amounts: list[Decimal]) -> None:
    """An independent decimal arithmetic gives the same sum, in any order."""
    texts = [f"{amount:f}" for amount in amounts]
    total = sum_as_written(texts)
    assert Decimal(total) == sum(amounts, Decimal(0))
    assert sum_as_written(reversed(texts)) == total


def test_sums_compare_as_numbers() -> None:
    """Two spellings of one sum agree, and partial sums of parts can be added."""
    assert billionths_of_sum("7") == billionths_of_sum("7.00") == billionths_as_written("7.000000000")
    assert sum_text(billionths_of_sum("1.5") + billionths_of_sum("1234567890123456789.25")) == "1234567890123456790.75"
    for bad in ("", "7.", "1e3", "7.0000000000", "-7", "12345678901234567890"):
        with pytest.raises(ValueError):
            billionths_of_sum(bad)


def test_no_float_in_the_module() -> None:
    """Neither a float literal, nor the name, nor a true division stands in the money module."""
    for node in ast.walk(ast.parse(inspect.getsource(money))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        assert not (isinstance(node, ast.Name) and node.id in {"float", "Decimal", "round"})
        assert not isinstance(node, ast.Div)
