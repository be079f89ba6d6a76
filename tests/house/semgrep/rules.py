"""What each rule of the pack bites and what it spares; read by semgrep, never imported or run."""

from __future__ import annotations

from typing import Any

from tenacity import AsyncRetrying

from adapters.contract import Evidence, Proof
from gateway.cli.printing import print_fields, print_table
from gateway.cli.terminal import console, say, say_error, say_faults


async def personal_data(line: Any, log: Any, vault: Any, metric: Any) -> Any:
    name = line.name.reveal()
    # ruleid: personal-data-is-never-told
    log.info("paid", beneficiary=name)
    # ruleid: personal-data-is-never-told
    metric.labels(line.account.reveal())
    # ok: personal-data-is-never-told
    log.info("paid", reference=line.reference, length=len(name))
    if not name:
        # ruleid: personal-data-is-never-told
        raise ValueError(f"no such person: {line.id_no.reveal()}")
    # ok: personal-data-is-never-told
    return vault.seal(name.encode(), "payees")


def personal_data_on_a_terminal(line: Any) -> None:
    # ruleid: personal-data-is-never-told
    say(f"paid to {line.name.reveal()}")
    # ruleid: personal-data-is-never-told
    say_error(line.account.reveal())
    # ruleid: personal-data-is-never-told
    say_faults([line.account.reveal()])
    # ruleid: personal-data-is-never-told
    print_fields([("reference", line.reference), ("name", line.name.reveal())])
    rows = [(line.reference, line.id_no.reveal())]
    # ruleid: personal-data-is-never-told
    print_table("payouts", ("reference", "id"), rows)
    # ruleid: personal-data-is-never-told
    console().print(line.name.reveal(), markup=False)
    # ok: personal-data-is-never-told
    say(f"paid: {line.reference}, {line.name}")
    # ok: personal-data-is-never-told
    print_table("payouts", ("reference", "name"), [(line.reference, len(line.name.reveal()))])


def secrets(key_file: Any, digest: Any, log: Any) -> Any:
    key = key_file.read_bytes().strip()
    # ruleid: secrets-are-never-told
    log.debug("loaded", key=key)
    if len(key) != 32:
        # ruleid: secrets-are-never-told
        raise ValueError(f"{key!r} is no key")
    # ok: secrets-are-never-told
    raise ValueError(f"{key_file} holds {len(key)} bytes")


def secrets_by_any_name(path: Any, self: Any, vault: Any, metric: Any, log: Any) -> Any:
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        # ruleid: secrets-are-never-told
        raise ValueError(f"{text} is no password")
    # ruleid: secrets-are-never-told
    log.warning("cannot log in", reason=self.path(self.database.dsn_file).read_text(encoding="utf-8"))
    # ruleid: secrets-are-never-told
    log.info("opened", payload=vault.unseal(path, "payees", 1))
    # ruleid: secrets-are-never-told
    metric.labels(key=path.read_bytes().hex()).inc()
    # ok: secrets-are-never-told
    return text


def secrets_on_a_terminal(password_file: Any) -> None:
    password = password_file.read_text(encoding="utf-8")
    # ruleid: secrets-are-never-told
    say(f"logs in with {password}")
    # ruleid: secrets-are-never-told
    say_error(password)
    # ruleid: secrets-are-never-told
    say_faults([password])
    # ruleid: secrets-are-never-told
    print_fields([("password", password)])
    # ruleid: secrets-are-never-told
    print_table("logins", ("password",), [(password,)])
    # ruleid: secrets-are-never-told
    console().print(password, markup=False)
    # ok: secrets-are-never-told
    say(f"logs in with what {password_file} holds")


async def retried(adapter: Any, rendered: Any, wire: Any) -> Any:
    async for attempt in AsyncRetrying():
        with attempt:
            # ruleid: paying-call-is-never-repeated
            await adapter.submit(rendered, wire)
            # ok: paying-call-is-never-repeated
            await adapter.probe(rendered, wire)


async def for_ever(adapter: Any, rendered: Any, wire: Any) -> Any:
    while True:
        try:
            # ruleid: paying-call-is-never-repeated
            return await adapter.submit(rendered, wire)
        except OSError:
            continue


async def once(adapter: Any, submissions: Any, wire: Any) -> Any:
    for rendered in submissions:
        # ok: paying-call-is-never-repeated
        await adapter.submit(rendered, wire)


async def silence(wire: Any, rendered: Any) -> Any:
    try:
        answer = await wire.call(rendered.payload)
    except TimeoutError:
        # ruleid: silence-proves-nothing
        return [Evidence(Proof.REJECTED, submission=rendered.submission)]
    # ok: silence-proves-nothing
    return [Evidence(Proof.REJECTED, submission=answer)]


async def more_silence(wire: Any, rendered: Any) -> Any:
    try:
        await wire.call(rendered.payload)
    except (ConnectionError, TimeoutError) as error:
        # ruleid: silence-proves-nothing
        return [Evidence(Proof.NOT_TAKEN, submission=rendered.submission, text=str(error))]


async def doubt(wire: Any, rendered: Any) -> Any:
    try:
        await wire.call(rendered.payload)
    except OSError:
        # ok: silence-proves-nothing
        return [Evidence(Proof.IN_DOUBT, submission=rendered.submission)]


async def put_together(connection: Any, table: Any, reference: Any) -> Any:
    # ruleid: sql-is-never-put-together
    await connection.execute(f"TRUNCATE {table}")
    # ruleid: sql-is-never-put-together
    await connection.fetchrow(f"SELECT 1 FROM payouts WHERE reference = '{reference}'")
    # ok: sql-is-never-put-together
    await connection.fetchrow("find_payout", reference)


async def put_together_before(connection: Any, table: Any) -> Any:
    # ruleid: sql-is-never-put-together
    query = f"SELECT 1 FROM {table}"
    await connection.fetchrow(query)
    # ruleid: sql-is-never-put-together
    other = "SELECT 1 FROM " + table
    return await connection.fetchval(other)


def entities(etree: Any, content: Any) -> Any:
    # ruleid: outside-xml-resolves-nothing
    etree.fromstring(content)
    # ruleid: outside-xml-resolves-nothing
    loose = etree.XMLParser(no_network=True)
    # ruleid: outside-xml-resolves-nothing
    etree.parse(content)
    # ruleid: outside-xml-resolves-nothing
    etree.XML(content)
    # ruleid: outside-xml-resolves-nothing
    etree.iterparse(content)
    # ruleid: outside-xml-resolves-nothing
    etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=True)
    # ok: outside-xml-resolves-nothing
    strict = etree.XMLParser(resolve_entities=False, no_network=True)
    # ok: outside-xml-resolves-nothing
    return etree.fromstring(content, strict), loose


async def redirected(session: Any, client: Any, url: Any, payload: Any) -> Any:
    # ruleid: banks-do-not-redirect
    await session.post(url, data=payload)
    # ruleid: banks-do-not-redirect
    await client.get(url)
    # ok: banks-do-not-redirect
    await session.request("POST", url, data=payload, allow_redirects=False)
