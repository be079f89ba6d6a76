"""Identities: how a payout is named inside and outside, and how references that banks see are minted."""

from __future__ import annotations

import datetime as dt
import os

LINE_BITS = 20
MAX_LINES = (1 << LINE_BITS) - 1
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def payout_id(batch_no: int, line: int) -> int:
    """The key of an approved line: a batch's payouts are one range of keys."""
    if not (batch_no > 0 and 0 < line <= MAX_LINES):
        raise ValueError("a payout is a positive batch number and a line up to 1,048,575")
    return batch_no << LINE_BITS | line


def batch_and_line(payout: int) -> tuple[int, int]:
    return payout >> LINE_BITS, payout & MAX_LINES


def payout_range(batch_no: int) -> tuple[int, int]:
    """First and last possible payout key of a batch, both inclusive."""
    return batch_no << LINE_BITS, (batch_no << LINE_BITS) | MAX_LINES


def payout_name(payout: int) -> str:
    """The name people and messages use: ``<batch number>-<line>``."""
    batch_no, line = batch_and_line(payout)
    return f"{batch_no}-{line}"


def payout_from_name(name: str) -> int:
    """Inverse of ``payout_name``; ValueError on anything else."""
    batch_text, dash, line_text = name.partition("-")
    if not (dash and batch_text.isascii() and batch_text.isdigit() and line_text.isascii() and line_text.isdigit()):
        raise ValueError("a payout is named <batch number>-<line>, for instance 1042-17")
    return payout_id(int(batch_text), int(line_text))


def submission_reference(submission_id: int, at: dt.datetime) -> str:
    """20 characters, unique for ever: the number never repeats within a day, and neither does a day."""
    if submission_id >= 10**10:
        raise ValueError("submission numbers have ten digits")
    return f"DF{at:%Y%m%d}{submission_id:010d}"


def mint_references(count: int, at: dt.datetime, alphabet: str, length: int) -> list[str]:
    """``count`` references: milliseconds first, for index locality, then randomness from the operating system.

    Random rather than counted, so that a database restored from a backup cannot mint a reference twice. Raises
    ValueError when the bank's alphabet and length leave fewer than 50 random bits.
    """
    symbols = CROCKFORD if set(CROCKFORD) <= set(alphabet) else "".join(sorted(set(alphabet)))
    base = len(symbols)
    milliseconds = int(at.timestamp() * 1000)
    head, head_length = _digits(milliseconds, symbols), _width(1 << 44, base)
    random_length = length - head_length
    if base**random_length < 1 << 50:
        raise ValueError(f"references of {length} characters over {base} symbols are too short to be unique")
    prefix = head.rjust(head_length, symbols[0])
    noise = os.urandom(16 * count)
    span = base**random_length
    return [
        prefix
        + _digits(int.from_bytes(noise[16 * i : 16 * i + 16], "big") % span, symbols).rjust(random_length, symbols[0])
        for i in range(count)
    ]


def _digits(number: int, symbols: str) -> str:
    base = len(symbols)
    text = ""
    while number:
        number, digit = divmod(number, base)
        text = symbols[digit] + text
    return text or symbols[0]


def _width(limit: int, base: int) -> int:
    width = 1
    while base**width < limit:
        width += 1
    return width
