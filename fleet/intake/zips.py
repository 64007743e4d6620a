"""Read the members of a zip archive, as mail programs and people make them of reports.

Nothing is believed here. The sizes that the archive states are not used: what is read counts. Archives inside an
archive stay closed.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.words.errors import MalformedError

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
MAX_MEMBERS = 256
MAX_MEMBER = 32 << 20
# Of one file that is unpacked, with all archives in it.
MAX_UNPACKED = 64 << 20
UNREADABLE = "archive-unreadable"
# The finding of what is packed inside an archive or a mail.
NESTED = "packed"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_REMEDY = "ask for the report as a file of its own, or unpack the archive and import what is in it"


@dataclass
class Unpacking:
    """How many bytes may still be unpacked."""

    left: int = MAX_UNPACKED


@dataclass(frozen=True)
class ZipMember:
    """A member: its bytes, or why it cannot be read."""

    name: str
    content: bytes | MalformedError


def is_zip(start: bytes) -> bool:
    return start.startswith(ZIP)


def members_of(raw: bytes, name: str, unpacking: Unpacking) -> Iterator[ZipMember]:
    """Yield each file of an archive, by name; a broken member does not keep the others out.

    Raises MalformedError for an archive that cannot be opened, and above the limits on members and bytes.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, IndexError) as error:
        words = "damaged or cut off" if isinstance(error, zipfile.BadZipFile | EOFError) else type(error).__name__
        raise _unreadable(f"the zip archive cannot be opened: {words}", name) from None
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MAX_MEMBERS:
            raise _unreadable(f"the zip archive holds {len(infos)} files; at most {MAX_MEMBERS} are read", name)
        for number, info in enumerate(infos, 1):
            where = f"{name}, file {number}"
            yield ZipMember(where, _read(archive, info, where, unpacking))


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, unpacking: Unpacking) -> bytes | MalformedError:
    if info.flag_bits & _ENCRYPTED:
        return _unreadable("it is encrypted with a password", where)
    if info.compress_type not in _METHODS:
        return _unreadable(f"it is packed by method {info.compress_type}; read are stored and deflated files", where)
    most = min(MAX_MEMBER, unpacking.left)
    try:
        with archive.open(info) as member:
            data = member.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        return _unreadable(f"it is damaged: {type(error).__name__}", where)
    unpacking.left -= min(len(data), most)
    if len(data) > most:
        raise _unreadable(
            f"it unpacks to more than {MAX_UNPACKED >> 20} MiB in all, or one file to more than {MAX_MEMBER >> 20} MiB",
            where,
        )
    return data


def nested(packer: str, where: str) -> MalformedError:
    """Return the error of a file that is packed inside an archive or a mail, and stays closed."""
    problem = f"packed with {packer} inside another file, which is not opened"
    remedy = "unpack or save the outer file, unpack this one too, then import the folder with the content"
    return MalformedError(problem, where=where, remedy=remedy, finding=NESTED)


def _unreadable(problem: str, where: str) -> MalformedError:
    return MalformedError(problem, where=where, remedy=_REMEDY, finding=UNREADABLE)
