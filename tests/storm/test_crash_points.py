"""R4: the gateway ends at every durable or external effect, before and after it, and once more while it recovers."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.storm.matrix.cells import named
from tests.storm.matrix.play import lists_in_turn, plan_of
from tests.storm.points import weave
from tests.storm.points.street import Control, Swept, sweep, sweep_broken
from tests.storm.scale import FULL, SEED, figure, size
from tests.world.faults import HONEST, NO_FAULTS, Faults
from tests.world.layout_banks import BANKS
from tests.world.plan import LIST, Plan

LINES = 40
# What rarely comes of one list: a second file for the XML bank, a callback that is the first to tell of anything.
FURTHER_LISTS, FURTHER_LINES, FURTHER_EVERY_SECONDS = 10, 24, 40
RECOVERY_BOUND_SECONDS = 10
# The points of the slice: where money is decided, sent, answered and told of.
MONEY = (
    "dispatch.",
    "kafka.",
    "receipts.",
    "store.batches.keep_part/",
    "store.batches.judging/",
    "store.planning.",
    "store.submissions.write_",
    "store.submissions.doubt_abandoned/",
    "store.evidence.record/",
    "store.outbox.",
)
# What no bank's money goes around: here a death is due at each of the four.
AT_EACH_BANK = (
    "store.submissions.claim_to_render/claim_to_render",
    "store.submissions.write_rendering/commit",
    "store.submissions.claim_to_send/claim_to_send",
    "store.submissions.write_sending/commit",
    "dispatch._submit/submit",
    "store.submissions.claim_to_probe/claim_to_probe",
    "verify._ask/probe",
    "store.evidence.record/commit",
)
ROUNDS = 3
CONTROLS = {
    "commit_after_the_call": Control("cells/dispatch._submit/submit:after", ("BR", "DP"), at_rest=False),
    "published_before_sent": Control("repeatedly/store.outbox.published/commit:after", ("RX",), at_rest=True),
    "offset_before_intake": Control("points/store.batches.keep_part/commit:before", ("MP",), at_rest=True),
}
# Sites that the world's stories do not lead to, by what it would take. They are not swept: here it is said.
ELSEWHERE = {
    "store.submissions.ensure_banks/ensure_banks": "the first start of all, before the world stands",
    "store.limits.split/commit": "a bank that takes less at once than a county's list holds",
    "store.batches.refuse_overdue/commit": "a list of which a part never comes",
    "store.batches.load_bindings/upsert_bindings": "an operator's command, in a process of its own",
    "store.submissions.set_held_aside/commit": "a contradiction about a payout that waits for its next transmission",
    "store.submissions.call_back/commit": "a line that was held when its list was recalled, and no more",
    "store.statements.resolve/resolve_differences": "a statement that differs and is explained by a later one",
    "store.statements.resolve/wake_unfrozen": "the same",
    "store.pauses.resume/resume_banks": "an operator's command, in a process of its own",
    "store.pauses.resume_mended/resume_mended": "a bank that was paused, and whose configuration has changed since",
    "store.resealing._window/commit": "an operator's command, in a process of its own",
    "store.submissions.release/release_submission": "a bank whose pace leaves no turn",
    "store.submissions.give_back/release_lease": "a caller: there is none",
    "store.notices.forget/forget_parts": "ten minutes of real time",
    "store.orders._refuse/commit": "an order that is signed and cannot be obeyed",
    "adapters.wire.sftp.make_directory/mkdir": "a bank that has no directory for the day",
    "adapters.wire.sftp.stage/upload#2": "the same",
    "adapters.wire.sftp.archive/rename#2": "the same",
}
BY_LINK = ("notices.take_pushed/", "store.notices.pushed/")  # CMPP and SMPP push reports, HTTP posts them
BY_HTTP = ("store.notices.report/", "notices._follow_up/reports")  # a centre of CMPP or SMPP cannot be asked


def plan(directory: Path, lines: int, faults: Faults = HONEST) -> Plan:
    county = {"list": str(LIST), "header": str(LIST.with_suffix(".json")), "lines": lines}
    return Plan(
        directory=directory,
        lists=(county,),
        seed=SEED,
        faults=faults,
        hostile=FULL,
        gateway={"banks.xml_tcp.settings": {"probe_interval_milliseconds": 1}},  # questions take turns
    )


def wide_plan(directory: Path, protocol: str, seed: int) -> Plan:
    """Days of work for everybody: lists one after another, a bank so slow that what is rendered waits over night, and
    leases that every call of a second and a half has to renew."""
    county = plan(directory / "world", size(LINES, 80))
    further = lists_in_turn(directory / "lists", FURTHER_LISTS, FURTHER_LINES, FURTHER_EVERY_SECONDS)
    slow = {"max_lines": 4, "submit_interval_milliseconds": 5_000, "probe_interval_milliseconds": 1}
    return replace(
        county,
        lists=(*county.lists, *further),
        seed=seed,
        sms_protocol=protocol,
        gateway={"banks.xml_tcp.settings": slow, "timing": {"lease_seconds": 3}},
    )


def money_points() -> set[str]:
    return {point for point in weave.all_points() if point.startswith(MONEY)}


def test_every_call_on_an_outside_party_is_an_effect_or_declared_harmless() -> None:
    """A new call on a bank, a broker or a provider cannot be without points unless somebody says why."""
    assert weave.strangers() == []


def test_points_are_found_where_an_effect_is_and_nowhere_else() -> None:
    """A transaction, a statement that writes, a call outside: two points each; what only reads has none."""
    text = """
async def pay(self, bank):
    async with self._engine.transaction() as connection:
        await connection.execute("x")
    await self._engine.fetch("claim_to_send", 1)
    await self._engine.fetch("sending_count", 1)
    return await bank.adapter.submit(1)
"""
    found = weave.sites(ast.parse(text), "gateway.dispatch", weave.writing_queries())
    assert [site.name for site in found] == [
        "dispatch.pay/commit",
        "dispatch.pay/claim_to_send",
        "dispatch.pay/submit",
    ]
    woven = ast.unparse(weave.weave(text, "gateway.dispatch", weave.writing_queries()))
    assert woven.count("_points.") == len(found)


def test_what_is_not_swept_still_exists() -> None:
    """A name in the table of what the sweep leaves out that fits no site would hide a new one."""
    assert set(ELSEWHERE) <= {site.name for site in weave.all_sites()}


def test_a_second_death_begins_the_recovery_anew_and_not_the_outage() -> None:
    """The bound is from a death to the readiness of the life that lives; what finance waited is told beside it."""
    diary: list[dict[str, Any]] = [
        {"at": 10.0, "died": "a:before", "bank": "-", "order": "first"},
        {"at": 14.0, "died": "b:before", "bank": "-", "order": "second"},
        {"at": 17.0, "ready": True},
        {"at": 30.0, "died": "c:before", "bank": "-", "order": "first"},
        {"at": 32.0, "ready": True},
        {"at": 33.0, "died": "d:before", "bank": "-", "order": "second"},
    ]
    swept = Swept(True, (), {}, diary)
    assert swept.recovery_seconds == [3.0, 2.0]
    assert swept.outage_seconds == [7.0, 2.0]


def test_the_gateway_that_ships_has_no_points() -> None:
    """Compiled away: no module of the gateway names a point or this package."""
    for module in weave.woven_modules():
        assert "tests.storm" not in weave.source_of(module)
        assert weave.RUNTIME not in weave.source_of(module).replace("_points_", "")


def test_a_gateway_that_ends_where_money_moves_pays_once(tmp_path: Path) -> None:
    """One end at each point of the money's way: every one is hit, all comes to rest, and the counters are zero."""
    swept = sweep(plan(tmp_path / "world", LINES), f"points/{','.join(MONEY)}")
    assert swept.faults == []
    assert not any(swept.counters.values())
    assert money_points() - {point for point, _ in swept.cells("first")} == set()


def plan_of_a_control(directory: Path) -> Plan:
    """Two small lists, one after the other: what became of the first is certain when the second one is paid."""
    return replace(plan_of(named("none"), directory, SEED, lists=2), broker="embedded", faults=NO_FAULTS)


@pytest.mark.skipif(not FULL, reason="half a minute a build: make storm-row ROW=crash_points")
@pytest.mark.parametrize("build", CONTROLS)
def test_a_build_with_its_effects_in_the_wrong_order_is_caught(tmp_path: Path, build: str) -> None:
    """Controls: a byte, a mark or an offset goes before what it stands on, and that very counter turns red."""
    swept, red = sweep_broken(plan_of_a_control(tmp_path / "world"), build, CONTROLS[build])
    figure("R4", control=build, deaths=len(swept.cells("first")), quiet=swept.rested, counters=swept.counters)
    assert swept.cells("first"), "the build never came to where its mistake shows"
    assert swept.rested or not CONTROLS[build].at_rest
    assert red


@pytest.mark.skipif(not FULL, reason="half a minute a build: make storm-row ROW=crash_points")
@pytest.mark.parametrize("build", CONTROLS)
def test_the_sound_build_is_clean_where_the_broken_ones_are_caught(tmp_path: Path, build: str) -> None:
    """The same lists and the same deaths with nothing broken: at rest, and every counter zero."""
    swept = sweep(plan_of_a_control(tmp_path / "world"), CONTROLS[build].mode)
    figure("R4", control=f"the path of {build}", deaths=len(swept.cells("first")), counters=swept.counters)
    assert swept.cells("first")
    assert swept.faults == []
    assert not any(swept.counters.values())


def missed(swept: Sequence[Swept], other: tuple[str, ...]) -> set[str]:
    """Points that stories of the world lead to, and at which nobody has died yet."""
    wanted = {point for point in weave.all_points() if not point.startswith((*ELSEWHERE, *other))}
    return wanted - {point for one in swept for point, _ in one.cells("first")}


@pytest.mark.skipif(not FULL, reason="all points on all profiles take minutes: make storm-row ROW=crash_points")
@pytest.mark.parametrize(("mode", "protocol", "other"), [("cells", "http_batch", BY_LINK), ("double", "cmpp", BY_HTTP)])
def test_a_gateway_that_ends_everywhere_pays_once(
    tmp_path: Path, mode: str, protocol: str, other: tuple[str, ...]
) -> None:
    """A death at each point and, of what money takes, at each bank; and once more during recovery: counters zero.

    What one world did not lead to, the next one of another seed plays with deaths at those points alone.
    """
    played: list[Swept] = []
    while len(played) < ROUNDS and (not played or missed(played, other)):
        kind = mode if not played else f"cells/{','.join(sorted(missed(played, other)))}"
        wide = wide_plan(tmp_path / f"round-{len(played)}", protocol, SEED + len(played))
        played.append(sweep(wide, kind, limit_seconds=2400))
    recovery = sorted(seconds for one in played for seconds in one.recovery_seconds)
    figure(
        "R4",
        mode=mode,
        rounds=len(played),
        points=len(weave.all_points()),
        died_at=len({point for one in played for point, _ in one.cells("first")}),
        cells=len(played[0].cells("first")),
        again=len(played[0].cells("second")),
        profiles=len(BANKS),
        recovery_max_seconds=round(recovery[-1], 1),
        outage_max_seconds=round(max(seconds for one in played for seconds in one.outage_seconds), 1),
        counters=[one.counters for one in played],
    )
    assert [fault for one in played for fault in one.faults] == []
    assert not any(count for one in played for count in one.counters.values())
    assert missed(played, other) == set()
    due = {(f"{step}:{side}", bank) for step in AT_EACH_BANK for side in ("before", "after") for bank in BANKS}
    assert due - played[0].cells("first") == set()
    assert recovery[-1] < RECOVERY_BOUND_SECONDS
