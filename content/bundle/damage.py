"""Describe damage on a medium: the members that are damaged, and their byte ranges."""

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manifests.words.errors import DamagedError, Piece

# Unreadable ranges are found in blocks of this many bytes; a drive may take seconds for each that fails.
BLOCK = 4096
STRIDE = 64 << 10
MAX_FAILURES = 64
# So many pieces are named in the message; ``--json`` has all of them.
SHOWN = 4

HOW = {"changed": "not what the release says", "unreadable": "unreadable", "cut-short": "missing"}


@dataclass(frozen=True)
class DamagedRange:
    """Bytes ``start`` to ``end`` (not included) of a bundle file, and the member that they belong to."""

    name: str
    digest: str
    start: int
    end: int
    how: str = "changed"


def unreadable(descriptor: int, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """The ranges between ``start`` and ``end`` that cannot be read; after too many failures all of the rest."""
    stretches: list[tuple[int, int]] = []
    failures = 0
    at = start
    while at < end:
        stop = min(end, (at // STRIDE + 1) * STRIDE)
        if not _reads(descriptor, at, stop):
            for block in range(at - at % BLOCK, stop, BLOCK):
                piece = (max(at, block), min(stop, block + BLOCK))
                if failures >= MAX_FAILURES:
                    return _merged([*stretches, (piece[0], end)])
                if not _reads(descriptor, *piece):
                    failures += 1
                    stretches.append(piece)
        at = stop
    return _merged(stretches)


def _reads(descriptor: int, start: int, end: int) -> bool:
    try:
        while start < end and (data := os.pread(descriptor, end - start, start)):
            start += len(data)
    except OSError:
        return False
    return True


def _merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join ranges that touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def damage(damaged: Iterable[DamagedRange], what: str, uses: Mapping[str, str]) -> DamagedError:
    """The error that names every damaged range of the bundle ``what``, in order; ``uses`` are texts by digest."""
    ordered = sorted(damaged, key=lambda one: (one.start, one.end))
    pieces = tuple(Piece(one.name, one.start, one.end, one.how, uses.get(one.digest, "")) for one in ordered)
    first, more = pieces[0], len(pieces) - 1
    label = f"{first.name} ({first.use})" if first.use else first.name
    problem = f"{label} is {HOW[first.how]}, bytes {first.start} to {first.end}"
    others = [f"{one.use or one.name}, bytes {one.start} to {one.end}" for one in pieces[1:SHOWN]]
    if others:
        problem += f"; and {more} more: {'; '.join(others)}" + ("; …" if more >= SHOWN else "")
    unread = all(one.how == "unreadable" for one in pieces)
    return DamagedError(
        problem,
        where=what,
        remedy=("try another drive, or " if unread else "") + recut(pieces, what),
        finding="bulk-unreadable" if unread else "bulk-damaged",
        pieces=pieces,
    )


def recut(pieces: tuple[Piece, ...], what: str) -> str:
    """The hint: one command for each range, which copies it from a good copy into the bundle ``what``."""
    ranges = _merged((one.start, one.end) for one in pieces)
    commands = ", ".join(
        f"`dd if=GOOD of={shlex.quote(what)} conv=notrunc iflag=skip_bytes,count_bytes oflag=seek_bytes "
        f"skip={start} seek={start} count={end - start}`"
        for start, end in ranges[:SHOWN]
    )
    more = f", and {len(ranges) - SHOWN} more (--json)" if len(ranges) > SHOWN else ""
    return f"request a good copy, GOOD, then {commands}{more}"
