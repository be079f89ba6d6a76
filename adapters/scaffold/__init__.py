"""``gateway adapter new``: writes the beginning of an adapter as a package of its own, outside this repository.

The templates are files below ``templates/``: ``common`` for every bank, and one directory for each kind of wire. A
name in double at-signs is replaced; ``package`` becomes the package's name. What is mechanics is written there, and
what only the bank's manual knows is a blank: a NotImplementedError, or a ``.blank`` file, that says what belongs there.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from enum import StrEnum
from pathlib import Path
from typing import Final

from adapters import registry

_TEMPLATES: Final = Path(__file__).parent / "templates"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_SUFFIX: Final = ".tmpl"
_PLACEHOLDER: Final = re.compile(r"@@([A-Za-z_]+)@@")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,29}").fullmatch


class Scaffold(StrEnum):
    """The kinds of bank that there is a wire for."""

    HTTP = "http"
    TCP = "tcp"
    SFTP = "sftp"


_CHANNELS: Final = {
    Scaffold.HTTP: {
        "answers": "POLL",
        "channel_import": "from adapters.wire.http import HttpLimits, TlsFiles",
        "channel_fields": '    base_url: str = Field(pattern=r"^https://[A-Za-z0-9.\\-]+(:[0-9]{1,5})?$")\n'
        "    tls: TlsFiles\n"
        "    http: HttpLimits = HttpLimits()",
    },
    Scaffold.TCP: {
        "answers": "POLL",
        "channel_import": "from adapters.wire.tcp import TcpSettings",
        "channel_fields": "    tcp: TcpSettings  # without tls in it, each start warns that the line has to be guarded",
    },
    Scaffold.SFTP: {
        "answers": "FILE",
        "channel_import": "from adapters.wire.sftp import SftpSettings",
        "channel_fields": "    sftp: SftpSettings",
    },
}


class CannotScaffold(Exception):
    """Nothing was written; the message says why."""


def write(name: str, kind: Scaffold, into: Path) -> list[Path]:
    """Write ``into``/``name`` and give its files, sorted. CannotScaffold before the first of them is written."""
    target = into.resolve() / name
    _may_be_called(name)
    if target.exists():
        raise CannotScaffold(f"{target} is there already; nothing in it was touched")
    if target.is_relative_to(_REPOSITORY):
        raise CannotScaffold(f"{target} lies inside the gateway; go elsewhere: your adapter is a package of its own")
    if not into.is_dir():
        raise CannotScaffold(f"{into} is no directory")
    written = {}
    for path, text in rendered(name, kind).items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8"))
        written[path] = file
    return [written[path] for path in sorted(written)]


def rendered(name: str, kind: Scaffold) -> dict[str, str]:
    """The files of a scaffold: relative path and text."""
    values = {
        "name": name,
        "Class": "".join(part.capitalize() for part in name.split("_")),
        "distribution": name.replace("_", "-"),
        **_CHANNELS[kind],
    }
    files = {}
    for folder in (_TEMPLATES / "common", _TEMPLATES / kind.value):
        for template in sorted(file for file in folder.rglob("*") if file.is_file()):
            first, *rest = template.relative_to(folder).parts
            path = "/".join((name if first == "package" else first, *rest)).removesuffix(_SUFFIX)
            files[path] = _PLACEHOLDER.sub(lambda match: values[match[1]], template.read_text(encoding="utf-8"))
    return files


def _may_be_called(name: str) -> None:
    if _NAME(name) is None or keyword.iskeyword(name):
        raise CannotScaffold(
            f"{name!r} is no name for a package: 2 to 30 small letters, digits and underscores, a letter first"
        )
    if name in registry.known():
        raise CannotScaffold(f"a profile called {name} is installed; known: {', '.join(registry.known())}")
    if importlib.util.find_spec(name) is not None:
        raise CannotScaffold(f"a package called {name} can be imported already, and one would hide the other")
