"""Find files on a medium and say what each claims to be, by its first bytes; nothing is believed here.

This is the only place where support's program decides what a file is. File names are ignored.
"""

import base64
import hashlib
import os
import re
import shlex
import stat
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT
from manifests.documents.authorisation import AUTHORISATION_TYPE
from manifests.documents.consignment import CONSIGNMENT_TYPE
from manifests.documents.enrolment import ENROLMENT_TYPE
from manifests.documents.release import BULK_STEP
from manifests.documents.report import MAX_REPORT
from manifests.trust.revocations import REVOCATIONS_TYPE
from manifests.trust.root import ROOT_TYPE
from manifests.words.errors import MalformedError, UsageError, missing_file

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 32

FileKind = Literal["bundle", "small", "large", "special", "unreadable"]
Claim = Literal["report", "telemetry", "armour", "scanned", "picture", "enrolment", "compound", "other", "foreign"]

BUNDLE = header("oci-layout", len(OCI_LAYOUT))
# Names of files that are imported, as the commands that write them give them.
NAMES = re.compile(r"(\.tar|\.tar\.part|\.report\.json|enrolment(-[0-9]+)?\.json)\Z")
_DIGITS = re.compile(r"[0-9]+")
# A mail with photographs; longer ones are not unpacked.
MAX_MAIL = 32 << 20
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# Microsoft's compound files: mails of Outlook (.msg), and much else. A mail names its parts like this.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OUTLOOK_MAIL = "__substg1.0_".encode("utf-16-le")
# One of its two lines is enough: a text that was cut off is ours too.
_ARMOUR = re.compile(rb"(?:BEGIN|END).{1,6}WAYBILL.{1,6}REPORT", re.DOTALL)


def _encoded(text: bytes) -> tuple[bytes, ...]:
    """Return what base64 makes of ``text`` wherever it stands: one of three spellings, without the uncertain ends."""
    return tuple(base64.b64encode(bytes(i) + text)[-(-8 * i // 6) : (i + len(text)) * 8 // 6] for i in range(3))


# Words of a report file. Each is in a part of its own, so that damage leaves one of them.
_REPORT_MARKS = (b"dsseEnvelope", b'"verificationMaterial":{"publicKey":{"hint":', *_encoded(b"urn:waybill:report:"))
_SCANNED = re.compile(rb"(?:\A|[\r\n])WB1:")
_HINT = re.compile(rb'"publicKey":\{"hint":"([A-Za-z0-9+/]{43}=)"\}')
_PAYLOAD = re.compile(rb'"payload":"([A-Za-z0-9+/=]*)"')
# The keys of canonical JSON are sorted: the start of a file of telemetry.
_TELEMETRY = b'{"contract":"sha256:'
_OURS = re.compile(rb'"(?:_type|type|payloadType|predicateType)"\s*:\s*"(?:application/vnd\.waybill\.|urn:waybill:)')


@dataclass(frozen=True)
class ScannedFile:
    """A file below a path; ``why`` it is left alone, if it is."""

    path: str
    kind: FileKind
    why: str | None = None


def walk(paths: tuple[Path, ...]) -> Iterator[ScannedFile]:
    """Yield every file below ``paths``, report 10 after report 9; links and special files are named, never followed.

    Raises HostError for a path that does not exist, UsageError above a million entries.
    """
    count = 0
    for path in paths:
        if not path.exists():
            raise missing_file(str(path))
        for entry in _below(str(path.resolve()), 0):
            count += 1
            if count > MAX_ENTRIES:
                problem = f"it holds more than {MAX_ENTRIES} files"
                raise UsageError(problem, where=str(path), remedy="name a smaller folder, or the files themselves")
            yield entry


def _below(path: str, depth: int) -> Iterator[ScannedFile]:
    try:
        mode = os.lstat(path)
        if stat.S_ISDIR(mode.st_mode):
            if depth >= MAX_DEPTH:
                yield ScannedFile(path, "unreadable", f"deeper than {MAX_DEPTH} folders")
                return
            with os.scandir(path) as entries:
                children = sorted(
                    (entry.path for entry in entries),
                    key=lambda name: _DIGITS.sub(lambda number: number[0].zfill(12), name),
                )
            for child in children:
                yield from _below(child, depth + 1)
        elif stat.S_ISREG(mode.st_mode):
            yield ScannedFile(path, _kind(path, mode.st_size))
        else:
            yield ScannedFile(path, "special", "a link" if stat.S_ISLNK(mode.st_mode) else "not a regular file")
    except OSError as error:
        yield ScannedFile(path, "unreadable", (error.strerror or str(error)).lower())


def _kind(path: str, size: int) -> FileKind:
    if size >= BULK_STEP and read_start(path, BLOCK) == BUNDLE:
        return "bundle"
    return "small" if size <= MAX_REPORT else "large"


def read_start(path: str, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a regular file; never follows a link, never waits for a pipe.

    Raises OSError if it cannot be read, or is not a regular file any more.
    """
    with _open_regular(path) as file:
        parts = []
        wanted = min(limit, os.fstat(file.fileno()).st_size)
        while wanted and (part := file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


def _open_regular(path: str) -> FileIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = FileIO(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(0, "not a regular file", path)
    return file


def digest_of_file(path: str) -> str:
    """Return the digest of a whole file, read in pieces. Raises OSError as ``read_start``."""
    with _open_regular(path) as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def recognise(data: bytes) -> Claim:
    """Say what a small file claims to be: ``other`` is one of ours that support does not take, ``foreign`` is not."""
    if data.startswith(PICTURES):
        return "picture"
    if data.startswith(_COMPOUND):
        return "compound"
    if _ARMOUR.search(data):
        return "armour"
    if any(mark in data for mark in _REPORT_MARKS):
        return "report"
    if _SCANNED.search(data):
        return "scanned"
    if f'"{ENROLMENT_TYPE}"'.encode() in data:
        return "enrolment"
    if data.startswith(_TELEMETRY):
        return "telemetry"
    return "other" if _OURS.search(data) else "foreign"


_VENDOR_FILES = (
    (ROOT_TYPE, "a root document of a vendor", "nothing to import: each bundle brings it; import the bundles"),
    (
        REVOCATIONS_TYPE,
        "a revocation list of a vendor",
        "bundles bring it; without one: waybill fleet consign SITE -o MEDIUM --revocations {}",
    ),
    (
        AUTHORISATION_TYPE,
        "an authorisation of a vendor",
        "a release brings it; without one: waybill fleet consign SITE -o MEDIUM --authorisation {}",
    ),
    (CONSIGNMENT_TYPE, "a consignment", "it is for a site: waybill receive {}"),
)
_TRUST_YAML = re.compile(rb"^waybill: 1$.*^vendor:.*^roles:", re.DOTALL | re.MULTILINE)


def vendor_file(path: str, data: bytes) -> tuple[str, str] | None:
    """Return what a file of the vendor's own trust is, and what to do with it; None for any other file."""
    for type_, what, step in _VENDOR_FILES:
        if f'"payloadType":"{type_}"'.encode() in data:
            return what, step.format(shlex.quote(path))
    if _TRUST_YAML.search(data):
        return "a trust.yaml", f"it is for the vendor's trust folder: waybill trust {shlex.quote(path)}"
    return None


def is_outlook_mail(path: str) -> bool:
    """Whether a compound file is a mail. Raises OSError as ``read_start``."""
    return _OUTLOOK_MAIL in read_start(path, MAX_MAIL)


def check_enrolment(path: Path) -> None:
    """Raise MalformedError for a bundle or a report: another command takes it."""
    try:
        start = read_start(str(path.resolve()), MAX_REPORT)
    except OSError:
        return  # whoever reads the file says why it cannot be read
    claim = "bundle" if start.startswith(BUNDLE) else recognise(start)
    if claim in ("bundle", "report"):
        remedy = f"waybill fleet import {shlex.quote(str(path))}"
        raise MalformedError(f"this is a {claim}; expected an enrolment", where=str(path), remedy=remedy)


def recognise_large(start: bytes) -> Claim:
    """Say what a file that is longer than a report claims to be; foreign if none of these."""
    if start.startswith(PICTURES):
        return "picture"
    if start.startswith(_COMPOUND):
        return "compound"
    if start.startswith(_TELEMETRY):
        return "telemetry"
    return "report" if any(mark in start for mark in _REPORT_MARKS) else "foreign"


def claimed_key(data: bytes) -> str | None:
    """Return the key id in the hint of a Sigstore bundle in our form."""
    match = _HINT.search(data)
    return base64.b64decode(match[1]).hex() if match else None


def is_release_signature(data: bytes) -> bool:
    """Whether it is a signer's file out of a bundle: not a report, and nothing of a site."""
    match = _PAYLOAD.search(data)
    try:
        return match is not None and b"urn:waybill:release:" in base64.b64decode(match[1])
    except (Base64Error, ValueError):
        return False
