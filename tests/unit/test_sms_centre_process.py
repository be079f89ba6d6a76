"""The centre as a process of all protocols: its ports, its memory across a kill, its silence about people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.centre_kit import ACCOUNT, PHONE, SECRET, SIGNATURE, SOURCE, Here
from tests.unit.cmpp_kit import TEXT, bound, heard, result, submit
from tests.unit.smpp_kit import bound as smpp_bound
from tests.unit.smpp_kit import submit_sm
from tests.world.processes import Child, python_module
from tests.world.sms_centre import Config


def config_file(directory: Path, **keys: Any) -> Path:
    (directory / "sms.key").write_bytes(b"a-test-key-of-thirty-two-bytes-x\n")
    (directory / "secret").write_bytes(SECRET + b"\n")
    path = directory / "sms_centre.json"
    door = {"account": ACCOUNT, "secret_file": "secret", "source": SOURCE}
    sound = {
        "directory": "centre",
        "account": "bank",
        "key_file": "sms.key",
        "signatures": [SIGNATURE],
        "report_seconds": [1, 1],
        "protocols": {"cmpp": door | {"version": "3.0"}, "smpp": door},
    }
    path.write_text(json.dumps(sound | keys), encoding="utf-8")
    return path


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    config = config_file(tmp_path)
    child = Child("sms_centre", python_module("tests.world.sms_centre", "--config", config), tmp_path)
    yield child
    child.stop(grace=5)


async def test_a_killed_centre_still_owes_its_reports(child: Child, tmp_path: Path) -> None:
    """After kill -9 both protocols report what was taken before, once each; nobody's number or words are printed."""
    child.start()
    ready = await child.ready()
    assert set(ready) == {"ready", "port", "ports"}
    here = Here(tmp_path / "centre", ready["ports"])
    cmpp, smpp = await bound(here), await smpp_bound(here)
    cmpp.send(submit(2))
    smpp.send(submit_sm(2, TEXT + "!"))
    answer, other = await cmpp.pdu(), await smpp.pdu()
    assert (result(answer), other[8:12]) == (0, bytes(4))
    child.kill()
    assert here.one("SELECT count(*) FROM sent") == 0
    child.start()
    here.ports = (await child.ready())["ports"]
    cmpp, smpp = await bound(here), await smpp_bound(here)
    told, receipt = await cmpp.pdu(), await smpp.pdu()
    assert told[-91:][:15] == answer[12:20] + b"DELIVRD"
    assert b"id:" + other[16:-1] + b" sub:001" in receipt
    cmpp.send(heard(told))
    await here.until("SELECT count(*) FROM reported", 1)
    assert child.stop(grace=5) == 0
    assert here.rows("SELECT protocol, code, text FROM messages ORDER BY protocol") == [
        ("CMPP", "OK", TEXT),
        ("SMPP", "OK", TEXT + "!"),
    ]
    printed = child.output.read_bytes() + child.errors.read_bytes()
    assert printed.count(b"\n") == 2
    assert PHONE.encode() not in printed


def test_http_alone_is_what_an_older_configuration_means(tmp_path: Path) -> None:
    """Without `protocols` nothing but HTTP listens, and what only PDUs know is an unknown word."""
    assert Config.load(config_file(tmp_path, protocols={})).protocols == {}
    with pytest.raises(ValueError, match="report_first"):
        Config.load(config_file(tmp_path, protocols={}, rates={"report_first": 1}))
    assert Config.load(config_file(tmp_path, rates={"report_first": 1})).rates == {"report_first": 1}


SOUND = {"account": ACCOUNT, "secret_file": "secret"}


@pytest.mark.parametrize(
    "protocols",
    [
        {"sgip": SOUND},
        {"cmpp": SOUND | {"key": "x"}},
        {"cmpp": SOUND | {"account": "bank"}},
        {"cmpp": SOUND | {"version": "1.2"}},
        {"smpp": SOUND | {"account": "a" * 16}},
    ],
    ids=["protocol", "key", "account", "version", "system-id"],
)
def test_a_door_that_cannot_be_is_refused(tmp_path: Path, protocols: dict[str, Any]) -> None:
    """A misspelt protocol or key, or an account that its wire cannot carry, is said at the start."""
    with pytest.raises(ValueError, match=r"unknown|CMPP|SMPP"):
        Config.load(config_file(tmp_path, protocols=protocols))
