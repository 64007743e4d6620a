"""How long a site with many images takes to write its next report, as a whole process, and how long that report is.

python -m tests.bench.report            # 200 images of three layers, each with an SBOM
IMAGES=1000 python -m tests.bench.report
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST, REF_NAME
from content.bundle.oci_writer import OCI_EMPTY
from manifests.documents import release as r
from manifests.documents.report import MAX_CORE
from manifests.documents.signed_report import encode_report, verify_report
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.faults.model import QuickDisk
from tests.place import Place, make_place
from tests.vendor import CYCLONEDX, Vendor, small_layer
from verifier.reporting.report_write import write_report

ROOT = Path(__file__).parents[2]
LAYERS = 3


@dataclass(frozen=True)
class ManyImages(Vendor):
    """A release of ``count`` images, each with layers, a config and an SBOM of its own."""

    count: int = 200

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        found, _, _ = Vendor.blobs(self.but(images=False))
        top: list[dict[str, object]] = []
        images = []
        for number in range(self.count):
            name = f"image-{number:04}"
            image, entries = _image(found, name, self.version)
            images.append(image)
            top += entries
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}
        return found, encode(index), tuple(images)

    def steps(self) -> tuple[r.InstallStep, ...]:
        names = tuple(f"image-{number:04}" for number in range(self.count))
        return (
            r.InstallStep(step="images", driver="store", images=names),
            r.InstallStep(step="app", driver="files", files=("service",)),
        )


def _image(found: dict[str, bytes], name: str, version: str) -> tuple[r.Image, list[dict[str, object]]]:
    def target(media_type: str, data: bytes) -> dict[str, object]:
        found[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    layers = [target(OCI_LAYER_GZIP, small_layer({f"{name}/{i}": version.encode()})) for i in range(LAYERS)]
    config = target(OCI_CONFIG, encode({"architecture": "amd64", "os": "linux", "author": name}))
    document = encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers})
    manifest = target(OCI_MANIFEST, document)
    sbom = encode({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "name": name}]})
    referrer = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": CYCLONEDX,
        "config": target(OCI_EMPTY, b"{}"),
        "layers": [target(CYCLONEDX, sbom)],
        "subject": manifest,
    }
    image = r.Image(
        name=name,
        to=f"small/{name}",
        manifest=r.Target(media_type=OCI_MANIFEST, digest=digest_of(document), size=len(document)),
        signed_by="none",
        reason="a bench",
        sboms=(r.Sbom(format="cyclonedx", digest=digest_of(sbom), size=len(sbom)),),
    )
    entries = [
        {**manifest, "annotations": {REF_NAME: f"small/{name}:{version}"}},
        {**target(OCI_MANIFEST, encode(referrer)), "artifactType": CYCLONEDX},
    ]
    return image, entries


def many_installed(folder: Path, count: int) -> Place:
    """A site on which a release of ``count`` images is installed."""
    plain = ManyImages(count=count)
    vendor = plain.but(change={"install": plain.steps()})
    place = make_place(folder, vendor, disk=QuickDisk())
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause)
    ended = place.bring(vendor.write(folder / "many.tar"))
    if ended.error is not None:
        raise ended.error
    return place


def main() -> None:
    count, runs = int(os.environ.get("IMAGES", "200")), int(os.environ.get("RUNS", "7"))
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        place = many_installed(Path(name), count)
        took = []
        words = [sys.executable, "-m", "waybill", "report", "--new", "--quiet", "--site", str(place.path)]
        for _ in range(runs):
            begin = time.monotonic()
            subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            took.append(time.monotonic() - begin)
        state = place.open().state
        raw = (place.path / "outbox" / f"{state.reports.seq}.report.json").read_bytes()
        report = verify_report(raw, state.site_key).report
        core = len(encode_report(report, state.reports.enrolment or ""))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"report of {count} images: {statistics.median(took):.2f} s ({min(took):.2f}-{max(took):.2f}), whole "
            f"process, at most 0.5 s; {len(report.components.listed)} parts listed, core {core} of {MAX_CORE} bytes, "
            f"peak {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
