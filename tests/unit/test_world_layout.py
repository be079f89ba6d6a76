"""The simulated street's layout is one that every house in it accepts."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from gateway.approval import KeyRing, SigningKey
from gateway.cli.checking import Checked
from tests.bank import config as bank_config
from tests.world import layout, sms_centre
from tests.world.layout import Addresses, lay_out
from tests.world.layout_sms import SMS_PROTOCOLS


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("protocol", SMS_PROTOCOLS)
def test_the_gateway_finds_no_fault_in_its_configuration(tmp_path: Path, protocol: str) -> None:
    """`gateway check` passes on what was laid out: keys, tables, certificates, every bank's and provider's settings."""
    assert Checked(lay_out(tmp_path, Addresses(), sms_protocol=protocol)).faults == []


@pytest.mark.parametrize("protocol", ["cmpp", "smpp"])
def test_the_sms_centre_and_the_gateway_mean_the_same_door(tmp_path: Path, protocol: str) -> None:
    """Port, account, secret and service number of the centre are the gateway's; an unknown protocol is refused."""
    file = lay_out(tmp_path, Addresses(sms_link=10_789), sms_protocol=protocol)
    sms = tomllib.loads(file.read_text(encoding="utf-8"))["sms"]
    door = sms_centre.Config.load(tmp_path / "sms" / "sms_centre.json").protocols[protocol]
    assert (sms["provider"], sms["settings"]["port"], door.port) == (protocol, 10_789, 10_789)
    assert sms["settings"]["service_number"] == door.source
    assert door.account in sms["settings"].values()
    assert "sms/link.secret" in sms["settings"].values()
    with pytest.raises(ValueError, match="cmpp, smpp"):
        lay_out(tmp_path, Addresses(), sms_protocol="pigeon")


def test_the_simulated_houses_accept_theirs(tmp_path: Path) -> None:
    """All banks and the SMS centre read their configuration, and listen where the gateway will look for them."""
    at = Addresses(rcc_file=10_022, json_https=10_443, xml_tcp=10_701, iso20022=10_023, sms=10_081, gateway=10_080)
    gateway = tomllib.loads(lay_out(tmp_path, at).read_text(encoding="utf-8"))
    rcc = bank_config.load(tmp_path / "rcc_file" / "bank.json")
    https = bank_config.load(tmp_path / "json_https" / "bank.json")
    assert (rcc.profile, rcc.port, rcc.host) == ("rcc_file", 10_022, "127.0.0.1")
    assert gateway["banks"]["rcc_file"]["settings"]["sftp"]["port"] == rcc.port
    assert gateway["banks"]["json_https"]["settings"]["base_url"].endswith(f":{https.port}")
    for profile, channel in (("xml_tcp", "tcp"), ("iso20022", "sftp")):
        bank = bank_config.load(tmp_path / profile / "bank.json")
        assert (bank.profile, bank.port) == (profile, getattr(at, profile))
        assert gateway["banks"][profile]["settings"][channel]["port"] == bank.port
    assert https.json_https.callback_url == gateway["banks"]["json_https"]["settings"]["callback_url"]
    assert sms_centre.Config.load(tmp_path / "sms" / "sms_centre.json").port == 10_081


def test_finance_can_sign_what_the_gateway_trusts(tmp_path: Path) -> None:
    """The key ring holds the public half of finance's key, in the name of the list's issuer."""
    lay_out(tmp_path, Addresses())
    ring = json.loads((tmp_path / "approval_keys.json").read_text(encoding="utf-8"))
    assert ring["keys"][0]["public"] == SigningKey.load(tmp_path / "finance.pem").public_jwk()
    assert ring["keys"][0]["issuer"] == json.loads(layout.HEADER.read_text(encoding="utf-8"))["issuer"]
    KeyRing.load(tmp_path / "approval_keys.json")


def test_laying_out_again_keeps_every_key(tmp_path: Path) -> None:
    """A street that was stopped goes on: the second time changes nothing."""
    lay_out(tmp_path, Addresses())
    before = files(tmp_path)
    lay_out(tmp_path, Addresses())
    assert files(tmp_path) == before


def test_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    """No file with a key or a password can be read by another user."""
    lay_out(tmp_path, Addresses())
    for name in (
        "postgres_password",
        "gateway_password",
        "owner_dsn",
        "dsn",
        "privacy_keys.json",
        "finance.pem",
        "rcc_file/gateway_sftp_key",
        "iso20022/gateway_sftp_key",
        "xml_tcp/keys/mac.key",
        "sms/sms.key",
    ):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
