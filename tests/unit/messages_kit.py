"""The example messages of ``schemas/README.md``, so that what the tests read is what other people are told to send."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import schemas
from schemas.v1 import Kind

README = Path(schemas.__file__).with_name("README.md")
_KIND = {
    "payout.batch-part/v1": Kind.BATCH,
    "payout.funding/v1": Kind.FUNDING,
    "payout.order/v1": Kind.ORDER,
    "payout.receipts/v1": Kind.RECEIPTS,
    "payout.batch-report/v1": Kind.REPORT,
    "payout.refusal/v1": Kind.REFUSAL,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@cache
def _examples() -> dict[Kind, dict[str, Any]]:
    messages = [json.loads(block) for block in blocks("json")]
    return {_KIND[message["schema"]]: message for message in messages}


def example(kind: Kind, /, **changes: Any) -> dict[str, Any]:
    """A fresh copy of the example, with members replaced."""
    return {**deepcopy(_examples()[kind]), **changes}


def as_bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()
