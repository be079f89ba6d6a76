"""SMPP 3.4 for aggregators: ``codec`` is the bytes, by way of ``smpplib``; ``provider`` is what they mean."""

from adapters.sms.contract import SmsProfile
from adapters.sms.smpp.provider import SmppProvider, SmppSettings

PROFILE = SmsProfile("smpp", SmppSettings, SmppProvider)
