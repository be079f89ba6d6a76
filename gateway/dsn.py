"""Where a DSN leads, read as asyncpg reads it: whether whose server it is can be somebody else's, and what it holds.

asyncpg's parser is private, and opens certificates and password files on its way, so the few rules that decide the
host are kept here once more; `tests/unit/test_dsn.py` holds them against the parser itself. In order, the first that
says a host counts: the DSN's authority, its ``host=``, its service's entry, PGHOST; then the sockets of this machine.
PGSERVICE is not among them: asyncpg reads it too late to use it.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from adapters.wire.clear import is_loopback

_VERIFIED: Final = ("verify-full", "verify_full")
_BRACKETED: Final = re.compile(r"\[([^\]]+)\]")


def verifies_server(dsn: str) -> bool:
    """Whether a DSN keeps to this machine, or checks whose server it reaches; ValueError for what is no DSN."""
    parts = urlsplit(dsn)
    said = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    served = _service(said["service"]) if "service" in said else {}
    mode = said.get("sslmode", served.get("sslmode", os.environ.get("PGSSLMODE")))
    if mode in _VERIFIED:
        return True
    return all(host.startswith("/") or is_loopback(host) for host in _hosts(parts.netloc, said, served))


def has_password(dsn: str | None) -> bool:
    """Whether a DSN carries a password; so does one that nobody can take apart."""
    try:
        parts = urlsplit(dsn or "")
        return parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        return True


def _hosts(netloc: str, said: Mapping[str, str], served: Mapping[str, str]) -> list[str]:
    """Every host that may be connected to; none where the sockets of this machine are looked for."""
    # The user's part ends at the *first* @, whatever a URL would make of it.
    authority = netloc.partition("@")[2] if "@" in netloc else netloc
    if authority:
        return [unquote(_host(place)) for place in authority.split(",")]
    listed = said.get("host") or served.get("host") or os.environ.get("PGHOST")
    return [_host(place) for place in listed.split(",")] if listed else []


def _host(place: str) -> str:
    """The host of ``host``, ``host:port``, ``[address]:port`` or a socket's directory."""
    if place.startswith("/"):
        return place
    if not place.startswith("["):
        return place.partition(":")[0]
    match = _BRACKETED.match(place)
    if match is None:
        raise ValueError("an address in brackets is not closed")
    return match[1]


def _service(name: str) -> Mapping[str, str]:
    """What the machine's service file says under a name; nothing where there is no such file or name."""
    named = os.environ.get("PGSERVICEFILE")
    try:
        place = Path.home() / ".pg_service.conf" if named is None else Path(named)
    except (RuntimeError, KeyError):  # nobody's home
        return {}
    services = configparser.ConfigParser()
    try:
        services.read(place, encoding="utf-8")
        return dict(services[name]) if name in services.sections() else {}
    except configparser.Error:
        raise ValueError("the service file cannot be read") from None
