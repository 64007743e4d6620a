"""The first bytes of packed files. Packed files on a medium stay closed: a person unpacks them."""

import re
from dataclasses import dataclass

GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Packer:
    """A program that packs files.

    Attributes:
        begin: How a file that it packed begins.
        command: What unpacks one file: with `-c` from standard input to standard output. None for an archive of files.
    """

    name: str
    begin: re.Pattern[bytes]
    command: str | None = None


_PACKERS = (
    Packer("zip", re.compile(rb"PK(?:\x03\x04|\x05\x06)")),
    Packer("gzip", re.compile(re.escape(GZIP)), "gunzip"),
    Packer("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), "unzstd"),
    Packer("xz", re.compile(rb"\xfd7zXZ\x00"), "unxz"),
    Packer("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), "bunzip2"),
    Packer("7-Zip", re.compile(rb"7z\xbc\xaf\x27\x1c")),
    Packer("RAR", re.compile(rb"Rar!\x1a\x07")),
)


def packer_of(start: bytes) -> Packer | None:
    """Return what packed a file that begins with ``start``; None for another file."""
    return next((packer for packer in _PACKERS if packer.begin.match(start)), None)
