"""The configuration section of one bank of this profile: keys, channel, and what was agreed with the bank."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adapters.wire.clear import plain_http
from adapters.wire.http import HttpLimits, KeyFile, TlsFiles

Algorithm = Literal["RSA-PSS-SHA256", "ED25519", "SM2-SM3"]


class JsonHttpsSettings(BaseModel):
    """Seconds are the gateway clock's (the bank's promises are business time); milliseconds in ``http`` are real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # The channel. Key files are PEM, but for the ID cipher: 64 hexadecimal digits for AES-256-GCM, 32 for SM4-GCM.
    base_url: str = Field(pattern=r"^https://[A-Za-z0-9.\-]+(:[0-9]{1,5})?$")
    app_id: str = Field(pattern=r"^[A-Za-z0-9._\-]{1,64}$")
    tls: TlsFiles
    signing_algorithm: Algorithm = "RSA-PSS-SHA256"
    signing_key_file: KeyFile
    bank_signing_algorithm: Algorithm = "RSA-PSS-SHA256"
    bank_public_key_file: KeyFile
    id_cipher: Literal["AES-256-GCM", "SM4-GCM"] = "AES-256-GCM"
    id_cipher_key_file: KeyFile
    callback_url: str = Field(pattern=r"^https?://[\x21-\x7e]{1,200}$")  # where the bank calls back
    http: HttpLimits = HttpLimits()

    # The agreement with the bank.
    callback_is_proof: bool = False  # False: what a callback says is confirmed by a query first
    max_lines: int = Field(1_000, ge=1, le=20_000)
    max_bytes: int = Field(2_000_000, ge=1_000, le=16_000_000)
    max_total_fen: int = Field(10_000_000_000_00, ge=1)
    items_per_page: int = Field(500, ge=1, le=500)
    max_in_flight: int = Field(4, ge=1, le=1_000)  # submissions
    submit_interval_milliseconds: int = Field(0, ge=0, le=600_000)  # real time, per login; 0 = no limit
    probe_interval_milliseconds: int = Field(0, ge=0, le=600_000)
    settling_seconds: int = Field(1_800, ge=0, le=172_800)  # after which "not found" is the bank's word
    idempotency_window_seconds: int = Field(7 * 86_400, ge=0)
    acknowledgement_due_seconds: int = Field(300, ge=1)
    result_due_seconds: int = Field(86_400, ge=1)
    return_horizon_days: int = Field(10, ge=0, le=365)
    opens: dt.time = dt.time(0, 0)
    cut_off: dt.time = dt.time(0, 0)  # 00:00 = midnight, end of the day
    working_days_only: bool = False

    @field_validator("callback_url")
    @classmethod
    def _leads_to_a_host(cls, url: str) -> str:
        if not urlsplit(url).hostname:
            raise ValueError("names no host")
        return url

    def in_the_clear(self) -> tuple[str, ...]:
        """What the bank calls back travels as its URL says; we ourselves speak to it by TLS alone."""
        return plain_http(self.callback_url)
