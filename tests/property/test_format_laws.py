"""Laws of the format over bundles that nobody thought of."""

import io
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from content.bundle.archive import BLOCK, END, header
from content.bundle.head import read_head
from content.trust.head import verify_head
from manifests.words.errors import DamagedError, MalformedError, WaybillError
from tests.vectors.surgery import Case, Part, from_file, from_pipe, join, split
from tests.vendor import RELEASE, SECOND, Vendor

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
EDITS = st.tuples(st.sampled_from(range(12)), st.integers(0, 2000), st.binary(max_size=3))


@cache
def good() -> Case:
    vendor = Vendor(signers=(RELEASE, SECOND))
    return Case(vendor.bundle(), vendor.pin())


@cache
def bulk_parts() -> tuple[bytes, tuple[Part, ...]]:
    """The head, and the members after it."""
    parts = split(good().bundle)
    at = next(i for i, part in enumerate(parts) if part.name == "reserve") + 1
    return join(parts[:at], b""), tuple(parts[at:])


@st.composite
def bulks(draw: Any) -> bytes:
    """The members of a bulk left out, repeated, moved, renamed, resized, cut, and with another end."""
    _, parts = bulk_parts()
    chosen = draw(st.lists(st.sampled_from(range(len(parts))), max_size=len(parts) + 2))
    if draw(st.booleans()):
        chosen = sorted(set(chosen)) if draw(st.booleans()) else list(range(len(parts)))
    made = []
    for i in chosen:
        part = parts[i]
        match draw(st.sampled_from(("as it is",) * 12 + ("content", "length", "name", "header"))):
            case "content" if part.data:
                at = draw(st.integers(0, len(part.data) - 1))
                part = Part(part.name, part.data[:at] + b"?" + part.data[at + 1 :])
            case "length":
                part = Part(part.name, part.data[:-1] if draw(st.booleans()) else part.data + b"?")
            case "name":
                part = Part(draw(st.sampled_from(("x", "index.json", "../x", part.name[:-1]))), part.data)
            case "header":
                block = bytearray(header(part.name, len(part.data)))
                block[draw(st.integers(0, BLOCK - 1))] ^= 1
                part = Part(part.name, part.data, bytes(block))
        made.append(part)
    ends = (END, END, END, b"", bytes(512), bytes(1023), bytes(1025), bytes(2048), b"x", END + b"x")
    data = join(made, draw(st.sampled_from(ends)))
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


@settings(max_examples=150, suppress_health_check=SLOW)
@given(bulks(), st.sets(st.integers(0, 11)))
def test_a_file_and_a_pipe_get_the_same_verdict(bulk: bytes, held: set[int]) -> None:
    """F-9.8: complete, a delta for this site, cut, damaged: the way in does not matter."""
    head, parts = bulk_parts()
    names = [parts[i].name.replace("blobs/sha256/", "sha256:") for i in held if i < len(parts)]
    case = Case(head + bulk, good().pin, held=frozenset(names))
    from_a_file, from_a_pipe = from_file(case), from_pipe(case)
    assert from_a_file.kind == from_a_pipe.kind
    if from_a_file.kind == "ok":
        assert head + bulk == good().bundle
    if not from_a_file.good:
        assert from_a_file.kind in ("DamagedError bulk-damaged", "DamagedError incomplete")


@settings(max_examples=150, suppress_health_check=SLOW)
@given(st.data())
def test_changed_anywhere_it_is_refused(data: Any) -> None:
    """A few bytes changed, cut out or put in, at any few places."""
    changed = bytearray(good().bundle)
    for _ in range(data.draw(st.integers(1, 4))):
        # The interesting places are the head's members and the bulk; the reserve is long and all zeros.
        end = len(changed) - 1
        at = data.draw(st.integers(0, 16_000) | st.integers(65_536, end) | st.integers(0, end))
        piece = data.draw(st.binary(max_size=4))
        changed[at : at + data.draw(st.integers(0, 4))] = piece
    if bytes(changed) == good().bundle:
        return
    case = good().but(bytes(changed))
    assert not from_file(case).good
    assert not from_pipe(case).good


@given(st.binary(max_size=3000))
def test_any_bytes_are_not_a_head(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_head(io.BytesIO(data).read)


@settings(suppress_health_check=SLOW)
@given(st.lists(EDITS, max_size=6), st.data())
def test_members_of_a_head_in_any_order_are_a_head_or_malformed(edits: Any, data: Any) -> None:
    """Headers are right in all of them; the rest is what a writer with a grudge would do."""
    parts = split(good().bundle)[:9]
    order = data.draw(st.permutations(range(len(parts)))) if data.draw(st.booleans()) else range(len(parts))
    made = [parts[i] for i in order]
    for which, at, piece in edits:
        if which < len(made):
            part = made[which]
            made[which] = Part(part.name, part.data[:at] + piece + part.data[at + len(piece) :])
    try:
        verified = verify_head(read_head(io.BytesIO(join(made)).read), good().pin)
    except WaybillError as error:
        assert error.exit_code in (3, 4), error
        return
    assert join(made, b"") == good().bundle[: verified.head.bulk_at] or verified.signers


@settings(max_examples=40, suppress_health_check=SLOW)
@given(st.data())
def test_the_bundle_does_not_hang_on_where_a_pipe_stops_for_breath(data: Any) -> None:
    """Reads of any size give the verdict of one read."""
    from content.bundle.bulk import verify_stream
    from manifests.words.progress import no_progress

    release, _, _ = Vendor().release()
    raw = Vendor().bundle()[release.bulk_at :]
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=5))

    class Pipe(io.BytesIO):
        turn = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.turn += 1
            return super().read(min(size or 1, sizes[self.turn % len(sizes)]))

    whole, _ = verify_stream(Pipe(raw), release, "pipe", advance=no_progress)
    assert not whole.missing
    with pytest.raises(DamagedError):
        verify_stream(Pipe(raw + b"\0"), release, "pipe", advance=no_progress)
