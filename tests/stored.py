"""A site that holds every kind of document, and the ways in which a stored one can be broken."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from manifests.documents.authorisation import Authorisation, Left, Reached
from manifests.documents.contract import Contract
from manifests.documents.release import Config
from manifests.documents.rollback import Rollback
from manifests.trust.root import Mark
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from tests.authorisations import authorisation, bring, carried, sealed
from tests.faults.model import QuickDisk
from tests.governed import govern, policy_text
from tests.place import Place, make_place
from tests.rootwork import listing
from tests.vendor import Vendor
from verifier.reporting.report_write import write_report


def blob_of(data: bytes) -> Blob:
    return Blob(digest=digest_of(data), size=len(data))


@dataclass(frozen=True)
class Full(Vendor):
    """A release that names one document of every kind, none of them shared with another version.

    Attributes:
        permit: The authorisation that it carries.
    """

    permit: Authorisation | None = None

    @classmethod
    def of(cls, version: str, sequence: int, permit: Authorisation | None = None) -> "Full":
        schema = encode({"type": "object", "title": version, "properties": {"port": {"type": "integer"}}})
        notes = f"notes of {version}\n".encode()
        vex = encode(
            {
                "@context": "https://openvex.dev/ns/v0.2.0",
                "@id": f"https://small.example/{version}",
                "author": "small-works",
                "timestamp": "2026-01-02T03:04:05Z",
                "version": 1,
                "statements": [{"vulnerability": {"name": "CVE-2026-0001"}, "status": "fixed"}],
            }
        )
        change: dict[str, object] = {
            "config": Config(schema=blob_of(schema), version=1),
            "notes": blob_of(notes),
            "advisories": (blob_of(vex),),
        }
        extra = {"schema": schema, "notes": notes, "vex": vex}
        if permit is not None:
            extra["permit"] = sealed(permit)
            change["authorisations"] = (blob_of(extra["permit"]),)
        service = {"hello.txt": f"hello {version}\n".encode(), "run.py": b"print('hi')\n"}
        return cls(version=version, sequence=sequence, extra=extra, change=change, service=service, permit=permit)

    def contract(self) -> Contract:
        return replace(super().contract(), version=self.sequence)

    def rollback(self) -> Rollback:
        return replace(super().rollback(), loses=f"nothing of {self.version}")


def permit_to(first: Vendor, sequence: int) -> Authorisation:
    """An authorisation to go back to ``first`` from the release with this sequence, for every site."""
    release = first.release()[0]
    digest = digest_of(encode(release))
    return Authorisation(
        vendor="small-works",
        number=sequence,
        product="small",
        sites=(),
        leaves=Left(channel="stable", mark=Mark(epoch=1, sequence=sequence)),
        goes_to=Reached(release=digest, version=first.version, channel="stable", mark=Mark(epoch=1, sequence=1)),
        why="a test",
        loses="nothing",
        reopens=("CVE-2026-0001",),
        issued_at="2026-03-01T10:00:00Z",
    )


FIRST = Full.of("1.0.0", 1)
SECOND = Full.of("1.1.0", 2, permit_to(FIRST, 2))
THIRD = Full.of("1.2.0", 3, permit_to(FIRST, 3))


def full_site(folder: Path) -> Place:
    """Two generations, a release that waits, proposals, approvals, reports, a list, a consignment."""
    place = make_place(folder, FIRST, disk=QuickDisk())
    yaml = place.path / "site.yaml"
    for vendor in (FIRST, SECOND):
        assert place.bring(vendor.write(folder / f"{vendor.version}.tar")).error is None
    govern(place, policy_text(2, rules=dict.fromkeys(("minor", "contract", "major"), "{operator: 1}")))
    target = place.open().state.installs.generations[0]
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
    bring(place, carried(authorisation(target)), revocations=listing(1))
    item = place.receive(THIRD.write(folder / "1.2.0.tar"), keep=True).item
    yaml.write_text(yaml.read_text().replace("config: {}", "config: {port: 8080}"))
    (place.path / "policy.yaml").write_text(policy_text(3))
    place.approve(item)
    place.approve("b-1")
    with place.hold() as site:
        write_report(site, site.disk, site.host.now())
    return place


# Placed files, and what is not a document: lock, reserve, and the journal itself, which has tests of its own.
_SKIPPED = ("lock", "reserve", "srv", "oci")
PLAIN = ("changed", "cut", "missing", "folder", "unreadable")


def stored_documents(site: Path) -> tuple[Path, ...]:
    """Every document that the site keeps, by its path in the site's folder."""
    files = [path.relative_to(site) for path in sorted(site.rglob("*")) if path.is_file() and not path.is_symlink()]
    return tuple(path for path in files if path.parts[0] not in _SKIPPED and path.suffix != ".jsonl")


def signed_documents(site: Path) -> tuple[Path, ...]:
    """Those that are believed by a digest alone: heads, roots and keys have a check of their own."""
    folders = ("store", "journal", "generations", "outbox")
    return tuple(path for path in stored_documents(site) if path.parts[0] in folders)


def released_only_by(*vendors: Vendor) -> frozenset[str]:
    """Names of the blobs that the first release of this site does not have."""
    first = FIRST.release()[1]
    return frozenset(digest[7:] for vendor in vendors for digest in vendor.release()[1] if digest not in first)


@contextmanager
def broken(path: Path, how: str) -> Iterator[None]:
    """The file, broken as a disk or a person breaks it; whole again afterwards."""
    data, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "unreadable":
        path.symlink_to("/proc/self/mem")  # a file whose every read fails, for root too
    elif how != "missing":
        other = bytearray(data)
        other[len(data) // 2] ^= 1
        path.write_bytes(other if how == "changed" else data[: len(data) // 2])
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(data)
        path.chmod(mode)


def hostile(data: bytes) -> dict[str, bytes]:
    """Other content for a document: what a vendor could sign in its place."""
    other = {
        "empty": b"",
        "no-text": b"\xff\xfe\x00\x01",
        "escapes": b"\x1b[2J\x1b]0;owned\x07\r\nverdict: verified\n",
        "null": b"null",
        "list": b"[]",
        "text": b'"text"',
        "deep": b"[" * 100_000,
        "deep-object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "digits": b'{"version":' + b"9" * 5000 + b"}",
        "no-number": b'{"version":1e999}',
        "surrogates": b'{"type":"\\ud800"}',
        "key-twice": b'{"type":"a","type":"b"}',
        "huge": b'{"type":"' + b"a" * (17 << 20) + b'"}',
        "another-document": encode(Vendor().contract()),
    }
    try:
        fields = json.loads(data)
    except ValueError:
        return other
    if isinstance(fields, dict):
        other["nulls"] = json.dumps(dict.fromkeys(fields)).encode()
        other["wrong-types"] = json.dumps({key: [{"a": value}] for key, value in fields.items()}).encode()
        for key in fields:
            less = {name: value for name, value in fields.items() if name != key}
            other[f"without-{key}"] = encode(less)
            other[f"{key}-is-empty"] = encode({**less, key: []})
            other[f"{key}-is-large"] = encode({**less, key: 2**53 - 1})
    return other


@contextmanager
def replaced(path: Path, data: bytes) -> Iterator[None]:
    """The file with other content; as before afterwards."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.unlink()
        path.write_bytes(before)
        path.chmod(mode)
