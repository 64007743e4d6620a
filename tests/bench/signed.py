"""What the signatures of many images add to `verify`: two bundles alike but for their signatures, as whole processes.

python -m tests.bench.signed            # 200 images, a key signature each, in both of cosign's forms by turns
IMAGES=1000 python -m tests.bench.signed
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from content.bundle.oci import OCI_INDEX
from manifests.documents import release as r
from manifests.words.digest import digest_of
from tests.bench.report import ManyImages
from tests.signed_images import CI, Hanging, dump, envelope_bundle, record, statement

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ManySigned(ManyImages):
    """``ManyImages``, each with one signature: by turns a Sigstore bundle as a referrer, and a tag."""

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        found, listed, images = super().blobs()
        top = json.loads(listed)["manifests"]

        def put(data: bytes) -> str:
            found[digest_of(data)] = data
            return digest_of(data)

        for number, image in enumerate(images):
            digest = image.manifest.digest
            subject = {"mediaType": image.manifest.media_type, "digest": digest, "size": image.manifest.size}
            hanging = Hanging(digest, found[digest], digest, subject, put, top, image.to)
            if number % 2:
                hanging.signed(CI)
            else:
                hanging.refer(envelope_bundle(CI, statement(digest)))
        signed = tuple(msgspec.structs.replace(one, signed_by="ci", reason=None) for one in images)
        return found, dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), signed


def verify(bundle: Path, pin: str) -> float:
    begin = time.monotonic()
    words = [sys.executable, "-m", "waybill", "verify", str(bundle), "--fingerprint", pin, "--quiet"]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def main() -> None:
    count, runs = int(os.environ.get("IMAGES", "200")), int(os.environ.get("RUNS", "9"))
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        plain = ManyImages(count=count)
        signed = ManySigned(count=count)
        signers = {"ci": r.ImageSigner(key=record(CI))}
        bundles = [
            plain.but(change={"install": plain.steps()}).write(Path(name) / "plain.tar"),
            signed.but(change={"install": signed.steps(), "signers": signers}).write(Path(name) / "signed.tar"),
        ]
        took: list[list[float]] = [[], []]
        for _ in range(runs):
            for i, one in enumerate(bundles):
                took[i].append(verify(one, plain.pin().digest))
        without, with_ = (statistics.median(one) for one in took)
        each = (with_ - without) / count * 1000
        print(
            f"verify {count} images: {without:.2f} s ({min(took[0]):.2f}-{max(took[0]):.2f}) unsigned, {with_:.2f} s "
            f"({min(took[1]):.2f}-{max(took[1]):.2f}) signed by a key each: {each:.2f} ms each (bar 1 ms), "
            f"reading the signatures included"
        )


if __name__ == "__main__":
    main()
