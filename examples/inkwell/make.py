"""Assemble the vendor folder of one version of inkwell: ``python3 make.py VERSION OUT``.

There is one source tree, and for each version a folder with the changes since the version before. The output does not
depend on umask, time zone, locale, hash seed or build of zlib. It has no keys and no trust.yaml. OUT is an empty
folder, or one that ``waybill init`` has made. A new run replaces the output of an earlier one.
"""

import hashlib
import io
import json
import shutil
import sys
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDERS = ("service", "sbom", "vex", "dist")
LIBRARY, LIBRARY_VERSION = "inkstone", "2.0.0"
HOME = "opt/inkwell"
PLATFORMS = {"api": ("amd64", "arm64"), "worker": ("amd64",)}  # two make an index, one a plain manifest
ONLY_IN = {"api": ("api.py", "routes.py", "answers.py", "fetch.py", "intake.py", "limits.py"), "worker": ("worker.py",)}

CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

ETC = {
    "etc/group": b"root:x:0:\ninkwell:x:10001:\n",
    "etc/passwd": b"root:x:0:0:root:/root:/sbin/nologin\ninkwell:x:10001:10001:inkwell:/opt/inkwell:/sbin/nologin\n",
    "etc/os-release": b'ID=inkwell-base\nNAME="Inkwell base"\nVERSION_ID=1\n',
}

Files = dict[str, bytes]
Json = dict[str, object]


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in versions():
        print(f"usage: make.py VERSION OUT, where VERSION is one of {' '.join(versions())}", file=sys.stderr)
        return 2
    version, out = arguments[0], Path(arguments[1])
    if out.exists() and any(out.iterdir()) and not (out / "release.yaml").is_file():
        print(f"make.py: {out} is neither empty nor a vendor folder", file=sys.stderr)
        return 5
    write(out, assemble(version))
    return 0


def versions() -> list[str]:
    """Return every version, oldest first; each is based on the one before."""
    found = (path.name for path in (HERE / "versions").iterdir() if path.is_dir())
    return sorted(found, key=lambda name: tuple(int(part) for part in name.split(".")))


def assemble(version: str) -> Files:
    """Return every file of the vendor folder, by its path."""
    own = HERE / "versions" / version
    facts = {"version": version} | json.loads((own / "facts.json").read_bytes())
    documents = {
        name: fill((HERE / "vendor" / name).read_text("utf-8"), facts).encode()
        for name in ("release.yaml", "contract.yaml", "rollback.yaml", "config.schema.json")
    }
    documents["NOTES.md"] = (own / "NOTES.md").read_bytes()
    documents[f"vex/{version}.openvex.json"] = encode_shown(advisories(own, facts))
    source = service(version)
    files = documents | {f"service/{path}": data for path, data in source.items()}
    for name in ("api", "worker"):
        layout, digest = image(name, source, facts)
        files |= {f"dist/{name}/{path}": data for path, data in layout.items()}
        files[f"sbom/{name}.cdx.json"] = encode_shown(sbom(name, digest, contents(name, source), facts))
    return files


def fill(text: str, facts: Mapping[str, str]) -> str:
    for name, value in facts.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def service(version: str) -> Files:
    """Return the sources: the tree, then the changes of each version up to this one."""
    found: Files = {}
    for folder in (HERE, *(HERE / "versions" / one for one in versions()[: versions().index(version) + 1])):
        for path in sorted((folder / "source").rglob("*.py")):
            found[path.relative_to(folder / "source").as_posix()] = path.read_bytes()
    found["inkwell/version.py"] = f'"""Version of this release."""\n\nVERSION = "{version}"\n'.encode()
    return dict(sorted(found.items()))


def contents(name: str, source: Files) -> Files:
    """Return the part of ``source`` in image ``name``: all but the modules of the other image."""
    elsewhere = {f"inkwell/{one}" for other, ones in ONLY_IN.items() if other != name for one in ones}
    return {path: data for path, data in source.items() if path not in elsewhere | {"inkwell/__main__.py"}}


def advisories(own: Path, facts: Mapping[str, str]) -> Json:
    """Return the advisories of the day of the release, as OpenVEX 0.2.0."""
    statements: list[object] = []
    for path in (own / "statements.json", HERE / "vendor" / "statements.json"):
        if path.exists():
            statements += json.loads(fill(path.read_text("utf-8"), facts))
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"https://inkwell.example/vex/{facts['version']}",
        "author": "Inkwell Works",
        "role": "vendor",
        "timestamp": facts["issued_at"],
        "version": 1,
        "statements": statements,
    }


# Images


def image(name: str, source: Files, facts: Mapping[str, str]) -> tuple[Files, str]:
    """Return an OCI image layout, and the digest of the image in it.

    The images hold real files and no interpreter. They are for transport and comparison, not to be run.
    """
    library = {path: data for path, data in source.items() if path.startswith(f"{LIBRARY}/")}
    program = {path: data for path, data in contents(name, source).items() if path not in library}
    base = layer(ETC | {f"{HOME}/{path}": data for path, data in library.items()})
    own = layer({f"{HOME}/{path}": data for path, data in program.items()})
    blobs: Files = {}

    def keep(data: bytes, media_type: str, **more: object) -> Json:
        blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **more}

    described = {
        "org.opencontainers.image.base.name": "inkwell-works.example/base:1",
        "org.opencontainers.image.base.digest": digest_of(base_manifest(base)),
        "org.opencontainers.image.version": facts["version"],
    }
    manifests = []
    for architecture in PLATFORMS[name]:
        config = keep(encode(image_config(name, architecture, [base, own], facts)), CONFIG)
        layers = [keep(packed, LAYER) for packed in (stored_gzip(base), stored_gzip(own))]
        manifest = encode(manifest_of(config, layers) | {"annotations": described})
        platform = {"os": "linux", "architecture": architecture}
        manifests.append(keep(manifest, MANIFEST, platform=platform))
    if len(manifests) > 1:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": described}
        top = keep(encode(index), INDEX)
    else:
        top = manifests[0]
    named = top | {"annotations": {"org.opencontainers.image.ref.name": facts["version"]}}
    layout = {
        "oci-layout": encode({"imageLayoutVersion": "1.0.0"}),
        "index.json": encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}),
    }
    return layout | {f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()}, str(top["digest"])


def image_config(name: str, architecture: str, layers: Iterable[bytes], facts: Mapping[str, str]) -> Json:
    steps = (f"etc and {LIBRARY} {LIBRARY_VERSION}", f"inkwell {facts['version']}, {name}")
    return {
        "created": facts["issued_at"],
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": "10001:10001",
            "WorkingDir": f"/{HOME}",
            "Entrypoint": ["python3", "-B", "-m", f"inkwell.{name}"],
            "Env": ["PATH=/usr/bin:/bin", "WAYBILL_CONFIG=/etc/inkwell/config.json", "WAYBILL_DATA=/var/lib/inkwell"],
            "Volumes": {"/var/lib/inkwell": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in layers]},
        "history": [{"created": facts["issued_at"], "created_by": f"make.py: {step}"} for step in steps],
    }


def base_manifest(base: bytes) -> bytes:
    """Return the manifest of the base image; the images name its digest only."""
    config = encode(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(base)]}}
    )
    packed = stored_gzip(base)
    return encode(
        manifest_of(
            {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
            [{"mediaType": LAYER, "digest": digest_of(packed), "size": len(packed)}],
        )
    )


def manifest_of(config: Json, layers: list[Json]) -> Json:
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}


def layer(files: Files) -> bytes:
    """Return an uncompressed layer: parents before children, owner root, time 1970."""
    folders = {parent.as_posix() for path in files for parent in Path(path).parents} - {"."}
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folders | set(files)):
            entry = tarfile.TarInfo(path)
            if path in files:
                entry.mode, entry.size = 0o644, len(files[path])
                tar.addfile(entry, io.BytesIO(files[path]))
            else:
                entry.mode, entry.type = 0o755, tarfile.DIRTYPE
                tar.addfile(entry)
    return found.getvalue()


def stored_gzip(data: bytes) -> bytes:
    """Return gzip without compression (RFC 1951, 3.2.4); compressed bytes differ between builds of zlib."""
    head = bytes.fromhex("1f8b08000000000000ff")  # deflate, no name, time 0, unknown system
    pieces = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)] or [b""]
    body = b"".join(
        bytes([at == len(pieces) - 1])
        + len(piece).to_bytes(2, "little")
        + (len(piece) ^ 0xFFFF).to_bytes(2, "little")
        + piece
        for at, piece in enumerate(pieces)
    )
    return head + body + zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")


# SBOMs


def sbom(name: str, digest: str, files: Files, facts: Mapping[str, str]) -> Json:
    """Return CycloneDX 1.6: the image, its two parts, and each of their files."""
    version = facts["version"]
    image_ref = f"pkg:oci/{name}@{digest.replace(':', '%3A')}?repository_url=inkwell-works.example/inkwell/{name}"
    parts = {"inkwell": ("application", version), LIBRARY: ("library", LIBRARY_VERSION)}
    refs = {part: f"pkg:generic/{part}@{number}" for part, (_, number) in parts.items()}
    components: list[Json] = [
        {
            "type": kind,
            "bom-ref": refs[part],
            "supplier": {"name": "Inkwell Works"},
            "name": part,
            "version": number,
            "licenses": [{"license": {"id": "Apache-2.0"}}],
            "purl": refs[part],
            "components": [
                file_component(f"{HOME}/{path}", data)
                for path, data in sorted(files.items())
                if path.startswith(f"{part}/")
            ],
        }
        for part, (kind, number) in parts.items()
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image_ref)}",
        "version": 1,
        "metadata": {
            "timestamp": facts["issued_at"],
            "supplier": {"name": "Inkwell Works"},
            "component": {
                "type": "container",
                "bom-ref": image_ref,
                "name": f"inkwell/{name}",
                "version": version,
                "purl": image_ref,
            },
        },
        "components": components + [file_component(path, data) for path, data in ETC.items()],
        "dependencies": [
            {"ref": image_ref, "dependsOn": [refs["inkwell"]]},
            {"ref": refs["inkwell"], "dependsOn": [refs[LIBRARY]]},
            {"ref": refs[LIBRARY], "dependsOn": []},
        ],
    }


def file_component(path: str, data: bytes) -> Json:
    hashes = [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
    return {"type": "file", "bom-ref": f"file:/{path}", "name": f"/{path}", "hashes": hashes}


# Bytes


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(value: Json) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def encode_shown(value: Json) -> bytes:
    """Return indented JSON, for documents that people read too."""
    return json.dumps(value, indent=2).encode() + b"\n"


def write(out: Path, files: Files) -> None:
    """Write ``files`` below ``out`` with fixed modes, after removing the folders of an earlier run."""
    for name in FOLDERS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
    for path, data in files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o644)
    for name in FOLDERS:
        for folder in (out / name, *(path for path in (out / name).rglob("*") if path.is_dir())):
            folder.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
