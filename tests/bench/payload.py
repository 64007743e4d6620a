"""What the benchmark packs: a vendor folder with one image of incompressible layers, or with many small files."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIECE = 8 << 20
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


def vendor_folder(folder: Path, size: int, *, layers: int) -> Path:
    """A vendor folder whose release has one image of ``size`` random bytes in ``layers`` unequal layers."""
    _init(folder)
    _layout(folder / "layout", size, layers)
    image = (
        "images:\n"
        "  - {name: app, from: 'oci:layout:app', to: bench/app, signed_by: none, reason: a benchmark,\n"
        "     sbom: none, sbom_reason: random bytes have no components}\n"
    )
    _edit(folder, image)
    return folder


def many_members(folder: Path, count: int) -> Path:
    """A vendor folder whose release has ``count`` small files."""
    _init(folder)
    service = folder / "service" / "data"
    service.mkdir()
    for i in range(count):
        (service / f"{i:06}.txt").write_text(f"{i}\n")
    return folder


def many_images(folder: Path, count: int) -> Path:
    """A vendor folder whose release has all images of one layout: ``count``, with one small layer each."""
    _init(folder)
    put, entries = _blobs(folder / "layout"), []
    for i in range(count):
        layer = put(b"%d" % i, LAYER)
        config = put(json.dumps({"architecture": "amd64", "os": "linux", "n": i}).encode(), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        entry = put(json.dumps(manifest).encode(), MANIFEST)
        entries.append(entry | {"annotations": {"org.opencontainers.image.ref.name": f"app{i}"}})
    _close(folder / "layout", entries)
    names = [f"app{i}" for i in range(count)]
    images = [
        f"  - {{name: {name}, from: 'oci:layout:{name}', to: bench/{name}, signed_by: none, reason: a benchmark,\n"
        "     sbom: none, sbom_reason: random bytes have no components}\n"
        for name in names
    ]
    _edit(folder, "images:\n" + "".join(images), f"[{', '.join(names)}]")
    return folder


def wordy_images(folder: Path, *, images: int, unpacked: int) -> Path:
    """A vendor folder with images of a layout each, whose indexes have 3 MB of annotations.

    ``unpacked`` referrers of the first image are as long, and not packed because a layer is missing.
    """
    _init(folder)
    names = [f"app{i}" for i in range(images)]
    for name in names:
        put = _blobs(folder / name)
        config, layer = put(b'{"architecture":"amd64","os":"linux"}', CONFIG), put(name.encode(), LAYER)
        image = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        child = put(json.dumps(image).encode(), MANIFEST) | {"platform": {"architecture": "amd64", "os": "linux"}}
        top = put(_wordy(name, mediaType=INDEX, manifests=[child]), INDEX)
        entries = [top | {"annotations": {"org.opencontainers.image.ref.name": name}}]
        gone = {"mediaType": LAYER, "digest": f"sha256:{0:064}", "size": 3}
        beside = {"mediaType": MANIFEST, "config": config, "layers": [gone], "subject": top}
        referrers = [_wordy(f"{name}-{n}", **beside) for n in range(unpacked if name == "app0" else 0)]
        _close(folder / name, [*entries, *(put(data, MANIFEST) for data in referrers)])
    text = [
        f"  - {{name: {name}, from: 'oci:{name}:{name}', to: bench/{name}, signed_by: none, reason: a benchmark,\n"
        "     sbom: none, sbom_reason: random bytes have no components}\n"
        for name in names
    ]
    _edit(folder, "images:\n" + "".join(text), f"[{', '.join(names)}]")
    return folder


def _wordy(name: str, **fields: object) -> bytes:
    notes = {f"{name}-{n}": "x" * 1601 for n in range(1900)}
    return json.dumps({"schemaVersion": 2, "annotations": notes, **fields}, ensure_ascii=False).encode()


def compiled(folder: Path) -> dict[str, str]:
    """The environment of an installed program: its bytecode is kept, in ``folder``, whatever this shell says."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**env, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONPATH": str(ROOT)}


def _init(folder: Path) -> None:
    words = [sys.executable, "-m", "waybill", "init", str(folder), "--product", "bench"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)


def _edit(folder: Path, text: str, names: str = "[app]") -> None:
    path = folder / "release.yaml"
    before = path.read_text()
    at = before.find("\nfiles:")
    after = before[:at] + "\n" + text + before[at:]
    steps = f"install:\n  - {{step: images, driver: store, images: {names}}}\n"
    lines = after.partition("\ninstall:")
    after = lines[0] + "\n" + steps + lines[2].partition("\n")[2]
    if at < 0 or after == before:
        raise SystemExit("release.yaml of `waybill init` has no `files:` to put an image before")
    path.write_text(after)


def _blobs(folder: Path) -> Callable[[bytes, str], dict[str, object]]:
    """What writes a blob into the layout, and gives its descriptor."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    return put


def _close(folder: Path, entries: list[dict[str, object]]) -> None:
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _layout(folder: Path, size: int, layers: int) -> None:
    put = _blobs(folder)
    weights = [2 + i % 5 for i in range(layers)]
    made = [_random_layer(folder / "blobs" / "sha256", size * weight // sum(weights)) for weight in weights]
    config = put(json.dumps({"architecture": "amd64", "os": "linux"}).encode(), CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": made}
    top = put(json.dumps(manifest).encode(), MANIFEST)
    _close(folder, [top | {"annotations": {"org.opencontainers.image.ref.name": "app"}}])


def _random_layer(blobs: Path, size: int) -> dict[str, object]:
    hashed = hashlib.sha256()
    path = blobs / "new"
    with path.open("wb") as file:
        left = size
        while left:
            data = os.urandom(min(PIECE, left))
            hashed.update(data)
            file.write(data)
            left -= len(data)
    path.rename(blobs / hashed.hexdigest())
    return {"mediaType": LAYER, "digest": f"sha256:{hashed.hexdigest()}", "size": size}
