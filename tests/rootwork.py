"""A vendor's later root documents and revocation lists, and a medium that brings them to a site."""

from contextlib import nullcontext
from dataclasses import replace

from msgspec.structs import replace as struct_replace

from manifests.trust.envelope_writer import encode_revocations, encode_root, seal
from manifests.trust.private_keys import FileSigner
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import ROOT_TYPE, Leaver, Role, parse_root
from manifests.words.digest import digest_of
from manifests.words.progress import no_progress
from tests.place import Place
from tests.vendor import ROOT, Vendor, derived
from verifier.intake.media import ReceivedMedia, receive_media

FIRST = Vendor()
NEW_ROOT = derived(401)


def next_root(before: bytes, *, signers: tuple[FileSigner, ...] = (ROOT, NEW_ROOT), **changes: object) -> bytes:
    """Root 2: NEW_ROOT replaces ROOT; the keys and roles of FIRST otherwise."""
    old = FIRST.root()
    root = struct_replace(
        old,
        version=2,
        previous=digest_of(before),
        keys={**old.keys, NEW_ROOT.public.keyid: NEW_ROOT.public},
        roles={**old.roles, "root": Role(keys=(NEW_ROOT.public.keyid,), threshold=1)},
        leave={ROOT.public.keyid: Leaver(how="revoked")},
    )
    return seal(encode_root(struct_replace(root, **changes)), ROOT_TYPE, signers)


def third_root(second: bytes, **changes: object) -> bytes:

    root = struct_replace(parse_root(second, "x").root, version=3, previous=digest_of(second), **changes)
    return seal(encode_root(root), ROOT_TYPE, (NEW_ROOT,))


def listing(version: int, *signers: FileSigner, **named: tuple[str, ...]) -> bytes:
    found = Revocations(vendor="small-works", version=version, **named)
    return seal(encode_revocations(found), REVOCATIONS_TYPE, signers or (ROOT,))


def with_chain(vendor: Vendor, roots: tuple[bytes, ...], revocations: bytes | None = None) -> bytes:
    return vendor.bundle(replace(vendor.head(), roots=roots, revocations=revocations))


SECOND_ROOT_FILE = next_root(FIRST.root_file())
THIRD_ROOT_FILE = third_root(SECOND_ROOT_FILE)


def bring(place: Place, *files: tuple[str, bytes]) -> tuple[ReceivedMedia, list[str]]:
    folder = place.path.parent / "medium"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files:
        (folder / name).write_bytes(data)
    said: list[str] = []

    with place.hold() as site:
        found = receive_media(site, (folder,), keep=False, watch=lambda _: nullcontext(no_progress), say=said.append)
    return found, said
