"""``publish``, ``reissue``, ``cancel``, ``recall``: messages signed with the caller's key and handed to Kafka.

These commands decide nothing. Whether an order applies is answered by the gateway, on ``payout.receipts`` or
``payout.refusals``. Corrected details are read from a file: a command line is seen by every process of the machine.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from gateway import config as configuration
from gateway.approval import AUDIENCE, SigningKey
from gateway.channels import kafka_in_the_clear
from gateway.cli.books import warn
from gateway.cli.publisher import Outgoing, publish_all
from gateway.cli.terminal import CommandFailed, read_secret, say
from gateway.config import KafkaSection
from gateway.lists import read_header, read_list
from schemas.codec import MOST_BYTES, encode
from schemas.strict_json import loads
from schemas.v1 import MOST_LINES_IN_PART, CorrectedDetails, Kind, Message, Order, OrderKind

_MOST_DETAILS_BYTES = 16_384

Key = Annotated[Path, typer.Option("--key", help="The issuer's private key (PEM or JWK).", exists=True, dir_okay=False)]
Kid = Annotated[str, typer.Option("--kid", help="The id under which the gateway knows the key.")]
Password = Annotated[
    Path | None, typer.Option("--password-file", help="A file whose first line is the key's password.", dir_okay=False)
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="Take broker and audience from here.", dir_okay=False),
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="Kafka's servers, host:port[,host:port].")]
Audience = Annotated[str | None, typer.Option("--audience", help="Whom the signature is for.")]
Batch = Annotated[str, typer.Argument(help="The batch's id as the issuer wrote it.")]
Line = Annotated[int, typer.Argument(help="The line of the list.", min=1)]
Attempt = Annotated[int, typer.Option("--attempt", help="The attempt that failed (see `show`).", min=1)]
Issuer = Annotated[str, typer.Option("--issuer", help="Who issues the order: the owner of the key.")]
Document = Annotated[str, typer.Option("--document", help="The number of the approving document.")]
OrderId = Annotated[
    str | None, typer.Option("--order-id", help="Give the id of an earlier try to repeat it; else a new one is made.")
]


def register(app: typer.Typer) -> None:
    for command in (publish, reissue, cancel, recall):
        app.command()(command)


@dataclass(frozen=True, slots=True)
class _Channel:
    """Where messages go, and how they are signed."""

    kafka: KafkaSection
    audience: str
    key: SigningKey
    kid: str

    @classmethod
    def of(
        cls,
        key: Path,
        kid: str,
        password: Path | None,
        config: Path | None,
        bootstrap: str | None,
        audience: str | None,
    ) -> _Channel:
        signing_key = SigningKey.load(key, read_secret(password))
        if config is None:
            if not bootstrap:
                raise typer.BadParameter("give --config or --bootstrap")
            return cls(_section(bootstrap), audience or AUDIENCE, signing_key, kid)
        known = configuration.load(config)
        kafka = known.kafka if bootstrap is None else _section(bootstrap, known.kafka)
        return cls(kafka, audience or known.gateway.audience, signing_key, kid)

    def publish(self, records: Iterator[Outgoing]) -> int:
        warn(kafka_in_the_clear(self.kafka))
        return asyncio.run(publish_all(records, self.kafka, self.audience, self.key, self.kid))


def _section(bootstrap: str, like: KafkaSection | None = None) -> KafkaSection:
    """Other servers than the configuration's, reached as it says; without one, in plain text."""
    facts = {} if like is None else like.model_dump()
    try:
        return KafkaSection.model_validate({**facts, "bootstrap_servers": bootstrap})
    except ValidationError as error:
        raise typer.BadParameter("; ".join(configuration.readable(error, "kafka."))) from None


def publish(
    list_file: Annotated[Path, typer.Argument(metavar="LIST", help="The real-name list (CSV).", dir_okay=False)],
    header: Annotated[Path, typer.Option("--header", help="The list's header file (JSON).", dir_okay=False)],
    key: Key,
    kid: Kid,
    password: Password = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    audience: Audience = None,
    funding: Annotated[bool, typer.Option("--funding", help="Confirm the money of the batch as well.")] = False,
    lines_per_part: Annotated[
        int, typer.Option(help="Lines in one message.", min=1, max=MOST_LINES_IN_PART)
    ] = MOST_LINES_IN_PART,
) -> None:
    """Sign and publish a county's list, in parts. Publishing the same list again changes nothing."""
    head = read_header(header)
    listed = read_list(list_file)
    channel = _Channel.of(key, kid, password, config, bootstrap, audience)
    confirmation = head.funding(listed.payable_fen) if funding else None

    def records() -> Iterator[Outgoing]:
        for part in listed.build(head, lines_per_part):
            yield _outgoing(Kind.BATCH, head.batch_id, part)
        if confirmation is not None:
            yield _outgoing(Kind.FUNDING, head.batch_id, confirmation)

    # Everything is built once before anything is sent, so that a list which cannot be sent is not sent by half.
    for _ in records():
        pass
    count = channel.publish(records())
    say(f"published {head.batch_id}: {listed.lines} lines in {count - funding} parts ({listed.sheet.encoding})")
    if confirmation is not None:
        say(f"published the funding {confirmation.funding_id}: {confirmation.amount} yuan")
    say("the answer comes as receipts or a refusal")


def reissue(
    batch: Batch,
    line: Line,
    attempt: Attempt,
    issuer: Issuer,
    document: Document,
    key: Key,
    kid: Kid,
    details: Annotated[
        Path | None,
        typer.Option("--details", help="Corrected details (JSON); without it the same details are paid again."),
    ] = None,
    order_id: OrderId = None,
    password: Password = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    audience: Audience = None,
) -> None:
    """Order a failed payout to be paid again, with corrected or with the same details."""
    corrected = _read_details(details) if details is not None else None
    order = _order(OrderKind.REISSUE, order_id, issuer, batch, document, line, attempt, corrected)
    _send_order(_Channel.of(key, kid, password, config, bootstrap, audience), order)


def cancel(
    batch: Batch,
    line: Line,
    attempt: Attempt,
    issuer: Issuer,
    document: Document,
    key: Key,
    kid: Kid,
    order_id: OrderId = None,
    password: Password = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    audience: Audience = None,
) -> None:
    """Order a payout not to be paid: one that failed, or one that has not been sent."""
    order = _order(OrderKind.CANCEL, order_id, issuer, batch, document, line, attempt)
    _send_order(_Channel.of(key, kid, password, config, bootstrap, audience), order)


def recall(
    batch: Batch,
    issuer: Issuer,
    document: Document,
    key: Key,
    kid: Kid,
    order_id: OrderId = None,
    password: Password = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    audience: Audience = None,
) -> None:
    """Recall a batch: every line that has not been sent is cancelled, each is answered."""
    order = _order(OrderKind.RECALL, order_id, issuer, batch, document)
    _send_order(_Channel.of(key, kid, password, config, bootstrap, audience), order)


def _order(
    kind: OrderKind,
    order_id: str | None,
    issuer: str,
    batch: str,
    document: str,
    line: int | None = None,
    attempt: int | None = None,
    details: CorrectedDetails | None = None,
) -> Order:
    try:
        return Order(
            schema="payout.order/v1",
            issuer=issuer,
            order_id=order_id or f"{kind.value}-{secrets.token_hex(8)}",
            kind=kind,
            batch_id=batch,
            line=line,
            attempt=attempt,
            document_no=document,
            details=details,
        )
    except ValidationError as error:
        raise CommandFailed(*_findings(error)) from None


def _send_order(channel: _Channel, order: Order) -> None:
    try:
        channel.publish(iter([_outgoing(Kind.ORDER, order.batch_id, order)]))
    except CommandFailed as failure:
        raise CommandFailed(*failure.lines, f"to repeat this order safely, add --order-id {order.order_id}") from None
    say(f"published {order.kind} {order.order_id}; the answer comes as a receipt or a refusal")


def _outgoing(kind: Kind, batch_id: str, message: Message) -> Outgoing:
    value = encode(message)
    if len(value) > MOST_BYTES[kind]:
        raise CommandFailed(f"a {kind} message is larger than {MOST_BYTES[kind]} bytes: try a smaller --lines-per-part")
    return Outgoing(kind, batch_id.encode("ascii"), value)


def _read_details(path: Path) -> CorrectedDetails:
    with path.open("rb") as file:
        raw = file.read(_MOST_DETAILS_BYTES + 1)
    if len(raw) > _MOST_DETAILS_BYTES:
        raise CommandFailed(f"{path.name}: larger than {_MOST_DETAILS_BYTES} bytes")
    try:
        loads(raw)
        return CorrectedDetails.model_validate_json(raw)
    except ValidationError as error:
        raise CommandFailed(*_findings(error, f"{path.name}: ")) from None
    except ValueError:
        raise CommandFailed(f"{path.name}: is not JSON without repeated members") from None


def _findings(error: ValidationError, place: str = "") -> list[str]:
    """pydantic's findings without the input; a member that is not ours may be somebody's data and is not named."""
    told: list[Any] = error.errors(include_input=False, include_url=False, include_context=False)
    known = Order.model_fields.keys() | CorrectedDetails.model_fields.keys()
    return [
        f"{place}{'.'.join(str(part) if part in known else '?' for part in one['loc'])}: {one['msg']}" for one in told
    ]
