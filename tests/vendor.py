"""A vendor in memory: a valid signed bundle in one call; change one attribute to break one thing.

Keys are derived from small integers, so that vectors are the same bytes everywhere and no PEM is ever stored.
"""

import io
import struct
import tarfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from content.bundle.archive import END, header, padded
from content.bundle.head import VERIFY_TXT, Head, Signature
from content.bundle.head_writer import choose_bulk_at, encode_head, sign_release
from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, REF_NAME
from content.bundle.oci_writer import OCI_EMPTY
from content.bundle.places import member_name
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import parse_handwritten
from manifests.documents import release as r
from manifests.documents.contract import Contract
from manifests.documents.rollback import Rollback
from manifests.trust.envelope_writer import encode_root, seal
from manifests.trust.private_keys import FileSigner
from manifests.trust.root import ROLES, ROOT_TYPE, Leaver, Pin, Role, Root
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of

CYCLONEDX = "application/vnd.cyclonedx+json"
CONTRACT_YAML = b"""\
waybill: 1
contract: small-telemetry
version: 1
purpose: tests
budget: {telemetry: 64KiB, when_full: drop and count}
keep: {site: 90d, vendor: 400d}
signals:
  - name: install_state
    kind: deployment-state
    fields: [identity, chain, trust, policy, install, components, config, waiting, approvals, health, rollbacks,
             requests, dropped, verifier]
    optional: [store]
    why: inventory
"""


def derived(number: int) -> FileSigner:
    """The P-256 key whose private value is ``number``; published, and worth nothing."""
    return FileSigner(ec.derive_private_key(number, ec.SECP256R1()))


ROOT, RELEASE, SECOND, CONSIGNMENT, ROLLBACK, STRANGER = (derived(n) for n in range(101, 107))


NORTHERN = r.Audience(customers=("northern-grid",), environments=("production",))


def roles(release: tuple[FileSigner, ...] = (RELEASE,), threshold: int = 1) -> dict[str, Role]:
    held = {"root": (ROOT,), "release": release, "consignment": (CONSIGNMENT,), "rollback": (ROLLBACK,)}
    return {
        name: Role(
            keys=tuple(sorted(one.public.keyid for one in held[name])),
            threshold=threshold if name == "release" else 1,
            products=("small",) if name == "release" else (),
        )
        for name in ROLES
    }


@dataclass(frozen=True)
class Vendor:
    """What goes into one bundle. ``signers`` sign the release; ``recorded`` are in the root's release role.

    ``back_to`` is ``needs_from`` unless it is given.
    """

    product: str = "small"
    version: str = "1.0.0"
    channel: str = "stable"
    sequence: int = 1
    floor: int = 1
    epoch: int = 1
    practice: bool = False
    signers: tuple[FileSigner, ...] = (RELEASE,)
    recorded: tuple[FileSigner, ...] = (RELEASE, SECOND)
    threshold: int = 1
    leave: dict[str, Leaver] = field(default_factory=dict)
    images: bool = True
    service: dict[str, bytes] = field(default_factory=lambda: {"hello.txt": b"hello\n", "run.py": b"print('hi')\n"})
    audience: r.Audience = NORTHERN
    needs_from: tuple[str, ...] = (">=0.1.0, <9.0.0",)
    back_to: tuple[str, ...] | None = None
    fresh: bool = True
    extra: dict[str, bytes] = field(default_factory=dict)
    reserve: int = 0
    change: dict[str, object] = field(default_factory=dict)
    revocations: bytes | None = None

    def root(self) -> Root:
        keys = (ROOT, CONSIGNMENT, ROLLBACK, *self.recorded)
        return Root(
            vendor="small-works",
            version=1,
            epoch=self.epoch,
            practice=self.practice,
            keys={one.public.keyid: one.public for one in keys},
            roles=roles(tuple(s for s in self.recorded if s.public.keyid not in self.leave), self.threshold),
            leave=self.leave,
        )

    def root_file(self) -> bytes:
        return seal(encode_root(self.root()), ROOT_TYPE, (ROOT,))

    def pin(self) -> Pin:
        return Pin(version=1, digest=digest_of(encode_root(self.root())))

    def contract(self) -> Contract:
        return compile_contract(parse_handwritten(CONTRACT_YAML, "contract.yaml"))

    def rollback(self) -> Rollback:
        recovery = {"rolled-back": ("Nothing to do.",), "inconsistent": ("Call somebody.",)}
        return Rollback(
            back_to=self.needs_from if self.back_to is None else self.back_to,
            class_="stateless",
            offered_for_seconds=86400,
            loses="nothing",
            recovery=recovery,  # type: ignore[arg-type]  # literal keys of a plain dict
        )

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        """Blobs by digest, index.json, and the images that it lists."""
        found: dict[str, bytes] = {}

        def put(data: bytes) -> str:
            found[digest_of(data)] = data
            return digest_of(data)

        def target(media_type: str, data: bytes) -> dict[str, object]:
            return {"mediaType": media_type, "digest": put(data), "size": len(data)}

        for data in (encode(self.contract()), encode(self.rollback()), *self.service.values(), *self.extra.values()):
            put(data)
        top: list[dict[str, object]] = []
        images: tuple[r.Image, ...] = ()
        if self.images:
            layer = target(OCI_LAYER_GZIP, small_layer({"app/version": self.version.encode()}))
            config = target(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}')
            document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
            manifest = target(OCI_MANIFEST, encode(document))
            top.append({**manifest, "annotations": {REF_NAME: f"small/api:{self.version}"}})
            component = {"type": "library", "name": "thing", "version": self.version}
            sbom = encode({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [component]})
            referrer = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": CYCLONEDX,
                "config": target(OCI_EMPTY, b"{}"),
                "layers": [target(CYCLONEDX, sbom)],
                "subject": manifest,
            }
            top.append({**target(OCI_MANIFEST, encode(referrer)), "artifactType": CYCLONEDX})
            images = (
                r.Image(
                    name="api",
                    to="small/api",
                    manifest=r.Target(
                        media_type=OCI_MANIFEST, digest=str(manifest["digest"]), size=len(encode(document))
                    ),
                    signed_by="none",
                    reason="a test",
                    sboms=(r.Sbom(format="cyclonedx", digest=digest_of(sbom), size=len(sbom)),),
                ),
            )
        return found, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), images

    def release(self) -> tuple[r.Release, dict[str, bytes], bytes]:
        """The release, its blobs by digest, and index.json."""
        blobs, index, images = self.blobs()
        ordered = sorted(blobs.values(), key=lambda data: (len(data), digest_of(data)))
        members = tuple(Blob(digest=digest_of(data), size=len(data)) for data in (index, VERIFY_TXT, *ordered))
        contract, rollback = encode(self.contract()), encode(self.rollback())
        files = r.FileSet(
            name="service",
            entries=tuple(
                r.FileEntry(path=path, digest=digest_of(data), size=len(data))
                for path, data in sorted(self.service.items())
            ),
        )
        step = r.InstallStep(step="app", driver="files", files=("service",))
        extensions = {
            name: r.Extension(critical=False, digest=digest_of(data), size=len(data))
            for name, data in self.extra.items()
        }
        steps = (r.InstallStep(step="images", driver="store", images=("api",)), step) if images else (step,)
        made = r.Release(
            format=1,
            product=self.product,
            version=self.version,
            channel=self.channel,
            epoch=self.epoch,
            sequence=self.sequence,
            issued_at="2026-01-02T03:04:05Z",
            audience=self.audience,
            needs=r.Needs(verifier="0.1", trust_root=1, from_=self.needs_from, fresh=self.fresh),
            floor=self.floor,
            images=images,
            files=(files,),
            contract=Blob(digest=digest_of(contract), size=len(contract)),
            rollback=Blob(digest=digest_of(rollback), size=len(rollback)),
            install=steps,
            trial=r.Trial(at_most_seconds=5, confirm="probes"),
            bulk_at=r.MAX_HEAD,
            members=members,
            extensions=extensions,
        )
        for name, value in self.change.items():
            made = _structs_replace(made, name, value)
        bulk_at = choose_bulk_at(len(encode(made)), (self.root_file(),), self.revocations, self.reserve)
        return _structs_replace(made, "bulk_at", bulk_at), blobs, index

    def head(self) -> Head:
        release, _, _ = self.release()
        data = encode(release)
        signatures = tuple(sorted((sign_any(data, one) for one in self.signers), key=lambda one: one.keyid))
        return Head(
            release=data,
            signatures=signatures,
            roots=(self.root_file(),),
            bulk_at=release.bulk_at,
            revocations=self.revocations,
        )

    def bundle(self, head: Head | None = None) -> bytes:
        release, blobs, index = self.release()
        return encode_head(head or self.head()) + bulk(release, blobs, index)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bundle())
        return path

    def but(self, **changes: object) -> "Vendor":
        return replace(self, **changes)  # type: ignore[arg-type]  # names are checked at run time


def _structs_replace(release: r.Release, name: str, value: object) -> r.Release:
    import msgspec

    return msgspec.structs.replace(release, **{name: value})


def sign_any(data: bytes, signer: FileSigner) -> Signature:
    return sign_release(data, signer)


def bulk(release: r.Release, blobs: dict[str, bytes], index: bytes, skip: tuple[str, ...] = ()) -> bytes:
    parts = []
    for i, blob in enumerate(release.members):
        if blob.digest in skip:
            continue
        data = index if i == 0 else VERIFY_TXT if i == 1 else blobs[blob.digest]
        parts += [header(member_name(i, blob), len(data)), data, bytes(padded(len(data)) - len(data))]
    return b"".join(parts) + END


def small_layer(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        length = tar.offset
    return stored_gzip(raw.getvalue()[:length] + END)


def stored_gzip(data: bytes) -> bytes:
    """Gzip (RFC 1952) of one stored block: the same bytes with every compressor, as frozen vectors need."""
    assert len(data) < 1 << 16
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block + struct.pack("<II", zlib.crc32(data), len(data))
