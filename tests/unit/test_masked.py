"""Personal types: nothing but ``reveal()`` and the wire's own context gives the text away."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.masked import ON_THE_WIRE, AccountNumber, Address, IdNumber, Masked, PersonName, Phone

EXAMPLES: list[tuple[type[Masked], str, str]] = [
    (PersonName, "测试·甲", "测*"),
    (PersonName, "甲", "*"),
    (PersonName, "\n甲乙", "*"),
    (PersonName, "", ""),
    (IdNumber, "65999919860103841X", "****841X"),
    (IdNumber, "1234567", "****"),
    (IdNumber, "12345678", "****5678"),
    (IdNumber, "65999919860103\n41X", "****"),
    (AccountNumber, "6299990000007000023", "****0023"),
    (AccountNumber, "", ""),
    (Phone, "13800138000", "138****8000"),
    (Phone, "+86 138 0013 8000", "138****8000"),
    (Phone, "0991-1234567", "****"),
    (Phone, "659999198601038407", "****"),
    (Phone, "1380013800\N{EXTENDED ARABIC-INDIC DIGIT ZERO}", "****"),
    (Phone, "", ""),
    (Address, "某某县某某乡1号", "***"),
    (Address, "", ""),
]
TYPES = [PersonName, IdNumber, AccountNumber, Phone, Address]


class Person(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: PersonName
    id_no: IdNumber | None = None


@pytest.mark.parametrize(("kind", "text", "shown"), EXAMPLES)
def test_shows_only_what_the_table_allows(kind: type[Masked], text: str, shown: str) -> None:
    """Each type shows what DOMAIN section 6 allows and no more, and a text in the wrong column shows nothing."""
    value = kind(text)
    assert str(value) == f"{value}" == shown
    assert repr(value) == f"{kind.__name__}({shown!r})"
    assert f"{value:>20}" == shown.rjust(20)
    assert "%s" % value == shown  # noqa: UP031  the old way of formatting is masked as well
    assert value.reveal() == text


@pytest.mark.parametrize("kind", TYPES)
def test_no_accidental_way_out(kind: type[Masked]) -> None:
    """Pickle, copies, JSON fallbacks, containers and attribute dumps never contain the text."""
    secret = "13800138000-canary"
    value = kind(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(value, protocol)
    with pytest.raises(TypeError):
        vars(value)
    with pytest.raises(TypeError):
        json.dumps({"value": value})
    assert copy.copy(value) is value
    assert copy.deepcopy([value])[0] is value
    for text in (json.dumps([value], default=repr), str([value]), repr({"a": value}), f"{(value,)!s}"):
        assert "canary" not in text
        assert "8001" not in text


def test_values_compare_within_their_type() -> None:
    """Equality and hash follow the text, and a name never equals an ID number that reads the same."""
    assert IdNumber("659999") == IdNumber("659999")
    assert IdNumber("659999") != IdNumber("659998")
    assert len({IdNumber("1"), IdNumber("1"), AccountNumber("1")}) == 2
    unlike: list[object] = [IdNumber("1"), AccountNumber("1"), "1"]
    assert unlike[0] != unlike[1]
    assert unlike[0] != unlike[2]
    assert bool(Phone("1")) is True
    assert bool(Phone("")) is False


def test_values_do_not_change() -> None:
    """A masked value is frozen, has no room for other attributes, and holds nothing but a str."""
    value = PersonName("测试甲")
    for name in ("_text", "other"):
        with pytest.raises(AttributeError):
            setattr(value, name, "x")
    with pytest.raises(AttributeError):
        del value._text
    assert value.reveal() == "测试甲"
    wrong: Any = b"bytes"
    with pytest.raises(TypeError):
        PersonName(wrong)


def test_models_dump_masked_unless_asked_by_the_wire() -> None:
    """A model's dump, JSON and repr are masked; only the wire's own context object gets the text."""
    person = Person.model_validate_json('{"name":"测试甲","id_no":"659999198601038407"}')
    masked = {"name": "测*", "id_no": "****8407"}
    assert person.model_dump() == masked
    assert person.model_dump(context={"ON_THE_WIRE": True}) == masked
    assert json.loads(person.model_dump_json()) == masked
    assert "试" not in repr(person) + str(person)
    assert "6599" not in repr(person) + str(person)
    assert person.model_dump(context=ON_THE_WIRE) == {"name": "测试甲", "id_no": "659999198601038407"}
    with pytest.raises(TypeError):
        pickle.dumps(person)


def test_models_take_strict_bounded_strings() -> None:
    """A number, null or an overlong text is no masked value, and the error does not quote it."""
    assert Person(name=PersonName("测试")).id_no is None
    for bad in ('{"name":5}', '{"name":null}', json.dumps({"name": "canary" * 40}), '{"name":["canary"]}'):
        with pytest.raises(ValidationError) as caught:
            Person.model_validate_json(bad)
        assert "canary" not in str(caught.value.errors(include_input=False))
    schema = Person.model_json_schema()["properties"]["name"]
    assert (schema["type"], schema["maxLength"], schema["x-personal-data"]) == ("string", 200, True)
