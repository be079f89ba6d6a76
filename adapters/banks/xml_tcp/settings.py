"""The configuration section of one bank of this profile: channel, key, and what was agreed with the bank."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from adapters.wire.tcp import TcpSettings
from adapters.wire.tls import KeyFile

GREATEST_TOTAL_FEN: Final = 10**15 - 1  # thirteen digits of yuan and two decimals
LINES_IN_A_SUBMISSION: Final = 500
_LEAST_KEY_BYTES: Final = 16
_MEBIBYTE: Final = 1024 * 1024

_Account = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{1,32}$")]
_BankNumber = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]


class XmlTcpSettings(BaseModel):
    """Seconds are the gateway clock's (the bank's promises are business time), milliseconds are real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tcp: TcpSettings
    private_line: bool = False  # nobody but the bank and we can write on it: what tcp.tls would see to
    encoding: Literal["gbk", "gb18030"]
    version: str = Field(default="1.0", pattern=r"^[0-9A-Za-z.]{1,8}$")
    channel: str = Field(pattern=r"^[0-9A-Za-z]{1,20}$")
    corporation: str = Field(pattern=r"^[0-9A-Za-z]{1,20}$")  # CORPNO
    mac_key_file: KeyFile  # the key as the bank gave it, at least 16 bytes; a final line break is not part of it
    debit_accounts: tuple[_Account, ...] = Field(  # whose returns and statements are read; accounts are not printed
        min_length=1, max_length=100, repr=False
    )
    own_bank_numbers: tuple[_BankNumber, ...] = ()  # CNAPS numbers that need no BANKNO; none = no line needs one

    # The agreement with the bank.
    max_lines: int = Field(default=LINES_IN_A_SUBMISSION, ge=1, le=LINES_IN_A_SUBMISSION)
    max_total_fen: int = Field(default=GREATEST_TOTAL_FEN, ge=1, le=GREATEST_TOTAL_FEN)
    max_in_flight: int = Field(default=4, ge=1, le=1_000)  # submissions
    submit_interval_milliseconds: int = Field(default=1_000, ge=0, le=600_000)  # per login; 0 = no limit
    probe_interval_milliseconds: int = Field(default=2_000, ge=0, le=600_000)
    settling_seconds: int = Field(default=1_800, ge=1, le=604_800)  # after which 1002 is the bank's word
    acknowledgement_due_seconds: int = Field(default=300, ge=1, le=604_800)
    result_due_seconds: int = Field(default=86_400, ge=1, le=2_592_000)
    return_horizon_days: int = Field(default=30, ge=1, le=366)
    opens: dt.time = dt.time(0, 0)
    cut_off: dt.time = dt.time(0, 0)  # 00:00 = midnight, end of the day
    working_days_only: bool = False

    # How the bank is asked.
    lines_asked_singly: int = Field(default=10, ge=0, le=500)  # DF1003 in one probe, for lines that DF1002 left out
    items_per_page: int = Field(default=500, ge=2, le=500)
    questions_per_collection: int = Field(default=20, ge=2, le=1_000)
    collect_interval_milliseconds: int = Field(default=0, ge=0, le=86_400_000)  # between two quiet rounds; 0 = none
    first_statement_days: int = Field(default=7, ge=0, le=366)  # how far back the first collection of all begins
    max_statement_bytes: int = Field(default=64 * _MEBIBYTE, ge=1_024, le=1_024 * _MEBIBYTE)  # of all pages of a day

    @model_validator(mode="after")
    def _nobody_else_can_write(self) -> Self:
        """The MAC covers BODY alone: who writes on the line forges "not found" in a head, and we would send again."""
        if self.tcp.in_the_clear() and not self.private_line:
            raise ValueError(
                "without tcp.tls whoever can write on the line can make us pay twice:"
                " set it, or private_line = true where only the bank and we can write on it"
            )
        return self

    def mac_key(self) -> bytes:
        """Read the key. ValueError when it is too short to be one; OSError when it cannot be read."""
        key = self.mac_key_file.read_bytes().rstrip(b"\r\n")
        if len(key) < _LEAST_KEY_BYTES:
            raise ValueError(f"a MAC key has at least {_LEAST_KEY_BYTES} bytes")
        return key
