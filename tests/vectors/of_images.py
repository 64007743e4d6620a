"""Vectors: the OCI part of a bundle, every byte of it hashed and signed, and wrong in what it says."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from content.bundle.oci import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    REF_NAME,
)
from content.bundle.oci_writer import OCI_EMPTY
from manifests.documents import release as r
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from tests.vectors.surgery import Case
from tests.vendor import CYCLONEDX, Vendor, small_layer

ZEROS = "sha256:" + "0" * 64
Fields = dict[str, Any]  # an OCI document on its way to being wrong


class Shelf:
    """Blobs by digest, and the descriptors of index.json."""

    def __init__(self, found: dict[str, bytes]) -> None:
        self.found = found
        self.top: list[Fields] = []

    def put(self, media_type: str, data: bytes) -> Fields:
        self.found[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def document(self, media_type: str, fields: Fields) -> Fields:
        return self.put(media_type, encode({"mediaType": media_type, "schemaVersion": 2, **fields}))

    def manifest(self, text: bytes = b"one", **more: object) -> Fields:
        config = self.put(OCI_CONFIG, b'{"architecture":"amd64","os":"linux"}')
        layer = self.put(OCI_LAYER_GZIP, small_layer({"app/version": text}))
        return self.document(OCI_MANIFEST, {"config": config, "layers": [layer], **more})

    def index(self, *children: Fields, **more: object) -> Fields:
        return self.document(OCI_INDEX, {"manifests": list(children), **more})

    def sbom_for(self, subject: Fields) -> bytes:
        sbom = encode({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "thing"}]})
        empty, layer = self.put(OCI_EMPTY, b"{}"), self.put(CYCLONEDX, sbom)
        referrer = self.document(
            OCI_MANIFEST, {"artifactType": CYCLONEDX, "config": empty, "layers": [layer], "subject": subject}
        )
        self.top.append({**referrer, "artifactType": CYCLONEDX})
        return sbom


@dataclass(frozen=True)
class Images(Vendor):
    """A vendor with one image that ``build`` makes; ``change`` comes last and may spoil index.json.

    Attributes:
        build: Makes the image on a shelf and returns its descriptor; it is listed and gets its SBOM afterwards.
        spoil: Changes the fields of index.json.
        text: Changes the bytes of index.json.
        stated: What ``images`` of release.json says, when that is not the descriptor.
    """

    build: Callable[[Shelf], Fields] = Shelf.manifest
    spoil: Callable[[Fields], object] = lambda _: None
    text: Callable[[bytes], bytes] = lambda data: data
    stated: Callable[[Fields], Fields] = lambda fields: fields
    listed: bool = True
    sbom: bool = True

    def blobs(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        found, _, _ = replace(self, images=False).plain()
        shelf = Shelf(found)
        image = self.build(shelf)
        if self.listed:
            shelf.top.insert(0, {**image, "annotations": {REF_NAME: f"small/api:{self.version}"}})
        subject = {key: image[key] for key in ("mediaType", "digest", "size")}
        sboms: tuple[r.Sbom, ...] = ()
        if self.sbom:
            sbom = shelf.sbom_for(subject)
            sboms = (r.Sbom(format="cyclonedx", digest=digest_of(sbom), size=len(sbom)),)
        index: Fields = {"manifests": shelf.top, "mediaType": OCI_INDEX, "schemaVersion": 2}
        self.spoil(index)
        stated = self.stated(subject)
        target = r.Target(media_type=stated["mediaType"], digest=stated["digest"], size=stated["size"])
        made = r.Image(
            name="api",
            to="small/api",
            manifest=target,
            signed_by="none",
            reason="a test",
            sboms=sboms,
            sbom_reason=None if sboms else "a test",
        )
        return shelf.found, self.text(encode(index)), (made,)

    def plain(self) -> tuple[dict[str, bytes], bytes, tuple[r.Image, ...]]:
        return Vendor.blobs(self)


def case(**fields: Any) -> Callable[[], Case]:
    def make() -> Case:
        vendor = Images(**fields)
        return Case(vendor.bundle(), vendor.pin())

    return make


def manifest(change: Callable[[Fields], object] = lambda _: None, media_type: str = OCI_MANIFEST) -> Callable[[], Case]:
    """The image's manifest with changed fields."""

    def build(shelf: Shelf) -> Fields:
        fields = json.loads(shelf.found[shelf.manifest()["digest"]])
        change(fields)
        return _replaced(shelf, media_type, encode(fields))

    return case(build=build)


def raw_manifest(change: Callable[[bytes], bytes]) -> Callable[[], Case]:
    """The image's manifest with changed bytes."""

    def build(shelf: Shelf) -> Fields:
        return _replaced(shelf, OCI_MANIFEST, change(shelf.found[shelf.manifest()["digest"]]))

    return case(build=build)


def _replaced(shelf: Shelf, media_type: str, data: bytes) -> Fields:
    """Puts the document and takes away the one that it was made from."""
    del shelf.found[Shelf(dict(shelf.found)).manifest()["digest"]]
    return shelf.put(media_type, data)


def layer(**changes: object) -> Callable[[], Case]:
    def change(fields: Fields) -> None:
        fields["layers"][0] = {k: v for k, v in {**fields["layers"][0], **changes}.items() if v is not None}

    return manifest(change)


def with_data(right: bool) -> Callable[[], Case]:
    def change(fields: Fields) -> None:
        content = b'{"architecture":"amd64","os":"linux"}' if right else b"other"
        fields["config"]["data"] = b64encode(content).decode()

    return manifest(change)


def nested(depth: int) -> Callable[[], Case]:
    """An image under ``depth`` indexes."""

    def build(shelf: Shelf) -> Fields:
        found = shelf.manifest()
        for _ in range(depth):
            found = shelf.index(found)
        return found

    return case(build=build)


def index_of(make: Callable[[Shelf], list[Fields]], **more: Any) -> Callable[[], Case]:
    return case(build=lambda shelf: shelf.index(*make(shelf)), **more)


def left_out(
    listed: bool, *, platform: str = "linux/arm64", platforms: tuple[str, ...] = ("linux/amd64",)
) -> Callable[[], Case]:
    """A platform that the index names was not packed; release.json says so, or does not."""
    gone = {"mediaType": OCI_MANIFEST, "digest": ZEROS, "size": 7, "platform": {"os": "linux", "architecture": "arm64"}}

    def make() -> Case:
        vendor = Images(build=lambda shelf: shelf.index(shelf.manifest(), gone))
        if listed:
            (image,) = vendor.release()[0].images
            absent = (r.Absent(parent=image.manifest.digest, digest=ZEROS, platform=platform),)
            images = (msgspec.structs.replace(image, platforms=platforms),)
            vendor = replace(vendor, change={"absent": absent, "images": images})
        return Case(vendor.bundle(), vendor.pin())

    return make


AMD64 = {"os": "linux", "architecture": "amd64"}


def platforms_stated(*platforms: str, in_index: bool = True) -> Callable[[], Case]:
    """A whole image for linux/amd64, of which release.json says that only ``platforms`` were packed."""

    def make() -> Case:
        vendor = Images(build=lambda shelf: shelf.index({**shelf.manifest(), "platform": AMD64}))
        if not in_index:
            vendor = Images()
        (image,) = vendor.release()[0].images
        vendor = replace(vendor, change={"images": (msgspec.structs.replace(image, platforms=platforms),)})
        return Case(vendor.bundle(), vendor.pin())

    return make


def unstated(platform: str) -> Callable[[], Case]:
    """A child for which its index states no platform was not packed."""

    def make() -> Case:
        gone = {"mediaType": OCI_MANIFEST, "digest": ZEROS, "size": 7}
        vendor = Images(build=lambda shelf: shelf.index(shelf.manifest(), gone))
        (image,) = vendor.release()[0].images
        absent = (r.Absent(parent=image.manifest.digest, digest=ZEROS, platform=platform),)
        images = (msgspec.structs.replace(image, platforms=("linux/amd64",)),)
        vendor = replace(vendor, change={"absent": absent, "images": images})
        return Case(vendor.bundle(), vendor.pin())

    return make


def absent_without_reason() -> Case:
    vendor = Images(change={"absent": (r.Absent(parent="sha256:" + "1" * 64, digest=ZEROS, platform="linux/arm64"),)})
    return Case(vendor.bundle(), vendor.pin())


def absent_but_there() -> Case:
    """What is packed cannot be left out."""
    plain = Images(build=lambda shelf: shelf.index(shelf.manifest(), shelf.manifest(b"two")))
    release, blobs, _ = plain.release()
    (image,) = release.images
    parent = image.manifest.digest
    child = json.loads(blobs[parent])["manifests"][1]["digest"]
    absent = (r.Absent(parent=parent, digest=child, platform="unknown"),)
    images = (msgspec.structs.replace(image, platforms=("linux/amd64",)),)
    vendor = replace(plain, change={"absent": absent, "images": images})
    return Case(vendor.bundle(), vendor.pin())


def foreign(url: str | None = None, platform: str | None = None, **changes: object) -> Callable[[], Case]:
    """The image's first layer has ``urls``, the bundle does not have it; ``url`` is what ``absent`` says of it."""

    def build(shelf: Shelf) -> Fields:
        fields = json.loads(shelf.found[shelf.manifest()["digest"]])
        del shelf.found[fields["layers"][0]["digest"]]
        fields["layers"][0] |= {"urls": ["https://a.example/layer", "https://b.example/layer"], **changes}
        return _replaced(shelf, OCI_MANIFEST, encode(fields))

    def make() -> Case:
        vendor = Images(build=build)
        if url is not None or platform is not None:
            release, blobs, _ = vendor.release()
            parent = release.images[0].manifest.digest
            layer = json.loads(blobs[parent])["layers"][0]["digest"]
            absent = r.Absent(parent=parent, digest=layer, url=url, platform=platform)
            vendor = replace(vendor, change={"absent": (absent,)})
        return Case(vendor.bundle(), vendor.pin())

    return make


def _entry(**changes: object) -> Callable[[Fields], object]:
    """The first entry of index.json, changed; None takes a field away."""

    def change(index: Fields) -> None:
        entry = {**index["manifests"][0], **changes}
        index["manifests"][0] = {key: value for key, value in entry.items() if value is not None}

    return change


def _renamed(name: str) -> Callable[[Fields], object]:
    return _entry(annotations={REF_NAME: name})


def _twice(index: Fields) -> None:
    index["manifests"].append(index["manifests"][0])


def _two_types(shelf: Shelf) -> list[Fields]:
    one = shelf.manifest()
    fields = json.loads(shelf.found[one["digest"]])
    del fields["mediaType"]
    bare = shelf.put(OCI_MANIFEST, encode(fields))
    del shelf.found[one["digest"]]
    return [bare, {**bare, "mediaType": DOCKER_MANIFEST}]


def docker() -> Callable[[], Case]:
    def change(fields: Fields) -> None:
        fields["mediaType"] = DOCKER_MANIFEST
        fields["config"]["mediaType"] = DOCKER_CONFIG
        fields["layers"][0]["mediaType"] = DOCKER_LAYER_GZIP

    return manifest(change, DOCKER_MANIFEST)


def many_referrers(shelf: Shelf, count: int = 300) -> Fields:
    found = shelf.manifest()
    config = shelf.put(OCI_EMPTY, b"{}")
    for n in range(count):
        fields = {"annotations": {"n": str(n)}, "config": config, "layers": [], "subject": found}
        shelf.top.append(shelf.document(OCI_MANIFEST, fields))
    return found


def _with_values(count: int) -> Callable[[bytes], bytes]:
    """Empty arrays in a field that nobody knows, so many that with what is there they are about ``count``."""
    return lambda data: data[:-1] + b',"x":[' + b",".join([b"[]"] * (count // 2)) + b"]}"


def _long_manifests(shelf: Shelf, count: int) -> list[Fields]:
    """Manifests of a little more than a mebibyte each, and no two of them alike."""
    return [shelf.manifest(b"%d" % n, annotations={"a": "y" * (1 << 20)}) for n in range(count)]


def _unreferenced(shelf: Shelf) -> Fields:
    shelf.put(OCI_LAYER_GZIP, b"nobody asked for this")
    return shelf.manifest()


def as_manifest() -> bytes:
    """A whole image manifest, in the place of index.json."""
    shelf = Shelf({})
    return shelf.found[shelf.manifest()["digest"]]


def set_(**changes: object) -> Callable[[Fields], object]:
    return lambda fields: fields.update(changes)


def without(name: str) -> Callable[[Fields], object]:
    return lambda fields: fields.pop(name)


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "oci-document": (
        "Manifests and indexes of others are read leniently, but each means one thing: UTF-8 JSON without duplicate "
        "keys (F-10.1), schema version 2 (F-10.3), the media type of its descriptor (F-10.4), a manifest or an index "
        "and not both (F-10.5), at most 4 MiB (F-10.10), with a number of values (F-10.19). Their bytes are kept as "
        "they are (F-4.12).",
        {
            "plain": manifest(),
            "docker": docker(),
            "without-media-type": manifest(without("mediaType")),
            "indented": raw_manifest(lambda data: json.dumps(json.loads(data), indent=3).encode() + b"\n"),
            "space-before": raw_manifest(lambda data: b"\n  " + data),
            "escaped": raw_manifest(lambda data: data.replace(b"schemaVersion", b"\\u0073chemaVersion")),
            "unknown-field": manifest(set_(colour="blue")),
            "null-annotations": manifest(set_(annotations=None)),
            "schema-1": manifest(set_(schemaVersion=1)),
            "schema-text": manifest(set_(schemaVersion="2")),
            "schema-true": manifest(set_(schemaVersion=True)),
            "schema-float": raw_manifest(lambda data: data.replace(b'"schemaVersion":2', b'"schemaVersion":2.0')),
            "schema-missing": manifest(without("schemaVersion")),
            "media-type-differs": manifest(set_(mediaType=DOCKER_MANIFEST)),
            "media-type-of-index": manifest(set_(mediaType=OCI_INDEX)),
            "media-type-unknown": manifest(set_(mediaType="text/plain"), "text/plain"),
            "hybrid": manifest(set_(manifests=[])),
            "index-with-layers": case(build=lambda shelf: shelf.index(shelf.manifest(), layers=[])),
            "index-with-config": case(build=lambda shelf: shelf.index(shelf.manifest(), config={})),
            "manifest-without-config": manifest(without("config")),
            "manifest-without-layers": manifest(without("layers")),
            "schema-1-layers": manifest(set_(fsLayers=[])),
            "duplicate-key": raw_manifest(lambda data: data.replace(b'{"config"', b'{"schemaVersion":2,"config"', 1)),
            "other-spelling": raw_manifest(lambda data: data.replace(b'"layers"', b'"Layers"')),
            "both-spellings": manifest(set_(Layers=[])),
            "utf-16": raw_manifest(lambda data: data.decode().encode("utf-16")),
            "byte-order-mark": raw_manifest(lambda data: b"\xef\xbb\xbf" + data),
            "nan": raw_manifest(lambda data: data[:-1] + b',"x":NaN}'),
            "garbage-after": raw_manifest(lambda data: data + b"x"),
            "comma-after": raw_manifest(lambda data: data[:-1] + b",}"),
            "deep": raw_manifest(lambda data: data[:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}"),
            "array": raw_manifest(lambda data: b"[" + data + b"]"),
            "empty": raw_manifest(lambda _: b""),
            "five-mebibytes": manifest(set_(annotations={"x": "y" * (5 << 20)})),
            "values-many": raw_manifest(_with_values(199_000)),
            "values-too-many": raw_manifest(_with_values(200_001)),
            "commas-in-a-text": raw_manifest(lambda data: data[:-1] + b',"x":"' + b",[{" * 200_000 + b'"}'),
            "two-mebibytes": manifest(set_(annotations={"x": "y" * (2 << 20)})),
            "two-mebibytes-not-ascii": manifest(set_(annotations={"x": "\u00e4" + "y" * (2 << 20)})),
            "two-mebibytes-with-an-escape": raw_manifest(
                lambda data: data[:-1] + b',"x":"\\u00e4' + b"y" * (2 << 20) + b'"}'
            ),
            "short-not-ascii": manifest(set_(annotations={"x": "\u00e4" * 1000})),
        },
    ),
    "oci-descriptor": (
        "A descriptor has a media type, a digest of 64 lower-case hex digits, a whole size, data only if that is the "
        "content, and urls only in a layer (F-10.6); what it points at is a member of that size (F-10.7).",
        {
            "digest-upper-case": layer(digest="sha256:" + "A" * 64),
            "digest-newline": layer(digest=ZEROS + "\n"),
            "digest-sha512": layer(digest="sha512:" + "0" * 128),
            "digest-md5": layer(digest="md5:" + "0" * 32),
            "digest-traversal": layer(digest="sha256:../../../../etc/passwd"),
            "digest-missing": layer(digest=None),
            "digest-number": layer(digest=7),
            "size-text": layer(size="7"),
            "size-negative": layer(size=-1),
            "size-float": raw_manifest(lambda data: data.replace(b'"size":37', b'"size":37.0', 1)),
            "size-true": layer(size=True),
            "size-beyond-2-53": layer(size=2**53),
            "size-wrong": layer(size=1),
            "size-missing": layer(size=None),
            "media-type-missing": layer(mediaType=None),
            "media-type-newline": layer(mediaType="text/plain\n"),
            "urls": layer(urls=["https://elsewhere.example/layer"]),
            "urls-empty": layer(urls=[]),
            "urls-of-config": manifest(
                lambda fields: fields["config"].update(urls=["https://elsewhere.example/config"])
            ),
            "urls-of-a-child": index_of(
                lambda shelf: [{**shelf.manifest(), "urls": ["https://elsewhere.example/image"]}]
            ),
            "urls-of-another-scheme": layer(urls=["file:///etc/passwd"]),
            "urls-with-newline": layer(urls=["https://elsewhere.example/layer\n"]),
            "urls-not-a-list": layer(urls="https://elsewhere.example/layer"),
            "urls-seventeen": layer(urls=[f"https://elsewhere.example/{n}" for n in range(17)]),
            "data": with_data(right=True),
            "data-other": with_data(right=False),
            "data-not-base64": manifest(lambda fields: fields["config"].update(data="*")),
            "not-an-object": manifest(lambda fields: fields["layers"].append("x")),
            "layers-not-a-list": manifest(set_(layers={})),
            "dangling-layer": layer(digest=ZEROS),
            "dangling-config": manifest(lambda fields: fields["config"].update(digest=ZEROS)),
            "platform-with-newline": index_of(
                lambda shelf: [{**shelf.manifest(), "platform": {"os": "li\nnux", "architecture": "amd64"}}]
            ),
        },
    ),
    "oci-graph": (
        "index.json is an image index (F-10.2) that lists each image of the release by name (F-10.12); what it "
        "reaches is there (F-10.7) or listed as absent, and nothing else is (F-10.8, F-10.15, F-10.17); indexes are "
        "nested twice at most (F-10.9); subjects exist (F-10.11), SBOMs hang on their image (F-10.13), and every "
        "member is referred to (F-10.14). All documents together have a length (F-10.18).",
        {
            "nested-0": nested(0),
            "nested-1": nested(1),
            "nested-2": nested(2),
            "nested-3": nested(3),
            "nested-3-and-listed": case(
                build=lambda shelf: shelf.index(shelf.index(_listed(shelf, shelf.index(shelf.manifest()))))
            ),
            "same-child-twice": index_of(lambda shelf: [shelf.manifest(), shelf.manifest()]),
            "same-child-with-two-types": index_of(_two_types),
            "many-referrers": case(build=many_referrers),
            "bytes-many": index_of(lambda shelf: _long_manifests(shelf, 15)),
            "bytes-too-many": index_of(lambda shelf: _long_manifests(shelf, 16)),
            "bytes-of-one-read-twice": index_of(lambda shelf: _long_manifests(shelf, 9) * 2),
            "ten-thousand-referrers": case(build=lambda shelf: many_referrers(shelf, 10_000)),
            "index-not-an-index": case(text=lambda _: encode({"mediaType": OCI_MANIFEST, "schemaVersion": 2})),
            "index-a-manifest": case(text=lambda _: as_manifest()),
            "index-of-another-type": case(spoil=set_(mediaType="application/json")),
            "index-not-json": case(text=lambda _: b"not json"),
            "index-empty": case(spoil=set_(manifests=[])),
            "index-lists-itself": case(spoil=_entry(digest=ZEROS)),
            "image-unlisted": case(listed=False),
            "image-under-another-name": case(spoil=_renamed("small/api:2.0.0")),
            "image-without-name": case(spoil=_entry(annotations=None)),
            "image-twice": case(spoil=_twice),
            "image-size-differs": case(stated=lambda fields: {**fields, "mediaType": DOCKER_MANIFEST}),
            "image-of-another-type-in-index": case(spoil=_entry(mediaType=OCI_INDEX)),
            "subject-dangling": case(
                build=lambda shelf: shelf.manifest(subject={"mediaType": OCI_MANIFEST, "digest": ZEROS, "size": 7})
            ),
            "sbom-elsewhere": case(spoil=lambda index: index["manifests"].pop(1)),
            "sbom-reason": case(sbom=False),
            "member-unreferenced": case(build=_unreferenced),
            "left-out": left_out(listed=False),
            "left-out-and-listed": left_out(listed=True),
            "listed-as-absent-as-another-platform": left_out(True, platform="linux/arm"),
            "listed-as-absent-without-a-platform": unstated("unknown"),
            "listed-as-absent-with-a-platform-that-no-index-states": unstated("linux/arm64"),
            "platforms-of-its-index": platforms_stated("linux/amd64"),
            "platforms-that-its-index-does-not-have": platforms_stated("linux/amd64", "linux/s390x"),
            "platforms-of-an-image-without-an-index": platforms_stated("linux/amd64", in_index=False),
            "listed-as-absent-and-no-platforms": left_out(True, platforms=()),
            "listed-as-absent-without-reason": absent_without_reason,
            "listed-as-absent-and-there": absent_but_there,
            "foreign-layer": foreign("https://a.example/layer"),
            "foreign-layer-by-its-second-address": foreign("https://b.example/layer"),
            "foreign-layer-at-another-address": foreign("https://c.example/layer"),
            "foreign-layer-not-listed": foreign(),
            "foreign-layer-listed-as-a-platform": foreign(platform="linux/amd64"),
            "foreign-layer-without-urls": foreign("https://a.example/layer", urls=None),
        },
    ),
}


def _listed(shelf: Shelf, found: Fields) -> Fields:
    """Also an entry of index.json: an index that is no deeper by one way may be too deep by another."""
    shelf.top.append(found)
    return found
