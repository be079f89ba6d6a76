"""Makes, once, the keys and certificates of a test world: CA, server, client, signing keys, and a stranger's set.

Reusable by every test and by the demonstration: `prepare(directory)` is idempotent and returns the paths.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.world import clock

SigningKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Certificates:
    """Where everything lies below `directory/keys`; every attribute is a path of a PEM file unless said otherwise."""

    def __init__(self, directory: Path) -> None:
        self.keys = keys = directory / "keys"
        self.ca = keys / "ca.pem"
        self.server, self.server_key = keys / "server.pem", keys / "server.key"
        self.client, self.client_key = keys / "client.pem", keys / "client.key"
        self.stranger_ca = keys / "stranger_ca.pem"
        self.stranger_server, self.stranger_server_key = keys / "stranger_server.pem", keys / "stranger_server.key"
        self.stranger_client, self.stranger_client_key = keys / "stranger_client.pem", keys / "stranger_client.key"
        # Both sides' request signatures: RSA-PSS-SHA256 by default, ED25519 by naming the other pair.
        self.bank_signing, self.bank_signing_public = keys / "bank_signing.pem", keys / "bank_signing.pub.pem"
        self.gateway_signing = keys / "gateway_signing.pem"
        self.gateway_signing_public = keys / "gateway_signing.pub.pem"
        self.bank_ed25519, self.bank_ed25519_public = keys / "bank_ed25519.pem", keys / "bank_ed25519.pub.pem"
        self.gateway_ed25519 = keys / "gateway_ed25519.pem"
        self.gateway_ed25519_public = keys / "gateway_ed25519.pub.pem"
        self.stranger_signing = keys / "stranger_signing.pem"
        self.stranger_signing_public = keys / "stranger_signing.pub.pem"
        self.id_cipher_key = keys / "id_cipher.key"  # 64 hexadecimal characters
        self.mac_key = keys / "mac.key"  # text; its bytes as they stand are the key of xml_tcp


def prepare(directory: Path, *names: str) -> Certificates:
    """Make whatever is missing and return the paths; servers answer to `localhost` and to these names."""
    paths = Certificates(directory)
    paths.keys.mkdir(parents=True, exist_ok=True)
    if not paths.ca.exists():
        _family(names, paths.ca, (paths.server, paths.server_key), (paths.client, paths.client_key))
    if not paths.stranger_ca.exists():
        server = (paths.stranger_server, paths.stranger_server_key)
        _family(names, paths.stranger_ca, server, (paths.stranger_client, paths.stranger_client_key))
    for private in (paths.bank_signing, paths.gateway_signing, paths.stranger_signing):
        signing_key(private, "RSA-PSS-SHA256")
    for private in (paths.bank_ed25519, paths.gateway_ed25519):
        signing_key(private, "ED25519")
    if not paths.id_cipher_key.exists():
        _write(paths.id_cipher_key, secrets.token_hex(32).encode())
    mac_key(paths.mac_key)
    return paths


def mac_key(path: Path) -> None:
    """Make a key for the MAC of `xml_tcp` if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, secrets.token_hex(16).encode())


def signing_key(private: Path, algorithm: str) -> None:
    """Make a signing key and, beside it, its `.pub.pem`, if they are missing."""
    if private.exists():
        return
    eddsa = algorithm == "ED25519"
    key: SigningKey = ed25519.Ed25519PrivateKey.generate() if eddsa else rsa.generate_private_key(65537, 2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    _write(private.with_name(private.stem + ".pub.pem"), public)
    _write(private, _private(key))


def _private(key: SigningKey | ec.EllipticCurvePrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _write(path: Path, content: bytes) -> None:
    """All or nothing, so that a kill in the middle leaves no half a key."""
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    unfinished.chmod(0o600)
    unfinished.replace(path)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _family(names: tuple[str, ...], ca_path: Path, server: tuple[Path, Path], client: tuple[Path, Path]) -> None:
    """A CA that is forgotten after it signed one server and one client. The CA's certificate is written last."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("payout gateway test CA")
    ca = _builder(issuer, issuer, ca_key)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(_usage(signs_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = ca.add_extension(identifier, critical=False)
    for (path, key_path), common, purpose in (
        (server, "localhost", ExtendedKeyUsageOID.SERVER_AUTH),
        (client, "payout gateway", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _builder(_name(common), issuer, key)
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        leaf = leaf.add_extension(_usage(signs_certificates=False), critical=True)
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
        leaf = leaf.add_extension(authority, critical=False)
        if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
            hosts = [x509.DNSName(name) for name in ("localhost", *names)]
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            leaf = leaf.add_extension(x509.SubjectAlternativeName([*hosts, loopback]), critical=False)
        _write(key_path, _private(key))
        _write(path, leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(ca_path, ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(clock.wall_ms() / 1000, dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=3650))


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
