"""Commands that read or fill the books, against a real database: masked, complete, and harmless."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from adapters.contract import Booking, Evidence, Proof, Reason, Statement, StatementEntry
from gateway import config as configuration
from gateway import reference
from gateway.approval import AUDIENCE, KeyRing, SigningKey, sign
from gateway.clock import Clock
from gateway.intake import Intake
from gateway.lists import read_header, read_list
from gateway.policy import AccountKind, Binding
from gateway.store.engine import Engine
from gateway.store.evidence import Heard
from gateway.store.planning import Route
from gateway.store.statements import Statements
from gateway.store.store import Store
from gateway.vault import Vault
from schemas.codec import encode
from schemas.masked import AccountNumber, IdNumber
from schemas.v1 import Kind
from tests.unit.cli_kit import HEADER, KID, Installation, install

BATCH_ID = "659999-XJ-NY-01-2026-0001"
BANK = "402881000015"
IDS = ["659999197001010019", "65999919850615002X", "65999919420103007X"]
CARDS = ["6299990000007000023", "6299990000007000031", "6299990000007000049"]
NAMES = ["测试甲子", "测试乙丑", "测试丙寅"]
PHONE = "13800138000"
SECRETS = (*IDS, *CARDS, *NAMES, PHONE)
ON_TRUST = "warning: database: whose server it is is not checked; add sslmode=verify-full and sslrootcert"
TITLES = "姓名,身份证号,手机号,银行账号,账户类型,行号,补贴金额(元)\n"
NEXT_DAY = dt.datetime(2026, 11, 25, 2, 0, tzinfo=dt.UTC)
STYLE = re.compile(r"\x1b\[[0-9]*m")
BINDINGS = "身份证号,银行账号,账户类型,行号\n"


@pytest.fixture
def here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: str
) -> Installation:
    made = install(tmp_path, capsys, monkeypatch)
    made.write_config(dsn=database)
    for name in ("sftp.key", "known_hosts"):
        (tmp_path / name).touch()
    return made


def rows() -> str:
    """Three lines: one that is going to be credited, one in cash, one without an account of its own."""
    return (
        TITLES
        + f"{NAMES[0]},{IDS[0]},{PHONE},{CARDS[0]},银行卡,{BANK},100.00\n"
        + f"{NAMES[1]},{IDS[1]},,,现金,{BANK},200.00\n"
        + f"{NAMES[2]},{IDS[2]},,,,,300.50\n"
    )


class OneRoute:
    def route(self, county: str, bank: str, bank_no: str, at: dt.datetime) -> Route:
        return Route("6599990000000017", "专户", "某某农商银行", 100, 10**12, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26)


async def _pay(here: Installation) -> None:
    """Through intake and planning to a bank that credits the first line and rejects the other."""
    config = configuration.load(here.config)
    clock, store = Clock.from_environment(), await Store.open(config)
    try:
        path = here.directory
        tables = reference.load(path / "programmes.csv", path / "agreements.csv", path / "calendar.csv")
        vault = Vault.load(here.directory / "privacy_keys.json")
        intake = Intake(store, KeyRing.load(here.directory / "approval_keys.json"), tables, vault, clock, config)
        listed, header = read_list(here.directory / "list.csv"), read_header(HEADER)
        signer = SigningKey.load(here.key)
        for part in listed.build(header):
            raw = encode(part)
            await intake.take_batch(raw, sign(raw, Kind.BATCH, signer, KID, AUDIENCE, clock.now()).encode())
        raw = encode(header.funding(listed.payable_fen))
        await intake.take_funding(raw, sign(raw, Kind.FUNDING, signer, KID, AUDIENCE, clock.now()).encode())
        while await intake.judge_next():
            pass
        await intake.start_clocks()
        await store.planning.plan_next(OneRoute(), clock.now(), lambda limit: limit)
        async with store.engine.transaction() as connection:
            await connection.execute(
                "UPDATE submissions SET state = 'SUBMITTED', payload = '\\x00', sent_at = $1, transmissions = 1",
                clock.now(),
            )
            references = await connection.fetch("SELECT reference FROM attempts ORDER BY payout_id")
        first, second = (row["reference"] for row in references)
        now = clock.now()
        await store.evidence.record(
            Heard("rcc_file", now, now),
            [
                Evidence(
                    Proof.CREDITED, first, code="0000", amount_fen=10000, host_reference="H1", post_date=now.date()
                ),
                Evidence(Proof.REJECTED, second, reason=Reason.NAME_MISMATCH, code="3031"),
            ],
        )
    finally:
        await store.close()


@pytest.fixture
def paid(here: Installation) -> Installation:
    (here.directory / "list.csv").write_text(rows(), encoding="utf-8")
    (here.directory / "bindings.csv").write_text(f"{BINDINGS}{IDS[2]},{CARDS[2]},存折,{BANK}\n", encoding="utf-8")
    assert here.gateway("bindings", "load", here.directory / "bindings.csv", "--config", here.config).code == 0
    asyncio.run(_pay(here))
    return here


def lines_of(text: str) -> dict[str, list[str]]:
    """The words of each printed line by its first word; the last such line."""
    return {words[0]: words for line in text.splitlines() if (words := line.split())}


# --- show, failures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1", BATCH_ID])
def test_a_batch_is_shown_with_its_identity_and_deadlines(paid: Installation, name: str) -> None:
    """By number or by the issuer's id: state, clocks, buckets that close, money, submissions."""
    ran = paid.gateway("show", name, "--config", paid.config, "--verify")
    assert (ran.code, ran.err) == (0, "")
    shown = lines_of(ran.out)
    assert shown["batch"][1:3] == ["1", BATCH_ID]
    assert "3 = 1 refused + 2 approved" in ran.out
    assert shown["limit"][-2:] == ["2026-11-27", "24:00"]
    assert shown["target"][-2:] == ["2026-11-27", "24:00"]
    assert shown["feedback"][-2:] == ["2026-11-29", "24:00"]
    assert shown["credited"] == ["credited", "1", "100.00"]
    assert shown["failed"] == ["failed", "1", "300.50"]
    assert shown["approved"] == ["approved", "2", "400.50"]
    assert "the chain holds" in ran.out
    assert f"{BATCH_ID}-F1" in ran.out
    assert "DOES NOT CLOSE" not in ran.out
    assert not any(secret in ran.out for secret in SECRETS)


def test_a_payout_is_shown_masked(paid: Installation) -> None:
    """Who is paid is recognisable to somebody who knows, and readable to nobody else."""
    ran = paid.gateway("show", "1-1", "--config", paid.config)
    assert ran.code == 0
    assert "测*  ID ****0019  phone 138****8000" in ran.out
    assert "****0023  CARD  at 402881000015" in ran.out
    assert "CREDITED" in ran.out
    assert "H1" in ran.out
    assert not any(secret in ran.out for secret in SECRETS)


def change(dsn: str, statement: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            for table in ("attempts", "submissions"):  # the books refuse to undo what is settled, also to their owner
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return asyncio.run(run())


def blocks(text: str, title: str) -> list[str]:
    """The lines printed below a title, up to the next empty line."""
    after = text.partition(f"\n{title}\n")[2]
    return after.partition("\n\n")[0].splitlines()


def test_a_payout_is_shown_with_its_notices_and_outcomes(paid: Installation, database: str) -> None:
    """When an attempt came to rest, where it came from, and what the person was told, stand beside each other."""
    change(database, "UPDATE attempts SET credited_at = '2026-11-24T08:15:00Z' WHERE credited_at IS NOT NULL")
    shown = paid.gateway("show", "1-1", "--config", paid.config).out
    (titles, attempt) = blocks(shown, "attempts")
    assert "outcome at" in titles
    assert "was credited" not in titles
    assert "2026-11-24 16:15" in attempt
    assert attempt.split()[:3] == ["1", "list", "CREDITED"]
    (titles, notice) = blocks(shown, "notices")
    assert titles.split() == ["notice", "kind", "attempt", "outcome", "call", "created"]
    assert notice.split()[1:5] == ["ARRIVAL", "1", "DUE", "DUE"]
    change(
        database,
        "UPDATE attempts SET state = 'RETURNED', live = false, returned_at = '2026-11-26T02:00:00Z', order_no = 12,"
        " return_host_reference = 'H2' WHERE host_reference = 'H1'",
    )
    (_, attempt) = blocks(paid.gateway("show", "1-1", "--config", paid.config).out, "attempts")
    assert attempt.split()[:4] == ["1", "order", "12", "RETURNED"]
    assert all(word in attempt for word in ("2026-11-26 10:00", "2026-11-24 16:15", "H1", "H2"))
    assert "notices" not in paid.gateway("show", "1-3", "--config", paid.config).out


def test_a_state_in_between_has_no_outcome(paid: Installation, database: str) -> None:
    """A line the bank only received has been written to, and has not come to rest."""
    change(database, "UPDATE attempts SET state = 'ACCEPTED', live = true WHERE state = 'REJECTED'")
    assert "outcome at" not in paid.gateway("show", "1-3", "--config", paid.config).out


@pytest.mark.parametrize("state", ["CLOSED", "IN_DOUBT"])
def test_a_closed_submission_asks_nothing(paid: Installation, database: str, state: str) -> None:
    """The daily look for returns is no open question; a submission in doubt says when it asks."""
    change(database, f"UPDATE submissions SET state = '{state}', probe_at = '2026-11-25T01:30:00Z'")
    shown = paid.gateway("show", "1", "--config", paid.config).out
    assert ("watched" in shown, "2026-11-25 09:30" in shown) == ((True, False) if state == "CLOSED" else (False, True))


@pytest.mark.parametrize("columns", ["80", "400"])
def test_nothing_is_cut_on_any_terminal(
    paid: Installation, database: str, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """In 80 columns a wide table becomes blocks, each name beside its value; references and states stay whole."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", columns)
    (row,) = change(database, "SELECT a.reference, s.reference AS file FROM attempts a, submissions s WHERE seq = 1")
    for name in ("1", "1-1"):
        shown = STYLE.sub("", paid.gateway("show", name, "--config", paid.config).out)
        assert all(len(line) <= int(columns) for line in shown.splitlines())
        assert "…" not in shown
        assert row["file"] in shown
        wide = any(row["file"] in line and "rcc_file" in line for line in shown.splitlines())
        assert wide == (columns == "400")
    assert row["reference"] in shown
    assert "CREDITED" in shown


def test_piped_output_is_one_line_a_row(paid: Installation, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script reads whole rows, whatever the terminal around it is and however long the words of a bank are."""
    monkeypatch.setenv("COLUMNS", "80")
    change(database, "UPDATE attempts SET host_reference = repeat('H', 300) WHERE host_reference = 'H1'")
    (_, attempt) = blocks(paid.gateway("show", "1-1", "--config", paid.config).out, "attempts")
    assert "H" * 300 in attempt.split()


def test_a_payout_to_a_kept_account_is_shown(paid: Installation) -> None:
    """The loaded account was used; why it failed and under which reference is told."""
    ran = paid.gateway("show", "1-3", "--config", paid.config)
    assert "****0049  PASSBOOK  at 402881000015" in ran.out
    assert "phone none" in ran.out
    assert "REJECTED" in ran.out
    assert "NAME_MISMATCH" in ran.out


def test_what_a_bank_wrote_does_not_steer_the_terminal(paid: Installation, database: str) -> None:
    """Control characters in a bank's own words are shown as question marks."""

    change(database, "UPDATE attempts SET host_reference = E'\\x1b[2J[red]x' WHERE host_reference = 'H1'")
    ran = paid.gateway("show", "1-1", "--config", paid.config)
    assert "\x1b" not in ran.out
    assert "?[2J[red]x" in ran.out


def test_a_refused_line_is_shown_with_its_reason(paid: Installation) -> None:
    """A line that never became a payout is found under the name its receipt gives it."""
    ran = paid.gateway("show", "1-2", "--config", paid.config)
    assert (ran.code, "OUT_OF_SCOPE: cash payment" in ran.out) == (0, True)


def test_without_the_keys_the_payee_stays_closed(paid: Installation) -> None:
    """An operator without the sealing key still sees states; that the payee cannot be opened is said."""
    keys = paid.directory / "privacy_keys.json"
    keys.write_text("{}", encoding="utf-8")
    ran = paid.gateway("show", "1-1", "--config", paid.config)
    assert ran.code == 0
    assert "cannot be opened here (KeyFileFault)" in ran.out
    assert "CREDITED" in ran.out


@pytest.mark.parametrize("name", ["99", "99-1", "nothing", "1-9"])
def test_what_is_not_there_is_a_failure(paid: Installation, name: str) -> None:
    """An unknown name ends in one line and status 1."""
    ran = paid.gateway("show", name, "--config", paid.config)
    assert (ran.code, ran.out, ran.err) == (1, "", f"error: there is no batch and no payout {name}\n")


def test_failures_say_whose_move_it_is(paid: Installation) -> None:
    """A payout that waits for an order is listed with reason, actor, way back and the attempt an order must name."""
    for arguments in ((), ("--batch", BATCH_ID), ("--batch", "1")):
        ran = paid.gateway("failures", "--config", paid.config, *arguments)
        assert ran.code == 0
        row = lines_of(ran.out)["1-3"]
        assert row[1:6] == ["1", "300.50", "rcc_file", "NAME_MISMATCH", "3031"]
        assert row[8:] == ["department", "corrected", "name", "or", "account"]
        assert ran.out.splitlines()[-1] == "1 payouts, 300.50 yuan"
        assert not any(secret in ran.out for secret in SECRETS)
    assert paid.gateway("failures", "--config", paid.config, "--batch", "none").code == 1


def test_nothing_to_show_is_said(here: Installation) -> None:
    """Empty books are no error for failures, and a named batch that is not there is one."""
    assert here.gateway("failures", "--config", here.config).out == "no payout waits for an order\n"
    assert here.gateway("show", "1", "--config", here.config).code == 1


async def _stated(dsn: str) -> None:
    """The bank's statement of the day: one line with a fee, and a booking of somebody whose card it names."""
    engine = await Engine.open(dsn)
    try:
        async with engine.connection() as connection:
            reference = await connection.fetchval("SELECT reference FROM attempts WHERE state = 'CREDITED' LIMIT 1")
        entries = tuple(
            StatementEntry(Booking.DEBIT, named, 12_345, dt.date(2026, 11, 24)) for named in (reference, CARDS[1])
        )
        statement = Statement(dt.date(2026, 11, 24), None, entries, "ab" * 32)
        await Statements(engine).reconcile("rcc_file", statement, NEXT_DAY)
    finally:
        await engine.close()


def test_differences_are_listed_without_personal_data(paid: Installation, database: str) -> None:
    """What statements say differently is listed and shown with its payout; a card in a bank's free text is not."""
    asyncio.run(_stated(database))
    ran = paid.gateway("differences", "--config", paid.config)
    assert ran.code == 0
    (titles, *listed, count) = blocks("\n" + ran.out, "differences")
    assert titles.split()[:5] == ["bank", "day", "kind", "booking", "payout"]
    assert {row.split()[2] for row in listed} == {"AMOUNT", "UNKNOWN"}
    assert "[digits]" in ran.out
    assert not any(secret in ran.out for secret in (*SECRETS, CARDS[1]))
    assert count == "2 open"
    (wrong,) = [row.split() for row in listed if "AMOUNT" in row]
    shown = paid.gateway("show", wrong[4], "--config", paid.config).out
    assert "123.45" in blocks(shown, "statements differ")[1]
    change(database, "UPDATE statement_differences SET resolved_at = found_at")
    assert paid.gateway("differences", "--config", paid.config).out == "statements and books agree\n"
    assert paid.gateway("differences", "--settled", "--config", paid.config).out.splitlines()[-1] == "0 open"


# --- migrate, bindings ----------------------------------------------------------------------------------------------


def test_migrate_twice(here: Installation, make_database: Callable[[str | None], str]) -> None:
    """An empty database is brought up once; until then other commands say what to do."""
    here.write_config(dsn=make_database(None))
    early = here.gateway("failures", "--config", here.config)
    assert (early.code, "run `gateway migrate`" in early.err) == (1, True)
    assert here.gateway("migrate", "--config", here.config).out.startswith("applied migrations 1")
    assert here.gateway("migrate", "--config", here.config).out == "the database is up to date\n"
    assert here.gateway("failures", "--config", here.config).code == 0


def test_a_database_that_is_away_is_told(here: Installation) -> None:
    """No database, no traceback, no DSN."""
    here.write_config(dsn="postgresql://u:hunter2@127.0.0.1:1/none")
    ran = here.gateway("failures", "--config", here.config)
    assert (ran.code, "PostgreSQL cannot be reached" in ran.err, "hunter2" in ran.err) == (1, True, False)


async def _kept(dsn: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch("SELECT beneficiary, sealed FROM account_bindings"))
    finally:
        await connection.close()


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_bindings_are_sealed_and_the_newest_counts(here: Installation, database: str, encoding: str) -> None:
    """What the bank keeps for a person is found by that person alone, and a second load replaces the first."""
    file = here.directory / "bindings.csv"
    for card in CARDS[:2]:
        text = BINDINGS + "".join(f"{person},{card},社会保障卡,{BANK}\n" for person in (IDS[0], IDS[1].lower()))
        file.write_text(text, encoding=encoding)
        ran = here.gateway("bindings", "load", file, "--config", here.config)
        assert (ran.code, ran.out, ran.err) == (0, "loaded 2 accounts\n", "")
    vault = Vault.load(here.directory / "privacy_keys.json")
    kept = {row["beneficiary"]: bytes(row["sealed"]) for row in asyncio.run(_kept(database))}
    assert set(kept) == {vault.person(IdNumber(person)) for person in IDS[:2]}
    for person, sealed in kept.items():
        assert vault.binding(sealed, person) == Binding(AccountNumber(CARDS[1]), AccountKind.SSCARD, BANK)
        assert CARDS[1].encode() not in sealed


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (f"{IDS[0][:-1]}0,{CARDS[0]},银行卡,{BANK}", "row 3: ID_INVALID: check character"),
        (f"{IDS[1]},62|99,银行卡,{BANK}", "row 3: ACCOUNT_MISSING: not an account number"),
        (f"{IDS[1]},{CARDS[0]},现金,{BANK}", "row 3: OUT_OF_SCOPE: cash payment"),
        (f"{IDS[1]},{CARDS[0]},,{BANK}", "row 3: OUT_OF_SCOPE: unknown account kind"),
        (f"{IDS[1]},{CARDS[0]},存折,4028", "row 3: NO_AGREEMENT: not a bank number of 12 digits"),
        (f"{IDS[0]},{CARDS[1]},存折,{BANK}", "row 3: the person stands twice"),
        (f"{IDS[1]},{CARDS[0]},存折", "row 3: has not as many cells as there are titles"),
    ],
)
def test_a_file_with_a_fault_loads_nothing(here: Installation, database: str, row: str, fault: str) -> None:
    """One wrong row stops the whole load before it begins, named by its place and never by its content."""
    file = here.directory / "bindings.csv"
    file.write_text(f"{BINDINGS}{IDS[0]},{CARDS[0]},银行卡,{BANK}\n{row}\n", encoding="utf-8")
    ran = here.gateway("bindings", "load", file, "--config", here.config)
    assert (ran.code, ran.out) == (1, "")
    assert fault in ran.err
    assert not any(secret in ran.err for secret in SECRETS)
    assert asyncio.run(_kept(database)) == []


@pytest.mark.parametrize("command", [("show", "1"), ("failures",), ("migrate",), ("resume", "rcc_file"), ("reseal",)])
def test_a_database_that_is_taken_on_trust_is_told_by_each_command(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    """Not `run` alone hands a login to whoever answers."""
    here = install(tmp_path, capsys, monkeypatch)
    here.write_config(dsn="postgresql://nobody@db.example.invalid/none")
    ran = here.gateway(*command, "--config", here.config)
    assert (ran.code, ran.err.splitlines()[0]) == (1, ON_TRUST)
