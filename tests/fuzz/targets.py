"""Every reader of what comes from outside, as a function that takes any bytes, and what must hold whatever they are.

A reader may say ``Unreadable`` (``Malformed`` on an SMS connection) and nothing else; what it does yield must be fit
for the books: a known proof, an amount of whole fen, a booking behind every credit and return, words without line ends.
Digests and MACs would keep a fuzzer out of the readers behind them, so a target seals what it was given before it
reads.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.banks.json_https import answers as json_answers
from adapters.banks.xml_tcp.wire import Envelope
from adapters.contract import Artefact, BankAdapter, Evidence, GivesStatements, Proof, Unreadable
from adapters.sms.cmpp import codec as cmpp
from adapters.sms.link.session import Malformed
from adapters.sms.smpp import codec as smpp
from tests.adapters import iso20022_kit, json_https_kit, rcc_file_kit, xml_tcp_kit

DATA: Final = Path(__file__).parents[1] / "data"
NAMED: Final = re.compile(r"[0-9A-Za-z._:\-/+]{0,128}")
GREATEST_FEN: Final = 10**18


class Broken(AssertionError):
    """A reader yielded what no book may take."""


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` takes any bytes, says whether they were understood, and raises only when a promise is broken; ``seeds``
    are understood, so that what grows from them reaches deep."""

    name: str
    run: Callable[[bytes], bool]
    seeds: tuple[bytes, ...]


def demand(evidence: Iterable[Evidence]) -> None:
    for item in evidence:
        if not isinstance(item.proof, Proof):
            raise Broken("a proof that is none")
        if item.amount_fen is not None and (
            type(item.amount_fen) is not int or not 0 <= item.amount_fen < GREATEST_FEN
        ):
            raise Broken("an amount that is no whole number of fen")
        if item.post_date is not None and type(item.post_date) is not dt.date:
            raise Broken("a post date that is no date")
        if item.proof in (Proof.CREDITED, Proof.RETURNED) and (not item.reference or not item.host_reference):
            raise Broken("money that moved without a reference or a booking")
        for text in (item.reference, item.submission, item.host_reference):
            if text is not None and NAMED.fullmatch(text) is None:
                raise Broken("a reference with characters that are none of a reference")
        if not item.code.isprintable() or not item.text.isprintable():
            raise Broken("words that would break a log line")


def read_artefact(adapter: BankAdapter, artefact: Artefact) -> bool:
    try:
        demand(adapter.parse(artefact))
        if isinstance(adapter, GivesStatements):
            adapter.statement(artefact)
    except Unreadable:
        return False
    return True


def _rcc_targets() -> list[Target]:
    adapter = rcc_file_kit.make_adapter()
    stem = rcc_file_kit.STEM
    samples = DATA / "rcc_file"

    def acknowledgement(data: bytes) -> bool:
        return read_artefact(adapter, Artefact.of(f"20261125/{stem}.ack", data))

    def sealed(name: str) -> Callable[[bytes], bool]:
        def run(data: bytes) -> bool:
            body = data.rpartition(b"T|")[0] or data
            trailer = f"T|{body.count(b'D|')}|{_total(body)}|{rcc_file_kit.sm3(body)}\r\n".encode()
            return read_artefact(adapter, rcc_file_kit.artefact(body + trailer, name=name))

        return run

    results = tuple(path.read_bytes() for path in sorted(samples.glob("*.res")))
    day = "H|1.0|402XJ0001|20261124|1|100\r\nD|000001|REF1|6299990000000000012|100|C|20261124|H1|DF202611240001\r\n"
    return [
        Target("rcc_file.acknowledgement", acknowledgement, ((samples / f"{stem}.ack").read_bytes(),)),
        Target("rcc_file.result", sealed(f"20261125/{stem}.01.res"), results),
        Target("rcc_file.statement", sealed("20261124/DZ_402XJ0001_20261124.txt"), (day.encode("gb18030"),)),
    ]


def _total(body: bytes) -> int:
    fields = [row.split(b"|") for row in body.split(b"\r\n") if row.startswith(b"D|")]
    return sum(int(f[4]) for f in fields if len(f) > 4 and re.fullmatch(rb"[0-9]{1,13}", f[4]))


def _iso_targets() -> list[Target]:
    adapter = iso20022_kit.make_adapter()
    samples = DATA / "iso20022"

    def reading(make: Callable[[bytes], Artefact]) -> Callable[[bytes], bool]:
        return lambda data: read_artefact(adapter, make(data))

    entries = (iso20022_kit.paid("A" * 26, "B" * 26), iso20022_kit.came_back("C" * 26))
    opened = iso20022_kit.balance("OPBD", "5000.00") + iso20022_kit.balance("CLBD", "4400.00")
    day = iso20022_kit.statement(iso20022_kit.account_day(*entries, balances=opened))
    return [
        Target(
            "iso20022.pain002",
            reading(iso20022_kit.status_file),
            ((samples / "pain.002.001.10.xml").read_bytes(),),
        ),
        Target(
            "iso20022.camt054",
            reading(iso20022_kit.notice_file),
            ((samples / "camt.054.001.08.return.xml").read_bytes(),),
        ),
        Target("iso20022.camt053", reading(iso20022_kit.statement_file), (day,)),
    ]


def _xml_targets(folder: Path) -> list[Target]:
    adapter = xml_tcp_kit.adapter(folder)
    envelope = Envelope("gbk", "1.0", "YKT01", "65999901", xml_tcp_kit.KEY)

    def sealed(data: bytes) -> bytes:
        body = re.search(rb"<BODY>.*</BODY>|<BODY/>", data, re.DOTALL)
        mac = envelope.mac(body[0] if body else b"").encode()
        return re.sub(rb"<MAC>[^<]*</MAC>", b"<MAC>" + mac + b"</MAC>", data, count=1)

    def reply(data: bytes) -> bool:
        return read_artefact(adapter, Artefact.of("reply", sealed(data)))

    def exchange(data: bytes) -> bool:
        question, _, answer = data.partition(b"\0")
        parts = [sealed(question), sealed(answer)]
        content = b"".join(b"%08d" % len(part) + part for part in parts)
        return read_artefact(adapter, Artefact.of("exchange", content))

    samples = [path.read_bytes()[8:] for path in sorted((DATA / "xml_tcp").glob("*_reply_mixed.bin"))]
    return [
        Target("xml_tcp.reply", reply, tuple(samples)),
        Target("xml_tcp.exchange", exchange, tuple(_exchanges(envelope))),
    ]


def _exchanges(envelope: Envelope) -> Iterable[bytes]:
    item = "<ITEM><BATCHNO>DF202611240002</BATCHNO><REF>01JDF7BCDEFGHJKMNPQRSTVW01</REF><AMT>1500.00</AMT>"
    booked = "<POSTDATE>20261124</POSTDATE><HOSTREF>H1</HOSTREF></ITEM>"
    head = "<PAYACC>6599990000000017</PAYACC>"
    asked = {
        "DF1004": f"{head}<STARTDATE>00010101</STARTDATE><ENDDATE>99991231</ENDDATE><START>1</START><COUNT>500</COUNT>",
        "DF1005": f"{head}<DATE>20261124</DATE><START>1</START><COUNT>500</COUNT>",
    }
    told = {
        "DF1004": f"<TOTALNUM>1</TOTALNUM><LIST>{item}<CODE>3056</CODE><MSG>x</MSG>{booked}</LIST>",
        "DF1005": f"{head}<DATE>20261124</DATE><TOTALNUM>1</TOTALNUM><TOTALAMT>1500.00</TOTALAMT>"
        f"<LIST>{item}<KIND>C</KIND>{booked}</LIST>",
    }
    for trade, question in asked.items():
        request = envelope.document(trade, "17", xml_tcp_kit.AT, question)
        reply = (
            f'<?xml version="1.0" encoding="GBK"?><BANK><HEAD><TRCODE>{trade}</TRCODE><REQSEQ>17</REQSEQ>'
            "<RSPSEQ>B1</RSPSEQ><RETCODE>0000</RETCODE><RETMSG>x</RETMSG><MAC></MAC></HEAD>"
            f"<BODY>{told[trade]}</BODY></BANK>"
        )
        yield request + b"\0" + reply.encode("gbk")


def _json_targets(folder: Path) -> list[Target]:
    adapter = json_https_kit.Keys.make(folder, ed=True).adapter()
    samples = DATA / "json_https"

    def callback(data: bytes) -> bool:
        return read_artefact(adapter, Artefact.of("callback", data))

    def page(data: bytes) -> bool:
        try:
            document = json_answers.read_object(data)
            demand(json_answers.Items.of(document, hashlib.sha256(data).hexdigest()).evidence)
            json_answers.next_cursor(document)
        except Unreadable:
            return False
        return True

    callbacks = tuple(path.read_bytes() for path in sorted(samples.glob("callback_*.json")))
    return [
        Target("json_https.callback", callback, callbacks),
        Target("json_https.page", page, ((samples / "GET_items_page.json").read_bytes(),)),
    ]


def _sms_targets() -> list[Target]:
    def reading(read: Callable[[bytes], object]) -> Callable[[bytes], bool]:
        def run(data: bytes) -> bool:
            try:
                read(data)
            except Malformed:
                return False
            return True

        return run

    sm = b"\0" + b"\0\0" + b"8613800000000\0" + b"\0\0" + b"106900001\0" + b"\x04\0\0\0\0" + b"\0\0\0\0" + b"\x05hello"
    pdu = smpp.HEADER.pack(smpp.HEADER.size + len(sm), 5, 0, 7) + sm
    return [
        *(Target(f"cmpp{name}.frame", reading(_cmpp(version)), (_deliver(version),)) for name, version in _CMPP),
        Target("smpp.frame", reading(smpp.read), (pdu,)),
    ]


_CMPP: Final = tuple(cmpp.VERSIONS.items())


def _cmpp(version: cmpp.Version) -> Callable[[bytes], object]:
    def read(data: bytes) -> None:
        content = cmpp.read(version, data).body
        if isinstance(content, cmpp.Deliver) and content.registered_delivery:
            cmpp.status_report(version, content.content)

    return read


def _deliver(version: cmpp.Version) -> bytes:
    """A DELIVER that carries a status report, by the layout of its version."""
    number = b"13800000000"
    report = bytes(8) + b"DELIVRD" + b"2611241015" * 2 + number.ljust(version.number, b"\0") + bytes(4)
    body = bytes(8) + b"106900001".ljust(21, b"\0") + bytes(13) + number.ljust(version.number, b"\0")
    body += bytes(1 if version.number_types else 0) + b"\x01" + bytes((len(report),)) + report + bytes(version.trailer)
    return cmpp.HEADER.pack(cmpp.HEADER.size + len(body), cmpp.Command.DELIVER, 7) + body


def targets() -> dict[str, Target]:
    """All of them by name; keys are made in a directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="payout-fuzz-") as name:
        folder = Path(name)
        made = [*_rcc_targets(), *_iso_targets(), *_xml_targets(folder), *_json_targets(folder), *_sms_targets()]
    return {target.name: target for target in made}
