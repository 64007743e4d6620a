"""Digests, sizes, and the field types that documents share."""

import hashlib
import re
from typing import Annotated

from msgspec import Meta

from manifests.words.canonical import Document

MAX_INTEGER = 2**53 - 1
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The beginning of a digest that a person names, where it is compared with one digest only.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

# `\Z`, because `$` would let a trailing newline through.
Digest = Annotated[str, Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]  # F-4.11
KeyId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Integer = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]  # F-4.5
Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,127}\Z")]  # F-4.9
Version = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._+-]{0,127}\Z")]
# What waits for people: `r-1.4.2`, `config`, `b-3`.
ItemId = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._+-]{0,127}\Z")]
Word = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
SiteId = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,127}(/[a-z0-9][a-z0-9._-]{0,127}){3}\Z")]
Time = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
Date = Annotated[str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
# Shown, never compared. Control characters are refused by number, not by a Unicode table that ages.
Text = Annotated[str, Meta(max_length=4096, pattern="\\A[^\x00-\x1f\x7f-\x9f]*\\Z")]  # F-4.10
Key = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,127}\Z")]  # F-4.7
# OCI repository names (distribution-spec, pulling manifests) and MIME types (RFC 6838).
_REPOSITORY = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
Repository = Annotated[str, Meta(max_length=255, pattern=rf"\A{_REPOSITORY}\Z")]
Tag = Annotated[str, Meta(pattern=rf"\A{_TAG}\Z")]
RepositoryTag = Annotated[str, Meta(max_length=384, pattern=rf"\A{_REPOSITORY}(:{_TAG})?\Z")]
MediaType = Annotated[
    str,
    Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]{1,100})?\Z"),
]
Platform = Annotated[str, Meta(pattern=r"\A[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?\Z")]


class Blob(Document, frozen=True, kw_only=True, gc=False):
    """Points at opaque bytes by digest and length."""

    digest: Digest
    size: Size


def digest_of(data: bytes) -> str:
    """The OCI digest, ``sha256:`` and 64 lower-case hex digits, of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()  # F-4.12: over what was received, never over a re-encoding


def is_digest(text: str) -> bool:
    return DIGEST.fullmatch(text) is not None


def blob_name(digest: str) -> str:
    """Where an OCI layout keeps the blob: ``blobs/sha256/<hex>`` (image-layout.md)."""
    return "blobs/" + digest.replace(":", "/")
