"""A small installation in a directory: keys, tables, configuration; and the command line run in this process."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.__main__ import main
from gateway.approval import SigningKey
from gateway.privacy import fresh_key_file

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/real_name_list"
LIST, HEADER = DATA / "farmland_fertility_2026.csv", DATA / "farmland_fertility_2026.json"
ISSUER, KID = "659999-finance", "finance-2026"
START = "2026-11-24T10:00:00+08:00"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Installation:
    """``config`` is a whole configuration; ``key`` signs as the county's finance bureau."""

    directory: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def config(self) -> Path:
        return self.directory / "gateway.toml"

    @property
    def key(self) -> Path:
        return self.directory / "finance.pem"

    def gateway(self, *arguments: object) -> Ran:
        """Run one command; whatever it does ends in an exit status."""
        self.capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return Ran(code, out, err)

    def write_config(
        self, *, dsn: str = "postgresql://nobody@127.0.0.1:1/none", bootstrap: str = "127.0.0.1:1"
    ) -> None:
        self.config.write_text(
            f"""
[database]
dsn = "{dsn}"
[kafka]
bootstrap_servers = "{bootstrap}"
[files]
approval_keys = "approval_keys.json"
privacy_keys = "privacy_keys.json"
programmes = "programmes.csv"
agreements = "agreements.csv"
calendar = "calendar.csv"
[banks.rcc_file]
profile = "rcc_file"
[banks.rcc_file.settings]
org = "402XJ0001"
biz = "AG0801"
[banks.rcc_file.settings.sftp]
host = "127.0.0.1"
username = "payout"
private_key_file = "sftp.key"
known_hosts_file = "known_hosts"
""",
            encoding="utf-8",
        )


def install(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Write everything a configuration names; the clock stands at the demonstration's first moment."""
    monkeypatch.setenv("GATEWAY_CLOCK", f"{START}@1@{time.time()}")
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    # What it does to its process cannot be taken back, and this one is the tests' own; test_hardening has it in others.
    monkeypatch.setattr("gateway.__main__.harden", lambda: None)
    key = SigningKey.generate("EdDSA")
    made = Installation(directory, capsys)
    made.key.write_bytes(key.to_pem())
    entry = {
        "kid": KID,
        "alg": "EdDSA",
        "issuer": ISSUER,
        "kinds": ["batch", "funding", "order"],
        "public": key.public_jwk(),
        "not_before": "2026-01-01T00:00:00+08:00",
        "not_after": "2027-12-31T00:00:00+08:00",
    }
    (directory / "approval_keys.json").write_text(json.dumps({"keys": [entry]}), encoding="utf-8")
    (directory / "privacy_keys.json").write_text(fresh_key_file(), encoding="utf-8")
    for table in ("programmes.csv", "calendar.csv"):
        shutil.copy(ROOT / "deploy/reference" / table, directory / table)
    rows = (ROOT / "deploy/reference/agreements.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if ",adapter," in row or ",rcc_file," in row]
    (directory / "agreements.csv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    made.write_config()
    return made
