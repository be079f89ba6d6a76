"""The conformance kit behind ``gateway adapter check``: drives any adapter through what banks and networks really do.

The adapter runs with its own transport over real sockets on 127.0.0.1, against a counterpart of the kit that knows the
faults; so the point of no return is really passed or not passed. What only the bank's author knows comes from the
*rehearsal* that the adapter's package ships: ``rehearsal.py`` is its manual and ``recorded.py`` the short way to one.
``cases/`` holds the promises, ``room.py`` what each of them has at hand.
"""

from adapters.conformance.rehearsal import (
    BUSINESS_DAY,
    CannotSay,
    Files,
    Golden,
    HttpReply,
    Kind,
    Occasion,
    Received,
    ReceivedLine,
    Rehearsal,
    RehearsesBoundAnswers,
    RehearsesCallbacks,
    RehearsesFiles,
    RehearsesForgeries,
    RehearsesFrames,
    RehearsesPrivateLines,
    RehearsesSeals,
    Reply,
    Request,
    Said,
    Site,
    Told,
)

__all__ = [
    "BUSINESS_DAY",
    "CannotSay",
    "Files",
    "Golden",
    "HttpReply",
    "Kind",
    "Occasion",
    "Received",
    "ReceivedLine",
    "Rehearsal",
    "RehearsesBoundAnswers",
    "RehearsesCallbacks",
    "RehearsesFiles",
    "RehearsesForgeries",
    "RehearsesFrames",
    "RehearsesPrivateLines",
    "RehearsesSeals",
    "Reply",
    "Request",
    "Said",
    "Site",
    "Told",
]
