"""The scan finds personal data however it was written down, and does not cry wolf over other numbers."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from adapters.conformance.disguises import in_bytes
from tests.world.checker.privacy import Canaries, scan
from tests.world.histories import clean, item

PERSON = item(1)
VALUES = [PERSON[name] for name in ("name", "id_no", "phone", "account", "address")]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "written",
    [
        lambda value: value.encode(),
        lambda value: value.encode("gb18030"),
        lambda value: json.dumps({"x": value}).encode(),
        lambda value: repr(value).encode("ascii", "backslashreplace"),
        lambda value: b"|" + value.encode("gb18030") + b"|\r\n",
        lambda value: b"\x00\x17" + value.encode() + b"\xff",
    ],
)
def test_a_value_is_found_in_any_spelling(tmp_path: Path, value: str, written: object) -> None:
    """Logs, JSON, bank files and database pages spell one value differently; each spelling is a hit."""
    assert callable(written)
    file = tmp_path / "log" / "gateway.log"
    file.parent.mkdir()
    file.write_bytes(b"x" * 5000 + written(value) + b"\n" + b"y" * 100)
    hits = scan(Canaries(VALUES), [tmp_path])
    assert [hit.file for hit in hits] == ["log/gateway.log"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    "written",
    [
        lambda value: value.encode().hex().encode(),
        lambda value: value.encode("gb18030").hex().upper().encode(),
        lambda value: value.encode("utf-16-be"),
        lambda value: value.encode("utf-16-le").hex().encode(),
        lambda value: base64.b64encode(b"x" + value.encode() + b"y"),
        lambda value: base64.b64encode(b"xy" + value.encode("gb18030") + b"z"),
        lambda value: base64.urlsafe_b64encode(value.encode("utf-16-le")),
        lambda value: quote(value, encoding="utf-8").encode(),
        lambda value: quote(value, encoding="gb18030").encode(),
        lambda value: repr(value.encode()).encode(),
        lambda value: value[::-1].encode(),
        lambda value: value.encode("gb18030")[::-1],
    ],
)
def test_a_value_is_found_in_any_disguise_that_the_caller_knows(value: str, written: object) -> None:
    """Written in hexadecimal, in base64 wherever it begins, quoted, turned round: still a hit, and nothing else is."""
    assert callable(written)
    canaries = Canaries(VALUES, in_bytes)
    assert next(canaries.search(b"\x00" * 777 + written(value) + b"\n" + b"y" * 100), None) is not None
    assert list(canaries.search(os.urandom(200_000) + base64.b64encode(os.urandom(200_000)))) == []


def test_a_number_turned_round_inside_a_longer_number_is_chance() -> None:
    """A phone's digits in reversed order are a hit where they stand alone only."""
    canaries = Canaries(["13800130001"], in_bytes)
    assert list(canaries.search(b"id=10003100831999")) == []
    assert len(list(canaries.search(b"id=10003100831,"))) == 1


def test_a_mapped_interpunct_does_not_hide_a_name(tmp_path: Path) -> None:
    """The list wrote another interpunct than the one that travels: both forms are canaries in a run."""
    history = clean(tmp_path)
    leak = tmp_path / "leak.log"
    leak.write_text("失败: 测试买买提·改名")
    status, summary, _ = history.check("--scan", leak)
    assert (summary["counters"]["PII"], status) == (1, 1)


def test_only_whole_numbers_are_phones(tmp_path: Path) -> None:
    """A mobile number inside a longer number is chance; with +86 before it, it is a leak."""
    canaries = Canaries(["13800130001"])
    assert list(canaries.search(b"ts=1380013000199 id=913800130001")) == []
    assert len(list(canaries.search(b"to 8613800130001 and 13800130001."))) == 2


def test_an_id_inside_a_longer_run_of_digits_is_found() -> None:
    """Columns of a page may stand next to each other without anything between."""
    canaries = Canaries([PERSON["id_no"]])
    assert len(list(canaries.search(b"20261124" + PERSON["id_no"].encode() + b"100"))) == 1


def test_short_names_and_ordinary_references_are_no_hits(tmp_path: Path) -> None:
    """Names of two or three characters and our own references do not drown what matters."""
    canaries = Canaries(["测试甲", "测试", *VALUES])
    text = "测试甲 DF202611240000000001 01KAT3Q2M0ZX8Y7W6V5T4S3R2Q 402881000015 1795485600000"
    assert list(canaries.search(text.encode())) == []


def test_a_value_across_the_border_of_two_chunks_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files are read in pieces; what lies on a border is neither lost nor counted twice."""
    monkeypatch.setattr("tests.world.checker.privacy._CHUNK", 8192)
    file = tmp_path / "page"
    file.write_bytes(b"." * 8185 + PERSON["id_no"].encode() + b"." * 9000)
    assert len(scan(Canaries(VALUES), [file])) == 1


def test_topics_are_scanned_without_being_asked(tmp_path: Path) -> None:
    """A receipt that carries an account is found even when nobody named a directory to scan."""
    history = clean(tmp_path)
    history.chunks.append(history.chunks[1].replace('"r-1"', '"r-leak"').replace("REF1", PERSON["account"]))
    assert history.check()[1]["counters"]["PII"] >= 1


def test_the_inputs_of_unsigned_messages_are_canaries_too(tmp_path: Path) -> None:
    """A hostile message pays nothing, but the people in it are people."""
    history = clean(tmp_path)
    stranger = item(99)
    document = json.loads((history.inputs / "00000001.batch").read_bytes())
    history.publish("batch", {**document, "batch_id": "B-3", "items": [stranger]}, signed=False)
    leak = tmp_path / "dead.json"
    leak.write_text(stranger["id_no"])
    assert history.check("--scan", leak)[1]["counters"]["PII"] == 1


def test_the_scan_is_of_bytes_as_they_stand() -> None:
    """What is sealed or packed is not searched: base64 of a value is no hit, and the tests must not pretend it is."""
    assert list(Canaries(VALUES).search(base64.b64encode(VALUES[1].encode()))) == []


PHONE = PERSON["phone"].encode()


@pytest.mark.parametrize(
    "written",
    [
        b'"bf52cf8836e' + PHONE + b'e4fc1cab12"',  # 32 digits: the id of a receipt
        b"sha256:" + b"a0" * 20 + b"c" + PHONE + b"f0" * 6,  # 64
    ],
)
def test_digits_between_the_letters_of_a_digest_are_chance(tmp_path: Path, written: bytes) -> None:
    """Among a million ids and a million phones one such fits; a digest of a phone holds none of it."""
    (tmp_path / "topic").write_bytes(b"x " + written + b" y")
    assert scan(Canaries(VALUES), [tmp_path]) == []


@pytest.mark.parametrize(
    "written",
    [
        b'"bf52cf8836e' + PHONE + b'e4fc1cab1"',  # 31: no digest is so short
        b'"bf52cf8836e' + PHONE + b'e4fc1cab123"',
        b'"bg52cf8836e' + PHONE + b'e4fc1cab12"',  # no hexadecimal
        b'"BF52CF8836E' + PHONE + b'E4FC1CAB12"',  # not as ids are written
        b'"0000000000-' + PHONE + b'-000000000"',
        b"TEL" + PHONE + b"N",
    ],
)
def test_digits_in_any_other_word_are_a_phone(tmp_path: Path, written: bytes) -> None:
    """Glued to letters, or in a word that is only nearly a digest: found."""
    (tmp_path / "topic").write_bytes(b"x " + written + b" y")
    assert [hit.kind for hit in scan(Canaries(VALUES), [tmp_path])] == ["phone"]
