"""What a file claims to be, by its first bytes. File names are ignored; nothing is verified."""

import base64
import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT
from content.bundle.unfinished import SEARCHED, is_damaged_bundle, unfinished_copy
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION
from manifests.documents.consignment import CONSIGNMENT_TYPE, MAX_CONSIGNMENT
from manifests.documents.review_request import ANSWER_TYPE, MAX_ANSWER
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE
from manifests.trust.root import MAX_ROOT, ROOT_TYPE
from manifests.words.errors import MalformedError, RefusedError, WaybillError, unreadable_medium
from manifests.words.packers import DISK_SEARCHED, Packer, packer_of
from manifests.words.text import for_files

FileKind = Literal[
    "bundle",
    "root",
    "revocations",
    "consignment",
    "authorisation",
    "answer",
    "damaged",
    "unfinished",
    "unreadable",
    "packed",
    "other",
]

# Kinds of files that claim to be of the vendor and cannot be used.
BROKEN: tuple[FileKind, ...] = ("damaged", "unfinished", "unreadable")
MAX_FILES = 10_000
MAX_DEPTH = 4
_BUNDLE = header("oci-layout", len(OCI_LAYOUT))
# Names of files that are received, as the commands that write them give them.
_NAMES = re.compile(
    r"(\.tar|\.tar\.part|\.root\.json|\.revocations\.json|consignment\.json|-(approve|reject)-[0-9a-f]{12}\.json)\Z"
)
# Canonical JSON sorts its keys: an envelope begins with its payload and ends with its type and signatures, and an
# answer begins with the envelope of the approval and ends with its own type. Kind, beginning, type, most bytes:
_DOCUMENTS: tuple[tuple[FileKind, bytes, bytes, int], ...] = (
    ("root", b'{"payload":"', f'"payloadType":"{ROOT_TYPE}"'.encode(), MAX_ROOT),
    ("revocations", b'{"payload":"', f'"payloadType":"{REVOCATIONS_TYPE}"'.encode(), MAX_REVOCATIONS),
    ("consignment", b'{"payload":"', f'"payloadType":"{CONSIGNMENT_TYPE}"'.encode(), MAX_CONSIGNMENT),
    ("authorisation", b'{"payload":"', f'"payloadType":"{AUTHORISATION_TYPE}"'.encode(), MAX_AUTHORISATION),
    ("answer", b'{"approval":{"payload":"', f'"type":"{ANSWER_TYPE}"'.encode(), MAX_ANSWER),
)


@dataclass(frozen=True)
class MediaFile:
    """A file and what it claims to be. Attributes: named: a person named the file itself, not a folder with it."""

    path: Path
    kind: FileKind
    named: bool = False


def scan(path: Path, *, named: bool = False) -> FileKind:
    """Return what the file claims to be; ``named`` when a person named the file itself.

    ``other`` is a link, a folder, a pipe, a foreign file, and a file that this account may not open; ``damaged`` claims
    to be of a kind that is received and does not begin or end as that kind does; ``unfinished`` ends in the first block
    of a bundle, or is empty or begins with zeros and was named or has the name of such a file; ``unreadable`` has a
    block that the medium does not return; ``packed`` is an archive, compressed or a disk image, and may hold anything.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return "other"
        with path.open("rb") as file:
            data = file.read(BLOCK)
            if data == _BUNDLE:
                return "bundle"
            if packer_of(data) is not None:
                return "packed"
            data += file.read(SEARCHED - len(data))
            if packer_of(data) is not None:  # a disk image, which shows it later
                return "packed"
            if unfinished_copy(path.name, data, path.stat().st_size, None if named else _NAMES):
                return "unfinished"
            if is_damaged_bundle(data):
                return "damaged"
            if _may_be_document(data):
                data += file.read(MAX_CONSIGNMENT + 1 - len(data))
    except OSError as error:
        return "unreadable" if error.errno == errno.EIO else "other"
    kinds = (
        kind for kind, begin, mark, most in _DOCUMENTS if len(data) <= most and data.startswith(begin) and mark in data
    )
    return next(kinds, "damaged" if _is_damaged_document(data) else "other")


def _may_be_document(start: bytes) -> bool:
    """Whether a file that begins so is read on: it has one of our beginnings, or it is nothing but text."""
    return any(start.startswith(begin) for _, begin, _, _ in _DOCUMENTS) or b"\0" not in start


class _Typed(msgspec.Struct):
    """The fields of a JSON file that name its kind."""

    payload: str = ""
    payload_type: str = msgspec.field(name="payloadType", default="")
    type: str = ""


def _is_damaged_document(data: bytes) -> bool:
    """Whether a file that is of no known kind states one, as a document with a changed beginning, end or type does."""
    marks = [mark for _, _, mark, _ in _DOCUMENTS]
    types = [mark.split(b'"')[3] for mark in marks]
    try:
        typed = msgspec.json.decode(data, type=_Typed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return any(mark in data for mark in marks)
    if (typed.payload_type or typed.type).encode() in types:
        return True
    # The type itself may be what changed. The payload of another document of ours states another type.
    try:
        payload = base64.b64decode(typed.payload, validate=True)
    except ValueError:
        return False
    return any(b'"type":"%s"' % type_ in payload for type_ in types)


def packer_at(path: Path) -> Packer | None:
    """Return what packed a file whose kind is ``packed``; None where it cannot be read any more."""
    try:
        with path.open("rb") as file:
            return packer_of(file.read(DISK_SEARCHED))
    except OSError:
        return None


def is_disk(path: Path) -> bool:
    """Whether a file whose kind is ``packed`` is a disk image."""
    packer = packer_at(path)
    return packer is not None and packer.disk


def file_error(file: MediaFile) -> WaybillError:
    """Return the error of a file whose kind is ``damaged``, ``unfinished`` or ``unreadable``."""
    if file.kind == "unreadable":
        return unreadable_medium(OSError(errno.EIO, os.strerror(errno.EIO)), str(file.path))
    problem = "it claims to be of the vendor and is damaged: it does not begin and end as such a file does"
    remedy = "copy it again from its source"
    try:
        with file.path.open("rb") as content:
            start = content.read(SEARCHED)
        names = None if file.named else _NAMES
        if unfinished := unfinished_copy(file.path.name, start, file.path.stat().st_size, names):
            problem = unfinished
        elif _is_foreign_tar(start[:BLOCK]):
            problem = "a tar that another program wrote, with what a file of the vendor holds"
            remedy = "if a bundle lies in it, unpack it and name the folder; otherwise ask for the original file"
    except OSError as error:
        return unreadable_medium(error, str(file.path))
    return MalformedError(problem, where=str(file.path), remedy=remedy, finding="file-damaged")


def _is_foreign_tar(block: bytes) -> bool:
    """Whether a file begins with the whole header of a tar, which is not that of a bundle."""
    import tarfile

    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return block != _BUNDLE


def nothing_found(folder: Path, kinds: str, others: Sequence[MediaFile] = ()) -> MalformedError:
    """Return the error of a folder without a file of ``kinds``; ``others`` are its other files."""
    remedy = "name the file itself, or another folder"
    packed = [file.path for file in others if file.kind == "packed"]
    broken = [file_error(file) for file in others if file.kind in BROKEN]
    if broken:
        more = f" (and {len(broken) - 1} more damaged files)" if len(broken) > 1 else ""
        problem = f"the folder holds no {kinds} that can be read; {broken[0].where}: {broken[0].problem}{more}"
        remedy = for_files(broken[0].remedy, [Path(error.where).name for error in broken])
        return MalformedError(problem, where=str(folder), remedy=remedy, finding="nothing-found")
    if packed:
        more = f" and {len(packed) - 1} more" if len(packed) > 1 else ""
        verb = "mount" if is_disk(packed[0]) else "unpack"
        remedy = f"{verb} {packed[0]}{more} first, and name the folder with the content"
    return MalformedError(f"the folder holds no {kinds}", where=str(folder), remedy=remedy, finding="nothing-found")


def scan_folder(folder: Path) -> Iterator[MediaFile]:
    """Return each file of a known kind in ``folder`` and at most four levels below, by name. Follows no link.

    Raises:
        RefusedError: There are more than 10,000 files.
    """
    count = 0
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        if len(Path(root).relative_to(folder).parts) >= MAX_DEPTH:
            folders.clear()
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                problem = f"the folder holds more than {MAX_FILES} files"
                raise RefusedError(problem, where=str(folder), remedy="name the bundle itself")
            file = MediaFile(Path(root) / name, scan(Path(root) / name))
            if file.kind != "other":
                yield file
