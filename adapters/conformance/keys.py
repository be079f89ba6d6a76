"""The keys of one run: a certificate authority with a server and a client, a stranger's, and SSH host keys.

They are made anew for each run, into a directory that vanishes with it, and never leave 127.0.0.1.
"""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Final

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters.conformance.rehearsal import SFTP_USER

# Certificates are judged by the machine's clock, and their age is nothing that the kit is about.
_FROM: Final = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_TO: Final = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
SFTP_PASSWORD: Final = "made-for-one-run"  # noqa: S105


class Keys:
    """Makes everything in ``folder``; ``Site`` names the files that an adapter needs."""

    def __init__(self, folder: Path) -> None:
        authority = _Authority("the kit's authority")
        (folder / "ca.pem").write_bytes(authority.certificate_pem)
        authority.issue(folder / "server", "localhost", client=False)
        authority.issue(folder / "client", "gateway", client=True)
        stranger = _Authority("a stranger's authority")
        stranger.issue(folder / "stranger", "localhost", client=False)
        self._folder = folder
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.strange_host_key = asyncssh.generate_private_key("ssh-ed25519")
        pinned = self.host_key.export_public_key().decode("ascii")
        (folder / "known_hosts").write_text(f"* {pinned}", encoding="ascii")
        (folder / "password").write_text(SFTP_PASSWORD + "\n", encoding="ascii")

    def server_tls(self, *, stranger: bool) -> ssl.SSLContext:
        """The bank's side: insists on our client certificate. A stranger shows one that no authority of ours made."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        stem = "stranger" if stranger else "server"
        context.load_cert_chain(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        context.load_verify_locations(cafile=self._folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def may_enter(self, user: str, password: str) -> bool:
        return (user, password) == (SFTP_USER, SFTP_PASSWORD)


class _Authority:
    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate_pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, stem: Path, host: str, *, client: bool) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        stem.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
        return builder.serial_number(x509.random_serial_number()).not_valid_before(_FROM).not_valid_after(_TO)
