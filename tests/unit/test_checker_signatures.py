"""The checker's own gate: only what was validly signed, for us, by a key valid then, is an input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.world.checker import inputs
from tests.world.checker.signatures import strict_json
from tests.world.histories import History, item


def pair(history: History, number: int, kind: str = "batch") -> tuple[Path, Path]:
    stem = history.inputs / f"{number:08d}"
    return stem.with_suffix(f".{kind}"), stem.with_suffix(".json")


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path, [item(1), item(2)])
    made.approve()
    return made


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def key(history: History, **changes: Any) -> None:
    ring = json.loads((history.inputs / "keys.json").read_text())
    ring["keys"][0].update(changes)
    (history.inputs / "keys.json").write_text(json.dumps(ring))


def test_signed_parts_and_funds_make_a_funded_batch(history: History) -> None:
    """The clean case: both lines approved, the money confirmed."""
    found = inputs.read(history.inputs)
    (batch,) = found.batches.values()
    assert (len(batch.approved), batch.funded, found.published, found.valid) == (2, True, 2, 2)


def test_one_flipped_bit_makes_it_nobodys(history: History) -> None:
    """The signature covers every byte."""
    body, _ = pair(history, 1)
    body.write_bytes(body.read_bytes().replace(b"100.01", b"900.01"))
    assert inputs.read(history.inputs).batches == {}


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "somebody-else"},
        {"kinds": ["order"]},
        {"alg": "ES256"},
        {"not_after": "2026-11-01T00:00:00+08:00"},
        {"not_before": "2026-12-01T00:00:00+08:00"},
        {"revoked_at": "2026-11-01T00:00:00+08:00"},
        {"kid": "k2"},
    ],
)
def test_a_key_that_may_not_sign_this_approves_nothing(history: History, change: dict[str, Any]) -> None:
    """Issuer, purpose, algorithm, validity and revocation of the key are all part of the approval."""
    key(history, **change)
    assert inputs.read(history.inputs).batches == {}


def test_an_old_or_future_signature_approves_nothing(history: History) -> None:
    """What arrives more than thirty days after it was signed, or five minutes before, is refused."""
    _, about = pair(history, 1)
    at_ms = json.loads(about.read_text())["at_ms"]
    for moved in (at_ms + 31 * 86_400_000, at_ms - 6 * 60_000):
        edit(about, at_ms=moved)
        assert inputs.read(history.inputs).batches == {}


def test_a_member_that_stands_twice_approves_nothing(history: History) -> None:
    """Two readers could read two amounts: such a message is no approval, however well signed."""
    document = json.loads(pair(history, 1)[0].read_bytes())
    raw = json.dumps({**document, "batch_id": "B-2"})
    history.publish("batch", json.loads(raw))
    body, _ = pair(history, 3)
    doubled = body.read_bytes().replace(b'"amount": "100.01"', b'"amount": "1.00", "amount": "100.01"', 1)
    with pytest.raises(ValueError, match="twice"):
        strict_json(doubled)


def test_wrong_totals_or_a_missing_part_approve_nothing(history: History) -> None:
    """A batch is approved as a whole or not at all."""
    document = json.loads(pair(history, 1)[0].read_bytes())
    for change in ({"lines": 3}, {"amount": "1.00"}, {"parts": 2}, {"programme": "XX-XX-99"}):
        history.publish("batch", {**document, "batch_id": f"B-{next(iter(change))}", **change})
    assert len(inputs.read(history.inputs).batches) == 1


def test_other_bytes_under_a_known_id_change_nothing(history: History) -> None:
    """The first valid content of an id stays; the other one is a conflict."""
    document = json.loads(pair(history, 1)[0].read_bytes())
    document["items"][0]["account"] = "6299990000000999999"
    history.publish("batch", document)
    (batch,) = inputs.read(history.inputs).batches.values()
    assert batch.payouts[1].details.account == item(1)["account"]


def test_the_first_of_a_duplicate_pair_stays(tmp_path: Path) -> None:
    """Within one list and across lists, a person is approved once for a programme and period."""
    history = History(tmp_path, [item(1), item(2, id_no=item(1)["id_no"])])
    history.approve()
    history.items = [item(3, id_no=item(1)["id_no"])]
    history.approve(batch="B-2")
    first, second = inputs.read(history.inputs).batches.values()
    assert [payout.refused for payout in first.payouts.values()] == ["", "DUPLICATE_BENEFICIARY"]
    assert second.payouts[3].refused == "DUPLICATE_BENEFICIARY"
