"""CMPP 2.0 and 3.0: ``codec`` is the bytes, ``provider`` what they mean."""

from adapters.sms.cmpp.provider import CmppProvider, CmppSettings
from adapters.sms.contract import SmsProfile

PROFILE = SmsProfile("cmpp", CmppSettings, CmppProvider)
