"""What the front-end machine can answer to a document, sound or by a fault, and how an answer can travel."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Manner(Enum):
    """How an answer travels; after anything but a whole one, the connection is closed."""

    WHOLE = auto()
    HANG = auto()  # nothing, but only after a while
    DROP = auto()  # nothing
    SHORT = auto()  # the first half of the frame
    PLAIN = auto()  # a text instead of a frame
    OVERSIZE = auto()  # a header that announces too much, and then too much
    SLOW = auto()  # byte by byte


TEXT = {
    "0000": "受理成功",
    "1000": "报文格式错误",
    "1001": "字段错误",
    "1002": "无此记录",
    "2007": "系统忙,处理中",
    "3008": "账户余额不足",
    "3051": "批次重复",
    "3058": "报文鉴别码错误",
    "9999": "系统异常",
}
# fault -> what the reply to DF1001 says, or how it travels; what is not here is cut off without a word
SAYS = {
    "answer_9999_after_accept": "9999",
    "answer_9999_before_accept": "9999",
    "answer_cics_after_accept": "CICS",
    "answer_blank_after_accept": "",
    "busy_2007_after_accept": "2007",
    "busy_2007_before_accept": "2007",
    "duplicate_3051_after_accept": "3051",
}
MANNERS = {
    "short_answer": Manner.SHORT,
    "garbage_answer": Manner.PLAIN,
    "hostile_oversize": Manner.OVERSIZE,
    "hostile_slow": Manner.SLOW,
    "timeout_before_accept": Manner.HANG,
    "timeout_after_accept": Manner.HANG,
    "query_timeout": Manner.HANG,
    "query_drop": Manner.DROP,
    "query_short": Manner.SHORT,
}
REFUSALS = {"refuse_format": ("1001", "FORMAT"), "refuse_mac": ("3058", "MAC")}
WORDS = {"3008": "FUNDS_SHORT", "1000": "FORMAT", "1001": "FORMAT", "3058": "MAC"}
BOMB = (
    '<!DOCTYPE BANK [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {one} "{f"&{other};" * 10}">' for other, one in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


class Outcome(NamedTuple):
    """The document that leaves, and how."""

    document: bytes
    manner: Manner = Manner.WHOLE
