"""Metrics keep to one vocabulary, closed labels, and series that exist before the first event."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from gateway import metrics
from tests.house.tree import modules

LABELS = {
    "bank", "bucket", "call", "clock", "component", "department", "effect", "kind", "outcome", "proof", "provider",
    "reason", "state", "topic",
}  # fmt: skip


def ours() -> dict[str, MetricWrapperBase]:
    """Every metric of the module by its variable."""
    return {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def exposed_name(metric: MetricWrapperBase) -> str:
    """The name that rules and dashboards use."""
    (family,) = metric.describe()
    return family.name + ("_total" if isinstance(metric, Counter) else "")


def test_a_variable_is_named_after_its_metric() -> None:
    """payout_<name>[_total] is the variable <NAME>: whoever knows one knows the other."""
    for name, metric in ours().items():
        assert exposed_name(metric).removeprefix("payout_").removesuffix("_total").upper() == name


def test_labels_come_from_closed_sets() -> None:
    """No metric has a label outside the closed sets: never an id, so never more series than configuration allows."""
    used = {label for metric in ours().values() for label in metric._labelnames}
    assert used <= LABELS


def test_every_metric_is_told_by_somebody() -> None:
    """A metric that no module of the gateway sets would leave its alert and its panel silent for ever."""
    code = "".join(module.text for module in modules() if module.path.startswith("gateway/"))
    assert [name for name in ours() if f"metrics.{name}" not in code] == []


def test_all_metrics_are_in_the_one_registry() -> None:
    """What the module defines is what /metrics shows."""
    page = metrics.exposition().decode()
    for metric in ours().values():
        assert f"# HELP {exposed_name(metric)} " in page


def test_no_open_deadline_is_never_due() -> None:
    """While nothing is open the nearest deadline is infinitely far, so that no threshold is crossed."""
    metrics.OLDEST_DUE_SECONDS.labels(clock="limit").set(metrics.NO_DEADLINE)
    assert 'payout_oldest_due_seconds{clock="limit"} +Inf' in metrics.exposition().decode()


def test_the_eight_buckets_are_the_identity() -> None:
    """The buckets are the right side of a batch's identity, all eight of them."""
    assert metrics.BUCKETS == (
        "awaiting_funds", "queued", "in_flight", "in_doubt", "conflict", "credited", "failed", "cancelled",
    )  # fmt: skip


def test_histograms_reach_past_the_promises() -> None:
    """A histogram that ends before its promise could not show a breach: slack has a late bucket, settling ten days."""
    bounds = {name: metric._kwargs["buckets"] for name, metric in ours().items() if isinstance(metric, Histogram)}
    assert bounds["RECEIPT_SLACK_SECONDS"][0] == 0
    assert bounds["RECEIPT_SLACK_SECONDS"][-1] >= 2 * 86400
    assert bounds["SETTLE_SECONDS"][-1] >= 10 * 86400
    assert all(list(each) == sorted(each) for each in bounds.values())


def test_gauges_are_not_named_like_counters() -> None:
    """Only counters end in _total."""
    for metric in ours().values():
        if isinstance(metric, Gauge):
            assert not exposed_name(metric).endswith("_total")


def test_promtool_accepts_the_page() -> None:
    """Prometheus' own linter reads the page; its one remark is a unit that operators asked for (days of calendar)."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False, timeout=60
    )
    remarks = [line for line in done.stderr.decode().splitlines() if not line.startswith("python_")]
    assert remarks == ['payout_calendar_horizon_days use base unit "seconds" instead of "days"']
