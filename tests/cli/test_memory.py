"""No command takes more memory than README.md promises, with the most that the limits of the format allow.

Each command is a process of its own, and says itself what it took.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from content.bundle.head import open_head
from content.bundle.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from manifests.documents.release import MAX_MEMBERS, MAX_RELEASE, Image
from manifests.documents.release_reader import parse_release
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.bench.payload import many_members, wordy_images
from tests.place import Place, make_place
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
        notes = [{f"{number}{note:05}": "" for note in range(12_450)} for number in range(4)]
        fields = [{"config": config, "layers": [layer] * 12_450, "annotations": some} for some in notes]
        return [put(OCI_MANIFEST, document(**some)) for some in fields]

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[Image, ...]]:
        blobs, index, images = super().blobs()
        top = [*json.loads(index)["manifests"], *self.documents(Put(blobs))]
        return blobs, encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": top}), images


@dataclass(frozen=True)
class Wordy(Crowded):
    """Annotations as long as F-10.18 and F-10.20 allow."""

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config, layer = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}'), put("a/b", b"x")
        notes = [{f"{number}": "x" * 4_150_000} for number in range(4)]
        return [put(OCI_MANIFEST, document(config=config, layers=[layer], annotations=some)) for some in notes]


@dataclass(frozen=True)
class Many(Crowded):
    """As many members as section 8 allows, nearly all of them layers that are named once."""

    layers: int = 4

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}')
        layers = [put(LAYER, b"%s %d" % (self.version.encode(), number)) for number in range(self.layers)]
        return [put(OCI_MANIFEST, document(config=config, layers=layers[first::4])) for first in range(4)]

    @classmethod
    def most(cls, version: str, sequence: int) -> "Many":
        vendor = cls(version=version, sequence=sequence)
        return replace(vendor, layers=vendor.layers + MAX_MEMBERS - len(vendor.release()[0].members))


@dataclass(frozen=True)
class Full(Crowded):
    """Every limit at once: members, descriptors, a long text, and file paths that fill ``release.json``."""

    def documents(self, put: "Put") -> list[dict[str, object]]:
        config, layer = put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}'), put("a/b", b"x")
        notes = [{f"{number}{note:05}": "" for note in range(16_600)} for number in range(3)]
        fields = [{"config": config, "layers": [layer] * 16_600, "annotations": some} for some in notes]
        fields.append({"config": config, "layers": [layer], "annotations": {"text": "x" * 4_150_000}})
        return [put(OCI_MANIFEST, document(**some)) for some in fields]

    @classmethod
    def most(cls, version: str, sequence: int) -> "Full":
        bare = cls(version=version, sequence=sequence, service={"a": b"a"})
        count = 1 + MAX_MEMBERS - len(bare.release()[0].members)
        short = replace(
            bare, service={f"{number:06}": b"%s %d" % (version.encode(), number) for number in range(count)}
        )
        longer = (MAX_RELEASE - len(encode(short.release()[0]))) // count
        folders, rest = ("x" * 100 + "/") * (longer // 101), "x" * (longer % 101)
        return replace(short, service={folders + path + rest: data for path, data in short.service.items()})


class Put:
    """Puts blobs among those of a release."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        self.blobs = blobs

    def __call__(self, media_type: str, data: bytes) -> dict[str, object]:
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def document(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}, separators=(",", ":"), ensure_ascii=False).encode()


def peaks(place: Place, vendor: Vendor, bundle: Path, root: Path) -> dict[str, int]:
    """The peak of each command on the way of one release, and of those that look at the site afterwards."""
    site, item = ("--site", place.path), f"r-{vendor.version}"
    taken = {
        "verify": peak(RUN, "verify", bundle, "--root", root)[0],
        "verify from a pipe": peak(RUN, "verify", "-", "--root", root, stdin=bundle)[0],
        "receive": peak(RUN, "receive", bundle, *site)[0],
        "review": peak(RUN, "review", item, *site)[0],
    }
    place.clock.at = datetime.now(UTC)
    place.approve(item)
    contract = digest_of(encode(vendor.contract()))
    taken["install"] = peak(RUN, "install", item, *site, "--contract", contract)[0]
    taken |= {name: peak(RUN, name, *site)[0] for name in ("status", "report")}
    return {f"{vendor.version} {name}": size for name, size in taken.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "vendors",
    [
        lambda: [Crowded()],
        lambda: [Wordy()],
        lambda: [Many.most("1.0.0", 1), Many.most("1.1.0", 2)],
        lambda: [Full.most("1.0.0", 1), Full.most("1.1.0", 2)],
    ],
    ids=["descriptors", "texts", "members", "full"],
)
def test_no_bundle_takes_more_memory_than_promised(tmp_path: Path, vendors: Callable[[], list[Vendor]]) -> None:
    """With as many members as a release may have, and a second release like it that replaces the first."""
    place, taken = make_place(tmp_path / "east", Vendor()), dict[str, int]()
    root = tmp_path / "root.json"
    root.write_bytes(Vendor().root_file())
    for vendor in vendors():
        if isinstance(vendor, Many | Full):
            assert len(vendor.release()[0].members) == MAX_MEMBERS
        taken |= peaks(place, vendor, vendor.write(tmp_path / f"{vendor.version}.tar"), root)
    print(taken)
    assert {name: size for name, size in taken.items() if size > PROMISED} == {}


@pytest.mark.slow
def test_no_build_takes_more_memory_than_promised(tmp_path: Path) -> None:
    """Documents that are packed up to the limit, and many more that are read and not packed."""
    folder = wordy_images(tmp_path / "vendor", images=5, unpacked=20)
    size, text = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "b.tar")
    assert size < PROMISED
    assert text.count("could not be read and is not packed") == 20
    folder = many_members(tmp_path / "many", MAX_MEMBERS - 7)
    size, _ = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "d.tar")
    assert len(parse_release(open_head(tmp_path / "d.tar").release).members) == MAX_MEMBERS
    assert size < PROMISED
    (folder / "service" / "one-more").write_text("one more\n")
    size, text = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "e.tar", expect=5)
    assert size < PROMISED
    assert f"{MAX_MEMBERS + 1} files in one release, at most {MAX_MEMBERS} are allowed" in text
    assert "hint: put folders of many files into an archive or an image" in text
    assert not (tmp_path / "e.tar").exists()
    folder = wordy_images(tmp_path / "more", images=40, unpacked=0)
    size, text = peak(RUN, "build", folder / "release.yaml", "-o", tmp_path / "c.tar", expect=3)
    assert size < PROMISED
    assert "the documents have more than 16777216 bytes together; a verifier would refuse this release" in text
