"""One short story for each planted bug: the fewest steps of the model that show it.

The search has to find the bugs by itself; these scenes say that the invariants see what it finds, whatever its luck.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.store.kit import Gateway
from tests.storm.model.bank import Answer
from tests.storm.model.life import Kind, Mishap
from tests.storm.model.machine import Payouts

Scene = Callable[[Payouts], None]
BETWEEN_CLAIM_AND_SENDING = 8  # awaits outside transactions: the claim is committed, SENDING is not


def resend_on_timeout(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.LOST_AFTER)
    model.send_in_peace(who=0, answer=Answer.RECEIVED)


def commit_after_the_call(model: Payouts) -> None:
    """Every await at which the process can end; the next one tries again."""
    for at in range(10, 30):
        model.begin(lines=1, max_lines=1000, proof=False)
        model.cut_and_render(who=0, mishap=None)
        model.send(who=0, answer=Answer.LOST_AFTER, wait=1, mishap=Mishap(Kind.END, at, leases_pass=True))
        model.send_in_peace(who=0, answer=Answer.RECEIVED)
        model.sound()


def absent_before_settling(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.LATE)
    model.sound()
    model.probe(who=0, wait=6, asked="truth", mishap=None)
    model.sound()
    model.send_in_peace(who=0, answer=Answer.RECEIVED)


def unknown_overwrites_known(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.CREDITED)
    model.sound()
    model.collect_results(who=0, told="vaguely", mishap=None)


def reissue_while_in_doubt(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.LOST_AFTER)
    model.sound()
    model.order(who=0, kind="REISSUE", choice=0, stale=0, twice=False, mishap=None)
    # The books are odd already, and the model's own steps would end here. On, until the money shows what it leads to:
    # past the gathering of what is ordered anew, and out to the bank.
    model.world.clock.forward(minutes=31)
    model.world.act(0, Gateway.send)


def credit_told_twice(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.CREDITED)
    model.collect_results(who=0, told="once", mishap=None)


def fenced_may_send(model: Payouts) -> None:
    model.cut_and_render(who=0, mishap=None)
    model.sound()
    stop = Mishap(Kind.STOP, BETWEEN_CLAIM_AND_SENDING, leases_pass=True)
    model.send(who=0, answer=Answer.RECEIVED, wait=1, mishap=stop)
    model.sound()
    model.go_on(who=0)


def return_reopens_nothing(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.CREDITED)
    model.bank_decides(choice=0, fate="return")


def late_success(model: Payouts) -> None:
    """Not one of the ten: R20's."""
    model.send_in_peace(who=0, answer=Answer.RECEIVED)
    model.bank_decides(choice=0, fate="reject")
    model.collect_results(who=0, told="once", mishap=None)
    model.sound()
    model.bank_decides(choice=0, fate="pay_rejected")
    model.collect_results(who=0, told="once", mishap=None)


def stale_order_acts(model: Payouts) -> None:
    """Rejected, ordered again, rejected again; then a second clerk's order about the first attempt comes in."""
    for stale in (0, 4):
        model.send_in_peace(who=0, answer=Answer.RECEIVED)
        model.bank_decides(choice=0, fate="reject")
        model.collect_results(who=0, told="once", mishap=None)
        model.sound()
        model.order(who=0, kind="REISSUE", choice=0, stale=stale, twice=False, mishap=None)
        model.sound()


def old_details_are_paid(model: Payouts) -> None:
    model.send_in_peace(who=0, answer=Answer.RECEIVED)
    model.bank_decides(choice=0, fate="reject")
    model.collect_results(who=0, told="once", mishap=None)
    model.sound()
    model.order(who=0, kind="REISSUE", choice=0, stale=2, twice=False, mishap=None)
    model.send_in_peace(who=0, answer=Answer.CREDITED)


# In the order of the bugs: each scene, and how the complaint begins for whose sake the bug is a bug. What else is wrong
# in such books is beside the point: a scene that shows only that has lost what it was told for.
SCENES: dict[Scene, str] = {
    resend_on_timeout: "BR: line 1 travels while PENDING",
    commit_after_the_call: "BR: line 1 travels while PENDING",
    absent_before_settling: "BR: line 1 travels while PENDING",
    unknown_overwrites_known: "attempt (1, 1) was known to be CREDITED and is IN_DOUBT",
    reissue_while_in_doubt: "BR: line 1 travels while PENDING",
    credit_told_twice: "RX: 2 receipts (1, 1, 'credited'), due 1",
    fenced_may_send: "a fenced process recorded SENDING",
    return_reopens_nothing: "MP: line 1 is credited in the books, 0 at the bank",
    stale_order_acts: "2 orders made the successor of attempt (1, 1)",
    old_details_are_paid: "AC: attempt (1, 2) of line 1 travelled with details",
}


# Which of them the schema stops first, and in which words.
REFUSALS: dict[Scene, str] = {
    unknown_overwrites_known: "attempts: a settled attempt is not undone",
    reissue_while_in_doubt: "attempts: a further one follows one that failed",
}


def play(scene: Scene) -> None:
    """One story over one line, to its rest; ``Violation`` where something is wrong."""
    model = Payouts()
    model.begin(lines=1, max_lines=1000, proof=False)
    scene(model)
    model.sound()
    model.teardown()
