"""release.json as a value; what it may not say is in the vectors release-*."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.bundle.head_writer import sign_release
from manifests.documents.release import predicate_of, referenced, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import bundle_payload
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError
from tests.vendor import RELEASE, Vendor


def test_it_comes_back() -> None:
    release, _, _ = Vendor().release()
    assert parse_release(encode(release)) == release
    assert release.mark == Mark(epoch=1, sequence=1)
    assert release.file_set("service").entries[0].path == "hello.txt"
    assert release.image("api").to == "small/api"


def test_the_predicate_has_eight_fields_for_ever() -> None:
    """An old reader parses a new release's predicate: a ninth field would be malformed to it."""
    predicate = predicate_of(Vendor().release()[0])
    assert predicate.__struct_fields__ == (
        "product",
        "version",
        "channel",
        "epoch",
        "sequence",
        "root_version",
        "format",
        "kits",
    )


def test_every_blob_that_is_named_is_found() -> None:
    """F-8.13 rests on this list: each Blob, digest and size in the document but members and absent is in it."""
    release, _, _ = Vendor(extra={"x": b"extra"}).release()
    places = {place: blob.digest for place, blob in referenced(release)}
    assert set(places) == {
        "contract",
        "rollback",
        "images[0].manifest",
        "images[0].sboms[0]",
        "files[0].entries[0]",
        "files[0].entries[1]",
        "extensions[x]",
    }
    assert set(places.values()) <= {one.digest for one in release.members}


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"DSSEv1 28 application/vnd.in-toto+json 2 {}", encode(Vendor().root()), encode(Vendor().contract())],
    ids=["nothing", "object", "pae", "root", "contract"],
)
def test_a_release_key_signs_nothing_else(data: bytes) -> None:
    """F-7.13."""
    with pytest.raises(MalformedError):
        sign_release(data, RELEASE)


def test_a_release_key_refuses_a_release_that_contradicts_itself() -> None:
    """F-7.13."""
    release, _, _ = Vendor(change={"floor": 9}).release()
    with pytest.raises(MalformedError, match="floor 9 is above"):
        sign_release(encode(release), RELEASE)


def test_both_signatures_say_the_same() -> None:
    release, _, _ = Vendor().release()
    data = encode(release)
    made = sign_release(data, RELEASE)
    assert made.sig is not None
    RELEASE.public.verify(made.sig, data, "sig")
    assert bundle_payload(made.bundle, "x") == encode(release_statement(release, digest_of(data)))


@given(st.binary(max_size=300))
def test_any_bytes_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_release(data)
