"""Lays out a simulated street on disk: keys, certificates, and a configuration for every house, from given addresses.

`python -m tests.world.layout DIRECTORY` does it for docker-compose.yml. Repeating it keeps every key that is there, so
a street that was stopped goes on; configurations are written anew. What lies in the directory are secrets of that
street only, each readable by its owner alone.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncssh

from gateway.approval import SigningKey
from gateway.cli.calendar_export import calendar_csv, decreed_years
from gateway.privacy import fresh_key_file
from tests.bank import certificates
from tests.bank.file_sftp import host_key

DATA = Path(__file__).resolve().parents[1] / "data"
HEADER = DATA / "real_name_list" / "farmland_fertility_2026.json"
KID = "finance-1"
SMS_ACCOUNT = "payout"
SETTLING_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everybody listens; the defaults are those of docker-compose.yml, where all but two share one loopback."""

    kafka: str = "kafka:19092"
    postgres: str = "postgres:5432"
    gateway_host: str = "0.0.0.0"  # inside a container; published on the loopback interface only
    gateway: int = 8080
    rcc_file: int = 2022
    json_https: int = 8443
    sms: int = 8081


@dataclass(frozen=True, slots=True)
class Programmes:
    """What the simulated houses do wrong: rates per ten thousand, as tests/bank/README.md names them."""

    rcc_file: Mapping[str, int]
    json_https: Mapping[str, int]
    sms: Mapping[str, int]


LIVELY = Programmes(
    rcc_file={"reject": 300, "settle_late": 200, "credit_then_return": 100, "drop_after_accept": 500, "ack_late": 500},
    json_https={"reject": 300, "settle_late": 200, "credit_then_return": 100, "timeout_after_accept": 500},
    sms={"drop_after": 200, "undelivered": 100, "report_lost": 100},
)


def lay_out(directory: Path, at: Addresses, programmes: Programmes = LIVELY, seed: int = 1) -> Path:
    """Write everything below ``directory``; returns the gateway's configuration file."""
    directory.mkdir(parents=True, exist_ok=True)
    _once(directory / "postgres_password", lambda: secrets.token_urlsafe(24))
    password = quote((directory / "postgres_password").read_text())
    _write(directory / "dsn", f"postgresql://payout:{password}@{at.postgres}/payout\n")
    _once(directory / "privacy_keys.json", fresh_key_file)
    _finance(directory)
    _tables(directory)
    _rcc_file(directory / "rcc_file", at, dict(programmes.rcc_file), seed)
    _json_https(directory / "json_https", at, dict(programmes.json_https), seed)
    _sms(directory / "sms", at, dict(programmes.sms), seed)
    _write(directory / "gateway.toml", _gateway(at))
    return directory / "gateway.toml"


def _finance(directory: Path) -> None:
    """The finance platform's signing key, and the gateway's key ring that trusts it."""
    key = SigningKey.generate("EdDSA")
    _once(directory / "finance.pem", lambda: key.to_pem().decode("ascii"))
    public = SigningKey.load(directory / "finance.pem").public_jwk()
    issuer = json.loads(HEADER.read_text(encoding="utf-8"))["issuer"]
    validity = {"not_before": "2020-01-01T00:00:00+08:00", "not_after": "2040-01-01T00:00:00+08:00"}
    entry = {"kid": KID, "alg": "EdDSA", "issuer": issuer, "kinds": ["batch", "funding", "order"], "public": public}
    _write_json(directory / "approval_keys.json", {"keys": [{**entry, **validity}]})


def _tables(directory: Path) -> None:
    for name in ("programmes.csv", "agreements.csv"):
        shutil.copyfile(DATA / name, directory / name)
    _write(directory / "calendar.csv", calendar_csv(decreed_years()))


def _rcc_file(directory: Path, at: Addresses, rates: dict[str, int], seed: int) -> None:
    key = directory / "gateway_sftp_key"
    _once(key, lambda: asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode("ascii"))
    ours = asyncssh.read_private_key(key).export_public_key().decode("ascii").strip()
    theirs = host_key(directory / "keys" / "host_key").export_public_key().decode("ascii").strip()
    _write(directory / "known_hosts", f"[127.0.0.1]:{at.rcc_file} {theirs}\n")
    bank = {"authorized_keys": [ours]}
    _write_json(directory / "bank.json", {**_bank("rcc_file", at.rcc_file, rates, seed), "rcc_file": bank})


def _json_https(directory: Path, at: Addresses, rates: dict[str, int], seed: int) -> None:
    certificates.prepare(directory)
    callback = {"callback_url": f"http://127.0.0.1:{at.gateway}/callbacks/json_https"}
    _write_json(directory / "bank.json", {**_bank("json_https", at.json_https, rates, seed), "json_https": callback})


def _bank(profile: str, port: int, rates: dict[str, int], seed: int) -> dict[str, Any]:
    common = {"profile": profile, "directory": ".", "host": "127.0.0.1", "port": port, "seed": seed}
    return {**common, "settling_seconds": SETTLING_SECONDS, "programme": {"rates": rates}}


def _sms(directory: Path, at: Addresses, rates: dict[str, int], seed: int) -> None:
    _once(directory / "sms.key", lambda: secrets.token_hex(32))
    settings = {
        "directory": ".",
        "host": "127.0.0.1",
        "port": at.sms,
        "seed": seed,
        "account": SMS_ACCOUNT,
        "key_file": "sms.key",
        "callback_url": f"http://127.0.0.1:{at.gateway}/sms/reports/http_batch",
        "rates": rates,
    }
    _write_json(directory / "sms_centre.json", settings)


def _gateway(at: Addresses) -> str:
    """The gateway's configuration, with every path relative to it."""
    return f"""\
[database]
dsn_file = "dsn"

[kafka]
bootstrap_servers = "{at.kafka}"

[http]
host = "{at.gateway_host}"
port = {at.gateway}

[files]
approval_keys = "approval_keys.json"
privacy_keys = "privacy_keys.json"
programmes = "programmes.csv"
agreements = "agreements.csv"
agreements_adapter_column = "adapter_issue_main_job"
calendar = "calendar.csv"

[sms]
provider = "http_batch"

[sms.settings]
origin = "http://127.0.0.1:{at.sms}"
account = "{SMS_ACCOUNT}"
key_file = "sms/sms.key"

[banks.rcc_file]
profile = "rcc_file"

[banks.rcc_file.settings]
org = "402XJ0001"
biz = "AG0801"
settling_seconds = {SETTLING_SECONDS}

[banks.rcc_file.settings.sftp]
host = "127.0.0.1"
port = {at.rcc_file}
username = "gateway"
private_key_file = "rcc_file/gateway_sftp_key"
known_hosts_file = "rcc_file/known_hosts"

[banks.json_https]
profile = "json_https"

[banks.json_https.settings]
base_url = "https://localhost:{at.json_https}"
app_id = "payout-gateway"
signing_key_file = "json_https/keys/gateway_signing.pem"
bank_public_key_file = "json_https/keys/bank_signing.pub.pem"
id_cipher_key_file = "json_https/keys/id_cipher.key"
callback_url = "http://127.0.0.1:{at.gateway}/callbacks/json_https"
settling_seconds = {SETTLING_SECONDS}

[banks.json_https.settings.tls]
ca_file = "json_https/keys/ca.pem"
certificate_file = "json_https/keys/client.pem"
private_key_file = "json_https/keys/client.key"
"""


def _once(path: Path, make: Any) -> None:
    if not path.exists():
        _write(path, make())


def _write_json(path: Path, value: dict[str, Any]) -> None:
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner's eyes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


if __name__ == "__main__":
    print(lay_out(Path(sys.argv[1]), Addresses()))
