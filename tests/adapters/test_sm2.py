"""SM2 with SM3 against the standard's example and against OpenSSL's bytes, and everything that must not verify."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from adapters import sm2
from adapters.sm2 import Sm2Missing, Sm2PrivateKey, Sm2PublicKey, is_sm2

# GB/T 32918.5, annex A: the key, the message, and the one signature that its random number gives.
NUMBER = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
X = 0x09F9DF311E5421A150DD7D161E4BC5C672179FAD1833FC076BB08FF356F35020
Y = 0xCCEA490CE26775A52DC6EA718CC1AA600AED05FBF35E084A6632F6072DA9AD13
K = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
MESSAGE = b"message digest"
SIGNATURE = R.to_bytes(32, "big") + S.to_bytes(32, "big")
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123

# Made once with OpenSSL 3.0: genpkey -algorithm SM2; dgst -sm3 -sign with distid 1234567812345678 over MESSAGE.
OPENSSL_PRIVATE = b"""\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgcZCqoVrGTSfCcTkB
FP6ohS3ersKGf/4WesFjRd7NWjqhRANCAAR2ZBffqNw6M5/2y7HeSUHj3+e6tw7o
L2pLehmlVANg/OjGKzoHJv1wNIDsRCgAtM/XMVNuzv6SsMJgbdYlHo9e
-----END PRIVATE KEY-----
"""
OPENSSL_PUBLIC = b"""\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAEdmQX36jcOjOf9sux3klB49/nurcO
6C9qS3oZpVQDYPzoxis6Byb9cDSA7EQoALTP1zFTbs7+krDCYG3WJR6PXg==
-----END PUBLIC KEY-----
"""
OPENSSL_SIGNATURE = bytes.fromhex(
    "30450221009f7c668f4f30a7fadc3465f2bc1ae5024ed2aeab710bd2f994fbf63743c256"
    "df022013dba7fb9ee943490de66b26ec34472962ab44d1547a04bf956ad232cd64bb4d"
)


def test_the_standards_example_signs_to_the_standards_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the standard's key and random number the signature is the standard's, and the public key too."""
    key = Sm2PrivateKey.of(NUMBER)
    monkeypatch.setattr(secrets, "randbits", lambda _bits: K)
    assert (key.public.x, key.public.y) == (X, Y)
    assert key.sign(MESSAGE) == SIGNATURE


def test_the_standards_signature_verifies_and_nothing_near_it_does() -> None:
    """The published signature fits its message and key; one changed bit anywhere and it does not."""
    public = Sm2PublicKey(X, Y)
    assert public.verify(MESSAGE, SIGNATURE)
    assert not public.verify(MESSAGE + b"x", SIGNATURE)
    assert not Sm2PrivateKey.generate().public.verify(MESSAGE, SIGNATURE)
    for position in (0, 31, 32, 63):
        changed = bytearray(SIGNATURE)
        changed[position] ^= 1
        assert not public.verify(MESSAGE, bytes(changed))


@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (N, 1), (1, N), (R, N - R), (2**256 - 1, 2**256 - 1)])
def test_numbers_out_of_range_never_verify(pair: tuple[int, int]) -> None:
    """r and s outside 1..n-1, or with r + s = n, are refused as the standard demands."""
    assert not Sm2PublicKey(X, Y).verify(MESSAGE, b"".join(number.to_bytes(32, "big") for number in pair))


@pytest.mark.parametrize("signature", [b"", b"\x00", SIGNATURE[:-1], SIGNATURE + b"\x00"])
def test_a_signature_has_64_bytes(signature: bytes) -> None:
    """Anything but 64 bytes is no signature, and no exception either."""
    assert not Sm2PublicKey(X, Y).verify(MESSAGE, signature)


def test_openssl_understands_us_and_we_it() -> None:
    """Keys and a signature that OpenSSL wrote are read as OpenSSL meant them, and written as it writes them."""
    private, public = Sm2PrivateKey.from_pem(OPENSSL_PRIVATE), Sm2PublicKey.from_pem(OPENSSL_PUBLIC)
    assert private.public == public
    assert public.verify_der(MESSAGE, OPENSSL_SIGNATURE)
    assert private.to_pem() == OPENSSL_PRIVATE
    assert public.to_pem() == OPENSSL_PUBLIC
    assert is_sm2(OPENSSL_PRIVATE)
    assert is_sm2(OPENSSL_PUBLIC)


def test_der_has_one_form() -> None:
    """A DER signature verifies in its canonical form only: another spelling of the same numbers is refused."""
    key = Sm2PrivateKey.of(NUMBER)
    signature = key.sign_der(MESSAGE)
    assert key.public.verify_der(MESSAGE, signature)
    padded = bytes((0x30, signature[1] + 1, 0x02, signature[3] + 1, 0x00)) + signature[4:]
    for other in (padded, signature + b"\x00", b"", SIGNATURE, encode_dss_signature(0, 1), encode_dss_signature(N, 1)):
        assert not key.public.verify_der(MESSAGE, other)


def test_a_point_off_the_curve_is_no_key() -> None:
    """A public key that is not on the curve is refused when it is made, from whatever form."""
    for x, y in ((X, Y + 1), (0, 0), (X, 2**256 - 1)):
        with pytest.raises(ValueError, match="not a public key on the SM2 curve"):
            Sm2PublicKey(x, y)
    jwk = Sm2PublicKey(X, Y).to_jwk()
    assert Sm2PublicKey.from_jwk(jwk) == Sm2PublicKey(X, Y)
    for change in ({"crv": "P-256"}, {"kty": "OKP"}, {"x": jwk["y"]}, {"x": jwk["x"] + "A"}, {"x": None}):
        with pytest.raises(ValueError, match=r"curve|base64url"):
            Sm2PublicKey.from_jwk({**jwk, **change})


def test_halves_that_do_not_belong_together_are_no_key() -> None:
    """A private key file whose public half is another key's is refused, without any of its content in the error."""
    other = Sm2PrivateKey.generate()
    mixed = Sm2PrivateKey.of(NUMBER).to_pem(), other.public
    forged = object.__new__(Sm2PrivateKey)
    object.__setattr__(forged, "number", NUMBER)
    object.__setattr__(forged, "public", mixed[1])
    with pytest.raises(ValueError, match="do not belong together") as caught:
        Sm2PrivateKey.from_pem(forged.to_pem())
    assert format(NUMBER, "x") not in str(caught.value)


@pytest.mark.parametrize("number", [0, N - 1, N, -1])
def test_private_numbers_out_of_range_are_no_keys(number: int) -> None:
    """1 to n-2, as the standard says."""
    with pytest.raises(ValueError, match="not a private key"):
        Sm2PrivateKey.of(number)


def test_other_pems_are_not_sm2() -> None:
    """Garbage, two keys in one file and keys of other curves are told apart from SM2 ones."""
    for pem in (b"", b"garbage", OPENSSL_PUBLIC + OPENSSL_PUBLIC, OPENSSL_PUBLIC.replace(b"MFkw", b"MFkx")):
        assert not is_sm2(pem)
        with pytest.raises(ValueError, match=r"PEM|curve"):
            Sm2PublicKey.from_pem(pem)


def test_a_private_key_never_prints() -> None:
    """Neither repr nor str of a private key shows its number."""
    key = Sm2PrivateKey.of(NUMBER)
    assert str(NUMBER) not in repr(key)
    assert format(NUMBER, "x") not in repr(key).lower()


def test_without_the_extra_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gmalg is not installed, the first use names the extra."""
    monkeypatch.setattr(sm2, "SM2Core", None)
    assert not sm2.installed()
    with pytest.raises(Sm2Missing, match="extra 'sm'"):
        Sm2PrivateKey.generate()
