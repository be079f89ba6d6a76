"""The configuration section of one bank of this profile: what its manual and the agreement with it leave open."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adapters.banks.iso20022 import wire as form
from adapters.wire.sftp import SftpSettings

_NAME_CHARACTERS: Final = 140


def _can_travel(text: str) -> str:
    if not form.fits(text, _NAME_CHARACTERS):
        raise ValueError("empty, too long, or with a character that cannot travel")
    return text


class Iso20022Settings(BaseModel):
    """One bank of this profile. Seconds are business time; milliseconds are real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sftp: SftpSettings

    # What stands in every file.
    initiating_party_name: Annotated[str, AfterValidator(_can_travel)]
    initiating_party_id: str = Field(pattern=r"^[0-9A-Za-z]{1,35}$")
    debtor_agent: str = Field(pattern=r"^[0-9]{12}$")  # CNAPS number of the bank that keeps the fiscal account
    service_level: str = Field(default="NORM", pattern=r"^[0-9A-Z]{1,35}$")
    category_purpose: str = Field(default="GOVT", pattern=r"^[0-9A-Z]{4}$")

    # What its answers mean.
    settled_is_credited: bool = False  # True only where the agreement says that ACSC means the payee's account
    refuses_whole_file: bool = False

    # What it takes, and how soon it answers.
    max_lines: int = Field(default=5_000, ge=1, le=form.LINES_IN_A_FILE)
    max_file_bytes: int = Field(default=16_777_216, ge=1_024, le=268_435_456)
    max_answer_bytes: int = Field(default=67_108_864, ge=1_024, le=268_435_456)
    max_total_fen: int = Field(default=10**15 - 1, ge=1, le=form.GREATEST_FEN)
    max_in_flight: int = Field(default=4, ge=1, le=1_000)
    submit_interval_milliseconds: int = Field(default=0, ge=0, le=600_000)  # per login; 0 = no limit
    probe_interval_milliseconds: int = Field(default=0, ge=0, le=600_000)
    settling_seconds: int = Field(default=1_800, ge=1, le=604_800)
    acknowledgement_due_seconds: int = Field(default=3_600, ge=1, le=604_800)
    result_due_seconds: int = Field(default=86_400, ge=1, le=2_592_000)
    return_horizon_days: int = Field(default=30, ge=1, le=366)
    opens: dt.time = dt.time(0, 0)
    cut_off: dt.time = dt.time(0, 0)  # 00:00 = the end of the day
    working_days_only: bool = False
