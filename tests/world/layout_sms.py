"""Lays out the SMS centre of a simulated street, in the protocol asked for, and the gateway's section for it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from tests.world.layout_files import once, write_json

SMS_PROTOCOLS: Final = ("http_batch", "cmpp", "smpp")
SMS_ACCOUNT: Final = "payout"  # six characters, as CMPP has it
SERVICE_NUMBER: Final = "10690001"
CMPP_VERSION: Final = "3.0"


class Ports(Protocol):
    """Where the gateway and the SMS centre listen."""

    @property
    def gateway(self) -> int: ...
    @property
    def sms(self) -> int: ...
    @property
    def sms_link(self) -> int: ...


def lay_out_sms(directory: Path, at: Ports, rates: Mapping[str, int], seed: int, protocol: str) -> str:
    """Write the centre's disk to ``directory``; returns the gateway's ``[sms]``. ValueError: no such protocol."""
    if protocol not in SMS_PROTOCOLS:
        raise ValueError(f"an SMS protocol is one of {', '.join(SMS_PROTOCOLS)}")
    once(directory / "sms.key", lambda: secrets.token_hex(32))
    centre: dict[str, Any] = {
        "directory": ".",
        "host": "127.0.0.1",
        "port": at.sms,
        "seed": seed,
        "account": SMS_ACCOUNT,
        "key_file": "sms.key",
        "callback_url": f"http://127.0.0.1:{at.gateway}/sms/reports/http_batch",
        "rates": dict(rates),
    }
    if protocol != "http_batch":
        once(directory / "link.secret", lambda: secrets.token_hex(4))  # SMPP's password has eight characters
        door = {"account": SMS_ACCOUNT, "secret_file": "link.secret", "port": at.sms_link, "source": SERVICE_NUMBER}
        centre["protocols"] = {protocol: door | ({"version": CMPP_VERSION} if protocol == "cmpp" else {})}
    write_json(directory / "sms_centre.json", centre)
    return f'[sms]\nprovider = "{protocol}"\n\n[sms.settings]\n{_settings(at, protocol)}'


def _settings(at: Ports, protocol: str) -> str:
    if protocol == "http_batch":
        return f"""\
origin = "http://127.0.0.1:{at.sms}"
account = "{SMS_ACCOUNT}"
key_file = "sms/sms.key"
"""
    reach = f'host = "127.0.0.1"\nport = {at.sms_link}\nservice_number = "{SERVICE_NUMBER}"\n'
    if protocol == "smpp":
        return f'{reach}system_id = "{SMS_ACCOUNT}"\npassword_file = "sms/link.secret"\n'
    return f'{reach}version = "{CMPP_VERSION}"\nsource_addr = "{SMS_ACCOUNT}"\nsecret_file = "sms/link.secret"\n'
