"""The strict tar against Python's own reader and writer, and against random blocks."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.bundle.archive import BLOCK, END, header, member_length, padded, parse_header
from manifests.words.digest import MAX_INTEGER
from manifests.words.errors import MalformedError

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9./-]{0,98}\Z").filter(lambda name: not name.endswith("/"))
SIZES = st.integers(0, 8**11 - 1) | st.integers(8**11, MAX_INTEGER)


@given(NAMES, SIZES)
def test_a_header_comes_back(name: str, size: int) -> None:
    """F-2.2, F-2.3: with one block for each name and size."""
    block = header(name, size)
    assert len(block) == BLOCK
    assert parse_header(block, "x") == (name, size)


@given(NAMES, SIZES)
def test_python_reads_it_as_a_regular_file(name: str, size: int) -> None:
    info = tarfile.TarInfo.frombuf(header(name, size), "ascii", "strict")
    assert (info.name, info.size, info.mode) == (name, size, 0o644)
    assert (info.mtime, info.uid, info.type) == (0, 0, tarfile.REGTYPE)


@given(NAMES, SIZES, st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_any_other_byte_is_another_header_or_malformed(name: str, size: int, at: int, change: int) -> None:
    block = bytearray(header(name, size))
    block[at] ^= change
    try:
        found = parse_header(bytes(block), "x")
    except MalformedError as error:
        assert error.finding == "tar-header"
    else:
        raise AssertionError(f"read as {found}: the checksum must have failed")


@given(st.binary(min_size=BLOCK, max_size=BLOCK))
def test_any_block_is_malformed(block: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_header(block, "x")


@pytest.mark.parametrize("length", [0, 1, BLOCK - 1, BLOCK + 1])
def test_a_header_is_a_whole_block(length: int) -> None:
    with pytest.raises(MalformedError):
        parse_header((header("a", 1) + b"\0")[:length], "x")


def test_the_largest_octal_and_the_smallest_binary_size() -> None:
    """F-2.3."""
    assert header("a", 8**11 - 1)[124:136] == b"77777777777\0"
    assert header("a", 8**11)[124:136] == b"\x80" + bytes(6) + (8**11).to_bytes(5, "big")


def test_padding() -> None:
    assert [padded(size) for size in (0, 1, 511, 512, 513)] == [0, 512, 512, 512, 1024]
    assert member_length(0) == BLOCK
    assert bytes(1024) == END


def test_python_reads_a_whole_archive() -> None:
    data = b"".join(header(name, 3) + b"abc" + bytes(509) for name in ("one", "blobs/sha256/two")) + END
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        assert [(one.name, tar.extractfile(one).read()) for one in tar] == [  # type: ignore[union-attr]  # regular
            ("one", b"abc"),
            ("blobs/sha256/two", b"abc"),
        ]
