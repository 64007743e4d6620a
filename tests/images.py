"""Real OCI image layouts: tiny ones made here in a moment, and Debian ones made by mmdebstrap and umoci.

The tiny ones are images that a runtime could unpack: gzip layers of real files, a config with the right diff ids. No
tool but Python is needed, and the same call makes the same bytes.
"""

import base64
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, REF_NAME, Descriptor
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, describe, encode_index, encode_manifest
from manifests.words.digest import blob_name, digest_of
from tests.real import CACHE, tool

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature"


def layer(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A gzip layer of regular files with no time in it, and its diff id. Names ending in ``*`` are executable."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name.removesuffix("*"))
            entry.size = len(data)
            entry.mode = 0o755 if name.endswith("*") else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0), digest_of(packed.getvalue())


@dataclass
class LayoutWriter:
    """An OCI image layout in the making; `save` writes its ``index.json``.

    Attributes:
        entries: What ``index.json`` will list.
    """

    path: Path
    entries: list[Descriptor] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.path / "blobs" / "sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes, media_type: str, *, artifact_type: str = "") -> Descriptor:
        (self.path / blob_name(digest_of(data))).write_bytes(data)
        return describe(data, media_type=media_type, artifact_type=artifact_type)

    def image(
        self,
        layers: Iterable[Mapping[str, bytes]],
        *,
        platform: str = "linux/amd64",
        media_type: bool = True,
        created: str = "1970-01-01T00:00:00Z",
    ) -> Descriptor:
        """Write an image; it is not listed until it is tagged or put into an index.

        Args:
            media_type: False leaves ``mediaType`` out of the manifest, as umoci does.
        """
        found, diff_ids = [], []
        for files in layers:
            data, diff_id = layer(files)
            found.append(self.blob(data, OCI_LAYER_GZIP))
            diff_ids.append(diff_id)
        system, architecture, *variant = platform.split("/")
        config = {
            "architecture": architecture,
            "os": system,
            "created": created,
            "config": {"Entrypoint": ["/bin/app"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": created, "created_by": "tests"} for _ in diff_ids],
            **({"variant": variant[0]} if variant else {}),
        }
        manifest = encode_manifest(self.blob(_dump(config), OCI_CONFIG), found)
        if not media_type:
            document = json.loads(manifest)
            del document["mediaType"]
            manifest = _dump(document)
        return replace(self.blob(manifest, OCI_MANIFEST), platform=platform)

    def index(self, manifests: Iterable[Descriptor]) -> Descriptor:
        """Write an index over images of several platforms."""
        return self.blob(encode_index(manifests), OCI_INDEX)

    def tag(self, descriptor: Descriptor, name: str) -> Descriptor:
        """List a manifest under a reference name."""
        entry = replace(descriptor, annotations=tuple(sorted({**dict(descriptor.annotations), REF_NAME: name}.items())))
        self.entries.append(entry)
        return entry

    def referrer(
        self, subject: Descriptor, data: bytes, artifact_type: str, *, annotations: Mapping[str, str] | None = None
    ) -> Descriptor:
        """Write and list an OCI 1.1 artifact that refers to ``subject``, such as an SBOM."""
        self.blob(EMPTY_BYTES, EMPTY.media_type)
        notes = tuple(sorted((annotations or {}).items()))
        bare = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
        manifest = encode_manifest(
            EMPTY, [self.blob(data, artifact_type)], subject=bare, artifact_type=artifact_type, annotations=notes
        )
        entry = replace(self.blob(manifest, OCI_MANIFEST, artifact_type=artifact_type), annotations=notes)
        self.entries.append(entry)
        return entry

    def cosign_signature(self, subject: Descriptor, signature: bytes = b"", *, repository: str = "") -> Descriptor:
        """Write cosign's older form, a tag ``sha256-<hex>.sig``, listed as ``repository:tag`` or the bare tag.

        Args:
            signature: DER over `simple_signing`; nothing here checks it.
        """
        payload = simple_signing(subject.digest)
        signed = replace(
            self.blob(payload, SIMPLE_SIGNING),
            annotations=((COSIGN_SIGNATURE, base64.b64encode(signature).decode()),),
        )
        config = {"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [signed.digest]}}
        manifest = self.blob(encode_manifest(self.blob(_dump(config), OCI_CONFIG), [signed]), OCI_MANIFEST)
        tag = subject.digest.replace(":", "-") + ".sig"
        return self.tag(manifest, f"{repository}:{tag}" if repository else tag)

    def save(self) -> Path:
        (self.path / "index.json").write_bytes(encode_index(self.entries))
        return self.path

    def read(self, descriptor: Descriptor) -> bytes:
        return (self.path / blob_name(descriptor.digest)).read_bytes()


def simple_signing(digest: str, reference: str = "") -> bytes:
    """What cosign signs in its older form."""
    return _dump(
        {
            "critical": {
                "identity": {"docker-reference": reference},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )


def app_files(version: str) -> dict[str, bytes]:
    return {"bin/app*": f"#!/bin/sh\necho app {version}\n".encode(), "etc/app/version": version.encode()}


BASE_FILES = {"etc/os-release": b'ID=tests\nVERSION_ID="1"\n', "usr/share/doc/base": b"shared by every version\n" * 64}


def sbom(version: str) -> bytes:
    """A CycloneDX document about `app_files`."""
    components = [
        {
            "type": "file",
            "name": name.removesuffix("*"),
            "version": version,
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}],
        }
        for name, data in sorted(app_files(version).items())
    ]
    return _dump({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components})


def tiny_layout(path: Path, version: str = "1.0.0", *, media_type: bool = True) -> LayoutWriter:
    """One two-layer image, tagged with its version. Versions share the first layer."""
    writer = LayoutWriter(path)
    writer.tag(writer.image([BASE_FILES, app_files(version)], media_type=media_type), version)
    writer.save()
    return writer


def full_layout(path: Path, version: str = "1.0.0") -> LayoutWriter:
    """A two-platform index tagged with its version, with an SBOM as a referrer and a cosign signature tag.

    One of the two images has no ``mediaType`` in its manifest.
    """
    writer = LayoutWriter(path)
    images = [
        writer.image([BASE_FILES, app_files(version)]),
        writer.image([BASE_FILES, app_files(version + "-arm64")], platform="linux/arm64/v8", media_type=False),
    ]
    index = writer.tag(writer.index(images), version)
    writer.referrer(
        index, sbom(version), CYCLONEDX, annotations={"org.opencontainers.image.created": "1970-01-01T00:00:00Z"}
    )
    writer.cosign_signature(index)
    writer.save()
    return writer


_MMDEBSTRAP = ("--quiet", "--variant=extract", "--include=busybox-static,ca-certificates", "--format=tar", "bookworm")
_RECIPE = "\n".join([*_MMDEBSTRAP, "1.0.0 and 1.1.0 on one base", "recipe 1"])


def debian_images(cache_dir: Path = CACHE) -> Path:
    """A layout by umoci with ``1.0.0`` and ``1.1.0`` on one Debian base, made once and kept.

    Skips where mmdebstrap or umoci is missing. Manifests are umoci's: without ``mediaType``.
    """
    programs = {name: tool(name) for name in ("mmdebstrap", "umoci", "tar")}
    kept = cache_dir / f"debian-{hashlib.sha256(_RECIPE.encode()).hexdigest()[:16]}"
    cache_dir.mkdir(exist_ok=True)
    # Test processes that run side by side wait here for the first one.
    with (cache_dir / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=cache_dir) as name:
                _make_debian(Path(name), programs).rename(kept)
    return kept


def _make_debian(work: Path, programs: Mapping[str, str]) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}

    def run(name: str, *arguments: str) -> None:
        found = subprocess.run(
            [programs[name], *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=300
        )
        assert found.returncode == 0, f"{name} {' '.join(arguments)}: {found.stderr[-2000:]}"

    run("mmdebstrap", *_MMDEBSTRAP, "base.tar")
    run("umoci", "init", "--layout", "oci")
    run("umoci", "new", "--image", "oci:base")
    run("umoci", "unpack", "--image", "oci:base", "base")
    run("tar", "-C", "base/rootfs", "-xf", "base.tar", "--exclude=./dev/*")
    run("umoci", "repack", "--image", "oci:base", "base")
    for version in ("1.0.0", "1.1.0"):
        run("umoci", "unpack", "--image", "oci:base", version)
        place = work / version / "rootfs" / "opt" / "app"
        place.mkdir(parents=True)
        (place / "version").write_text(version)
        # Something that gzip cannot shrink, so that the layer has a size.
        (place / "data").write_bytes(b"".join(hashlib.sha256(f"{version} {n}".encode()).digest() for n in range(8192)))
        run("umoci", "repack", "--image", f"oci:{version}", version)
        entrypoint = ("--config.entrypoint", "/bin/busybox", "--config.cmd", "cat", "--config.cmd", "/opt/app/version")
        run("umoci", "config", "--image", f"oci:{version}", *entrypoint)
    run("umoci", "rm", "--image", "oci:base")
    run("umoci", "gc", "--layout", "oci")
    for name in ("base", "1.0.0", "1.1.0"):
        shutil.rmtree(work / name)
    return work / "oci"


def _dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
