"""Name what packed a file, by its first bytes. Packed files on a medium stay closed: a person unpacks them."""

import re

_PACKERS = (
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), "zip"),
    (re.compile(rb"\x1f\x8b\x08"), "gzip"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zstd"),
    (re.compile(rb"\xfd7zXZ\x00"), "xz"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "bzip2"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "7-Zip"),
    (re.compile(rb"Rar!\x1a\x07"), "RAR"),
)


def packer_of(start: bytes) -> str | None:
    """Return the name of the program that packed a file which begins with ``start``; None for another file."""
    return next((name for begin, name in _PACKERS if begin.match(start)), None)
