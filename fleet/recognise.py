"""What a small file claims to be, and by whose key; nothing here is believed."""

import base64
import re
from binascii import Error as Base64Error
from typing import Literal

from fleet.carriers import is_armour, is_scanned
from fleet.pictures import is_picture
from manifests.enrolment import ENROLMENT_TYPE

Claim = Literal["report", "armour", "scanned", "picture", "enrolment", "other", "foreign"]

_HINT = re.compile(rb'"publicKey":\{"hint":"([A-Za-z0-9+/]{43}=)"\}')
_PAYLOAD = re.compile(rb'"payload":"([A-Za-z0-9+/=]*)"')
_OURS = re.compile(rb'"(?:_type|type|payloadType|predicateType)"\s*:\s*"(?:application/vnd\.waybill\.|urn:waybill:)')


def recognise(data: bytes) -> Claim:
    """``foreign`` is left alone; ``other`` is a document of ours that support's ledger does not take."""
    if is_picture(data):
        return "picture"
    if is_armour(data):
        return "armour"
    if b"dsseEnvelope" in data:
        return "report"
    if is_scanned(data):
        return "scanned"
    if f'"{ENROLMENT_TYPE}"'.encode() in data:
        return "enrolment"
    return "other" if _OURS.search(data) else "foreign"


def claimed_key(data: bytes) -> str | None:
    """The key id in the hint of a Sigstore bundle in our form."""
    match = _HINT.search(data)
    return base64.b64decode(match[1]).hex() if match else None


def is_release_signature(data: bytes) -> bool:
    """One of the two files of a release's signer, out of its bundle: no report, and nothing of a site."""
    return b"urn:waybill:release:" in _payload(data)


def _payload(data: bytes) -> bytes:
    match = _PAYLOAD.search(data)
    try:
        return base64.b64decode(match[1]) if match else b""
    except (Base64Error, ValueError):
        return b""
