"""The promises, each a function; importing this package registers them in the order in which they run."""

from adapters.conformance.cases import channel, replies, again, outcomes, artefacts, altered, kept  # isort: skip
from adapters.conformance.cases import writing, purity, pages, proxies, questions, sameness  # isort: skip
from adapters.conformance.cases import privacy  # isort: skip  # the last: it judges what all the others let out

__all__ = [
    "again",
    "altered",
    "artefacts",
    "channel",
    "kept",
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
