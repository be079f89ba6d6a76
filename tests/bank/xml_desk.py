"""The front-end machine's desk: judges one document at a time and says how its reply is to travel.

Nothing here touches a socket: `answer` takes the bytes of a document and gives those of the reply, or none, with the
manner in which they leave. What a reply says is committed before it is handed out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from tests.bank import xml_batch as form
from tests.bank.book import Book
from tests.bank.certificates import mac_key, prepare
from tests.bank.limits import Limits
from tests.bank.model import Line, Submission, Upload
from tests.bank.xml_answers import BOMB, MANNERS, REFUSALS, SAYS, TEXT, WORDS, Manner, Outcome
from tests.bank.xml_format import FRAMINGS, Asked, Code, Unreadable, glance
from tests.bank.xml_queries import Queries, Refused, Reply
from tests.bank.xml_returns import Returns
from tests.world import clock


class XmlDesk:
    """Speaks the framed XML profile for one book."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.xml = book.config.xml_tcp
        if self.xml.tls:
            prepare(book.config.directory, *self.xml.server_names)
        mac_key(book.config.path(self.xml.mac_key))
        self.code = Code(self.xml.encoding, book.config.path(self.xml.mac_key).read_bytes().strip())
        self.framing = FRAMINGS[self.xml.framing]
        self.returns = Returns(book)
        self.limits = Limits(book)
        self._queries = Queries(book, self.returns)
        self._nth: dict[str, int] = {}  # question -> how often it was put
        self._numbers: set[str] = set()  # REQSEQ of everything but submissions
        self._first: dict[str, tuple[str, str]] = {}  # batch -> source and digest of its first readable transmission
        self._sources: set[str] = set()

    # -- what the book asks for

    def host_reference(self, number: int, post_date: str) -> str:
        return f"X{post_date[2:]}{number:08d}"

    def report(self, submission: Submission, lines: list[Line], now_ms: int) -> None:
        """This bank calls nobody: results wait to be asked for, returns are listed."""
        self.returns.report(submission, lines, now_ms)

    def restore(self) -> None:
        """Go on where the ledger stopped; call once the book is restored."""
        # Those that broke a rule of the bank's own set none.
        heard = "count > 0 AND (code <> 'FORMAT' OR fault <> '')"
        query = f"SELECT batch, source, sha256 FROM submissions WHERE {heard} ORDER BY n"
        for batch, source, digest in self.book.ledger.rows(query):
            self._remember(batch, source, digest)
        self.returns.restore()

    def _remember(self, batch: str, source: str, digest: str) -> None:
        self._first.setdefault(batch, (source, digest))
        self._sources.add(source)

    # -- one document

    def answer(self, document: bytes) -> Outcome | None:
        """The reply to a document; None when it cannot even be said what it answers."""
        asked = glance(document)
        if not asked.trade or not asked.number:
            self.book.arrive(_unread(asked, document), 0, "refused", "FRAME", None)
            self.book.commit()
            return None
        try:
            request = self._request(document)
        except Unreadable:
            return self._refuse(asked, document, "1000")
        if request is None:
            return self._refuse(asked, document, "3058")
        head, body = request
        if head.trade == form.SUBMIT:
            try:
                self._check(head)
                upload = form.batch(head, body, document, self.code.encoding)
            except Unreadable:
                return self._refuse(asked, document, "1001")
            return self._submit(asked, upload, head.resend)
        return self._question(asked, request)

    def _request(self, document: bytes) -> form.Request | None:
        """Shape and MAC; None when the MAC is another. Raises Unreadable."""
        request = form.request(self.code.read(document))
        return request if self.code.genuine(document, request.head.mac) else None

    def _check(self, head: form.Head) -> None:
        """The fields of HEAD. Raises Unreadable."""
        for name, value in (
            ("REQSEQ", head.number),
            ("REQDATE", head.date),
            ("REQTIME", head.time),
            ("RESEND", head.resend),
        ):
            form.check(name, value, self.code.encoding)
        if (head.version, head.channel, head.corporation) != ("1.0", self.xml.channel, self.xml.corporation):
            raise Unreadable("who")
        try:
            day = dt.datetime.strptime(head.date, "%Y%m%d").replace(tzinfo=clock.SHANGHAI)
        except ValueError:
            raise Unreadable("REQDATE") from None
        # A submission is dated in business time, a question in either.
        nearest = min(abs(clock.moment(ms) - day).days for ms in (self.book.now_ms(), clock.wall_ms()))
        if nearest > self.xml.date_tolerance_days:
            raise Unreadable("REQDATE")

    def _reply(self, asked: Asked, code: str, body: str = "", mac: str | None = None) -> bytes:
        head = [
            ("TRCODE", asked.trade),
            ("REQSEQ", asked.number),
            ("RSPSEQ", f"B{self.book.ledger.next():012d}"),
            ("RETCODE", code),
            ("RETMSG", "查询成功" if code == "0000" and asked.trade != form.SUBMIT else TEXT.get(code, "交易异常")),
        ]
        return self.code.document(head, body, mac)

    def _refuse(self, asked: Asked, document: bytes, code: str) -> Outcome:
        """Nothing of these bytes is taken, or told."""
        if asked.trade == form.SUBMIT:
            upload = _unread(asked, document)
            n = self.book.arrive(upload, self.book.transmission(upload.batch), "refused", WORDS[code], None)
            self.book.answer(n, upload.batch, "NOT_TAKEN", code, "reply")
            self.book.commit()
        return Outcome(self._reply(asked, code))

    # -- submissions

    def _submit(self, asked: Asked, upload: Upload, resend: str) -> Outcome:
        transmission = self.book.transmission(upload.batch)
        if self._breaks_a_rule(upload, resend):
            return self._not_taken(asked, upload, transmission, "1001", None)
        self._remember(upload.batch, upload.source, upload.digest)
        limit = self.limits.submission()
        if limit:
            return self._lose(asked, upload, transmission, limit)
        fault = self.book.programme.submission(upload.batch, transmission) or ""
        if fault in REFUSALS:
            return self._not_taken(asked, upload, transmission, REFUSALS[fault][0], fault)
        if fault.endswith("_before_accept"):
            return self._lose(asked, upload, transmission, fault)
        verdict = self.book.take(upload, transmission, fault)
        if verdict.verdict == "taken":
            return self._taken(asked, verdict.n, upload.batch, fault)
        code, status = ("3008", "NOT_TAKEN") if verdict.verdict == "refused" else ("3051", "DUPLICATE")
        self.book.answer(verdict.n, upload.batch, status, code, "reply")
        self.book.commit()
        return Outcome(self._reply(asked, code))

    def _breaks_a_rule(self, upload: Upload, resend: str) -> bool:
        """Limits of the agreement, and the rules by which a batch number, its REQSEQ and RESEND go together."""
        accounts, limits = self.xml.debit_accounts, self.book.config
        if len(upload.items) > limits.max_lines or self.limits.too_big(upload.payload):
            return True
        if accounts and upload.debit_account not in accounts:
            return True
        known = self._first.get(upload.batch)
        if known is None:
            return upload.source in self._sources or upload.source.split()[1] in self._numbers
        # A bank that has the batch answers "known" (or pays again); one that has not insists on its own rule.
        forgotten = resend == "N" and upload.batch not in self.book.batches
        return known != (upload.source, upload.digest) or forgotten

    def _not_taken(self, asked: Asked, upload: Upload, transmission: int, code: str, fault: str | None) -> Outcome:
        n = self.book.arrive(upload, transmission, "refused", WORDS[code], fault)
        if fault:
            self.book.fault(fault, upload.batch, n)
        self.book.answer(n, upload.batch, "NOT_TAKEN", code, "reply")
        self.book.commit()
        return Outcome(self._reply(asked, code))

    def _lose(self, asked: Asked, upload: Upload, transmission: int, fault: str) -> Outcome:
        """Nothing is taken, and nothing that is answered says so: this manual has no word for it."""
        n = self.book.arrive(upload, transmission, "lost", fault.upper(), fault)
        self.book.fault(fault, upload.batch, n)
        self.book.commit()
        if fault in ("timeout_before_accept", "drop_before_accept"):
            return Outcome(b"", MANNERS.get(fault, Manner.DROP))
        return Outcome(self._reply(asked, SAYS.get(fault, "2007")))

    def _taken(self, asked: Asked, n: int, batch: str, fault: str) -> Outcome:
        """The submission is in the book; what is answered is the fault's business."""
        if fault:
            self.book.fault(fault, batch, n)
        else:
            self.book.answer(n, batch, "RECEIVED", "0000", "reply")
        self.book.commit()
        if fault == "wrong_mac_answer":
            return Outcome(self._reply(asked, "0000", mac=self.code.mac(batch.encode())))
        if fault == "other_reqseq_answer":
            return Outcome(self._reply(asked._replace(number=asked.number[::-1] + "7"), "0000"))
        if fault == "hostile_entities":
            start, body, rest = self._reply(asked, "0000").partition(b"<BANK>")
            message = TEXT["0000"].encode(self.code.encoding)
            return Outcome(start + BOMB.encode() + body + rest.replace(message, b"&i;", 1))
        if not fault or fault in SAYS:
            return Outcome(self._reply(asked, SAYS.get(fault, "0000")))
        # Also not_found_until_settled and hidden: a gateway that was told 0000 would not ask whether it was taken.
        return Outcome(self._reply(asked, "0000"), MANNERS.get(fault, Manner.DROP))

    # -- questions

    def _question(self, asked: Asked, request: form.Request) -> Outcome:
        head, body = request
        try:
            self._check(head)
            if head.number in self._numbers or f"{form.SUBMIT} {head.number}" in self._sources:
                raise Unreadable("REQSEQ")
            self._numbers.add(head.number)
            if head.trade not in form.QUESTIONS:
                raise Unreadable("TRCODE")
            fields = form.question(head.trade, body, self.code.encoding)
        except Unreadable:
            return Outcome(self._reply(asked, "1001"))
        path = "/".join((head.trade, *fields))
        if head.trade != form.HEARTBEAT and self.limits.query_too_fast(path):
            self.book.commit()
            return Outcome(self._reply(asked, "2007"))
        fault = self._fault(path, head.trade, fields)
        if fault in ("query_timeout", "query_drop"):
            return Outcome(b"", MANNERS[fault])
        if fault == "query_9999":
            return Outcome(self._reply(asked, "9999"))
        if fault == "query_garbage":
            return Outcome("系统忙,请稍后再试".encode(self.code.encoding))
        reply = self._answered(head.trade, fields, fault)
        if fault == "query_short":  # what does not arrive was not told
            return Outcome(self._reply(asked, reply.code, reply.body), Manner.SHORT)
        self.book.say(reply.told)
        for refused in reply.denied:
            self.book.answer(*refused)
        if self.book.ledger.dirty:
            self.book.commit()
        self._queries.heard(reply)
        return Outcome(self._reply(asked, reply.code, reply.body))

    def _answered(self, trade: str, fields: Sequence[str], fault: str | None) -> Reply:
        try:
            return self._queries.answer(trade, fields, fault)
        except Refused as refused:
            return Reply(refused.code)

    def _fault(self, path: str, trade: str, fields: Sequence[str]) -> str | None:
        """The fault of this question, logged; one of a kind that cannot bite here does not fire."""
        self._nth[path] = nth = self._nth.get(path, 0) + 1
        fault = self.book.programme.query(path, nth)
        about_a_batch = trade in (form.BATCH, form.LINE)
        if fault == "query_not_found" and not (about_a_batch and self._queries.still_settling(fields[0])):
            return None
        if fault == "query_stale" and not about_a_batch:
            return None
        if fault is not None:
            self.book.fault(fault, detail=path)
            self.book.commit()
        return fault


def _unread(asked: Asked, document: bytes) -> Upload:
    """An arrival that could not be read."""
    return Upload(asked.batch, f"{asked.trade} {asked.number}", document, form.digest(document), "", "", 0, [])
