"""Recognise damaged bundles, and unfinished copies: what a medium that was removed too early holds of our files."""

import re

from content.bundle.archive import BLOCK, header, parse_header
from content.bundle.head import OCI_LAYOUT
from manifests.words.errors import MalformedError
from manifests.words.packers import packer_of

_BUNDLE = header("oci-layout", len(OCI_LAYOUT))
# The name of the first member and a part of its padding: fewer bytes say nothing.
_LEAST = 16
# So much of a file is searched for a member of a head when its first block is not that of a bundle.
SEARCHED = 64 << 10
# So few bytes of the first block may differ before a file with nothing else of ours is foreign.
_FEW = 8
_HEAD_NAMES = ("release.json", "signatures/", "trust/", "reserve")


def unfinished_copy(name: str, start: bytes, size: int, ours: re.Pattern[str] | None) -> str | None:
    """Return why a file of ``size`` bytes that begins with ``start`` is an unfinished copy, or None.

    A file that ends in the first block of a bundle shows by itself that it is ours. Of an empty file and of one that
    begins with zeros only the name is left to show that: ``ours`` is found in it. ``ours`` is None for a file that a
    person named: whatever it is called, it was meant.
    """
    if _LEAST <= size < BLOCK and _BUNDLE.startswith(start):
        return f"an unfinished copy of a bundle: it ends after {size} bytes"
    copied = len(start[:BLOCK].rstrip(b"\0"))
    if copied >= _LEAST and _BUNDLE.startswith(start[:copied]) and start[:BLOCK] != _BUNDLE[: len(start)]:
        return f"an unfinished copy of a bundle: it holds zeros after {copied} bytes"
    # A disk image may begin with many zeros.
    if start.strip(b"\0") or (ours is not None and not ours.search(name)) or packer_of(start) is not None:
        return None
    if not size:
        return "an unfinished copy: it is empty"
    return f"an unfinished copy: it {'holds' if size == len(start) else 'begins with'} {len(start)} zeros"


def is_damaged_bundle(start: bytes) -> bool:
    """Whether the first block is nearly that of a bundle, or a member of a head follows at a block's boundary."""
    if len(start) < BLOCK or b"\0" not in start:  # text, such as a report, has no zero
        return False
    if sum(a != b for a, b in zip(start[:BLOCK], _BUNDLE, strict=True)) <= _FEW:
        return True
    return any(_is_head_member(start[at : at + BLOCK]) for at in range(BLOCK, len(start) - BLOCK + 1, BLOCK))


def _is_head_member(block: bytes) -> bool:
    if not block.startswith(tuple(name.encode() for name in _HEAD_NAMES)):
        return False
    try:
        parse_header(block, "")
    except MalformedError:
        return False
    return True
