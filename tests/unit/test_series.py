"""How many series there are follows from the configuration, and none is born by what happens."""

from __future__ import annotations

import ast

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from adapters.contract import Proof
from gateway import metrics, series
from tests.house.tree import modules


def shown() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Every series on the page, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in metrics.REGISTRY.collect()
        for sample in family.samples
    }


def labelled() -> dict[str, MetricWrapperBase]:
    """The counters and histograms with labels, by variable."""
    found = {name: each for name, each in vars(metrics).items() if isinstance(each, Counter | Histogram)}
    return {name: each for name, each in found.items() if each._labelnames}


def test_each_counter_and_histogram_has_values_for_each_of_its_labels() -> None:
    """A metric that is new cannot be forgotten in the table."""
    known = {metric: set(values) for metric, values in series.VALUES.items()}
    assert known == {metric: set(metric._labelnames) for metric in labelled().values()}


def test_what_is_declared_is_on_the_page_at_zero_before_anything_happened() -> None:
    """An increase from nothing to one cannot be seen by Prometheus; so also the first probe's histogram is there."""
    series.declare(["bank_of_test"], ["sms_of_test"])
    value = metrics.REGISTRY.get_sample_value
    for name in ("conflicts", "fees", "unknown_codes", "crashed_sendings", "given_up"):
        assert value(f"payout_{name}_total", {"bank": "bank_of_test"}) == 0
    for proof in Proof:
        for effect in ("unmatched", "conflict", "unexplained"):
            labels = {"bank": "bank_of_test", "proof": proof.value, "effect": effect}
            assert value("payout_evidence_total", labels) == 0
    for call in ("submit", "probe", "collect"):
        assert value("payout_bank_call_seconds_count", {"bank": "bank_of_test", "call": call}) == 0
    assert value("payout_notices_total", {"provider": "sms_of_test", "outcome": "unreported"}) == 0
    assert value("payout_refusals_total", {"reason": "STALE"}) is not None
    for bucket in metrics.BUCKETS:
        assert value("payout_payouts", {"bucket": bucket}) is not None
    assert not [labels for _, labels in shown() for _, told in labels if told.startswith(("Proof.", "RefusalReason."))]


def test_declaring_twice_changes_nothing() -> None:
    """``declare`` only opens series; what was counted stays counted."""
    series.declare(["twice"], ["sms"])
    metrics.CONFLICTS.labels(bank="twice").inc()
    before = shown()
    series.declare(["twice"], ["sms"])
    assert metrics.REGISTRY.get_sample_value("payout_conflicts_total", {"bank": "twice"}) == 1
    assert shown() == before


def test_a_gateway_without_sms_declares_no_series_of_a_provider() -> None:
    """No provider, no series: nothing is made up that an alert could wait for."""
    before = shown()
    series.declare(["mute"], [])
    born = shown() - before
    assert born
    assert not any("provider" in dict(labels) for _, labels in born)
    assert not any(("provider", "") in labels for _, labels in shown())


def literals() -> list[tuple[str, str, str]]:
    """(variable, label, value) of every label value that the gateway's code spells out."""
    found = []
    for module in modules():
        if not module.path.startswith("gateway/") or module.path == "gateway/series.py":
            continue
        for call in ast.walk(ast.parse(module.text)):
            match call:
                case ast.Call(ast.Attribute(ast.Attribute(ast.Name("metrics"), variable), "labels"), [], keywords):
                    for word in keywords:
                        found += [(variable, str(word.arg), value) for value in spelled(word.value)]
    return found


def spelled(value: ast.expr) -> list[str]:
    """The words that an expression can be, as far as they are written there."""
    if isinstance(value, ast.IfExp):
        return spelled(value.body) + spelled(value.orelse)
    return [str(value.value)] if isinstance(value, ast.Constant) else []


def test_no_code_spells_a_label_value_that_the_table_does_not_have() -> None:
    """A new outcome in the code without its place in the table would be a series that is born late."""
    told = [
        (variable, label, value)
        for variable, label, value in literals()
        if not isinstance(getattr(metrics, variable), Gauge)
    ]
    assert len(told) >= 10  # the search finds what it is to judge
    unknown = [
        each
        for each in told
        if each[2] not in series.VALUES[getattr(metrics, each[0])][each[1]] and each != ("LINES", "outcome", "approved")
    ]
    assert unknown == []


def test_each_bank_adds_the_same_few_series() -> None:
    """The page grows with the configuration, evenly: 28 banks stay a page that Prometheus reads in a moment."""

    def born(*banks: str) -> int:
        before = len(shown())
        series.declare(banks, [])
        return len(shown()) - before

    one = born("first_of_all")
    assert born("second", "third", "fourth") == 3 * one
    assert 28 * one < 10_000
