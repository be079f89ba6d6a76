"""``xml_tcp``: length-prefixed XML over TCP to a bank's front-end machine (前置机), with a MAC and a query."""

from adapters.banks.xml_tcp.bank import XmlTcpBank, transport_of
from adapters.banks.xml_tcp.settings import XmlTcpSettings
from adapters.contract import Profile

PROFILE = Profile(
    "xml_tcp",
    XmlTcpSettings,
    XmlTcpBank.from_settings,
    transport_of,
    rehearsal="adapters.banks.xml_tcp.rehearsal:XmlTcpRehearsal",
)

__all__ = ["PROFILE", "XmlTcpBank", "XmlTcpSettings"]
