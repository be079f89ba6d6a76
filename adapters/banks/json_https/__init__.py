"""``json_https``: signed JSON over HTTPS with mutual TLS, asynchronous results, signed callbacks and a query."""

from adapters.banks.json_https.bank import JsonHttpsBank, transport_of
from adapters.banks.json_https.settings import JsonHttpsSettings
from adapters.contract import Profile

PROFILE = Profile(
    "json_https",
    JsonHttpsSettings,
    JsonHttpsBank.from_settings,
    transport_of,
    rehearsal="adapters.banks.json_https.rehearsal:JsonHttpsRehearsal",
)

__all__ = ["PROFILE", "JsonHttpsBank", "JsonHttpsSettings"]
