"""JSON in which no member appears twice and no number is NaN or infinite: what ``json.loads`` lets pass."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class AmbiguousJson(ValueError):
    """Two readers could read this text differently. The message never quotes it."""


def loads(text: bytes | str) -> Any:
    """The value of a UTF-8 JSON text; ValueError without its content when it is not JSON or is ambiguous."""
    fault = "not JSON in UTF-8"
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(decoded, object_pairs_hook=_members, parse_constant=_constant)
    except AmbiguousJson as error:
        fault = str(error)
    except (ValueError, RecursionError):
        pass
    # Out here, so that the decoder's error, which holds the whole text, does not stay attached as the context.
    raise AmbiguousJson(fault)


def demand_unique_members(raw: bytes) -> None:
    """For bytes that another reader has accepted: AmbiguousJson when some object names a member twice."""
    json.loads(raw, object_pairs_hook=_check_members)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise AmbiguousJson("a member appears twice in one object")
    return members


def _check_members(pairs: list[tuple[str, Any]]) -> None:
    """As ``_members``, but keeps nothing: a part of a thousand lines is not built a second time."""
    _members(pairs)


def _constant(name: str) -> NoReturn:
    raise AmbiguousJson("NaN and infinity are not JSON")
