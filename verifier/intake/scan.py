"""What a file claims to be, by its first bytes. File names are ignored; nothing is verified."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT
from manifests.documents.consignment import CONSIGNMENT_TYPE, MAX_CONSIGNMENT
from manifests.documents.review_request import ANSWER_TYPE, MAX_ANSWER
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE
from manifests.trust.root import MAX_ROOT, ROOT_TYPE
from manifests.words.errors import HostError, MalformedError, RefusedError

FileKind = Literal["bundle", "root", "revocations", "consignment", "answer", "other"]

MAX_FILES = 10_000
MAX_DEPTH = 4
_BUNDLE = header("oci-layout", len(OCI_LAYOUT))
# Canonical JSON sorts its keys: an envelope begins with its payload and ends with its type and signatures, and an
# answer begins with the envelope of the approval and ends with its own type. Kind, beginning, type, most bytes:
_DOCUMENTS: tuple[tuple[FileKind, bytes, bytes, int], ...] = (
    ("root", b'{"payload":"', f'"payloadType":"{ROOT_TYPE}"'.encode(), MAX_ROOT),
    ("revocations", b'{"payload":"', f'"payloadType":"{REVOCATIONS_TYPE}"'.encode(), MAX_REVOCATIONS),
    ("consignment", b'{"payload":"', f'"payloadType":"{CONSIGNMENT_TYPE}"'.encode(), MAX_CONSIGNMENT),
    ("answer", b'{"approval":{"payload":"', f'"type":"{ANSWER_TYPE}"'.encode(), MAX_ANSWER),
)


@dataclass(frozen=True)
class MediaFile:
    """A file and what it claims to be. Attributes: named: a person named the file itself, not a folder with it."""

    path: Path
    kind: FileKind
    named: bool = False


def scan(path: Path) -> FileKind:
    """Return what the file claims to be; ``other`` for a link, a folder, a pipe and a file that cannot be opened.

    Raises:
        HostError: The medium has an unreadable block here.
    """
    try:
        if path.is_symlink() or not path.is_file():
            return "other"
        with path.open("rb") as file:
            data = file.read(BLOCK)
            if data == _BUNDLE:
                return "bundle"
            if any(data.startswith(begin) for _, begin, _, _ in _DOCUMENTS):
                data += file.read(MAX_CONSIGNMENT + 1 - len(data))
    except OSError as error:
        if error.errno != errno.EIO:
            return "other"
        raise HostError(
            "the medium cannot be read: input/output error",
            where=str(path),
            remedy="try another drive, or request another medium",
            finding="medium-unreadable",
        ) from None
    kinds = (
        kind for kind, begin, mark, most in _DOCUMENTS if len(data) <= most and data.startswith(begin) and mark in data
    )
    return next(kinds, "other")


def nothing_found(folder: Path, kinds: str) -> MalformedError:
    remedy = "name the file itself, or another folder"
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
            kind = scan(Path(root) / name)
            if kind != "other":
                yield MediaFile(Path(root) / name, kind)
