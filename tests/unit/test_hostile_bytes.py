"""Every byte of a small two-signer bundle: changed, added, taken away. None of the results may pass.

The bundle has everything that a bundle can have in little space: two signers, a root, images with a referrer, files.
"""

import io
import os
from functools import cache

import pytest

from content.bundle.archive import BLOCK, header
from content.bundle.head import read_head
from content.trust.head import verify_head
from manifests.words.errors import WaybillError
from tests.vectors.surgery import (
    Case,
    Part,
    from_file,
    from_pipe,
    join,
    judge_file,
    memory_file,
    outcome,
    refit,
    split,
)
from tests.vendor import RELEASE, SECOND, Vendor

PATTERNS = (0x01, 0x20)  # the lowest bit, and the one that turns A into a
CHUNKS = 16


@cache
def good() -> Case:
    vendor = Vendor(signers=(RELEASE, SECOND))
    return Case(vendor.bundle(), vendor.pin())


@cache
def bulk_at() -> int:
    return Vendor(signers=(RELEASE, SECOND)).release()[0].bulk_at


def test_the_bundle_itself_passes() -> None:
    case = good()
    names = [part.name for part in split(case.bundle)]
    assert join(split(case.bundle)) == case.bundle
    assert len([name for name in names if name.endswith(".sig")]) == 2
    assert len([name for name in names if name.startswith("blobs/")]) > 5
    assert from_file(case).kind == "ok"
    assert from_pipe(case).kind == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_flipped_byte_is_refused(chunk: int) -> None:
    """All bytes, interleaved so that every chunk costs the same; each pattern by the file's way and the pipe's."""
    case = good()
    accepted = []
    with memory_file(case.bundle) as (descriptor, path):
        for at in range(chunk, len(case.bundle), CHUNKS):
            byte = case.bundle[at]
            for pattern in PATTERNS:
                os.pwrite(descriptor, bytes([byte ^ pattern]), at)
                if pattern == PATTERNS[0]:
                    found = outcome(lambda: judge_file(path, case)).kind
                else:
                    changed = case.bundle[:at] + bytes([byte ^ pattern]) + case.bundle[at + 1 :]
                    found = from_pipe(case.but(changed)).kind
                # The head is malformed or untrusted, the bulk damaged: never another kind.
                allowed = ("MalformedError", "UntrustedError") if at < bulk_at() else ("DamagedError",)
                if found.split()[0] not in allowed:
                    accepted.append((at, pattern, found))
            os.pwrite(descriptor, bytes([byte]), at)
    assert accepted == []


def content_positions() -> list[int]:
    """Every position but those inside the reserve, where all insertions of a zero are one."""
    at, found = 0, []
    for part in split(good().bundle):
        length = len(part.raw)
        found += list(range(at, at + (BLOCK if part.name == "reserve" else length)))
        at += length
    return [*found, *range(at, len(good().bundle) + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_inserted_and_deleted_byte_is_refused(chunk: int) -> None:
    case = good()
    accepted = []
    for at in content_positions()[chunk::CHUNKS]:
        before, after = case.bundle[:at], case.bundle[at:]
        twice = before[-1:] or b"\0"  # the hardest one to notice: a byte given twice
        longer = from_file(case.but(before + twice + after))
        shorter = from_pipe(case.but(before + after[1:]))
        if longer.good or (after and shorter.good):
            accepted.append((at, longer, shorter))
    assert accepted == []


@pytest.mark.parametrize(
    ("count", "longer"), [(n, longer) for n in (1, 511, 512, 513) for longer in (True, False)] + [(65536, True)]
)
def test_zeros_added_to_and_taken_from_the_reserve_are_refused(count: int, longer: bool) -> None:
    case = good()
    at = bulk_at() - 1024
    changed = case.bundle[:at] + (bytes(count) + case.bundle[at:] if longer else case.bundle[at + count :])
    found = from_file(case.but(changed)).kind
    assert found.split()[0] in ("DamagedError", "MalformedError")


@pytest.mark.parametrize("extra", [65536, 131072])
def test_a_longer_reserve_in_its_own_header_is_refused(extra: int) -> None:
    case = good()
    parts = [
        Part("reserve", part.data + bytes(extra)) if part.name == "reserve" else part for part in split(case.bundle)
    ]
    assert from_file(case.but(join(parts))).kind == "MalformedError malformed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["insert", "space", "delete"])
def test_members_of_the_head_that_grew_or_shrank_by_one_byte_in_proper_tar_are_refused(kind: str) -> None:
    """The tar is right in every case: what refuses is the document or the signature."""
    case = good()
    parts = split(case.bundle)
    reserve = next(i for i, part in enumerate(parts) if part.name == "reserve")
    accepted = []
    for i, part in enumerate(parts[:reserve]):
        for at in range(len(part.data) + 1):
            before, after = part.data[:at], part.data[at:]
            data = before + {"insert": before[-1:] or b"{", "space": b" ", "delete": b""}[kind] + after
            data = before + after[1:] if kind == "delete" else data
            if data == part.data:
                continue
            changed = join(refit([*parts[:i], Part(part.name, data), *parts[i + 1 :]]))
            try:
                verify_head(read_head(io.BytesIO(changed).read), case.pin)
            except WaybillError:
                continue
            accepted.append((part.name, at))
    assert accepted == []


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(4))
def test_truncated_everywhere_it_is_refused_the_same_from_file_and_pipe(chunk: int) -> None:
    """Every length within the members; the reserve in steps, since it is all zeros."""
    case = good()
    inside = range(bulk_at() - 40000, bulk_at(), 997)
    lengths = [0, 1, BLOCK, *inside, *range(bulk_at(), len(case.bundle), 7), len(case.bundle) - 1]
    wrong = []
    for length in lengths[chunk::4]:
        data = case.bundle[:length]
        found = from_file(case.but(data)).kind
        piped = from_pipe(case.but(data)).kind
        if found != piped or found.split()[0] != ("MalformedError" if length < bulk_at() else "DamagedError"):
            wrong.append((length, found, piped))
    assert wrong == []


@pytest.mark.parametrize(
    "tail",
    [b"\0", bytes(512), bytes(1024), b"x", header("extra", 0) + bytes(1024)],
    ids=["zero", "block", "blocks", "x", "member"],
)
def test_lengthened_it_is_refused(tail: bytes) -> None:
    case = good()
    data = case.bundle + tail
    assert from_file(case.but(data)).kind == "DamagedError bulk-damaged"
    assert from_pipe(case.but(data)).kind == "DamagedError bulk-damaged"


def test_every_pair_of_neighbours_swapped_is_refused() -> None:
    case = good()
    parts = split(case.bundle)
    for i in range(len(parts) - 1):
        data = join([*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]])
        found = from_file(case.but(data)).kind
        piped = from_pipe(case.but(data)).kind
        assert found == piped
        assert found.split()[0] in ("MalformedError", "DamagedError"), parts[i].name


def test_every_member_left_out_is_named_or_refused() -> None:
    """A signer's pair, and no other part of the head, may be missing while the threshold holds."""
    case = good()
    parts = split(case.bundle)
    reserve = next(i for i, part in enumerate(parts) if part.name == "reserve")
    for i, part in enumerate(parts):
        rest = [*parts[:i], *parts[i + 1 :]]
        data = join(rest if i >= reserve else refit(rest))
        found = from_file(case.but(data)).kind
        assert from_pipe(case.but(data)).kind == found
        if i > reserve:
            assert found == "DamagedError incomplete"
        else:
            assert found == "MalformedError malformed" or found == "MalformedError not-a-bundle", part.name
