"""Recognise unfinished copies: what a medium that was removed too early holds in place of a file of ours."""

import re

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT

_BUNDLE = header("oci-layout", len(OCI_LAYOUT))
# The name of the first member and a part of its padding: fewer bytes say nothing.
_LEAST = 16


def unfinished_copy(name: str, start: bytes, size: int, ours: re.Pattern[str]) -> str | None:
    """Return why a file of ``size`` bytes that begins with ``start`` is an unfinished copy, or None.

    A file that ends in the first block of a bundle shows by itself that it is ours. Of an empty file and of one that
    begins with zeros only the name is left to show that: ``ours`` is found in it.
    """
    if _LEAST <= size < BLOCK and _BUNDLE.startswith(start):
        return f"an unfinished copy of a bundle: it ends after {size} bytes"
    if start.strip(b"\0") or not ours.search(name):
        return None
    if not size:
        return "an unfinished copy: it is empty"
    return f"an unfinished copy: it {'holds' if size == len(start) else 'begins with'} {len(start)} zeros"
