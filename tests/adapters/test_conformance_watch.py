"""What the kit hears of a run: every disguise of a secret, wherever it is written, and nothing by chance."""

from __future__ import annotations

import base64
import logging
import sys

import pytest

from adapters.conformance import people
from adapters.conformance.disguises import disguises
from adapters.conformance.watch import Watch

ACCOUNT = people.person(1).account
LONG = "古丽娜尔·阿卜杜热合曼"


@pytest.mark.parametrize("secret", [ACCOUNT, LONG])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_secret_is_found_in_base64_wherever_it_begins(secret: str, before: str, after: str, encode: object) -> None:
    """Whatever stands before and after it, a secret inside a text in base64 has a face that is looked for."""
    assert callable(encode)
    for encoding in ("utf-8", "gb18030"):
        text = encode((before + secret + after).encode(encoding)).decode()
        assert any(form in text for form in disguises(secret))


def test_short_secret_is_not_found_by_chance() -> None:
    """A name of two characters has no form that a digest or a key might contain by accident."""
    forms = {form: words for form, words in disguises("张珅").items() if form.isascii() and form.isalnum()}
    assert [form for form, words in forms.items() if words == "in base64"] == []
    assert all(len(form) >= 12 for form in forms)


def test_torn_name_is_looked_for_all_the_same() -> None:
    """A name that has no bytes in any encoding is still found as it is, and escaped."""
    torn = people.HARD_NAMES[5]
    assert {torn, repr(torn)[1:-1]} <= set(disguises(torn))


async def test_what_is_printed_is_heard_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A line on the terminal is noted with where it was, in one piece however it was written, and still shown."""
    watch = Watch()
    with watch.listening():
        sys.stdout.write("to " + ACCOUNT[:9])
        sys.stdout.write(ACCOUNT[9:] + "\n")
        sys.stderr.write(f"name={LONG!a}")  # no end of line, ever
    shown = capsys.readouterr()
    assert (ACCOUNT in shown.out, "name=" in shown.err) == (True, True)
    assert watch.leaks({ACCOUNT: "an account", LONG: "a name"}) == [
        "a name escaped in a line on stderr",
        "an account in a line on stdout",
    ]


async def test_log_that_is_kept_from_others_is_heard() -> None:
    """Records are heard where they are made: also those of a logger that does not pass them on, and their fields."""
    watch, own = Watch(), logging.getLogger("their_bank.own")
    own.propagate = False
    own.addHandler(logging.NullHandler())
    factory = logging.getLogRecordFactory()
    with watch.listening():
        own.warning("to %s", ACCOUNT)
        logging.getLogger("their_bank").debug("to somebody", extra={"payee": LONG})
    assert watch.leaks({ACCOUNT: "an account", LONG: "a name"}) == [
        "a name in a log record of their_bank",
        "an account in a log record of their_bank.own",
    ]
    assert logging.getLogRecordFactory() is factory
