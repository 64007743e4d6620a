"""Find files of ours on a medium and say what each claims to be, by its first bytes; nothing is believed here."""

import base64
import os
import re
import stat
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT
from fleet.intake.pictures import is_picture
from fleet.intake.transports import is_armour, is_scanned
from manifests.documents.enrolment import ENROLMENT_TYPE
from manifests.documents.release import BULK_STEP
from manifests.documents.report import MAX_REPORT
from manifests.words.errors import HostError, UsageError

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 32


FileKind = Literal["bundle", "small", "large", "special", "unreadable"]
_BUNDLE = header("oci-layout", len(OCI_LAYOUT))
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class ScannedFile:
    """Something found below a path; ``why`` it is left alone, where it is."""

    path: str
    kind: FileKind
    why: str = ""


def walk(paths: tuple[Path, ...]) -> Iterator[ScannedFile]:
    """Every file below ``paths``, report 10 after report 9; symlinks and special files are named and left alone.

    Raises:
        HostError: A path that was named does not exist.
        UsageError: More than a million entries.
    """
    count = 0
    for path in paths:
        if not path.exists():
            raise HostError("no such file or folder", where=str(path))
        for entry in _below(str(path.resolve()), 0):
            count += 1
            if count > MAX_ENTRIES:
                raise UsageError(
                    f"more than {MAX_ENTRIES} files", where=str(path), remedy="name a smaller folder, or the files"
                )
            yield entry


def _below(path: str, depth: int) -> Iterator[ScannedFile]:
    try:
        mode = os.lstat(path)
        if stat.S_ISDIR(mode.st_mode):
            if depth >= MAX_DEPTH:
                yield ScannedFile(path, "unreadable", f"deeper than {MAX_DEPTH} folders")
                return
            with os.scandir(path) as found:
                children = sorted((one.path for one in found), key=_by_number)
            for child in children:
                yield from _below(child, depth + 1)
        elif stat.S_ISREG(mode.st_mode):
            yield ScannedFile(path, _kind(path, mode.st_size))
        else:
            yield ScannedFile(path, "special", "a link" if stat.S_ISLNK(mode.st_mode) else "not a regular file")
    except OSError as error:
        yield ScannedFile(path, "unreadable", (error.strerror or str(error)).lower())


def _by_number(path: str) -> str:
    return _DIGITS.sub(lambda match: match[0].zfill(12), path)


def _kind(path: str, size: int) -> FileKind:
    if size >= BULK_STEP and read_start(path, BLOCK) == _BUNDLE:
        return "bundle"
    return "small" if size <= MAX_REPORT else "large"


def read_start(path: str, limit: int) -> bytes:
    """At most ``limit`` bytes of a regular file; never follows a link, never waits for a pipe.

    Raises:
        OSError: It cannot be read, or is no regular file any more.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "not a regular file", path)
        parts = []
        wanted = min(limit, found.st_size)
        while wanted and (part := file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


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
