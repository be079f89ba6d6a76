"""The profile ``iso20022``: pain.001 files over SFTP, answered with pain.002, camt.054 and camt.053."""

from adapters.banks.iso20022.bank import PROFILE

__all__ = ["PROFILE"]
