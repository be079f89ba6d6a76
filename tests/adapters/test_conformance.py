"""``gateway adapter check``: the adapters that ship conform, and those that are wrong on purpose are caught."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.conformance import room, run
from adapters.conformance.case import CASES
from adapters.conformance.run import check
from gateway.cli import app
from gateway.cli.adapters import CORE
from tests.adapters.sabotaged import frames_and_books as books
from tests.adapters.sabotaged import more, six
from tests.adapters.sabotaged.six import sabotaged

LEAST_CASES = 25
SHIPPED = ("iso20022", "json_https", "rcc_file", "xml_tcp")


def results_of(adapter: type[Any], *cases: str) -> dict[str, str]:
    """The failures of an adapter in these cases: id and reason."""
    report = check(sabotaged(adapter), CORE, only=cases)
    return {each.case.id: each.reason for each in report.results if each.case.id in report.failed}


@pytest.mark.parametrize("name", SHIPPED)
def test_adapter_that_ships_conforms(name: str) -> None:
    """Every adapter that ships passes every case that its kind of bank can come into, and the last line says so."""
    answered = CliRunner().invoke(app, ["adapter", "check", name])
    *_, last = answered.stdout.strip().splitlines()
    summary = json.loads(last)
    tried, silent = summary["cases"], summary["not_applicable"]
    assert summary == {"adapter": name, "cases": tried, "passed": tried, "failed": [], "not_applicable": silent}
    assert tried + silent == len(CASES)
    assert tried >= LEAST_CASES
    assert f"{tried} of {tried} promises kept, {silent} n/a" in answered.stdout
    assert answered.exit_code == 0


def test_some_cases_alone() -> None:
    """--only runs the cases that it names, and no case by a mistyped name passes for one that was kept."""
    answered = CliRunner().invoke(app, ["adapter", "check", "rcc_file", "--only", "taken", "--only", "code-table"])
    *_, last = answered.stdout.strip().splitlines()
    assert (json.loads(last)["passed"], answered.exit_code) == (2, 0)
    answered = CliRunner().invoke(app, ["adapter", "check", "rcc_file", "--only", "takn"])
    assert (answered.exit_code, "no such case: takn" in answered.output) == (2, True)


@pytest.mark.parametrize(
    ("adapter", "case"),
    [
        (six.TimeoutIsFailure, "answer-lost"),
        (six.UnknownCodeIsFailure, "unknown-code"),
        (six.ResendIsRenamed, "resend"),
        (six.NameIsCut, "long-name"),
        (six.FeeIsAccepted, "wrong-amount"),
        (six.DuplicateIsRejected, "taken-before"),
        (books.BlankCodeIsFailure, "blank-code"),
        (books.UnreadableIsRefused, "answer-cut"),
        (books.SendsBeforeAsking, "question-lost"),
        (books.ReadsNoReturns, "late-return"),
        (books.StopsAtTheFirst, "bad-file-alone"),
        (books.SettledIsCredited, "in-process"),
        (books.StatementIsRounded, "wrong-amount"),
        (books.ReadsNoStatements, "credited"),
    ],
)
def test_costly_mistake_is_caught(adapter: type[Any], case: str) -> None:
    """Each sabotaged adapter fails the case named for its mistake, and its honest parent does not."""
    assert case in results_of(adapter, case)
    honest = next(parent for parent in six.HONEST if issubclass(adapter, parent))
    assert results_of(honest, case) == {}


@pytest.mark.parametrize(
    ("adapter", "case", "words"),
    [
        (more.AsksNobody, "ping-harmless", "never reached"),
        (more.AsksNobody, "sent-once", "0 times"),
        (more.AsksNobody, "answer-lost", "RECEIVED"),
        (more.AsksNobody, "probe-read-only", "nothing"),
        (more.IsNotFinished, "taken", "NotImplementedError"),
        (more.TriesAgain, "reset-before", "again by itself"),
        (more.SendsTwice, "sent-once", "2 times"),
        (more.RaisesOnRefusal, "funds-short", "RuntimeError"),
        (more.Talks, "masked", "an account in a traceback"),
        (more.BelievesHalves, "artefact-cut", "is believed"),
        (more.SettlesAtOnce, "collected-until-settled", "nobody has settled"),
        (more.TidiesUp, "probe-read-only", "wrote"),
        (more.PromisesTooMuch, "capabilities-consistent", "settling time"),
        (more.TrustsStrangers, "callback-forged", "genuine"),
    ],
)
def test_careless_adapter_is_caught(adapter: type[Any], case: str, words: str) -> None:
    """What an author may hope that nobody sees is seen, and said in words that tell what to mend."""
    # What "masked" judges is what the other cases have brought to light.
    found = results_of(adapter, *({case, "poison-line"} if case == "masked" else {case}))
    assert words in found[case]


def test_clock_in_the_bytes_is_caught() -> None:
    """A submission with the machine's time in it is not the same in another process, and that is said."""
    profile = sabotaged(more.KnowsTheHour)
    report = check(profile, CORE, only=["pure"], locator="tests.adapters.test_conformance:TICKING")
    assert report.failed == ["pure"]
    assert "the clock" in report.results[0].reason


TICKING = sabotaged(more.KnowsTheHour)


def test_hang_is_ended_by_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without a limit of its own fails its case; the run goes on."""
    monkeypatch.setattr(room, "HANG_SECONDS", 1)
    assert "did not end" in results_of(more.NeverEnds, "ping-harmless")["ping-harmless"]


def test_blocked_loop_is_ended_by_the_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that stands still, and the event loop with it, fails its case; the run goes on."""
    monkeypatch.setattr(run, "CASE_SECONDS", 1)
    found = results_of(more.BlocksTheLoop, "ping-harmless", "code-table")
    assert list(found) == ["ping-harmless"]


def test_every_case_has_a_promise() -> None:
    """Ids are for ever and promises are sentences: both stand in reports that people keep."""
    assert len(CASES) >= LEAST_CASES
    for case in CASES:
        assert case.id == case.id.lower()
        assert case.promise.endswith(".")
        assert case.promise.count(".") == 1
