"""The profile ``rcc_file``: a rural credit cooperative that is paid by GB18030 batch files over SFTP."""

from adapters.banks.rcc_file.bank import PROFILE

__all__ = ["PROFILE"]
