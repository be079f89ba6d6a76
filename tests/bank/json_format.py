"""The HTTPS bank's own reading of submissions and writing of items, pages and events."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bank.book import misname
from tests.bank.model import FAILED, PAID, RETURNED, SUSPECT, Item, Line, Upload
from tests.bank.timing import dashed

# reason -> (reasonCode, text)
REASONS = {
    "ACCOUNT_NOT_FOUND": ("ACCT_NOT_FOUND", "账号不存在"),
    "NAME_MISMATCH": ("ACCT_NAME_MISMATCH", "账号户名不符"),
    "ID_MISMATCH": ("ACCT_NAME_MISMATCH", "证件号码不符"),
    "ACCOUNT_CLOSED": ("ACCT_CLOSED", "账户已销户"),
    "ACCOUNT_FROZEN": ("ACCT_FROZEN", "账户已冻结"),
    "ACCOUNT_DORMANT": ("ACCT_DORMANT", "账户长期不动"),
    "CARD_LOST_OR_EXPIRED": ("CARD_LOST", "卡已挂失"),
    "SSCARD_NOT_ACTIVATED": ("SSCARD_INACTIVE", "社保卡未激活"),
    "ACCOUNT_CLASS_LIMIT": ("CLASS_LIMIT", "账户类别限额"),
    "ACCOUNT_TYPE": ("ACCT_TYPE", "账户类型不符"),
    "BANK_CODE_INVALID": ("BANK_NO", "行号错误"),
    "AMOUNT": ("AMOUNT", "金额错误"),
    "BENEFICIARY_DECEASED": ("DECEASED", "收款人已故"),
    "DUPLICATE": ("DUPLICATE", "重复交易"),
}
_TOP = {"batchNo", "currency", "debtor", "instructionCount", "items", "purpose", "totalAmount", "valueDate"}
_KINDS = ("SSCARD", "CARD", "PASSBOOK")
_ITEM = {"accountKind", "accountName", "accountNo", "amount", "idNoCipher", "idType", "ref"}
_BATCH = re.compile(r"[0-9A-Za-z]{1,30}")
_REFERENCE = re.compile(r"[0-9A-Za-z]{1,30}")
_ACCOUNT = re.compile(r"[0-9A-Za-z]{1,34}")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,12})\.([0-9]{2})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CIPHER = "AES-256-GCM:"


class Malformed(Exception):
    """The body is not a submission; answered 400."""


def encode(value: object) -> bytes:
    """The one form of every body: UTF-8, sorted keys, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def yuan(fen: int) -> str:
    return f"{fen // 100}.{fen % 100:02d}"


def fen(text: object) -> int:
    """Yuan with exactly two decimals, as fen. Raises Malformed."""
    match = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Malformed("amount")
    return int(match[1]) * 100 + int(match[2])


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def parse_batch(body: bytes, cipher: AESGCM) -> Upload:
    """Read a submission strictly. Raises Malformed."""
    try:
        given = json.loads(body)
    except ValueError:
        raise Malformed("json") from None
    if not isinstance(given, dict) or set(given) - {"callbackUrl"} != _TOP:
        raise Malformed("keys")
    debtor, purpose, items = given["debtor"], given["purpose"], given["items"]
    if not isinstance(debtor, dict) or not _matches(_ACCOUNT, debtor.get("accountNo")) or not debtor.get("name"):
        raise Malformed("debtor")
    if not isinstance(purpose, dict) or not isinstance(purpose.get("code"), str) or not purpose.get("text"):
        raise Malformed("purpose")
    if not _matches(_BATCH, given["batchNo"]) or given["currency"] != "CNY" or not _matches(_DATE, given["valueDate"]):
        raise Malformed("head")
    if not isinstance(items, list) or not items:
        raise Malformed("items")
    read = [_item(item, number, purpose["code"], cipher) for number, item in enumerate(items, 1)]
    total = sum(item.amount_fen for item in read)
    if given["instructionCount"] != len(read) or fen(given["totalAmount"]) != total:
        raise Malformed("totals")
    if len({item.reference for item in read}) != len(read):
        raise Malformed("references")
    batch, code = given["batchNo"], purpose["code"]
    return Upload(batch, "POST /v1/batches", body, digest(body), debtor["accountNo"], code, total, read)


def _item(given: Any, number: int, programme: str, cipher: AESGCM) -> Item:
    if not isinstance(given, dict) or set(given) != _ITEM:
        raise Malformed("item")
    reference, account, name, sealed = given["ref"], given["accountNo"], given["accountName"], given["idNoCipher"]
    if not _matches(_REFERENCE, reference) or not _matches(_ACCOUNT, account):
        raise Malformed("item")
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 100
        or given["accountKind"] not in ("SSCARD", "CARD", "PASSBOOK")
    ):
        raise Malformed("item")
    amount = fen(given["amount"])
    if amount <= 0 or not isinstance(sealed, str) or not sealed.startswith(_CIPHER):
        raise Malformed("item")
    try:
        box = base64.b64decode(sealed[len(_CIPHER) :], validate=True)
        id_no = cipher.decrypt(box[:12], box[12:], reference.encode()).decode()
    except (binascii.Error, InvalidTag, ValueError):
        raise Malformed("cipher") from None
    return Item(number, reference, account, name, id_no, amount, programme, "")


def reason_code(line: Line) -> str:
    """The bank's code of a line as it stands; empty where there is none."""
    if line.status in (FAILED, RETURNED):
        return REASONS.get(line.plan.reason, (line.plan.reason, ""))[0]
    return ""


def item(line: Line) -> dict[str, object]:
    """A line as it stands, in the form of pages, single items and callbacks."""
    out: dict[str, object] = {
        "amount": yuan(line.paid_fen or line.amount_fen),
        "ref": misname(line.reference) if line.misnamed else line.reference,
    }
    if line.status in (PAID, RETURNED):
        out["bankRef"] = line.host_ref
        out["postDate"] = dashed(line.post_date)
    if line.status == PAID:
        out["status"] = "SUCCESS"
    elif line.status in (FAILED, RETURNED):
        code, text = REASONS.get(line.plan.reason, (line.plan.reason, "交易失败"))
        out["status"] = "FAILED" if line.status == FAILED else "RETURNED"
        out["reasonCode"], out["reason"] = code, text
    elif line.status == SUSPECT:
        out["status"] = "UNKNOWN"
    else:
        out["status"] = "PENDING_REVIEW" if line.plan.seconds % 2 else "PROCESSING"
    return out


def stale(line: Line) -> dict[str, object]:
    """A line as it stood before anything happened."""
    return {"amount": yuan(line.amount_fen), "ref": line.reference, "status": "PROCESSING"}


def event(event_id: str, batch: str, items: list[dict[str, object]]) -> bytes:
    return encode({"batchNo": batch, "eventId": event_id, "items": items, "type": "ITEMS_FINAL"})
