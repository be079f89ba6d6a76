"""The four profiles' encoders, each with its simulated bank's reader, which shares no code with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.contract import BankAdapter, Line, Reason, Submission
from schemas.masked import PersonName
from tests.adapters import iso20022_kit, json_https_kit, rcc_file_kit, xml_tcp_kit
from tests.bank import iso_read, json_format, rcc_format, xml_batch, xml_format
from tests.bank.model import Item

_A_FILE: Final = 400  # lines
_CLEAR: Final = frozenset({Reason.NAME_NOT_ENCODABLE, Reason.FORMAT})


@dataclass(frozen=True)
class Encoder:
    """A bank's adapter, a line of its kit, and the bank's own reading of what the adapter writes."""

    name: str
    adapter: BankAdapter
    submission: Submission
    line: Line
    at: Any
    read: Callable[[bytes], Sequence[Item]]


def encoders(folder: Path) -> Iterator[Encoder]:
    rcc, iso, json, xml = rcc_file_kit, iso20022_kit, json_https_kit, xml_tcp_kit
    yield Encoder(
        "rcc_file", rcc.make_adapter(), rcc.SUBMISSION, rcc.line(), rcc.AT, lambda d: rcc_format.parse_batch(d).items
    )
    yield Encoder(
        "iso20022", iso.make_adapter(), iso.SUBMISSION, iso.line(), iso.AT, lambda d: iso_read.parse_batch(d).items
    )
    cipher = AESGCM(bytes.fromhex(json.ID_KEY))
    bank = json.Keys.make(folder, ed=True).adapter()
    yield Encoder(
        "json_https", bank, json.SUBMISSION, json.line(), json.AT, lambda d: json_format.parse_batch(d, cipher).items
    )
    for encoding in ("gbk", "gb18030"):
        made = xml.adapter(folder, encoding=encoding)
        yield Encoder(f"xml_tcp, {encoding}", made, xml.SUBMISSION, xml.line(), xml.AT, _xml_reader(encoding))


def _xml_reader(encoding: str) -> Callable[[bytes], Sequence[Item]]:
    code = xml_format.Code(encoding.upper(), xml_tcp_kit.KEY)

    def read(payload: bytes) -> Sequence[Item]:
        head, body = xml_batch.request(code.read(payload))
        if not code.genuine(payload, head.mac):
            raise xml_format.Unreadable("MAC")
        return xml_batch.batch(head, body, payload, code.encoding).items

    return read


@dataclass
class Arrived:
    """What became of the names: ``altered`` and ``unclear`` hold the families, never a name."""

    names: int = 0
    equal: int = 0
    refused: int = 0
    altered: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)

    @property
    def kept(self) -> bool:
        return not self.altered and not self.unclear and self.equal + self.refused == self.names


def send(encoder: Encoder, names: Iterable[tuple[str, str]]) -> Arrived:
    """Write every name that is not refused, in files of many, and let the bank read them."""
    found = Arrived()
    accepted: list[tuple[str, Line]] = []
    for number, (family, name) in enumerate(names):
        found.names += 1
        line = dataclasses.replace(encoder.line, reference=f"N{number:06d}", name=PersonName(name))
        reason = encoder.adapter.refuse(line)
        if reason is None:
            accepted.append((family, line))
            continue
        found.refused += 1
        if reason not in _CLEAR or not _raises_unquoted(encoder, line):
            found.unclear.add(family)
    for start in range(0, len(accepted), _A_FILE):
        _compare(encoder, accepted[start : start + _A_FILE], found)
    return found


def _compare(encoder: Encoder, accepted: Sequence[tuple[str, Line]], found: Arrived) -> None:
    payload = encoder.adapter.render(encoder.submission, [line for _, line in accepted], encoder.at).payload
    read = {item.reference: item.name for item in encoder.read(payload)}
    for family, line in accepted:
        if read.get(line.reference) == line.name.reveal():
            found.equal += 1
        else:
            found.altered.add(family)


def _raises_unquoted(encoder: Encoder, line: Line) -> bool:
    """Whether writing a refused line all the same fails, with an error that does not hold the name."""
    name = line.name.reveal()
    try:
        encoder.adapter.render(encoder.submission, [line], encoder.at)
    except ValueError as error:
        return len(name) < 4 or name not in f"{error}{error.__context__}"
    return False


@dataclass(frozen=True)
class Careless:
    """A build of an adapter that does something to names on their way, as many programs do: it refuses none for it."""

    adapter: BankAdapter
    change: Callable[[str], str]

    def _changed(self, line: Line) -> Line:
        return dataclasses.replace(line, name=PersonName(self.change(line.name.reveal())))

    def refuse(self, line: Line) -> Reason | None:
        return self.adapter.refuse(self._changed(line))

    def render(self, submission: Submission, lines: Sequence[Line], at: Any) -> Any:
        return self.adapter.render(submission, [self._changed(line) for line in lines], at)
