"""The head: read no further than it goes, rewritten alone, the same bytes in any order of signing."""

import io
from dataclasses import replace
from pathlib import Path

import pytest

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT, Head, open_head, read_head
from content.bundle.head_writer import add_signature, choose_bulk_at, encode_head, sign_release
from content.signing.files import rewrite_head
from content.trust.head import verify_head
from manifests.documents.release import BULK_STEP, MAX_HEAD
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, MalformedError, NewerError, RefusedError, UntrustedError
from tests.vectors.surgery import sign_bytes
from tests.vendor import RELEASE, SECOND, STRANGER, Vendor

GOOD = Vendor(signers=(RELEASE, SECOND))


class Counting:
    """A stream that says how far it was read, and gives at most ``piece`` bytes at a time."""

    def __init__(self, data: bytes, piece: int = 1 << 20) -> None:
        self.stream = io.BytesIO(data)
        self.piece = piece

    def read(self, count: int) -> bytes:
        return self.stream.read(min(count, self.piece))

    @property
    def taken(self) -> int:
        return self.stream.tell()


@pytest.mark.parametrize("piece", [1, 7, 512, 1 << 20])
def test_nothing_past_the_head_is_read(piece: int) -> None:
    """F-3.12, also when the stream comes in small pieces."""
    source = Counting(GOOD.bundle(), piece)
    head = read_head(source.read)
    assert source.taken == head.bulk_at == 65536
    assert head == GOOD.head()
    assert encode_head(head) == GOOD.bundle()[: head.bulk_at]


def test_a_foreign_file_is_known_by_its_first_block() -> None:
    """F-2.1."""
    source = Counting(b"PK\x03\x04" + bytes(1 << 20))
    with pytest.raises(MalformedError) as caught:
        read_head(source.read)
    assert caught.value.finding == "not-a-bundle"
    assert source.taken == BLOCK


@pytest.mark.parametrize("data", [b"", b"-----BEGIN PUBLIC KEY-----".ljust(178), bytes(200), GOOD.bundle()[:511]])
def test_a_file_shorter_than_a_header_is_no_bundle(data: bytes) -> None:
    """F-2.1."""
    with pytest.raises(MalformedError, match="the file is not a Waybill bundle") as caught:
        read_head(Counting(data, 7).read)
    assert caught.value.finding == "not-a-bundle"


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        (b"\x1f\x8b\x08", "packed with gzip"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd"),
        (header("other", 5), "another program"),
        (b"PK\x03\x04", "unpack it"),
        (b"\xd0\xcf\x11\xe0", "save the attachment"),
        (b"<!DOCTYPE html>", "waybill build"),
    ],
)
def test_the_hint_says_what_it_may_be(start: bytes, hint: str) -> None:
    with pytest.raises(MalformedError) as caught:
        read_head(io.BytesIO(start.ljust(2048, b"x")).read)
    assert hint in caught.value.remedy


def members(*sizes: tuple[str, int]) -> bytes:
    """A stream of headers and zeros, as long as its members say."""
    parts = [header("oci-layout", len(OCI_LAYOUT)), OCI_LAYOUT.ljust(BLOCK, b"\0")]
    for name, size in sizes:
        parts += [header(name, size), bytes(size + -size % BLOCK)]
    return b"".join(parts)


def test_the_caps_of_parts_do_not_add_up_to_more_than_the_head() -> None:
    """F-3.11: eight mebibytes of release.json and twenty-six of signatures are each allowed and together too much."""
    signatures = [(f"signatures/{n:064x}.{kind}", 1 << 20) for n in range(13) for kind in ("sig", "sigstore.json")]
    source = Counting(members(("release.json", 8 << 20), *signatures))
    with pytest.raises(MalformedError, match="are allowed"):
        read_head(source.read)
    assert source.taken <= MAX_HEAD


def test_a_cap_speaks_before_the_content_is_read() -> None:
    """F-3.11."""
    source = Counting(members(("release.json", (8 << 20) + 1)))
    with pytest.raises(MalformedError, match="8388609 bytes, at most 8388608"):
        read_head(source.read)
    assert source.taken == 3 * BLOCK


def test_the_name_of_a_root_is_its_version() -> None:
    """F-3.7; further cases are the vector root-chain."""
    head = replace(GOOD.head(), first_root=2)
    with pytest.raises(MalformedError, match="root 1 is named 2"):
        verify_head(head, GOOD.pin())


@pytest.mark.parametrize("first", [RELEASE, SECOND])
def test_signed_at_once_and_one_after_the_other_are_the_same_bytes(tmp_path: Path, first: object) -> None:
    """F-3.14."""
    signers = [first, SECOND if first is RELEASE else RELEASE]
    path = GOOD.but(signers=()).write(tmp_path / "bundle.tar")
    unsigned = path.read_bytes()
    for signer in signers:
        head = open_head(path)
        rewrite_head(path, add_signature(head, sign_release(head.release, signer)))  # type: ignore[arg-type]  # signer
    assert path.read_bytes() == GOOD.bundle()
    assert path.read_bytes()[65536:] == unsigned[65536:]
    assert [one.name for one in tmp_path.iterdir()] == ["bundle.tar"]


def test_signing_again_changes_nothing() -> None:
    head = GOOD.head()
    assert add_signature(head, sign_release(head.release, RELEASE)) == head


def test_the_place_of_the_bulk_does_not_depend_on_signatures() -> None:
    """F-3.14."""
    assert {Vendor(signers=signers).release()[0].bulk_at for signers in ((), (RELEASE,), (RELEASE, SECOND))} == {65536}
    root = Vendor().root_file()
    assert choose_bulk_at(1000, (root,), None, 0) == BULK_STEP
    assert choose_bulk_at(1000, (root,), None) == 4 * BULK_STEP
    assert choose_bulk_at(100_000, (root,), b"x" * 100_000, 0) % BULK_STEP == 0
    with pytest.raises(RefusedError, match="at most 33554432"):
        choose_bulk_at(32 << 20, (root,), None)


def test_a_full_reserve_says_to_build_again() -> None:
    head = replace(GOOD.head(), revocations=bytes(60_000))
    with pytest.raises(RefusedError) as caught:
        encode_head(head)
    assert caught.value.finding == "reserve-full"
    assert "build the release again" in caught.value.remedy


def test_a_bundle_shorter_than_its_head_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "short.tar"
    path.write_bytes(GOOD.bundle()[:4096])
    with pytest.raises(DamagedError):
        rewrite_head(path, GOOD.head())
    assert path.read_bytes() == GOOD.bundle()[:4096]
    assert open_head(tmp_path / "short.tar.head") == GOOD.head()


def test_a_link_in_the_place_of_the_new_head_is_not_followed(tmp_path: Path) -> None:
    path = GOOD.write(tmp_path / "b.tar")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "b.tar.head").symlink_to(victim)
    with pytest.raises(OSError):
        rewrite_head(path, GOOD.head())
    assert victim.read_text() == "mine"


def test_a_folder_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(MalformedError, match="a folder, not a bundle"):
        open_head(tmp_path)


def statement_of(vendor: Vendor, release: bytes, **changes: object) -> bytes:
    import json

    from manifests.trust.envelope import bundle_payload
    from manifests.words.canonical import encode

    said = json.loads(bundle_payload(vendor.head().signatures[0].bundle, "x"))
    said["predicate"].update(changes)
    said["subject"][0]["digest"]["sha256"] = digest_of(release)[7:]
    return encode(said)


@pytest.mark.parametrize("release", [b"", b"{", b"\xff" * 100, b"[" * 30_000, b'{"format":2}'])
def test_release_json_is_not_parsed_before_it_is_trusted(release: bytes) -> None:
    """F-7.11: garbage is untrusted when nobody or a stranger signed it, and malformed when the vendor signed it."""
    vendor = Vendor()
    head = replace(vendor.head(), release=release)
    with pytest.raises(UntrustedError):
        verify_head(head, vendor.pin())
    with pytest.raises(UntrustedError):
        verify_head(replace(head, signatures=()), vendor.pin())
    payload = statement_of(vendor, release)
    with pytest.raises(UntrustedError):
        verify_head(replace(head, signatures=(sign_bytes(release, payload, STRANGER),)), vendor.pin())
    with pytest.raises(MalformedError):
        verify_head(replace(head, signatures=(sign_bytes(release, payload, RELEASE),)), vendor.pin())
    newer = statement_of(vendor, release, format=2)
    with pytest.raises(NewerError):
        verify_head(replace(head, signatures=(sign_bytes(release, newer, RELEASE),)), vendor.pin())


def test_what_is_trusted_says_who_was_counted() -> None:
    verified = verify_head(GOOD.head(), GOOD.pin())
    assert verified.signers == tuple(sorted((RELEASE.public.keyid, SECOND.public.keyid)))
    assert verified.release_digest == digest_of(GOOD.head().release)
    assert not verified.practice and verified.not_evaluated == ()
    assert isinstance(verified.head, Head)
