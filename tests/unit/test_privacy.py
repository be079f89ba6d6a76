"""Sealing and blind indexes: what opens, what does not, and what nobody can compare."""

from __future__ import annotations

import base64
import json
import pickle
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from gateway.privacy import (
    BlindIndex,
    Broken,
    KeyFileFault,
    SealBroken,
    Sealer,
    SealingKey,
    canonical,
    fresh_key_file,
    load_keys,
    parse_keys,
)
from schemas.masked import AccountNumber, IdNumber, Masked, Phone
from schemas.sm4 import Sm4Gcm

OLD, NEW, OTHER = (bytes([number]) * 31 + b"k" for number in (1, 2, 3))
PLAIN = "测试甲|659999190001010000".encode()
ROW = b"payouts.sealed/1042-17"


def why(sealer: Sealer, blob: bytes, aad: bytes = ROW) -> Broken:
    with pytest.raises(SealBroken) as caught:
        sealer.unseal(blob, aad)
    assert caught.value.__cause__ is None
    said = re.fullmatch("([A-Z_]+)(?:: sealed under key ([0-9A-Za-z._-]{1,32}|[?]))?", str(caught.value))
    assert said is not None
    assert said[1] == caught.value.reason
    return caught.value.reason


def test_what_is_sealed_opens_in_its_own_row() -> None:
    """A sealed record opens with its row's context, is different each time, and shows nothing of what it holds."""
    sealer = Sealer({"k1": SealingKey(OLD)}, "k1")
    for plain in (b"", b"x", PLAIN, bytes(400_000)):
        blob = sealer.seal(plain, ROW)
        assert sealer.unseal(blob, ROW) == plain
        assert sealer.seal(plain, ROW) != blob
        assert len(blob) == len(plain) + 2 + len("k1") + 12 + 16
    assert PLAIN not in sealer.seal(PLAIN, ROW)


def test_the_blob_is_what_the_documentation_says() -> None:
    """Another program can open a blob by the module's description alone."""
    blob = Sealer({"key-2026": SealingKey(OLD)}, "key-2026").seal(PLAIN, ROW)
    suite, length = blob[0], blob[1]
    head, nonce, rest = blob[: 2 + length], blob[2 + length : 14 + length], blob[14 + length :]
    assert (suite, head[2:]) == (1, b"key-2026")
    assert AESGCM(OLD).decrypt(nonce, rest, head + ROW) == PLAIN


def test_a_blob_in_another_place_does_not_open() -> None:
    """Swapping rows or columns, or moving bytes between context and key id, is always detected."""
    sealer = Sealer({"k1": SealingKey(OLD), "k1p": SealingKey(OLD[:-1] + b"x")}, "k1")
    rows = [f"payouts.sealed/{number}".encode() for number in range(50)]
    blobs = [sealer.seal(row, row) for row in rows]
    for row in rows:
        for own, blob in zip(rows, blobs, strict=True):
            if own != row:
                assert why(sealer, blob, row) is Broken.ALTERED
    for context in (b"", ROW + b" ", ROW[1:], b"refused_lines.sealed/1042-17", b"p" + ROW):
        assert why(sealer, sealer.seal(PLAIN, ROW), context) is Broken.ALTERED


def test_an_altered_blob_does_not_open() -> None:
    """Every single byte counts, and so does every cut."""
    sealer = Sealer({"k1": SealingKey(OLD)}, "k1")
    blob = sealer.seal(PLAIN, ROW)
    for position in range(len(blob)):
        altered = bytearray(blob)
        altered[position] ^= 0x41
        assert why(sealer, bytes(altered)) in Broken
    for length in range(len(blob)):
        assert why(sealer, blob[:length]) in Broken
    for position in range(4, len(blob)):
        altered = bytearray(blob)
        altered[position] ^= 1
        assert why(sealer, bytes(altered)) is Broken.ALTERED
    for nonsense in (b"", b"\x01", b"\x03\x02k1" + bytes(40), b"\x01\x00" + bytes(40), b"\x01\xff" + bytes(40)):
        assert why(sealer, nonsense) is Broken.FORMAT


def test_keys_rotate_by_id() -> None:
    """With a new active key the old records still open, what is left to seal again is found, a lost key is named."""
    before = Sealer({"2025": SealingKey(OLD)}, "2025")
    during = Sealer({"2025": SealingKey(OLD), "2026": SealingKey(NEW)}, "2026")
    after = Sealer({"2026": SealingKey(NEW)}, "2026")
    blob = before.seal(PLAIN, ROW)
    assert during.unseal(blob, ROW) == PLAIN
    assert (during.sealed_with(blob), during.is_current(blob)) == ("2025", False)
    renewed = during.seal(during.unseal(blob, ROW), ROW)
    assert (during.sealed_with(renewed), during.is_current(renewed)) == ("2026", True)
    assert after.unseal(renewed, ROW) == PLAIN
    assert why(after, blob) is Broken.UNKNOWN_KEY
    assert why(before, renewed) is Broken.UNKNOWN_KEY
    assert why(Sealer({"2025": SealingKey(OTHER)}, "2025"), blob) is Broken.ALTERED
    with pytest.raises(SealBroken):
        during.sealed_with(b"\x09abc")


def test_sm4_seals_where_commercial_cryptography_is_required() -> None:
    """A record sealed with SM4-GCM says so in its first byte, opens by the description alone, and only in its row."""
    sealer = Sealer({"sm": SealingKey(OLD[:16], "SM4-GCM"), "aes": SealingKey(NEW)}, "sm")
    blob = sealer.seal(PLAIN, ROW)
    head, nonce, rest = blob[:4], blob[4:16], blob[16:]
    assert head == b"\x02\x02sm"
    cipher = Cipher(SM4(OLD[:16]), modes.GCM(nonce, rest[-16:])).decryptor()
    cipher.authenticate_additional_data(head + ROW)
    assert cipher.update(rest[:-16]) + cipher.finalize() == PLAIN
    assert sealer.unseal(blob, ROW) == PLAIN
    assert why(sealer, blob, b"another row") is Broken.ALTERED
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(SealBroken):
            sealer.unseal(bytes(changed), ROW)
    assert why(sealer, blob[:30]) is Broken.FORMAT


def test_suites_can_be_changed_like_keys() -> None:
    """Old AES records still open beside SM4 as the active suite, and are found to be sealed again."""
    before = Sealer({"aes": SealingKey(NEW)}, "aes")
    during = Sealer({"aes": SealingKey(NEW), "sm": SealingKey(OLD[:16], "SM4-GCM")}, "sm")
    blob = before.seal(PLAIN, ROW)
    assert during.unseal(blob, ROW) == PLAIN
    assert not during.is_current(blob)
    assert during.is_current(during.seal(PLAIN, ROW))


def test_sm4_gcm_is_the_published_one() -> None:
    """The test vector of RFC 8998, appendix A.1: ciphertext and tag, and back."""
    key, nonce = bytes.fromhex("0123456789abcdeffedcba9876543210"), bytes.fromhex("00001234567800000000abcd")
    aad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    plain = bytes.fromhex("".join(2 * letter * 8 for letter in "abcdefea"))
    sealed = bytes.fromhex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        "83de3541e4c2b58177e065a9bf7b62ec"
    )
    assert Sm4Gcm(key).encrypt(nonce, plain, aad) == sealed
    assert Sm4Gcm(key).decrypt(nonce, sealed, aad) == plain
    for wrong in (sealed[:-1], sealed[:15], b"", bytes(len(sealed))):
        with pytest.raises(InvalidTag):
            Sm4Gcm(key).decrypt(nonce, wrong, aad)
    with pytest.raises(ValueError, match="12 bytes"):
        Sm4Gcm(key).encrypt(nonce + b"x", plain, aad)
    with pytest.raises(ValueError, match="16 bytes"):
        Sm4Gcm(key + key)


def test_a_key_relabelled_is_detected() -> None:
    """The key id in the head is authenticated: the same key under another id does not open the blob."""
    blob = Sealer({"aa": SealingKey(OLD)}, "aa").seal(PLAIN, ROW)
    assert (
        why(Sealer({"aa": SealingKey(NEW), "bb": SealingKey(OLD)}, "bb"), blob.replace(b"aa", b"bb", 1))
        is Broken.ALTERED
    )


@pytest.mark.parametrize(
    ("keys", "active"),
    [
        ({}, "k1"),
        ({"k1": SealingKey(OLD)}, "k2"),
        ({"k1": SealingKey(OLD[:31])}, "k1"),
        ({"k1": SealingKey(OLD, "SM4-GCM")}, "k1"),
        ({"k1": SealingKey(OLD[:16])}, "k1"),
        ({"": SealingKey(OLD)}, ""),
        ({"k" * 33: SealingKey(OLD)}, "k" * 33),
        ({"钥": SealingKey(OLD)}, "钥"),
    ],
)
def test_a_sealer_needs_proper_keys(keys: dict[str, SealingKey], active: str) -> None:
    """A missing, short or unnamable key is refused when the sealer is made, not when a row is read."""
    with pytest.raises(KeyFileFault):
        Sealer(keys, active)


def test_blind_indexes_find_and_tell_nothing() -> None:
    """Equal numbers of one column have one index; another column, key or number has nothing in common with it."""
    ids, accounts = BlindIndex(OLD, "id_no"), BlindIndex(OLD, "account")
    number = "65999919000101002X"
    index = ids.of(IdNumber(number))
    assert isinstance(index, uuid.UUID)
    assert index == BlindIndex(OLD, "id_no").of(IdNumber(number))
    others = [
        accounts.of(AccountNumber(number)),
        BlindIndex(NEW, "id_no").of(IdNumber(number)),
        ids.of(IdNumber("659999190001010020")),
    ]
    assert len({index, *others}) == 4
    thousand = {ids.of(IdNumber(f"6599991900010{count:05d}")) for count in range(1_000)}
    assert len(thousand) == 1_000
    with pytest.raises(ValueError, match="absent"):
        ids.of(IdNumber(" \N{IDEOGRAPHIC SPACE}"))
    with pytest.raises(ValueError):
        BlindIndex(OLD, "")
    with pytest.raises(KeyFileFault):
        BlindIndex(OLD[:16], "id_no")


def test_an_index_stays_the_same_for_ever() -> None:
    """A stored index must be found again by later versions: this one is fixed here."""
    assert str(BlindIndex(OLD, "id_no").of(IdNumber("65999919000101002X"))) == FIXED_INDEX


FIXED_INDEX = "e47941f7-4f15-5499-714a-52903db03380"


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        (IdNumber, ["65999919000101002X", "65999919000101002x", " 659999 19000101 002X ", "６５９９９９19000101002X"]),
        (AccountNumber, ["6299990000007000023", "6299 9900 0000 7000 023", "6299990000007000023\n"]),
        (Phone, ["13800138000", "+86 138 0013 8000", "+8613800138000", "138\N{NO-BREAK SPACE}00138000"]),
    ],
)
def test_one_number_has_one_index(kind: type[Masked], spellings: list[str]) -> None:
    """Case, width, white space and +86 do not make another person."""
    index = BlindIndex(OLD, "column")
    assert len({index.of(kind(text)) for text in spellings}) == 1


def test_other_digits_stay_other_digits() -> None:
    """Canonical form never reads Persian or Arabic-Indic digits as ASCII ones."""
    assert canonical("۶۵۹") != "659"
    assert canonical("٦٥٩") != "659"
    assert canonical("+8612") == "+8612"


def key_file(**changes: Any) -> bytes:
    good = {"active": "k1", "sealing": {"k1": encoded(OLD), "k2": encoded(NEW)}, "blind": encoded(OTHER)}
    return json.dumps({**good, **changes}).encode()


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_a_key_file_makes_sealer_and_indexes(tmp_path: Path) -> None:
    """A key file, and one that was freshly made, give working keys; nothing that prints them shows a key."""
    (tmp_path / "keys.json").write_bytes(key_file())
    (tmp_path / "fresh.json").write_text(fresh_key_file("k9"), encoding="utf-8")
    for name, active in (("keys.json", "k1"), ("fresh.json", "k9")):
        keys = load_keys(tmp_path / name)
        sealer = keys.sealer()
        assert sealer.sealed_with(sealer.seal(PLAIN, ROW)) == active
        assert keys.blind_index("id_no").of(IdNumber("1")) != keys.blind_index("phone").of(IdNumber("1"))
        shown = f"{keys!r} {keys} {sealer!r} {keys.blind_index('id_no')!r} {keys.model_dump()} {keys.model_dump_json()}"
        for key in (*(key.secret for key in keys.sealing.values()), keys.blind):
            assert repr(key) not in repr(keys.sealing)
            assert encoded(key) not in shown
            assert repr(key)[2:-1] not in shown
        for secretive in (sealer, keys.blind_index("id_no")):
            with pytest.raises(TypeError, match="never pickled"):
                pickle.dumps(secretive)
    assert fresh_key_file() != fresh_key_file()


def test_a_key_file_may_name_its_suites() -> None:
    """An entry with a suite makes a key of that suite; a bare key is AES-256-GCM, as in every file so far."""
    sm4 = {"suite": "SM4-GCM", "key": encoded(NEW[:16])}
    keys = parse_keys(key_file(active="k2", sealing={"k1": encoded(OLD), "k2": sm4}))
    assert {kid: key.suite for kid, key in keys.sealing.items()} == {"k1": "AES-256-GCM", "k2": "SM4-GCM"}
    assert keys.sealer().seal(PLAIN, ROW)[0] == 2
    assert encoded(NEW[:16]) not in f"{keys!r} {keys.model_dump()}"


FAULTS: dict[str, tuple[bytes, str]] = {
    "unknown suite": (key_file(sealing={"k1": {"suite": "DES", "key": encoded(OLD)}}), "AES-256-GCM or SM4-GCM"),
    "suite without key": (key_file(sealing={"k1": {"suite": "SM4-GCM"}}), "a key and a suite"),
    "SM4 key too long": (key_file(sealing={"k1": {"suite": "SM4-GCM", "key": encoded(OLD)}}), "16 random bytes"),
    "suite a list": (key_file(sealing={"k1": {"suite": ["SM4-GCM"], "key": encoded(OLD)}}), "a key and a suite"),
    "no json": (b"canary", "not JSON"),
    "a list": (b"[]", "dictionary"),
    "active unknown": (key_file(active="k3"), "none of the sealing keys"),
    "no sealing keys": (key_file(sealing={}), "sealing"),
    "short key": (key_file(sealing={"k1": encoded(OLD[:31])}), "sealing.k1: .*32 random bytes"),
    "long key": (key_file(blind=encoded(OLD + b"x")), "blind: .*32 random bytes"),
    "not base64": (key_file(blind="canary!!"), "32 random bytes"),
    "base64 with a gap": (key_file(blind=encoded(OTHER)[:20] + "\n" + encoded(OTHER)[20:]), "32 random bytes"),
    "zeros": (key_file(blind=encoded(bytes(32))), "32 random bytes"),
    "a number": (key_file(blind=5), "32 random bytes"),
    "same key for both uses": (key_file(blind=encoded(OLD)), "in two places"),
    "same key twice": (key_file(sealing={"k1": encoded(OLD), "k2": encoded(OLD)}), "in two places"),
    "unknown field": (key_file(more=1), "more"),
    "an id twice": (key_file().replace(b'"k2"', b'"k1"'), "twice"),
    "id with a space": (key_file(active="k 1", sealing={"k 1": encoded(OLD)}), "active"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_key_file_is_refused_without_quoting_it(name: str) -> None:
    """A fault is found at start and named by its field; no exception in the chain holds key material."""
    raw, told = FAULTS[name]
    with pytest.raises(KeyFileFault, match=told) as caught:
        parse_keys(raw)
    seen: BaseException | None = caught.value
    while seen is not None:
        text = repr(seen) + str(seen)
        assert not any(secret in text for secret in ("canary", encoded(OLD), encoded(OTHER), encoded(OLD[:31])))
        seen = seen.__cause__ or seen.__context__
