"""R16: results, statements and callbacks of four banks: twice, backwards, cut at every byte, falsified, rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from adapters.banks.rcc_file import answers
from adapters.contract import Evidence, Proof
from gateway.states import Known, State, Verdict, decide
from gateway.store import judging
from tests.storm.results.play import LISTS, PLANS, Play, cut, opened, programme, regressions
from tests.storm.results.rigs import RIGS, JsonRig, Rig, XmlRig
from tests.storm.scale import figure, size

EVERY = size(37, 1)  # byte at which a file is cut
Make = Callable[[str], Rig]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda profile: RIGS[profile](tmp_path / profile, monkeypatch, programme=programme())


async def spoilt_then_sound(play: Play) -> Counter[str]:
    """Cut and falsified answers first, each before the sound one that it spoils; then the truth."""
    found: Counter[str] = Counter()
    one, other = play.rig.submissions
    false = play.rig.falsified(one, other)
    for number, sound in enumerate(play.sound):
        malformed = list(cut(sound, EVERY))
        if number == 0 and "totals" in false:
            malformed.append(false["totals"])
        before = await play.books()
        await play.deliver(malformed)
        found["malformed"] += len(malformed)
        found["quarantined"] += sum(bool(play.told.reasons.get((m.name, m.sha256))) for m in malformed)
        after = await play.books()
        found["applied"] += sum(before[name] != after[name] for name in before)
        await play.deliver([sound])
    return found


@pytest.mark.parametrize("profile", RIGS)
async def test_what_is_cut_or_falsified_applies_nothing_and_is_set_aside(
    profile: str, database: str, make: Make
) -> None:
    """Cut at any byte, with wrong totals: no row in any table but its own, a reason, and its bytes under seal."""
    rig = make(profile)
    async with opened(database, rig) as gateway:
        play = Play(rig, gateway)
        await play.pay()
        found = await spoilt_then_sound(play)
        assert found["applied"] == 0, found
        assert found["quarantined"] == found["malformed"] > len(play.sound)
        if not isinstance(rig, JsonRig):  # whose refusals are answers to a call, told by the door (`gateway/admin.py`)
            logged = {(line["file"], line["digest"]) for line in play.told.logged("artefact quarantined")}
            assert logged == {(name, digest[:12]) for name, digest in play.told.reasons}
        states = await play.states()
        assert len(states) == len(LISTS) * len(PLANS)
        assert not play.disagreements(states)
        figure("R16", bank=profile, answers=len(play.sound), every=EVERY, **found)


@pytest.mark.parametrize("profile", RIGS)
async def test_nothing_known_is_ever_lost(profile: str, database: str, make: Make) -> None:
    """Backwards, twice, older ones under the same names, strangers and another list's lines: what is known stays."""
    rig = make(profile)
    async with opened(database, rig) as gateway:
        play = Play(rig, gateway)
        await play.pay()
        one, other = rig.submissions
        false = rig.falsified(one, other)
        lost, before = 0, await play.states()
        rounds = [[sound] for sound in reversed(play.sound)]
        rounds += [play.sound, play.sound[::-1], [false["older"]], play.sound, [false["unknown"]]]
        for arriving in rounds:
            await play.deliver(arriving)
            after = await play.states()
            lost += len(regressions(before, after))
            before = after
        assert lost == 0
        assert not play.disagreements(before)
        assert play.told.logged("evidence unmatched")  # the stranger
        await play.deliver([false["other batch"]])
        after = await play.states()
        assert not regressions(before, after)
        assert not play.disagreements(after)
        assert play.told.logged("payouts frozen") or len(play.told.logged("evidence unmatched")) > 1
        figure("R16", bank=profile, deliveries=sum(map(len, rounds)) + 1, regressions=lost)


async def test_cut_answers_to_a_question_prove_nothing(database: str, make: Make) -> None:
    """A frame cut anywhere, its length right: the question counts as unanswered, and nothing is applied."""
    rig = make("xml_tcp")
    assert isinstance(rig, XmlRig)
    async with opened(database, rig) as gateway:
        play = Play(rig, gateway)
        await play.pay()
        before = await play.states()
        whole = len(rig.held.put(rig.held.scribe.question("DF1002", BATCHNO=rig.submissions[0].batch)).document)
        for length in range(
            1, whole - 40, 4 * max(1, 8 * EVERY // 37)
        ):  # the other list's answer may be a little shorter
            rig.spoil = lambda document, length=length: document[:length]  # type: ignore[misc]
            gateway.clock.forward(hours=1)
            await gateway.verify.probe(gateway.entry)
        unanswered = len(play.told.logged("probe unanswered"))
        assert unanswered
        assert await play.states() == before
        rig.spoil = bytes
        gateway.clock.forward(hours=1)
        await gateway.verify.probe(gateway.entry)
        assert await play.states() != before
        figure("R16", bank="xml_tcp", cut_frames=unanswered, applied=0)


# -- the controls ------------------------------------------------------------------------------------------------------


def _reads_as_it_goes(content: bytes) -> tuple[list[str], int, int]:
    """Whole lines as far as there are any, whatever comes after them."""
    rows = content.decode("gb18030", "ignore").split("\r\n")[:-1]
    return [row for row in rows if not row.startswith("T|")], 0, 0


async def test_a_reader_that_does_not_wait_for_the_end_is_caught(
    database: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a build that takes the rows of a file before it has seen the trailer books from cut files."""
    monkeypatch.setattr(answers, "closed_rows", _reads_as_it_goes)
    monkeypatch.setattr(answers, "_check_totals", lambda head, details, trailer: None)
    rig = make("rcc_file")
    async with opened(database, rig) as gateway:
        play = Play(rig, gateway)
        await play.pay()
        found = await spoilt_then_sound(play)
    figure("R16", control="rows before the trailer", **found)
    assert found["applied"]
    assert found["quarantined"] < found["malformed"]


async def test_books_in_which_the_last_word_wins_are_caught(
    database: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a build in which "in process", read again, overwrites what was known.

    The schema refuses that before anybody could see it; without its triggers the regression is there and is counted.
    """

    def last_word(known: Known, item: Evidence, *, whole: bool) -> State | Verdict:
        return State.ACCEPTED if item.proof is Proof.IN_PROCESS else decide(known, item, whole=whole)

    rig = make("rcc_file")
    async with opened(database, rig) as gateway:
        play = Play(rig, gateway)
        await play.pay()
        one, other = rig.submissions
        await play.deliver(play.sound)
        before = await play.states()
        monkeypatch.setattr(judging, "decide", last_word)
        older = rig.falsified(one, other)["older"]
        with pytest.raises(asyncpg.RestrictViolationError, match="a settled attempt is not undone"):
            await play.deliver([older])
        async with gateway.store.engine.connection() as connection:
            await connection.execute("ALTER TABLE attempts DISABLE TRIGGER USER")
        await play.deliver([older])
        lost = regressions(before, await play.states())
    figure("R16", control="the last word wins", regressions=len(lost))
    assert lost
