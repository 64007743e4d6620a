"""Find the SBOM in an in-toto statement: bare, in a DSSE envelope, or in a Sigstore bundle.

No signature is judged here: whoever takes the SBOM into a release vouches for it with the release's own signature.
The SBOM is a slice of the bytes as received, never a re-encoding.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from manifests.foreign.sbom import MAX_DEPTH, MAX_SBOM
from manifests.words.canonical import check_depth
from manifests.words.errors import MalformedError

# An SBOM in base64, and room for the statement and the signatures around it.
MAX_STATEMENT = MAX_SBOM // 3 * 4 + (1 << 20)
_MEDIA_TYPES = ("application/vnd.in-toto", "application/vnd.dsse", "application/vnd.dev.sigstore.bundle")
# Where BuildKit, cosign and Sigstore repeat the type of the predicate beside the statement.
TYPE_NOTES = ("in-toto.io/predicate-type", "predicateType", "dev.sigstore.bundle.predicateType")
_SBOM_TYPES = re.compile(r"https?://(spdx\.dev/Document|cyclonedx\.org/(bom|schema))(/.*)?", re.IGNORECASE)
# What DSSE calls the payload; older tools wrote the bare name.
_PAYLOAD = "application/vnd.in-toto+json"
T = TypeVar("T")


@dataclass(frozen=True)
class AttestedSbom:
    """An SBOM in a statement. Attributes: data: its bytes; about: SHA-256 digests of the statement's subjects."""

    data: bytes
    about: frozenset[str]


class _Envelope(Struct, frozen=True):
    payload_type: str | None = field(name="payloadType", default=None)
    payload: str | None = None


class _Outer(Struct, frozen=True):
    """A statement, an envelope or a bundle: each has its own keys."""

    payload_type: str | None = field(name="payloadType", default=None)
    payload: str | None = None
    envelope: _Envelope | None = field(name="dsseEnvelope", default=None)
    predicate_type: str | None = field(name="predicateType", default=None)


class _Subject(Struct, frozen=True):
    digest: dict[str, str | None] | None = None


class _SbomStatement(Struct, frozen=True):
    predicate_type: str | None = field(name="predicateType", default=None)
    subject: list[_Subject | None] | None = None
    predicate: Raw = Raw(b"null")


class _Wrapped(Struct, frozen=True):
    """How cosign wrapped a predicate before version 2."""

    data: Raw | UnsetType = field(name="Data", default=UNSET)


def may_hold_sbom(media_type: str, *notes: Mapping[str, str]) -> bool:
    """Whether a blob can be a statement about an SBOM, by its media type and the annotations beside it."""
    if not media_type.startswith(_MEDIA_TYPES):
        return False
    types = [beside[name] for beside in notes for name in TYPE_NOTES if name in beside]
    return not types or any(_SBOM_TYPES.fullmatch(one) for one in types)


def read_attested_sbom(data: bytes, what: str) -> AttestedSbom | None:
    """The SBOM of a statement; None for a statement about something else. Raises MalformedError."""
    if len(data) > MAX_STATEMENT:
        raise MalformedError(f"{len(data)} bytes, a statement has at most {MAX_STATEMENT}", where=what)
    outer = _decode(data, _Outer, what)
    envelope = outer.envelope or outer
    if envelope.payload is not None:
        if envelope.payload_type not in (_PAYLOAD, "in-toto"):
            return None
        data = _from_base64(envelope.payload, what)
    statement = _decode(data, _SbomStatement, what)
    if not _SBOM_TYPES.fullmatch(statement.predicate_type or ""):
        return None
    digests = ((one.digest or {}).get("sha256") for one in statement.subject or () if one is not None)
    about = frozenset(f"sha256:{digest.lower()}" for digest in digests if digest)
    return AttestedSbom(data=_predicate(bytes(statement.predicate), what), about=about)


def _predicate(data: bytes, what: str) -> bytes:
    """The document itself: cosign writes a document that is no JSON as text, and once wrapped all of them."""
    if data.startswith(b"{"):
        wrapped = _decode(data, _Wrapped, what).data
        if wrapped is UNSET:
            return data
        data = bytes(wrapped)
    if data.startswith(b'"'):
        return _decode(data, str, what).encode()
    return data


def _from_base64(text: str, what: str) -> bytes:
    # DSSE: "either standard or URL-safe encoding is allowed".
    try:
        return b64decode(text.translate({0x2D: "+", 0x5F: "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedError("the payload of the envelope is not base64", where=what) from None


def _decode(data: bytes, type_: type[T], what: str) -> T:
    check_depth(data, what, depth=MAX_DEPTH + 4)
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = str(error)
        lower = problem if problem.startswith("JSON") else problem[:1].lower() + problem[1:]
        raise MalformedError(f"not an in-toto statement: {lower}", where=what) from None
