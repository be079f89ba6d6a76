"""The promises, each a function; importing this package registers them in the order in which they run."""

from adapters.conformance.cases import channel, replies, outcomes, artefacts, writing, purity  # isort: skip
from adapters.conformance.cases import pages, proxies, questions, sameness  # isort: skip
from adapters.conformance.cases import privacy  # isort: skip  # the last: it judges what all the others let out

__all__ = [
    "artefacts",
    "channel",
    "outcomes",
    "pages",
    "privacy",
    "proxies",
    "purity",
    "questions",
    "replies",
    "sameness",
    "writing",
]
