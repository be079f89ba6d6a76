"""Lays out a simulated street on disk: keys, certificates, and a configuration for every house, from given addresses.

`python -m tests.world.layout DIRECTORY` does it for docker-compose.yml. Repeating it keeps every key that is there, so
a street that was stopped goes on; configurations are written anew. What lies in the directory are secrets of that
street only, each readable by its owner alone.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gateway.approval import SigningKey
from gateway.cli.calendar_export import calendar_csv, decreed_years
from gateway.privacy import fresh_key_file
from tests.world.layout_banks import BANKS, lay_out_bank
from tests.world.layout_files import once, write, write_json
from tests.world.layout_sms import lay_out_sms
from tests.world.processes import free_port

DATA = Path(__file__).resolve().parents[1] / "data"
HEADER = DATA / "real_name_list" / "farmland_fertility_2026.json"
KID = "finance-1"
# Who logs in to the books, with the files of the password and of the DSN: the owner migrates, the gateway pays.
LOGINS = (("payout", "postgres_password", "owner_dsn"), ("payout_gateway", "gateway_password", "dsn"))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everybody listens; the defaults are those of docker-compose.yml, where all but two share one loopback."""

    kafka: str = "kafka:19092"
    postgres: str = "postgres:5432"
    gateway_host: str = "0.0.0.0"  # inside a container; published on the loopback interface only
    gateway: int = 8080
    rcc_file: int = 2022
    json_https: int = 8443
    xml_tcp: int = 7001
    iso20022: int = 2023
    sms: int = 8081
    sms_link: int = 7890  # CMPP or SMPP

    @classmethod
    def on_loopback(cls) -> Addresses:
        """Ports of this machine that are free now, all on the loopback interface."""
        return cls(
            gateway_host="127.0.0.1",
            gateway=free_port(),
            rcc_file=free_port(),
            json_https=free_port(),
            xml_tcp=free_port(),
            iso20022=free_port(),
            sms=free_port(),
            sms_link=free_port(),
        )


@dataclass(frozen=True, slots=True)
class Programmes:
    """What the simulated houses do wrong: rates per ten thousand, by the names of their manuals."""

    banks: Mapping[str, Mapping[str, int]]  # by profile
    sms: Mapping[str, int]


_LIVELY_LINES = {"reject": 300, "settle_late": 200, "credit_then_return": 100}
LIVELY = Programmes(
    banks={
        "rcc_file": {**_LIVELY_LINES, "drop_after_accept": 500, "ack_late": 500},
        "json_https": {**_LIVELY_LINES, "timeout_after_accept": 500},
        "xml_tcp": {**_LIVELY_LINES, "drop_after_accept": 500},
        "iso20022": {**_LIVELY_LINES, "drop_after_accept": 500, "ack_late": 500},
    },
    sms={"drop_after": 200, "undelivered": 100, "report_lost": 100},
)


def lay_out(
    directory: Path, at: Addresses, programmes: Programmes = LIVELY, seed: int = 1, sms_protocol: str = "http_batch"
) -> Path:
    """Write everything below ``directory``; returns the gateway's configuration file."""
    directory.mkdir(parents=True, exist_ok=True)
    for login, password_file, dsn in LOGINS:
        once(directory / password_file, lambda: secrets.token_urlsafe(24))
        password = quote((directory / password_file).read_text())
        write(directory / dsn, f"postgresql://{login}:{password}@{at.postgres}/payout\n")
    once(directory / "privacy_keys.json", fresh_key_file)
    _finance(directory)
    _tables(directory)
    sections = [lay_out_bank(bank, directory, at, programmes.banks.get(bank, {}), seed) for bank in BANKS]
    sections.insert(0, lay_out_sms(directory / "sms", at, programmes.sms, seed, sms_protocol))
    for name, dsn in (("gateway.toml", "dsn"), ("owner.toml", "owner_dsn")):
        write(directory / name, "\n".join((_gateway(at, dsn), *sections)))
    return directory / "gateway.toml"


def _finance(directory: Path) -> None:
    """The finance platform's signing key, and the gateway's key ring that trusts it."""
    key = SigningKey.generate("EdDSA")
    once(directory / "finance.pem", lambda: key.to_pem().decode("ascii"))
    public = SigningKey.load(directory / "finance.pem").public_jwk()
    issuer = json.loads(HEADER.read_text(encoding="utf-8"))["issuer"]
    validity = {"not_before": "2020-01-01T00:00:00+08:00", "not_after": "2040-01-01T00:00:00+08:00"}
    entry = {"kid": KID, "alg": "EdDSA", "issuer": issuer, "kinds": ["batch", "funding", "order"], "public": public}
    write_json(directory / "approval_keys.json", {"keys": [{**entry, **validity}]})


def _tables(directory: Path) -> None:
    for name in ("programmes.csv", "agreements.csv"):
        shutil.copyfile(DATA / name, directory / name)
    write(directory / "calendar.csv", calendar_csv(decreed_years()))


def _gateway(at: Addresses, dsn: str) -> str:
    """The gateway's configuration, with every path relative to it; it logs in by the file ``dsn``."""
    return f"""\
[database]
dsn_file = "{dsn}"

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
agreements_adapter_column = "adapter_issue_banks"
calendar = "calendar.csv"
"""


if __name__ == "__main__":
    print(lay_out(Path(sys.argv[1]), Addresses()))
