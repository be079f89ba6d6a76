"""The promises, each a function; importing this package registers them in the order in which they run."""

from adapters.conformance.cases import channel, replies, again, outcomes, artefacts, altered, kept  # isort: skip
from adapters.conformance.cases import writing, purity, privacy  # isort: skip

__all__ = ["again", "altered", "artefacts", "channel", "kept", "outcomes", "privacy", "purity", "replies", "writing"]
