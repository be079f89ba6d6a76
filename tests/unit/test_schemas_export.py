"""What other people's tools read is generated, current, and means the same as the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import schemas
from schemas.codec import parse_message
from schemas.export import documents
from schemas.v1 import INBOUND_TOPICS, OUTBOUND_TOPICS, Kind, RefusalReason
from tests.unit.messages_kit import README, as_bytes, example

HERE = Path(schemas.__file__).parent
FILES = ["batch-part", "funding", "order", "receipts", "batch-report", "refusal"]


def validator(kind: Kind) -> Draft202012Validator:
    name = dict(zip(Kind, FILES, strict=True))[kind]
    return Draft202012Validator(json.loads((HERE / f"v1/{name}.schema.json").read_text(encoding="utf-8")))


def test_the_export_is_current() -> None:
    """The committed files are what the models say today, and no stale file lies beside them."""
    written = documents()
    for path, content in written.items():
        assert (HERE / path).read_text(encoding="utf-8") == content, f"run: python -m schemas.export  ({path})"
    assert {f"v1/{path.name}" for path in (HERE / "v1").glob("*.json")} == {p for p in written if p.startswith("v1/")}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_examples_fit_schema_and_reader(kind: Kind) -> None:
    """Each example of the README is valid for the JSON Schema as well as for the reader."""
    parse_message(kind, as_bytes(example(kind)))
    Draft202012Validator.check_schema(validator(kind).schema)
    validator(kind).validate(example(kind))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "1.005"},
        {"amount": 1},
        {"amount": "۱.00"},
        {"received_at": "2026-11-24"},
        {"batch_id": "a/b"},
        {"more": 1},
        {"schema": "payout.funding/v2"},
    ],
)
def test_schema_and_reader_refuse_the_same(changes: dict[str, Any]) -> None:
    """A foreign validator with our JSON Schema finds what our reader would refuse."""
    assert not validator(Kind.FUNDING).is_valid(example(Kind.FUNDING, **changes))


def test_asyncapi_names_all_topics_and_schemas() -> None:
    """The AsyncAPI document is YAML, has every topic once, and points to files and messages that exist."""
    api = yaml.safe_load((HERE / "asyncapi.yaml").read_text(encoding="utf-8"))
    topics = [*INBOUND_TOPICS.values(), *OUTBOUND_TOPICS.values()]
    assert [channel["address"] for channel in api["channels"].values()] == topics
    messages = api["components"]["messages"]
    for message in messages.values():
        assert (HERE / message["payload"]["schema"]["$ref"]).is_file()
    signed = [name for name, message in messages.items() if "jws" in message.get("headers", {}).get("required", [])]
    assert signed == ["batch-part", "funding", "order"]
    for channel in api["channels"].values():
        for reference in channel["messages"].values():
            assert reference["$ref"].removeprefix("#/components/messages/") in messages
    assert {operation["action"] for operation in api["operations"].values()} == {"send", "receive"}


def test_the_readme_explains_every_refusal() -> None:
    """The finance platform's developer finds each refusal reason explained, and no other."""
    table = README.read_text(encoding="utf-8").partition("| Reason | What it means for you |")[2]
    told = [
        word.strip("`, ") for row in table.splitlines() if row.startswith("| `") for word in row.split("|")[1].split()
    ]
    assert sorted(told) == sorted(RefusalReason)
