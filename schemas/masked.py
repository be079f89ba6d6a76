"""Personal data as types that print masked: the text inside comes out through ``reveal()`` alone, a word one can grep.

Whatever turns a value into text by accident (``str``, ``repr``, an f-string, a traceback, ``model_dump``, a JSON
renderer's ``default=repr``) gets the masked form of DOMAIN section 6. Pickling is refused, because a pickle is text in
disguise. There is one way to serialise the real text: ``model_dump(context=ON_THE_WIRE)``, used by ``schemas.codec``.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, NoReturn, Self, final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@final
class _OnTheWire:
    """The serialisation context that asks for real text; compared by identity, so no configuration can forge it."""

    __slots__ = ()


ON_THE_WIRE: Final = _OnTheWire()

_HIDDEN = "****"
_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_LEAST_FOR_TAIL = 8  # of a shorter number the last four would give away most of it


class Masked:
    """A text that belongs to a person. Equal and hashed by its value, within one type; true when it is not empty."""

    __slots__ = ("_text",)
    max_length: ClassVar[int] = 200

    _text: str

    def __init__(self, text: str) -> None:
        if type(text) is not str:
            raise TypeError(f"{type(self).__name__} holds a str")
        _set_text(self, text)

    def reveal(self) -> str:
        """The text itself: for the bank's wire, the SMS, sealing and judging; never for a log, a metric or an error."""
        return self._text

    def masked(self) -> str:
        """What people and logs may see."""
        return _HIDDEN if self._text else ""

    def __str__(self) -> str:
        return self.masked()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked()!r})"

    def __format__(self, spec: str) -> str:
        return format(self.masked(), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._text == other._text

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is never pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is never pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A bounded JSON string in; masked text out, unless the context is ``ON_THE_WIRE``."""
        text = core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(strict=True, max_length=cls.max_length)
        )
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), text]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _serialise, info_arg=True, return_schema=core_schema.str_schema()
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-personal-data": True}


# The slot's own descriptor: it writes once where __setattr__ refuses, at half the price of object.__setattr__.
_set_text = Masked.__dict__["_text"].__set__


def _serialise(value: Masked, info: core_schema.SerializationInfo[Any]) -> str:
    return value.reveal() if info.context is ON_THE_WIRE else value.masked()


class _Number(Masked):
    """Shows its last four characters, and nothing at all of a number too short for that."""

    __slots__ = ()
    max_length = 64

    def masked(self) -> str:
        if not self._text:
            return ""
        tail = self._text[-4:]
        return _HIDDEN + tail if len(self._text) >= _LEAST_FOR_TAIL and tail.isprintable() else _HIDDEN


@final
class IdNumber(_Number):
    """A resident ID number as written, right or wrong."""

    __slots__ = ()


@final
class AccountNumber(_Number):
    """A card, social-security card or passbook number as written."""

    __slots__ = ()


@final
class Phone(Masked):
    """A phone number as written; a mobile number shows as 138****8000, anything else shows nothing."""

    __slots__ = ()
    max_length = 64

    def masked(self) -> str:
        digits = self._text.replace(" ", "").removeprefix("+86")
        return f"{digits[:3]}{_HIDDEN}{digits[-4:]}" if _MOBILE.fullmatch(digits) else super().masked()


@final
class PersonName(Masked):
    """A name as written; shows its first character. A name of one character shows nothing."""

    __slots__ = ()

    def masked(self) -> str:
        if not self._text:
            return ""
        first = self._text[0]
        return first + "*" if len(self._text) > 1 and first.isprintable() else "*"


@final
class Address(Masked):
    """A home address; shows nothing. The county, which may be shown, is a field of the batch."""

    __slots__ = ()
    max_length = 400

    def masked(self) -> str:
        return "***" if self._text else ""
