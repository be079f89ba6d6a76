"""A throw-away certificate authority for channel tests: one CA, a server for ``localhost``, a client."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Fixed and generous: certificates are judged by the real clock. One that is over was good for a day, long ago.
_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_LONG_AGO = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
_TO = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Pem:
    certificate: Path
    key: Path


class Authority:
    """Issues certificates into ``folder``; each instance is a stranger to every other."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(name)
        builder = _builder(self._subject, self._subject, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, *, client: bool = False) -> Pem:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        return self._keep(self._leaf(host, self._subject, key, usage).sign(self._key, hashes.SHA256()), key, host)

    def expired(self, host: str) -> Pem:
        """Right in everything but that its time is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(host, self._subject, key, ExtendedKeyUsageOID.SERVER_AUTH, until=_LONG_AGO)
        return self._keep(leaf.sign(self._key, hashes.SHA256()), key, f"expired-{host}")

    def self_signed(self, host: str) -> Pem:
        """A leaf that nobody issued: its own name as issuer, its own key under it."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(host, _name(host), key, ExtendedKeyUsageOID.SERVER_AUTH)
        return self._keep(leaf.sign(key, hashes.SHA256()), key, f"self-signed-{host}")

    def _leaf(
        self,
        host: str,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        usage: x509.ObjectIdentifier,
        until: dt.datetime = _TO,
    ) -> x509.CertificateBuilder:
        builder = _builder(_name(host), issuer, key.public_key(), until)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)

    def _keep(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, name: str) -> Pem:
        stem = f"{self.file.stem}-{name}"
        pem = Pem(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pem.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pem

    def server_context(self, pem: Pem, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """A server that insists on a client certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        context.load_cert_chain(pem.certificate, pem.key)
        context.load_verify_locations(cafile=self.file)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, until: dt.datetime = _TO
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(_FROM).not_valid_after(until)
