"""Whether a message keeps the published structure of ISO 20022, by the classes of pyiso20022 and xsdata."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from lxml import etree
from xsdata.exceptions import ParserError
from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig
from xsdata.formats.dataclass.serializers import XmlSerializer

STRICT = ParserConfig(
    fail_on_unknown_properties=True, fail_on_unknown_attributes=True, fail_on_converter_warnings=True
)  # fmt: skip
_KIND = re.compile(rb'xmlns="(urn:iso:std:iso:20022:tech:xsd:(pain|camt)\.([0-9]{3})\.([0-9]{3})\.([0-9]{2}))"')


def offences(body: bytes) -> list[str]:
    """What breaks the schema that the message names; nothing for a sound one."""
    kind = _KIND.search(body)
    if kind is None:
        return ["no namespace of a message"]
    area, *numbers = (group.decode() for group in kind.groups()[1:])
    name = "_".join((area, *numbers))
    document = importlib.import_module(f"pyiso20022.{area}.{name}").Document
    try:
        message = XmlParser(config=STRICT).from_bytes(body, document)
    except (ParserError, TypeError, ValueError) as problem:  # TypeError: a required element is missing
        return [type(problem).__name__]
    found = list(_facets(message, name))
    written = XmlSerializer().render(message, ns_map={None: kind[1].decode()})
    if not found and _canonical(written.encode()) != _canonical(body):
        found.append("elements in another order than the schema's, or text around them")
    return found


def _canonical(body: bytes) -> bytes:
    return etree.tostring(etree.fromstring(body), method="c14n")


def _facets(value: Any, where: str) -> Iterator[str]:
    """The schema's facets, which xsdata keeps as metadata and does not check itself."""
    for field in dataclasses.fields(value):
        facts, held = field.metadata, getattr(value, field.name)
        place = f"{where}/{facts.get('name', field.name)}"
        many = held if isinstance(held, list) else [] if held is None else [held]
        if len(many) < max(int(bool(facts.get("required"))), facts.get("min_occurs", 0)):
            yield f"{place} is missing"
        if isinstance(held, list) and len(held) > facts.get("max_occurs", len(held)):
            yield f"{place} is there too often"
        for each in many:
            if dataclasses.is_dataclass(each) and not hasattr(each, "from_string"):
                yield from _facets(each, place)
            else:
                yield from _simple(each, facts, place)


def _simple(value: Any, facts: Any, place: str) -> Iterator[str]:
    if isinstance(value, str):
        if not facts.get("min_length", 0) <= len(value) <= facts.get("max_length", len(value)):
            yield f"{place} is too short or too long"
        if facts.get("pattern") and not re.fullmatch(facts["pattern"], value):
            yield f"{place} has another form"
    if isinstance(value, Decimal):
        digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
        fraction = -exponent if isinstance(exponent, int) else 0
        if len(digits) > facts.get("total_digits", 18) or fraction > facts.get("fraction_digits", 5):
            yield f"{place} has too many digits"
