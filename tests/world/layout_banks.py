"""Lays out the four banks of a simulated street: each bank's own disk, and the gateway's section that reaches it.

A bank's directory is named like its profile and like its section in the gateway's configuration. Paths in a section
start from the directory above, where the configuration lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import asyncssh

from tests.bank import certificates
from tests.bank.file_sftp import host_key
from tests.world.layout_files import once, write, write_json

SETTLING_SECONDS: Final = 600
DEBIT_ACCOUNTS: Final = {"xml_tcp": "6599990000000041"}  # as in agreements.csv: whose returns and statements are read


class Ports(Protocol):
    """Where the gateway and the banks listen."""

    @property
    def gateway(self) -> int: ...
    @property
    def rcc_file(self) -> int: ...
    @property
    def json_https(self) -> int: ...
    @property
    def xml_tcp(self) -> int: ...
    @property
    def iso20022(self) -> int: ...


def _rcc_file(directory: Path, at: Ports) -> tuple[dict[str, Any], str]:
    return (
        _sftp_bank(directory, at.rcc_file),
        f"""\
org = "402XJ0001"
biz = "AG0801"

{_sftp_section("rcc_file", at.rcc_file)}""",
    )


def _iso20022(directory: Path, at: Ports) -> tuple[dict[str, Any], str]:
    return (
        _sftp_bank(directory, at.iso20022),
        f"""\
initiating_party_name = "XJ YKT GATEWAY"
initiating_party_id = "65999901"
debtor_agent = "103881000011"

{_sftp_section("iso20022", at.iso20022)}""",
    )


def _json_https(directory: Path, at: Ports) -> tuple[dict[str, Any], str]:
    certificates.prepare(directory)
    callback = f"http://127.0.0.1:{at.gateway}/callbacks/json_https"
    return (
        {"callback_url": callback},
        f"""\
base_url = "https://localhost:{at.json_https}"
app_id = "payout-gateway"
signing_key_file = "json_https/keys/gateway_signing.pem"
bank_public_key_file = "json_https/keys/bank_signing.pub.pem"
id_cipher_key_file = "json_https/keys/id_cipher.key"
callback_url = "{callback}"

[banks.json_https.settings.tls]
ca_file = "json_https/keys/ca.pem"
certificate_file = "json_https/keys/client.pem"
private_key_file = "json_https/keys/client.key"
""",
    )


def _xml_tcp(directory: Path, at: Ports) -> tuple[dict[str, Any], str]:
    certificates.prepare(directory)
    return (
        {"tls": True},
        f"""\
encoding = "gbk"
channel = "YKT01"
corporation = "65999901"
mac_key_file = "xml_tcp/keys/mac.key"
debit_accounts = ["{DEBIT_ACCOUNTS["xml_tcp"]}"]
own_bank_numbers = ["104881000012"]

[banks.xml_tcp.settings.tcp]
host = "localhost"
port = {at.xml_tcp}
framing = "digits8"

[banks.xml_tcp.settings.tcp.tls]
ca_file = "xml_tcp/keys/ca.pem"
certificate_file = "xml_tcp/keys/client.pem"
private_key_file = "xml_tcp/keys/client.key"
""",
    )


_BANKS: Final[Mapping[str, Callable[[Path, Ports], tuple[dict[str, Any], str]]]] = {
    "rcc_file": _rcc_file,
    "json_https": _json_https,
    "xml_tcp": _xml_tcp,
    "iso20022": _iso20022,
}
BANKS: Final = tuple(_BANKS)


def lay_out_bank(profile: str, street: Path, at: Ports, rates: Mapping[str, int], seed: int) -> str:
    """Write one bank's directory below ``street``; returns its sections of the gateway's configuration."""
    own, section = _BANKS[profile](street / profile, at)
    settings = {
        "profile": profile,
        "directory": ".",
        "host": "127.0.0.1",
        "port": getattr(at, profile),
        "seed": seed,
        "settling_seconds": SETTLING_SECONDS,
        "programme": {"rates": dict(rates)},
        profile: own,
    }
    write_json(street / profile / "bank.json", settings)
    head = f'[banks.{profile}]\nprofile = "{profile}"\n\n[banks.{profile}.settings]\n'
    return f"{head}settling_seconds = {SETTLING_SECONDS}\n{section}"


def _sftp_bank(directory: Path, port: int) -> dict[str, Any]:
    """Keys of both sides of an SFTP bank; what its configuration says of ours."""
    key = directory / "gateway_sftp_key"
    once(key, lambda: asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode("ascii"))
    ours = asyncssh.read_private_key(key).export_public_key().decode("ascii").strip()
    theirs = host_key(directory / "keys" / "host_key").export_public_key().decode("ascii").strip()
    write(directory / "known_hosts", f"[127.0.0.1]:{port} {theirs}\n")
    return {"authorized_keys": [ours]}


def _sftp_section(profile: str, port: int) -> str:
    return f"""\
[banks.{profile}.settings.sftp]
host = "127.0.0.1"
port = {port}
username = "gateway"
private_key_file = "{profile}/gateway_sftp_key"
known_hosts_file = "{profile}/known_hosts"
"""
