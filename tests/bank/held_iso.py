"""The ISO 20022 bank with its clock held by hand, and a plain reading of the files that it writes."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree

from tests.bank import hand, hand_iso
from tests.bank.file_desk import FileDesk
from tests.bank.held import HeldBank
from tests.bank.iso_desk import IsoDesk


class Told(NamedTuple):
    """One TxInfAndSts."""

    reference: str
    status: str
    code: str
    host_ref: str


def plain(body: bytes) -> ElementTree.Element:
    """A file without its namespace; of the bank's own making, and read in tests only."""
    root = ElementTree.fromstring(body)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def told(body: bytes) -> list[Told]:
    """What a status report says line by line."""
    return [
        Told(
            each.findtext("OrgnlEndToEndId", ""),
            each.findtext("TxSts", ""),
            each.findtext("StsRsnInf/Rsn/Cd", ""),
            each.findtext("AcctSvcrRef", ""),
        )
        for each in plain(body).iter("TxInfAndSts")
    ]


class HeldIso(HeldBank):
    """`files` and `statuses` as of the file bank, in this bank's words."""

    profile = "iso20022"

    def new_desk(self) -> FileDesk:
        return IsoDesk(self.book)

    def drop(self, batch: str, lines: list[hand.Payment]) -> None:
        hand_iso.drop(self.directory, batch, hand_iso.pain001(batch, lines))

    def files(self, ending: str = "") -> dict[str, bytes]:
        """What stands under /out by name, of those names that begin so."""
        paths = sorted((self.directory / "sftp" / "out").glob(f"*/{ending}*.xml"), key=lambda path: path.name)
        return {path.name: path.read_bytes() for path in paths}

    def statuses(self, number: int = 1) -> list[list[str]]:
        """The words of each readable report of a batch that has lines, in the order of the file names."""
        bodies = self.files(f"pain002_{hand.batch_number(number)}").values()
        return [[line.status for line in told(body)] for body in bodies if told(body)]

    def groups(self, number: int = 1) -> list[tuple[str, str]]:
        """Group status and reason of each report of a batch."""
        found = []
        for body in self.files(f"pain002_{hand.batch_number(number)}").values():
            root = plain(body).find("CstmrPmtStsRpt/OrgnlGrpInfAndSts")
            assert root is not None
            found.append((root.findtext("GrpSts", ""), root.findtext("StsRsnInf/Rsn/Cd", "")))
        return found
