"""The strict tar format of bundles: exactly one valid header for each name and size.

USTAR (POSIX.1-1988), regular files only; every field but name, size and checksum is constant. A reader takes name
and size from a header, builds the header that our writer makes for them, and compares all 512 bytes.
"""

from manifests.words.errors import MalformedError

BLOCK = 512
END = bytes(2 * BLOCK)
_OCTAL_LIMIT = 8**11
_OWNER = b"0000644\0" + 2 * b"0000000\0"
_TIME = b"00000000000\0"
_AFTER = b"".join((b"0", bytes(100), b"ustar\x0000", bytes(64), 2 * b"0000000\0", bytes(167)))
_CHECKSUM = sum(_OWNER + _TIME + 8 * b" " + _AFTER)


def padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def member_length(size: int) -> int:
    """Bytes of a member in the tar: header, content, padding."""
    return BLOCK + padded(size)


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member. Sizes from 8^11 on are base-256 (a high bit, then big-endian), others octal."""
    length = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")  # F-2.3
    text = name.encode("ascii")
    checksum = b"%06o\0 " % (_CHECKSUM + sum(text) + sum(length))
    return b"".join((text.ljust(100, b"\0"), _OWNER, length, _TIME, checksum, _AFTER))


def parse_header(block: bytes, where: str) -> tuple[str, int]:
    """Name and size of a member. Raises MalformedError unless ``block`` is exactly our header for them."""
    name = block[:100].rstrip(b"\0")
    field = block[124:136]
    try:
        size = int.from_bytes(field[1:], "big") if field[:1] == b"\x80" else int(field[:11].decode("ascii"), 8)
        text = name.decode("ascii")
        same = size >= 0 and header(text, size) == block  # F-2.2
    except (ValueError, OverflowError):
        same = False
    if len(block) != BLOCK or not same:
        raise MalformedError("not a header of a bundle", where=where, finding="tar-header")
    return text, size
