"""Where a DSN leads is what asyncpg makes of it: each case is held against asyncpg's own parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from asyncpg import connect_utils

from adapters.wire.clear import is_loopback
from gateway.dsn import has_password, verifies_server
from tests.adapters.pki_kit import Authority

FULL: Final = "sslmode=verify-full&sslrootcert=CA"
SERVICES: Final = """
[far]
host = db.example
[near]
host = /run/postgresql
[proved]
host = db.example
sslmode = verify-full
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's PostgreSQL settings counts."""
    for name in ("PGHOST", "PGPORT", "PGSSLMODE", "PGSERVICE", "PGSERVICEFILE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGUSER", "gateway")


def asyncpg_says(dsn: str) -> bool:
    """The same question put to what asyncpg would connect to, and how."""
    names = "host port user password passfile database ssl service servicefile direct_tls server_settings"
    nothing: dict[str, Any] = dict.fromkeys((*names.split(), "target_session_attrs", "krbsrvname", "gsslib"))
    parse: Any = vars(connect_utils)["_parse_connect_dsn_and_args"]
    addresses, parameters = parse(dsn=dsn, **nothing)
    if parameters.sslmode == connect_utils.SSLMode.verify_full:
        return True
    return all(isinstance(each, str) or is_loopback(each[0]) for each in addresses)


@pytest.mark.parametrize(
    ("dsn", "verified"),
    [
        ("postgresql://u:p@127.0.0.1:5432/x", True),
        ("postgresql://u:p@localhost/x", True),
        ("postgresql://u:p@[::1]:5432/x", True),
        ("postgresql://u:p@[2001:db8::1]:5432/x", False),
        ("postgresql:///x", True),
        ("postgresql:///x?host=/run/postgresql", True),
        ("postgresql://%2Frun%2Fpostgresql/x", True),
        ("postgresql:///x?host=db.example", False),
        ("postgresql:///x?host=db.example&host=localhost", True),
        ("postgresql:///x?host=localhost,db.example", False),
        ("postgresql:///x?host=[::1]:5433", True),
        ("postgresql://u:p@db.example/x", False),
        ("postgresql://u:p@db.example:5432/x?sslmode=require", False),
        (f"postgresql://u:p@db.example/x?{FULL}", True),
        (f"postgresql://u:p@db.example/x?{FULL.replace('-', '_')}", True),
        (f"postgresql://u:p@db.example/x?{FULL}&sslmode=require", False),
        ("postgresql://u:p@db.example/x?sslmode=verify-ca&sslrootcert=CA", False),
        ("postgresql://u:p@localhost:5432,db.example:5432/x", False),
        ("postgresql://u:p@localhost:5432,127.0.0.1:5433/x", True),
        # The authority comes before host=, and it begins behind the first @.
        ("postgresql://u:p@localhost/x?host=db.example", True),
        ("postgresql://x@db.example/payout?host=/run/postgresql", False),
        ("postgresql://u:p@db.example@127.0.0.1/x", False),
        ("postgresql://u@/x?host=db.example", False),
    ],
)
def test_the_host_is_the_one_that_is_connected_to(dsn: str, verified: bool, tmp_path: Path) -> None:
    """Beyond this machine only verify-full knows whose server it is: everything else would be told the password."""
    dsn = dsn.replace("=CA", f"={Authority(tmp_path, 'ca').file}")
    assert verifies_server(dsn) is verified
    assert asyncpg_says(dsn) is verified


@pytest.mark.parametrize(
    ("dsn", "environment", "verified"),
    [
        ("postgresql:///payout", {"PGHOST": "db.example"}, False),
        ("postgresql:///payout", {"PGHOST": "/run/postgresql"}, True),
        ("postgresql:///payout", {"PGHOST": "localhost,127.0.0.1:5433"}, True),
        ("postgresql:///payout", {"PGHOST": "/run/postgresql,db.example"}, False),
        ("postgresql:///payout", {"PGHOST": "[::1]:5433"}, True),
        ("postgresql:///payout", {"PGHOST": ""}, True),
        ("postgresql://u@localhost/payout", {"PGHOST": "db.example"}, True),
        ("postgresql:///payout?host=/run/postgresql", {"PGHOST": "db.example"}, True),
        ("postgresql://u@db.example/payout", {"PGHOST": "localhost"}, False),
        ("postgresql:///payout", {"PGHOST": "db.example", "PGSSLMODE": "verify-full"}, True),
        ("postgresql://u@db.example/payout", {"PGSSLMODE": "verify-full"}, True),
        ("postgresql://u@db.example/payout", {"PGSSLMODE": "require"}, False),
        ("postgresql://u@db.example/payout?sslmode=prefer", {"PGSSLMODE": "verify-full"}, False),
    ],
)
def test_the_environment_counts_where_the_dsn_is_silent(
    dsn: str, environment: dict[str, str], verified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGHOST, one or a list, and PGSSLMODE; what the DSN says itself comes first."""
    monkeypatch.setenv("PGSSLROOTCERT", str(Authority(tmp_path, "ca").file))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert verifies_server(dsn) is verified
    assert asyncpg_says(dsn) is verified


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("dsn", "verified"),
    [
        ("postgresql:///payout?service=far", False),
        ("postgresql:///payout?service=near", True),
        ("postgresql:///payout?service=proved", True),
        ("postgresql:///payout?service=proved&sslmode=require", False),
        ("postgresql://localhost/payout?service=far", True),
        ("postgresql:///payout?service=near&host=db.example", False),
        ("postgresql:///payout?service=unknown", True),
        ("postgresql:///payout", True),  # PGSERVICE=far is read too late to count
    ],
)
def test_a_service_counts_as_asyncpg_reads_it(
    dsn: str, verified: bool, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file that PGSERVICEFILE names, or the one at home; behind the DSN's own words, before PGHOST."""
    place = tmp_path / ("services.conf" if named else ".pg_service.conf")
    place.write_text(SERVICES, encoding="utf-8")
    if named:
        monkeypatch.setenv("PGSERVICEFILE", str(place))
    monkeypatch.setenv("PGSERVICE", "far")
    monkeypatch.setenv("PGSSLROOTCERT", str(Authority(tmp_path, "ca").file))
    assert verifies_server(dsn) is verified
    assert asyncpg_says(dsn) is verified


@pytest.mark.parametrize("dsn", ["postgresql://u@[::1/x", "postgresql:///x?host=[::1", "postgresql:///x?service=far"])
def test_what_is_no_dsn_is_refused(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects tells it; nobody says meanwhile that its server is known."""
    (tmp_path / "services.conf").write_text("host = db.example\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services.conf"))
    with pytest.raises(ValueError, match=r"IPv6|brackets|service file"):
        verifies_server(dsn)


@pytest.mark.parametrize(
    ("dsn", "carries"),
    [
        (None, False),
        ("postgresql://u@db.example/x", False),
        ("postgresql://u:p@db.example/x", True),
        ("postgresql:///x?password=p", True),
        ("postgresql://u:p@[db/x", True),
    ],
)
def test_a_password_in_a_dsn_is_seen(dsn: str | None, carries: bool) -> None:
    """Also where nobody can take the DSN apart."""
    assert has_password(dsn) is carries
