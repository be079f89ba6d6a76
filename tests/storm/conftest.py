"""The fixtures that proofs share with the tests of the books."""

from tests.store.conftest import gateway

__all__ = ["gateway"]
