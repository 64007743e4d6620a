"""The first bytes of packed files and disk images. They stay closed on a medium: a person unpacks or mounts them."""

import re
from dataclasses import dataclass

GZIP = b"\x1f\x8b\x08"


@dataclass(frozen=True)
class Packer:
    """A program that packs files, or a kind of disk image.

    Attributes:
        begin: How a file that it packed begins.
        command: What unpacks one file: with `-c` from standard input to standard output. None for an archive of files.
        archive: What unpacks an archive of files, or mounts an image.
        disk: It is a disk image.
    """

    name: str
    begin: re.Pattern[bytes]
    command: str | None = None
    archive: str = ""
    disk: bool = False

    @property
    def what(self) -> str:
        """What a file of this kind is, to be read after *it is*."""
        return f"a disk image ({self.name})" if self.disk else f"packed with {self.name}"

    @property
    def step(self) -> str:
        """What to do with it first, with the command."""
        return f"{'mount' if self.disk else 'unpack'} it first ({self.command or self.archive} FILE)"


_DISK_MOUNT = "mount -o ro,loop"
# Up to where a disk image may show what it is.
DISK_SEARCHED = 33 << 10
_PACKERS = (
    Packer("zip", re.compile(rb"PK(?:\x03\x04|\x05\x06)"), archive="unzip"),
    Packer("gzip", re.compile(re.escape(GZIP)), "gunzip"),
    Packer("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), "unzstd"),
    Packer("xz", re.compile(rb"\xfd7zXZ\x00"), "unxz"),
    Packer("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), "bunzip2"),
    Packer("lz4", re.compile(rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18"), "unlz4"),
    Packer("lzip", re.compile(rb"LZIP[\x00\x01]"), "lzip -d"),
    Packer("lzop", re.compile(rb"\x89LZO\x00\r\n\x1a\n"), "lzop -d"),
    Packer("compress", re.compile(rb"\x1f\x9d[\x80-\x9f]"), "uncompress"),
    Packer("7-Zip", re.compile(rb"7z\xbc\xaf\x27\x1c"), archive="7z x"),
    Packer("RAR", re.compile(rb"Rar!\x1a\x07"), archive="unrar x"),
    Packer("cab", re.compile(rb"MSCF\x00{4}"), archive="cabextract"),
    # ISO 9660 and UDF have 32 KiB for a boot loader before them, mostly zeros.
    Packer("ISO 9660", re.compile(rb"(?s:.{32769})(?:CD001|BEA01)"), archive=_DISK_MOUNT, disk=True),
    # A boot sector of FAT, exFAT or NTFS, as an image of a stick begins.
    Packer(
        "FAT or NTFS",
        re.compile(rb"(?s)(?:\xeb.\x90|\xe9..)(?=.{0,79}(?:FAT1[26]|FAT32|EXFAT|NTFS)).{507}\x55\xaa"),
        archive=_DISK_MOUNT,
        disk=True,
    ),
    Packer("squashfs", re.compile(rb"hsqs"), archive=_DISK_MOUNT, disk=True),
    Packer("ext", re.compile(rb"(?s).{1080}\x53\xef[\x01-\x07]\x00"), archive=_DISK_MOUNT, disk=True),
)


def packer_of(start: bytes) -> Packer | None:
    """Return what packed a file that begins with ``start``; None for another file."""
    return next((packer for packer in _PACKERS if packer.begin.match(start)), None)
