"""The words that documents compare: exactly these and no neighbours."""

import hashlib
from typing import Any

import pytest

from manifests.words import digest as d
from manifests.words.canonical import decode, encode
from manifests.words.errors import MalformedError

HEX = "0123456789abcdef" * 4

GOOD: list[tuple[Any, list[object]]] = [
    (d.Digest, ["sha256:" + HEX]),
    (d.KeyId, [HEX]),
    (d.Name, ["a", "0", "a.b_c-d", "a" * 128]),
    (d.Version, ["1.0.0", "1.0.0-rc.1+build.5"]),
    (d.Word, ["A", "image/none".replace("/", "-"), "x" * 64]),
    (d.SiteId, ["a/b/c/d"]),
    (d.Time, ["2026-01-02T03:04:05Z"]),
    (d.Date, ["2026-01-02"]),
    (d.Text, ["", "é", "x" * 4096, "\u202e"]),
    (d.Key, ["a/b.c_d-e", "A"]),
    (d.Size, [0, 2**53 - 1]),
    (d.Positive, [1]),
    (d.Integer, [-(2**53) + 1, 0]),
    (d.Repository, ["a", "acme/api", "a.b/c__d/e-f", "a---b"]),
    (d.MediaType, ["application/json", "text/x; charset=utf-8"]),
    (d.Platform, ["linux/amd64", "linux/arm/v7"]),
]
# F-4.9, F-4.10, F-4.11: what a `$` at the end of a pattern, a capital or a wider alphabet would let through.
BAD: list[tuple[Any, list[object]]] = [
    (
        d.Digest,
        [
            "sha256:" + HEX[1:],
            "sha256:" + HEX.upper(),
            "sha256:" + HEX + "\n",
            "sha512:" + HEX * 2,
            HEX,
            "SHA256:" + HEX,
        ],
    ),
    (d.KeyId, [HEX.upper(), HEX + "\n", "sha256:" + HEX, HEX[1:]]),
    (d.Name, ["", "A", ".a", "-a", "_a", "a/b", "a b", "ä", "a\n", "a" * 129, "..", "a\0"]),
    (d.Version, ["", "1.0.0\n", "1.0.0 ", "V1", "~1"]),
    (d.Word, ["", "-a", "x" * 65, "a b", "a\n", "é"]),
    (d.SiteId, ["a/b/c", "a/b/c/d/e", "a//c/d", "a/b/c/d\n", "A/b/c/d", "/a/b/c"]),
    (d.Time, ["2026-01-02T03:04:05", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05Z\n"]),
    (d.Date, ["2026-1-2", "2026-01-02\n", "26-01-02", "٢٠٢٦-01-02"]),
    (d.Text, ["x" * 4097, "a\nb", "\x00", "\x1b[31m", "\x7f", "\x80", "\x9f", "\t"]),
    (d.Key, ["", "/a", ".a", "a b", "a\n", "é", "a" * 129]),
    (d.Size, [-1, 2**53, 1.0, True, "1"]),
    (d.Positive, [0, -1]),
    (d.Integer, [2**53, -(2**53), 0.5]),
    (d.Repository, ["", "A", "a/", "/a", "a//b", "a:b", "-a", "a..b", "../a", "a" * 256]),
    (d.MediaType, ["", "json", "a/b\n", "a/b;", "/b", "a b/c"]),
    (d.Platform, ["linux", "linux/", "Linux/amd64", "linux/amd64/v7/x", "linux/amd64\n"]),
]


@pytest.mark.parametrize(("type_", "value"), [(one, value) for one, values in GOOD for value in values])
def test_allowed(type_: Any, value: object) -> None:
    assert decode(encode(value), type_, "x") == value


@pytest.mark.parametrize(("type_", "value"), [(one, value) for one, values in BAD for value in values])
def test_refused(type_: Any, value: object) -> None:
    with pytest.raises(MalformedError):
        decode(encode(value), type_, "x")


def test_a_digest_is_over_the_bytes() -> None:
    assert d.digest_of(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()
    assert d.is_digest(d.digest_of(b""))
    assert not d.is_digest(d.digest_of(b"") + "\n")
    assert d.blob_name("sha256:" + HEX) == "blobs/sha256/" + HEX
