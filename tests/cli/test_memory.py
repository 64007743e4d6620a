"""No command takes more memory than README.md promises, with the most that the limits of the format allow.

Each command is a process of its own, and says itself what it took.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from manifests.documents.release import Image
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.bench.payload import wordy_images
from tests.vendor import Vendor

ROOT = Path(__file__).parents[2]
PROMISED = 120_000_000
LAYER = "application/vnd.oci.image.layer.v1.tar"
RUN = """
import os, re, sys
sys.argv = ["waybill", *sys.argv[1:]]
from waybill import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1], file=sys.stderr)
"""
# Receive, approve and install at a site that was enrolled before, as `tests.place` does it for all tests.
INSTALL = """
import re, sys
from pathlib import Path
from tests.place import make_place
from tests.vendor import Vendor
folder = Path(sys.argv[1])
place = make_place(folder / "east", Vendor())
ended = place.bring(folder / "b.tar")
assert ended.error is None, ended.error
with open("/proc/self/status") as status:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1], file=sys.stderr)
"""


def peak(program: str, *words: str | Path, stdin: Path | None = None, expect: int = 0) -> tuple[int, str]:
    """The peak resident size of a process in bytes, and what it printed."""
    with (stdin or Path(os.devnull)).open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)], stdin=file, capture_output=True, text=True, cwd=ROOT
        )
    assert done.returncode == expect, done.stderr
    *messages, kibibytes = done.stderr.splitlines()
    return int(kibibytes) << 10, done.stdout + "\n".join(messages)


@dataclass(frozen=True)
class Crowded(Vendor):
    """As many descriptors and annotations as F-10.16 allows, in four manifests that list one layer over and over."""

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config, layer = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}'), put("a/b", b"x")
        notes = [{f"{number}{note:05}": "" for note in range(24_900)} for number in range(4)]
        fields = [{"config": config, "layers": [layer] * 24_900, "annotations": some} for some in notes]
        return [put(OCI_MANIFEST, document(**some)) for some in fields]

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        blobs, index, images = super().blobs()
        top = [*json.loads(index)["manifests"], *self.documents(Put(blobs))]
        return blobs, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), images


@dataclass(frozen=True)
class Wordy(Crowded):
    """Annotations as long as F-10.18 allows; one sign that is not ASCII makes a text take four bytes for each other."""

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config, layer = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}'), put("a/b", b"x")
        notes = [{f"{number}": "\N{SNOWMAN}\N{GRINNING FACE}" + "x" * 4_150_000} for number in range(4)]
        return [put(OCI_MANIFEST, document(config=config, layers=[layer], annotations=some)) for some in notes]


@dataclass(frozen=True)
class Many(Crowded):
    """Nearly as many members as F-10.18 has room for, each named once."""

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}')
        layers = [[put(LAYER, b"%d" % (first * 22_000 + n)) for n in range(22_000)] for first in range(4)]
        return [put(OCI_MANIFEST, document(config=config, layers=some)) for some in layers]


class Put:
    """Puts blobs among those of a release."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs

    def __call__(self, media_type: str, data: bytes) -> dict[str, object]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def document(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vendor", "installs"),
    [(Crowded(), True), (Wordy(), True), (Many(), False)],
    ids=["descriptors", "texts", "members"],
)
def test_no_bundle_takes_more_memory_than_promised(tmp_path: Path, vendor: Vendor, installs: bool) -> None:
    """To receive and install 92,000 members takes more: README.md says so."""
    bundle, root = vendor.write(tmp_path / "b.tar"), tmp_path / "root.json"
    root.write_bytes(vendor.root_file())
    taken = {
        "verify": peak(RUN, "verify", bundle, "--root", root)[0],
        "verify from a pipe": peak(RUN, "verify", "-", "--root", root, stdin=bundle)[0],
    }
    if installs:
        taken["receive, approve, install"] = peak(INSTALL, tmp_path)[0]
    assert {name: size for name, size in taken.items() if size > PROMISED} == {}


@pytest.mark.slow
def test_no_build_takes_more_memory_than_promised(tmp_path: Path) -> None:
    """Documents that are packed up to the limit, and many more that are read and not packed."""
    folder = wordy_images(tmp_path / "vendor", images=5, unpacked=20)
    size, text = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "b.tar")
    assert size < PROMISED
    assert text.count("could not be read and is not packed") == 20
    folder = wordy_images(tmp_path / "more", images=40, unpacked=0)
    size, text = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "c.tar", expect=3)
    assert size < PROMISED
    assert "the documents have more than 16777216 bytes together; a verifier would refuse this release" in text
