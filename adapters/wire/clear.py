"""Where validated settings lead unencrypted: the hosts that whoever runs the gateway is warned of at each start."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel

from adapters.contract import TellsPlaintext

_ONLY_HERE: Final = "localhost"


def is_loopback(host: str) -> bool:
    """Whether a host, a name or an address without brackets, is this machine alone. Nothing is resolved."""
    if host.lower() == _ONLY_HERE:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def beyond_loopback(*hosts: str) -> tuple[str, ...]:
    """Those of ``hosts`` that are not this machine: what ``in_the_clear`` gives of lines without TLS."""
    return tuple(host for host in hosts if not is_loopback(host))


def plain_http(*urls: str) -> tuple[str, ...]:
    """The hosts, and nothing else, of those URLs that are plain http to another machine. ValueError for no URL."""
    parts = [urlsplit(url) for url in urls]
    return beyond_loopback(*(each.hostname or "" for each in parts if each.scheme == "http"))


def hosts_in_the_clear(settings: object) -> tuple[str, ...]:
    """The hosts to which settings lead unencrypted, each once, as they and every model that they hold say themselves.

    So the settings of a bank that hold a ``TcpSettings`` need no word of their own. Nothing said means nowhere.
    """
    found = (host for part in _parts(settings) if isinstance(part, TellsPlaintext) for host in part.in_the_clear())
    return tuple(dict.fromkeys(found))


def _parts(value: object) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
        for field in type(value).model_fields:
            yield from _parts(getattr(value, field))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _parts(inner)
