"""The verdict on a run: three sources that must agree, the expected refusals, and every hostile message answered."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.world.desk_hostile import EXPECTED
from tests.world.histories import DATA
from tests.world.report import (
    Heard,
    compare_hostile,
    compare_refusals,
    disagreements,
    gateway_says,
    paid_again,
    read_receipts,
)

TOLD = {
    "credited": 90,
    "failed": 3,
    "cancelled": 5,
    "in_doubt": 0,
    "conflict": 2,
    "awaiting_funds": 0,
    "queued": 0,
    "in_flight": 0,
    "approved": 100,
}
SUMMARY = {"lines": 110, "refused": 10, "approved": 100}
VERDICT: dict[str, Any] = {
    "standing": {"credited": 91, "failed": 4, "cancelled": 5, "open": 0},
    "payouts": 100,
    "refused": 10,
    "returns": 7,
}


def heard(**changes: int) -> Heard:
    standing = Counter({"credited": 90, "failed": 4, "cancelled": 5, **changes})
    return Heard(standing=standing, outcomes=Counter({"returned": 7}))


def test_frozen_payouts_may_stand_anywhere_but_nobody_else() -> None:
    """A conflict still counts where its money or its receipts say; beyond the conflicts nothing may differ."""
    assert list(disagreements(SUMMARY, TOLD, heard(), VERDICT)) == []


@pytest.mark.parametrize(
    ("told", "receipts", "verdict", "says"),
    [
        ({}, {"credited": 89}, {}, "credited: 90 by the gateway, 89 by receipts"),
        ({}, {"credited": 93}, {}, "credited: 90 by the gateway, 93 by receipts"),
        ({}, {}, {"standing": {"credited": 80, "failed": 15, "cancelled": 5}}, "80 by banks and orders"),
        ({"queued": 1}, {}, {}, "accounts for 101 of 100"),
        ({"approved": 99}, {}, {"payouts": 99}, "the checker approves 99"),
        ({}, {}, {"returns": 8}, "7 returned receipts for 8 returns"),
    ],
)
def test_any_other_difference_is_told(
    told: dict[str, int], receipts: dict[str, int], verdict: dict[str, Any], says: str
) -> None:
    """Each source is held against the others, and a difference names both numbers."""
    found = list(disagreements(SUMMARY, {**TOLD, **told}, heard(**receipts), {**VERDICT, **verdict}))
    assert any(says in one for one in found), found


def test_lines_must_be_refused_or_approved() -> None:
    """A line that is neither was lost."""
    found = list(disagreements({**SUMMARY, "lines": 111}, TOLD, heard(), VERDICT))
    assert found == ["lines are not refused and approved together"]


def test_final_reports_must_equal_the_gauges() -> None:
    """Where every batch has its final report, the gateway's two ways of counting must agree."""
    report = {name: {"count": count} for name, count in TOLD.items()}
    gauges: dict[str, dict[str, float]] = {
        "payout_payouts": {f'bucket="{name}"': count for name, count in TOLD.items() if name != "approved"}
    }
    status: dict[str, Any] = {"lists": 1, "reports": {"b": {**report, "kind": "FINAL"}}}
    assert gateway_says(status, gauges) == (TOLD, [])
    gauges["payout_payouts"]['bucket="credited"'] = 91
    assert gateway_says(status, gauges)[1] == [
        "credited: 90 by the final reports, 91 by the gauges",
        "approved: 100 by the final reports, 101 by the gauges",
    ]


def test_a_missing_final_report_is_a_fault_unless_something_is_frozen() -> None:
    """Only a batch with a frozen payout may come to rest without its final report."""
    status: dict[str, Any] = {"lists": 1, "reports": {}}
    gauges: dict[str, dict[str, float]] = {"payout_payouts": {'bucket="credited"': 3}}
    assert gateway_says(status, gauges)[1] == ["0 final reports for 1 batches"]
    gauges["payout_payouts"]['bucket="conflict"'] = 1
    assert gateway_says(status, gauges)[1] == []


def test_refused_lines_are_compared_one_by_one() -> None:
    """A wrong reason, a missing refusal and one too many are each named by line."""
    expected = DATA / "real_name_list" / "expected.csv"
    good = Heard(refused={("b", 1): "OUT_OF_SCOPE", ("b", 17): "NAME_INVALID", ("b", 32): "ID_INVALID"})
    assert compare_refusals(good, expected, 33)[0] == 0
    good.refused["b", 17] = "ID_INVALID"
    good.refused["b", 2] = "ID_INVALID"
    del good.refused["b", 32]
    count, text = compare_refusals(good, expected, 33)
    assert count == 3
    assert text.endswith("2 (ID_INVALID, not paid), 17 (ID_INVALID, not NAME_INVALID), 32 (paid, not ID_INVALID)")


def test_repeated_receipts_count_once_and_the_last_word_stands(tmp_path: Path) -> None:
    """A record that Kafka delivered twice is one record; a return makes a credited payout a failed one."""
    receipts = [
        {"receipt_id": "a", "line": 1, "attempt": 1, "outcome": "credited", "reason": None, "late": True},
        {"receipt_id": "b", "line": 1, "attempt": 1, "outcome": "returned", "reason": "X", "late": False},
        {"receipt_id": "c", "line": 2, "attempt": 0, "outcome": "failed", "reason": "ID_INVALID", "late": False},
    ]
    record = json.dumps({"value": json.dumps({"batch_id": "b", "receipts": receipts})})
    path = tmp_path / "receipts.jsonl"
    path.write_text(f"{record}\n{record}\n")
    found = read_receipts(path)
    assert (found.receipts, found.late, found.standing) == (3, 1, Counter({"failed": 1}))
    assert found.refused == {("b", 2): "ID_INVALID"}


def test_the_payout_to_look_at_came_back_and_was_paid_again(tmp_path: Path) -> None:
    """Money that returned is preferred to a plain failure; a run in which nothing went wrong has none to show."""
    path = tmp_path / "receipts.jsonl"

    def heard(*told: tuple[str | None, int, str]) -> Path:
        receipts = [{"payout_id": name, "attempt": attempt, "outcome": outcome} for name, attempt, outcome in told]
        path.write_text(json.dumps({"value": json.dumps({"receipts": receipts})}) + "\n")
        return path

    plain: list[tuple[str | None, int, str]] = [(None, 0, "refused"), ("1-2", 1, "credited"), ("1-3", 1, "returned")]
    failed: list[tuple[str | None, int, str]] = [("1-10", 1, "failed"), ("1-10", 2, "credited")]
    returned: list[tuple[str | None, int, str]] = [("1-20", 1, "returned"), ("1-20", 2, "credited")]
    assert paid_again(heard(*plain)) is None
    assert paid_again(heard(*plain, *failed)) == "1-10"
    assert paid_again(heard(*plain, *failed, *returned)) == "1-20"


def test_a_hostile_message_must_be_answered_with_its_own_reason(tmp_path: Path) -> None:
    """Silence, or a refusal for another reason, is a fault of the run."""
    (tmp_path / "inputs").mkdir()
    answers = []
    for number, (kind, reason) in enumerate(sorted(EXPECTED.items()), start=1):
        raw = kind.encode()
        (tmp_path / "inputs" / f"{number:08d}.batch").write_bytes(raw)
        about = {"kind": "batch", "identity": f"hostile-{kind}"}
        (tmp_path / "inputs" / f"{number:08d}.json").write_text(json.dumps(about))
        answers.append({"digest": hashlib.sha256(raw).hexdigest(), "reason": reason})
    path = tmp_path / "refusals.jsonl"

    def write(given: list[dict[str, str]]) -> None:
        path.write_text("".join(json.dumps({"value": json.dumps(one)}) + "\n" for one in given))

    write(answers)
    assert compare_hostile(tmp_path)[0] == []
    write([{**answers[0], "reason": "SCHEMA"}, *answers[2:]])
    wrong, text = compare_hostile(tmp_path)
    assert len(wrong) == 2
    assert text.startswith(f"{len(EXPECTED) - 2} of {len(EXPECTED)}")
