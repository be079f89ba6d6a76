"""What a pain.002 proves, of the submission as a whole or line by line. Pure, and judged as a whole first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from adapters.banks.iso20022.codes import (
    CREDITED,
    IN_PROCESS,
    KNOWN,
    NARRATIVE,
    PENDING,
    REASONS,
    REJECTED,
    SETTLED,
    TAKEN,
    THROUGH,
)
from adapters.banks.iso20022.document import Node
from adapters.contract import Evidence, Proof, Reason, Unreadable
from adapters.wire.words import shown

MESSAGE: Final = "CstmrPmtStsRpt"
NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"
PAYMENT_SUFFIX: Final = "-1"  # a submission is one payment information

_Judged = tuple[Proof, Reason | None, str, str]  # proof, reason, the bank's code and words


@dataclass(frozen=True, slots=True)
class _Report:
    """What the whole of a report says, its lines not yet read."""

    submission: str
    artefact: str
    group: str
    lines: list[Node]
    settled_is_credited: bool


def evidence(report: Node, submission: str, artefact: str, *, settled_is_credited: bool) -> list[Evidence]:
    """All evidence of one report about this submission, or Unreadable."""
    read = _whole(report, submission, artefact, settled_is_credited)
    if read.lines:
        return [_line(read, line) for line in read.lines]
    original = report.one("OrgnlGrpInfAndSts")
    reasons = [*original.all("StsRsnInf"), *(r for p in report.all("OrgnlPmtInfAndSts") for r in p.all("StsRsnInf"))]
    proof, reason, code, text = _group(read.group, reasons)
    return [Evidence(proof, submission=submission, reason=reason, code=code, text=text, artefact=artefact)]


def _whole(report: Node, submission: str, artefact: str, settled_is_credited: bool) -> _Report:
    original = report.one("OrgnlGrpInfAndSts")
    if original.text_at("OrgnlMsgId") != submission:
        raise Unreadable("the report names another submission than its file name")
    if not original.text_at("OrgnlMsgNmId").startswith("pain.001"):
        raise Unreadable("the report answers no payment initiation")
    group = original.word_at("GrpSts")
    payments = report.all("OrgnlPmtInfAndSts")
    for payment in payments:
        if payment.text_at("OrgnlPmtInfId") != submission + PAYMENT_SUFFIX:
            raise Unreadable("the report names a payment information that is not ours")
        status = payment.word_at("PmtInfSts")
        if status and (status == REJECTED) != (group == REJECTED):
            raise Unreadable("group and payment information contradict each other")
    lines = [line for payment in payments for line in payment.all("TxInfAndSts")]
    _check_statuses(group, {line.word_at("TxSts") for line in lines})
    _check_counts([original, *payments], group, lines)
    return _Report(submission, artefact, group, lines, settled_is_credited)


def _check_statuses(group: str, statuses: set[str]) -> None:
    """A group status that speaks for every line is contradicted by none."""
    allowed = {REJECTED: {REJECTED, ""}, CREDITED: {CREDITED}, SETTLED: {SETTLED, CREDITED}}.get(group)
    if allowed is not None and not statuses <= allowed:
        raise Unreadable("the group status and that of a line contradict each other")
    if group == REJECTED and statuses == {""}:
        raise Unreadable("a refusal that lists lines and says of none what is wrong with it")


def _check_counts(heads: Sequence[Node], group: str, lines: Sequence[Node]) -> None:
    """Never more lines than the submission had; a refusal for the sake of some lines lists all the others too.

    Other reports need not list all lines: those that were told before, or are still open, may be left out.
    """
    listed = {line.word_at("OrgnlEndToEndId"): line.word_at("TxSts") for line in lines}
    if "" in listed:
        raise Unreadable("a line names no reference")
    if len(listed) != len(lines):
        raise Unreadable("a line is listed twice")
    counts = {count for head in heads if (count := head.count_at("OrgnlNbOfTxs")) is not None}
    if len(counts) > 1:
        raise Unreadable("two numbers of lines for one submission")
    per_status = [(n.word_at("DtldSts"), n.count_at("DtldNbOfTxs")) for h in heads for n in h.all("NbOfTxsPerSts")]
    for count in counts:
        spared = group == REJECTED and "" in listed.values()
        if len(listed) > count or (spared and len(listed) != count):
            raise Unreadable("the number of lines differs from that of the submission")
        if len(listed) == count and any(list(listed.values()).count(word) != number for word, number in per_status):
            raise Unreadable("the number of lines with a status differs from the lines")


def _group(status: str, reasons: Iterable[Node]) -> _Judged:
    """The whole submission: refused for a reason, or there. A group without lines never credits anybody."""
    proof, reason, code, text = _reason(reasons)
    if status == REJECTED and code == KNOWN:
        # Not DUPLICATE, which says that the bank holds other bytes than ours: it knows the MsgId, and is to be asked.
        return Proof.IN_DOUBT, None, code, text
    if status == REJECTED:
        return proof, reason, code or status, text
    if status in TAKEN:
        return Proof.RECEIVED, None, status, text
    if status in THROUGH:
        return Proof.IN_PROCESS, Reason.BANK_BUSY, status, text
    return Proof.IN_DOUBT, Reason.UNKNOWN, status, text


def _line(report: _Report, line: Node) -> Evidence:
    host_reference = line.word_at("AcctSvcrRef") or None
    status = line.word_at("TxSts")
    proof, reason, code, text = _status(report, status, host_reference, list(line.all("StsRsnInf")))
    amount = line.fen_at("OrgnlTxRef/IntrBkSttlmAmt")
    if amount is None:
        amount = line.fen_at("OrgnlTxRef/Amt/InstdAmt")
    return Evidence(
        proof,
        reference=line.word_at("OrgnlEndToEndId"),
        submission=report.submission,
        reason=reason,
        code=code,
        text=text,
        amount_fen=amount,
        host_reference=host_reference,
        post_date=line.date_at("FctvIntrBkSttlmDt"),
        artefact=report.artefact,
    )


def _status(report: _Report, status: str, host_reference: str | None, reasons: list[Node]) -> _Judged:
    """One line. The status decides which kind of answer it is, beside RJCT the reason's code which."""
    proof, reason, code, text = _reason(reasons)
    paid = (CREDITED, SETTLED) if report.settled_is_credited else (CREDITED,)
    if status == REJECTED:
        return proof, reason, code or status, text
    if status == "" and report.group == REJECTED:
        # Whole-file refusal for the sake of another line: nothing was taken, and this line may come again.
        return Proof.NOT_TAKEN, Reason.NOT_EXECUTED, report.group, text
    if status in paid and host_reference is not None:
        return Proof.CREDITED, None, status, text
    if status == PENDING and code == NARRATIVE:
        return proof, reason, code, text  # held back as suspicious, for a reason that is told in words alone
    if status in IN_PROCESS:
        return Proof.IN_PROCESS, Reason.BANK_BUSY, status, text
    return Proof.IN_DOUBT, Reason.UNKNOWN, status, text


def _reason(given: Iterable[Node]) -> _Judged:
    """What the reasons beside a rejection prove. Several must prove the same; a proprietary one (``Prtry``) is none."""
    reasons = list(given)
    codes = [each.word_at("Rsn/Cd") for each in reasons] or [""]
    proved = [REASONS.get(code, (Proof.IN_DOUBT, Reason.UNKNOWN)) for code in codes]
    proof, reason = proved[0]
    rejected = all(other is Proof.REJECTED for other, _ in proved)  # for whatever reason: the first one is told
    if not rejected and len(set(proved)) > 1:
        proof, reason = Proof.IN_DOUBT, Reason.UNKNOWN
    return proof, reason, codes[0], shown(" ".join(_words(reasons)))


def _words(reasons: Iterable[Node]) -> Iterator[str]:
    for each in reasons:
        for text in each.all("AddtlInf"):
            yield text.text
