"""Where each member of the bulk lies in the file of a bundle."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct

from content.bundle.archive import BLOCK, END, header, member_length, parse_header
from content.bundle.damage import DamagedRange
from manifests.documents.release import Release
from manifests.words.digest import Blob, blob_name
from manifests.words.errors import OTHER_MEDIUM, DamagedError, MalformedError, unreadable_medium

_OWN_NAMES = ("index.json", "VERIFY.txt")


class MemberLocation(Struct, frozen=True, gc=False):
    """Where a member's bytes begin in the bundle file; its header is the block before. Names of blobs are not kept."""

    blob: Blob
    offset: int
    own_name: str | None

    @property
    def name(self) -> str:
        return self.own_name or blob_name(self.blob.digest)


@dataclass(frozen=True)
class Bulk:
    """Which members of a release a bundle holds.

    Attributes:
        present: Members that are there, in order.
        missing: Members that are not (a delta, or damage).
        length: Bytes of the whole bundle.
        cut: The archive ends before its end mark, so the bundle is damaged and not a delta.
    """

    release: Release
    present: tuple[MemberLocation, ...]
    missing: tuple[Blob, ...]
    length: int
    cut: bool = False


def member_name(index: int, blob: Blob) -> str:
    """The name of ``members[index]``: index.json, VERIFY.txt, then blobs by digest."""
    return _OWN_NAMES[index] if index < 2 else blob_name(blob.digest)  # F-9.3


def _location(index: int, blob: Blob, at: int) -> MemberLocation:
    """The place of ``members[index]``, whose header is at ``at``."""
    return MemberLocation(blob, at + BLOCK, _OWN_NAMES[index] if index < 2 else None)


def bundle_length(release: Release) -> int:
    """Bytes of a complete bundle of ``release``."""
    return release.bulk_at + sum(member_length(one.size) for one in release.members) + len(END)


def complete_places(release: Release) -> tuple[MemberLocation, ...]:
    """Where each member is in a complete bundle, computed from ``release.json`` alone."""
    places = []
    at = release.bulk_at
    for i, blob in enumerate(release.members):
        places.append(_location(i, blob, at))
        at += member_length(blob.size)
    return tuple(places)


def find_places(descriptor: int, release: Release, what: str) -> Bulk:
    """Which members a bundle file holds, by its length, or by its headers if it is not a complete bundle.

    Raises:
        DamagedError: A header that is not that of the next member, or bytes after the last member.
        HostError: The medium cannot be read.
    """
    length = os.fstat(descriptor).st_size
    try:
        return _find_places(descriptor, release, length, what)
    except OSError as error:
        raise unreadable_medium(error, what) from None


def _find_places(descriptor: int, release: Release, length: int, what: str) -> Bulk:
    if length == bundle_length(release):
        return Bulk(release=release, present=complete_places(release), missing=(), length=length)
    present: list[MemberLocation] = []
    missing: list[Blob] = []
    at = release.bulk_at
    wanted = enumerate(release.members)
    cut = False
    while True:
        if at + BLOCK > length:
            cut = True
            break
        block = os.pread(descriptor, BLOCK, at)
        if not block.strip(b"\0"):
            break
        place = next_place(block, at, wanted, missing, what)
        if at + member_length(place.blob.size) > length:
            missing.append(place.blob)
            cut = True
            break
        present.append(place)
        at += member_length(place.blob.size)
    missing += [blob for _, blob in wanted]
    if not cut and os.pread(descriptor, len(END) + 1, at) != END:  # F-2.5
        raise damaged_error("the archive does not end where its last member does", f"{what} at byte {at}")
    return make_bulk(release, present, missing, length, cut, what)


def next_place(
    block: bytes, at: int, wanted: Iterator[tuple[int, Blob]], missing: list[Blob], what: str
) -> MemberLocation:
    """The member whose header is ``block``; members before it in ``wanted`` are added to ``missing``."""
    try:
        name, _ = parse_header(block, what)
    except MalformedError:
        raise damaged_error("a member's header was changed", f"{what} at byte {at}") from None
    for i, blob in wanted:
        if member_name(i, blob) == name:
            break
        missing.append(blob)
    else:
        raise damaged_error(f"{name} is not a member, or not in its place", f"{what} at byte {at}")  # F-9.2
    if block != header(name, blob.size):  # F-9.3
        raise damaged_error(f"{name} has another size than the release says", f"{what} at byte {at}")
    return _location(i, blob, at)


def make_bulk(
    release: Release, present: list[MemberLocation], missing: list[Blob], length: int, cut: bool, what: str
) -> Bulk:
    if cut and not missing:  # F-9.5
        raise damaged_error("the end of the archive is missing", what)
    return Bulk(release=release, present=tuple(present), missing=tuple(missing), length=length, cut=cut)


def damaged_error(problem: str, where: str) -> DamagedError:
    return DamagedError(problem, where=where, remedy=OTHER_MEDIUM, finding="bulk-damaged")


def damaged_range(place: MemberLocation, start: int, end: int, how: str = "changed") -> DamagedRange:
    return DamagedRange(place.name, place.blob.digest, start, end, how)


def end_of(place: MemberLocation) -> int:
    return place.offset + place.blob.size
