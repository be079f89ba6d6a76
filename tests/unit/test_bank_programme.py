"""The seeded programme and the configuration of the simulated banks."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bank import hand
from tests.bank.config import Config, ConfigurationError, Hours, parse, programme_of
from tests.bank.programme import (
    LINE_OUTCOMES,
    QUERY_FAULTS,
    RESULT_FAULTS,
    SUBMISSION_FAULTS,
    Plan,
    Programme,
    read_plan,
)
from tests.bank.timing import opening

RATES = {"reject": 1000, "settle_late": 500, "credit_then_return": 300, "drop_after_accept": 2000}
README = Path(hand.__file__).with_name("README.md")


def _programme(seed: int = 7, profile: str = "rcc_file", **given: Any) -> Programme:
    return Programme(seed, programme_of({"rates": RATES, **given}), profile)


def _plans(programme: Programme, nth: int = 0) -> list[str]:
    return [programme.line(hand.account(number), nth).text() for number in range(5000)]


def test_a_seed_replays_and_another_seed_differs() -> None:
    """The same seed decides the same, line by line and transmission by transmission; another one does not."""
    assert _plans(_programme()) == _plans(_programme())
    assert _plans(_programme()) != _plans(_programme(seed=8))
    drawn = [[_programme(seed).submission(f"DF{n}", 1) for n in range(300)] for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]


# profile -> SHA-256 of what a seed draws there with these rates, as it was before later names joined the tables
DRAWN = {
    "rcc_file": "17a404f6430068bf7cf02169a978e65e1b98ba851cc388952d93da9aa10a9ae5",
    "json_https": "f03c6c50a79ec72601f5d594916bd747ee13dc50a44291e23c1007ff566c3d71",
}
_DRAWN_RATES = (
    "reject=1000 settle_late=700 credit_then_return=500 wrong_reference=300 contradiction=200 "
    "timeout_after_accept=800 drop_before_accept=600 funds_short=400 ack_late=900 refuse_format=500 "
    "http_5xx_after_accept=700 garbage_answer=500 hidden=300 hostile_slow=200 result_truncated=900 "
    "result_late=800 callback_lost=700 callback_unknown_reference=600 query_timeout=900 query_stale=800 "
    "query_garbage=700"
)
DRAWN_RATES = {name: int(rate) for name, rate in (pair.split("=") for pair in _DRAWN_RATES.split())}


@pytest.mark.parametrize("profile", DRAWN)
def test_a_new_name_changes_nothing_that_a_seed_drew(profile: str) -> None:
    """A failed run can be replayed by its seed after faults were added: the order of the tables is kept."""
    programme = _programme(7, profile, rates=DRAWN_RATES, again_rates=DRAWN_RATES)
    drawn = [
        (
            programme.line(hand.account(n), n % 2).text(),
            programme.submission(f"DF{n}", 1),
            programme.result(f"DF{n}.01", 0),
            programme.query(f"/{n}", 1),
        )
        for n in range(2000)
    ]
    assert hashlib.sha256(repr(drawn).encode()).hexdigest() == DRAWN[profile]


def test_rates_are_kept_per_ten_thousand() -> None:
    """Over many accounts, each outcome comes as often as its rate says, within a fifth."""
    kinds = Counter(plan.partition(":")[0] for plan in _plans(_programme()))
    for kind in ("reject", "settle_late", "credit_then_return"):
        assert abs(kinds[kind] - RATES[kind] / 2) < RATES[kind] / 10
    assert set(kinds) == {"accept", "reject", "settle_late", "credit_then_return"}


def test_the_second_time_is_accepted_unless_told_otherwise() -> None:
    """A re-issue to the same account succeeds by default; `again_rates` and overrides can say something else."""
    assert set(_plans(_programme(), nth=1)) == {"accept"}
    again = _plans(_programme(again_rates={"reject": 10_000}), nth=1)
    assert {plan.partition(":")[0] for plan in again} == {"reject"}
    stubborn = _programme(accounts={"A": ["reject:NAME_MISMATCH", "settle_late:7200"]})
    assert [stubborn.line("A", nth).text() for nth in range(3)] == [
        "reject:NAME_MISMATCH",
        "settle_late:7200",
        "accept",
    ]


def test_details_stay_within_their_ranges() -> None:
    """What a rate leaves open is filled in from the configured ranges and reasons."""
    programme = _programme(rates={"credit_then_return": 5000, "settle_late": 5000}, return_seconds=[100, 110])
    for text in _plans(programme):
        plan = read_plan(text)
        low, high = (100, 110) if plan.kind == "credit_then_return" else (600, 172_800)
        assert low <= plan.seconds <= high
        assert plan.kind == "settle_late" or plan.reason in programme.config.reject_reasons


@pytest.mark.parametrize("kind", ["accept", *LINE_OUTCOMES])
def test_a_plan_survives_being_written_down(kind: str) -> None:
    """What the ledger keeps of a plan reads back as the same plan."""
    written = _programme(accounts={"A": [kind]}).line("A", 0)
    assert read_plan(written.text()) == written
    assert read_plan("reject:7777") == Plan("reject", 0, "7777")


def test_overrides_name_transmissions_and_results() -> None:
    """A batch's list decides per transmission, `*` for the unnamed, and `none` leaves one alone."""
    listed = {"DF1": ["none", "drop_after_accept"], "*": ["ack_late"]}
    programme = _programme(submissions=listed, results={"*": ["result_late"], "x.01.res": ["result_truncated"]})
    assert [programme.submission("DF1", nth) for nth in (1, 2, 3)] == [None, "drop_after_accept", None]
    assert [programme.submission("DF2", nth) for nth in (1, 2)] == ["ack_late", None]
    assert [programme.result("y", ordinal) for ordinal in (0, 1)] == ["result_late", None]
    assert programme.result("x.01.res", 0) == "result_truncated"


def test_a_fault_of_another_profile_never_fires() -> None:
    """One programme can serve all banks: what a profile cannot do is passed over."""
    owned = {"rcc_file": "drop_after_txt", "json_https": "unsigned_answer"}
    owned |= {"xml_tcp": "refuse_mac", "iso20022": "refuse_signature"}
    rates = {"rates": dict.fromkeys(owned.values(), 2500)}
    for profile, own in owned.items():
        drawn = {Programme(1, programme_of(rates), profile).submission(f"DF{n}", 1) for n in range(200)}
        assert drawn == {None, own}


@pytest.mark.parametrize(
    "given",
    [
        {"rates": {"rejct": 1}},
        {"rates": {"reject": 9_000, "settle_late": 2_000}},
        {"accounts": {"A": ["rejected"]}},
        {"submissions": {"*": ["settle_late"]}},
        {"results": {"*": ["drop_after_accept"]}},
        {"rate": {}},
    ],
)
def test_a_programme_with_a_slip_is_refused(given: dict[str, Any]) -> None:
    """A misspelt fault would make a test prove nothing: it is refused at the start."""
    with pytest.raises(ConfigurationError):
        Programme(1, programme_of(given), "rcc_file")


@pytest.mark.parametrize(
    "given",
    [
        *({}, {"profile": "telex"}, {"deduplicate": "always"}, {"sede": 1}, {"rcc_file": {"orgs": "X"}}, {"hours": 8}),
        *({"funds": "some"}, {"xml_tcp": {"framing": "digits6"}}, {"xml_tcp": {"encoding": "UTF-8"}}),
        *({"profile": "json_https", "funds": "in_order"}, {"hours": {"cut_off": "16:00"}}),
    ],
)
def test_a_configuration_with_a_slip_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    """Unknown keys, profiles and modes are refused."""
    base = {"profile": "rcc_file", "directory": "x"} if given else {}
    with pytest.raises(ConfigurationError):
        parse({**base, **given}, tmp_path)


def test_relative_paths_belong_to_the_bank(tmp_path: Path) -> None:
    """The directory is relative to the file that names it, every other path to the directory."""
    config: Config = parse({"profile": "json_https", "directory": "b"}, tmp_path)
    assert config.path(config.json_https.ca) == (tmp_path / "b" / "keys" / "ca.pem").resolve()


def test_the_readme_names_every_fault() -> None:
    """Whoever programs a bank finds each fault in the README."""
    text = README.read_text(encoding="utf-8")
    for name in {*LINE_OUTCOMES, *SUBMISSION_FAULTS, *RESULT_FAULTS, *QUERY_FAULTS}:
        assert f"`{name}" in text, name


def _ms(text: str) -> int:
    at: dt.datetime = dt.datetime.fromisoformat(text + "+08:00")
    return round(at.timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-11-24T10:00:00", "2026-11-24T10:00:00"),
        ("2026-11-24T07:00:00", "2026-11-24T08:30:00"),
        ("2026-11-24T17:00:00", "2026-11-25T08:30:00"),
        ("2026-11-27T18:00:00", "2026-11-30T08:30:00"),
        ("2026-11-28T03:00:00", "2026-11-30T08:30:00"),
    ],
)
def test_a_bank_with_hours_works_only_then(at: str, opens: str) -> None:
    """Evenings and weekends wait for the next opening; without hours nothing waits."""
    assert opening(_ms(at), Hours()) == _ms(opens)
    assert opening(_ms(at), None) == _ms(at)
