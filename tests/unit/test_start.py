"""What a gateway says of itself when it starts, whether or not its database and Kafka are there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_kit import install
from tests.world.processes import PROJECT, python_module

CENTRE = """
[sms]
provider = "cmpp"
[sms.settings]
host = "sms.example.invalid"
source_addr = "900001"
secret_file = "sms.secret"
service_number = "10690001"
"""


def first_words(config: Path) -> list[dict[str, Any]]:
    """The log of a gateway up to its first look for the database, be it there or not."""
    command = [*python_module("gateway"), "run", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT) as gateway:
        said: list[dict[str, Any]] = []
        assert gateway.stdout is not None
        for line in gateway.stdout:
            if line.startswith("{"):
                said.append(json.loads(line))
                if said[-1]["event"] == "component changed":
                    break
        gateway.terminate()
        gateway.stdout.read()
        assert gateway.wait(timeout=60) == 0
    return said


@pytest.mark.parametrize(
    ("dsn", "more", "warned"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", "", []),
        ("postgresql://nobody:s3cret@127.0.0.1:1/none", "", ["database.dsn carries a password"]),
        ("postgresql://nobody@127.0.0.1:1/none", CENTRE, ["sms: notices and the login travel unencrypted to sms.ex"]),
    ],
)
def test_each_start_tells_what_is_in_the_open(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dsn: str,
    more: str,
    warned: list[str],
) -> None:
    """As `gateway check` does, for who never ran it; and without the password itself."""
    made = install(tmp_path, capsys, monkeypatch)
    made.write_config(dsn=dsn)
    with made.config.open("a", encoding="utf-8") as file:
        file.write(f"[http]\nport = 0\n{more}")
    (tmp_path / "sms.secret").write_text("s3cret\n")
    said = first_words(made.config)
    told = [line["reason"] for line in said if line["event"] == "channel not protected"]
    assert [one[: len(start)] for one, start in zip(told, warned, strict=True)] == warned
    assert "s3cret" not in json.dumps(said)


def test_a_start_as_somebody_who_may_do_anything_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """The tests' own login is a superuser or an owner: it pays as well, and each start names what is wrong with it."""
    made = install(tmp_path, capsys, monkeypatch)
    made.write_config(dsn=database)
    with made.config.open("a", encoding="utf-8") as file:
        file.write("[http]\nport = 0\n")
    (told,) = [line for line in first_words(made.config) if "database role" in line["event"]]
    assert (
        told["event"] == "the database role may do more than paying needs: use one of `gateway migrate --gateway-role`"
    )
    assert told["reason"] == ["a superuser or an owner of the books, or a member of one"]
