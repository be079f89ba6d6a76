"""SM4-GCM (GB/T 32907 in the mode of RFC 8998) in the shape of the AEAD classes of ``cryptography``, which has none.

For sealed records at rest and for fields inside messages, where commercial cryptography is required.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

KEY_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class Sm4Gcm:
    """One key. Nonces have 12 bytes and are never used twice; the 16-byte tag stands after the ciphertext."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("an SM4 key has 16 bytes")
        self._key = SM4(key)

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Ciphertext and tag."""
        encryptor = Cipher(self._key, modes.GCM(_checked(nonce))).encryptor()
        encryptor.authenticate_additional_data(associated_data or b"")
        return encryptor.update(data) + encryptor.finalize() + encryptor.tag

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The plaintext; ``cryptography.exceptions.InvalidTag`` for whatever was not made by this key so."""
        if len(data) < TAG_BYTES:
            raise InvalidTag
        decryptor = Cipher(self._key, modes.GCM(_checked(nonce), data[-TAG_BYTES:])).decryptor()
        decryptor.authenticate_additional_data(associated_data or b"")
        return decryptor.update(data[:-TAG_BYTES]) + decryptor.finalize()


def _checked(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError("a nonce has 12 bytes")
    return nonce
