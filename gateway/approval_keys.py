"""The keys of approvals: public ones as they stand in a key ring, private ones as an issuer keeps them.

Three algorithms, each bound to its curve: EdDSA on Ed25519, ES256 on P-256 and, with the extra ``sm``, SM2. Keys on
anything else are refused when they are read, and no error holds any of a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from adapters.sm2 import Sm2PrivateKey, Sm2PublicKey, is_sm2
from gateway.log import quotable
from schemas.strict_json import loads

Algorithm = Literal["EdDSA", "ES256", "SM2"]
PublicKey = OKPKey | ECKey | Sm2PublicKey
CURVE: Final = {"EdDSA": "Ed25519", "ES256": "P-256", "SM2": "SM2"}


@quotable
class KeyRingFault(ValueError):
    """The key ring or a private key cannot be used. The message names the entry, never key material."""


def public_key(value: object) -> PublicKey:
    """A public JWK on one of the three curves. Private parts in a key ring are refused: the file is not guarded so."""
    if not isinstance(value, dict):
        raise ValueError("public is a JWK")  # noqa: TRY004  pydantic turns a ValueError into a finding
    if value.keys() & {"d", "k", "p", "q"}:
        raise ValueError("a key ring holds public keys only")
    if value.get("crv") == "SM2":
        return Sm2PublicKey.from_jwk(value)
    # Without "use", "alg" and "key_ops": what a key may do stands in its entry, once.
    return _import({name: value[name] for name in ("kty", "crv", "x", "y") if name in value})


def curve_of(key: PublicKey) -> str:
    return "SM2" if isinstance(key, Sm2PublicKey) else str(key.curve_name)


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key of an issuer, used by the CLI and by the finance platform's example; it never prints."""

    alg: Algorithm
    key: OKPKey | ECKey | Sm2PrivateKey

    def __repr__(self) -> str:
        return f"SigningKey({self.alg})"

    @classmethod
    def load(cls, path: Path, password: bytes | None = None) -> Self:
        """From a PEM (PKCS #8) or JWK file; the curve decides the algorithm. KeyRingFault without content."""
        raw = path.read_bytes()
        try:
            if is_sm2(raw):
                return cls("SM2", Sm2PrivateKey.from_pem(raw))
            key = _import(loads(raw)) if raw.lstrip().startswith(b"{") else _import(raw, password)
        except ValueError as error:
            raise KeyRingFault(f"{path.name}: {error}") from None
        if not key.is_private:
            raise KeyRingFault(f"{path.name}: not a private key")
        return cls("EdDSA" if isinstance(key, OKPKey) else "ES256", key)

    @classmethod
    def generate(cls, alg: Algorithm) -> Self:
        if alg == "SM2":
            return cls(alg, Sm2PrivateKey.generate())
        return cls(alg, OKPKey.generate_key("Ed25519") if alg == "EdDSA" else ECKey.generate_key("P-256"))

    def public_jwk(self) -> dict[str, Any]:
        """For the key ring."""
        if isinstance(self.key, Sm2PrivateKey):
            return self.key.public.to_jwk()
        public = self.key.as_dict(private=False)
        return {name: public[name] for name in ("kty", "crv", "x", "y") if name in public}

    def to_pem(self, password: str | None = None) -> bytes:
        """PKCS #8. ValueError for an SM2 key with a password: such files are not written here."""
        if isinstance(self.key, Sm2PrivateKey):
            if password is not None:
                raise ValueError("an SM2 key file cannot be encrypted here: guard the file, or use an HSM")
            return self.key.to_pem()
        return self.key.as_pem(private=True, password=password)


def _import(value: Any, password: bytes | None = None) -> OKPKey | ECKey:
    """A key on Ed25519 or P-256, or KeyRingFault. The library's own message may quote the key, so it is dropped."""
    for family in (OKPKey, ECKey):
        try:
            key = family.import_key(value, password=password)
        except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
            continue
        if isinstance(key, OKPKey | ECKey) and key.curve_name in CURVE.values():
            return key
    raise KeyRingFault("not a key on Ed25519, P-256 or SM2, or a wrong password")
