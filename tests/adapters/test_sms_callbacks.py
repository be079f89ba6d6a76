"""Delivery reports by callback: believed when signed, fresh and well formed, and otherwise refused with a reason."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from adapters.contract import CallbackRefused
from adapters.sms.contract import Billed, SmsReport, SmsStatus
from adapters.sms.http_batch import HttpBatch
from tests.adapters.sms_kit import DELIVERED, KEY, NOW, reports, settings, signed


@pytest.fixture
def provider(tmp_path: Path) -> HttpBatch:
    return HttpBatch("sms", settings(tmp_path, "http://127.0.0.1:1"))


def test_a_true_callback_is_read(provider: HttpBatch) -> None:
    """A signed report of now is believed; header names may come in any case, the signature too."""
    body = reports(DELIVERED)
    headers = {name.lower(): value.upper() for name, value in signed(body).items()}
    assert provider.verify_report_callback(headers, body, NOW) == [
        SmsReport("1042-1-1-ARRIVAL", "M1", SmsStatus.DELIVERED, Billed.SENDER, "7")
    ]


def _forgeries() -> dict[str, tuple[dict[str, str], bytes, str]]:
    body = reports(DELIVERED)
    true = signed(body)
    other = reports({**DELIVERED, "status": "UNDELIV"})
    unlisted = json.dumps({"reports": [{**DELIVERED, "phone": "13800000001"}]}).encode()
    minutes = dt.timedelta(minutes=1)
    return {
        "no signature": ({"X-Timestamp": true["X-Timestamp"]}, body, "UNSIGNED"),
        "no time": ({"X-Signature": true["X-Signature"]}, body, "UNSIGNED"),
        "a stranger's key": (signed(body, key=b"another key of thirty-two bytes!"), body, "BAD_SIGNATURE"),
        "other bytes": (true, other, "BAD_SIGNATURE"),
        "other time": ({**true, "X-Timestamp": str(int(true["X-Timestamp"]) + 1)}, body, "BAD_SIGNATURE"),
        "not text": ({**true, "X-Signature": "\udcff" * 64}, body, "BAD_SIGNATURE"),
        "a time that is none": ({**true, "X-Timestamp": "\udcff"}, body, "BAD_SIGNATURE"),
        "old": (signed(body, NOW - 6 * minutes), body, "STALE"),
        "early": (signed(body, NOW + 6 * minutes), body, "FROM_THE_FUTURE"),
        "no JSON": (signed(b"{"), b"{", "FORM"),
        "more than agreed": (signed(unlisted), unlisted, "FORM"),
        "too long": (signed(b" " * 2_000_000), b" " * 2_000_000, "OVERSIZE"),
    }


@pytest.mark.parametrize("forgery", _forgeries())
def test_forged_and_old_callbacks_are_refused(provider: HttpBatch, forgery: str) -> None:
    """Unsigned, forged, altered, old, early, oversize or malformed reports are refused, each with its reason."""
    headers, body, reason = _forgeries()[forgery]
    with pytest.raises(CallbackRefused) as caught:
        provider.verify_report_callback(headers, body, NOW)
    assert caught.value.reason == reason


def test_our_own_request_is_no_callback(provider: HttpBatch) -> None:
    """A request of ours thrown back at the gateway does not pass for a report: the signed forms differ."""
    body = reports(DELIVERED)
    timestamp = str(int(NOW.timestamp()))
    request = f"POST\n/sms/batch\n{timestamp}\n{hashlib.sha256(body).hexdigest()}"
    ours = hmac.new(KEY, request.encode(), hashlib.sha256).hexdigest()
    with pytest.raises(CallbackRefused, match="BAD_SIGNATURE"):
        provider.verify_report_callback({"X-Timestamp": timestamp, "X-Signature": ours}, body, NOW)


def test_a_charged_receiver_is_surfaced(provider: HttpBatch) -> None:
    """A callback that says the person paid says so to the core too; one that does not say who paid, neither."""
    silent = {key: value for key, value in DELIVERED.items() if key != "billed"}
    body = reports({**DELIVERED, "billed": "RECEIVER"}, DELIVERED, silent)
    told = provider.verify_report_callback(signed(body), body, NOW)
    assert [each.billed for each in told] == [Billed.RECEIVER, Billed.SENDER, None]
