"""Image manifests and indexes of others: what is read, what is refused, and by which words."""

import base64
import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from content.bundle.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    ImageIndex,
    ImageManifest,
    parse_oci,
    read_json,
)
from content.bundle.oci_writer import (
    EMPTY,
    EMPTY_BYTES,
    OCI_EMPTY,
    append_to_index,
    describe,
    encode_index,
    encode_manifest,
)
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError

DIGEST = digest_of(b"x")
CONFIG: dict[str, object] = {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 1}
LAYER: dict[str, object] = {"mediaType": OCI_LAYER_GZIP, "digest": DIGEST, "size": 1}
MANIFEST: dict[str, object] = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, object] = {"schemaVersion": 2, "manifests": [{**LAYER, "mediaType": OCI_MANIFEST}]}


def raw(value: object) -> bytes:
    return json.dumps(value).encode()


def image(data: bytes, media_type: str = "") -> ImageManifest:
    found = parse_oci(data, media_type=media_type)
    assert isinstance(found, ImageManifest)
    return found


def index(data: bytes, media_type: str = "") -> ImageIndex:
    found = parse_oci(data, media_type=media_type)
    assert isinstance(found, ImageIndex)
    return found


def test_manifest_without_a_media_type_is_an_oci_manifest() -> None:
    found = image(raw(MANIFEST))
    assert found.media_type == OCI_MANIFEST
    assert found.config == Descriptor(media_type=OCI_CONFIG, digest=DIGEST, size=1)
    assert found.children == (found.config, *found.layers)
    assert found.referrer_type == OCI_CONFIG


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_manifest_media_type_comes_from_the_descriptor_or_the_document(media_type: str) -> None:
    assert image(raw(MANIFEST), media_type).media_type == media_type
    assert image(raw({**MANIFEST, "mediaType": media_type})).media_type == media_type
    assert image(raw({**MANIFEST, "mediaType": media_type}), media_type).media_type == media_type


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_index_media_type_comes_from_the_descriptor_or_the_document(media_type: str) -> None:
    assert index(raw(INDEX)).media_type == OCI_INDEX
    assert index(raw(INDEX), media_type).media_type == media_type
    assert index(raw({**INDEX, "mediaType": media_type}), media_type).media_type == media_type


def test_unknown_fields_and_floats_of_others_are_passed_over() -> None:
    document = {**MANIFEST, "x-score": 1.5, "layers": [{**LAYER, "x": {"deep": [1.25]}}]}
    assert image(raw(document).replace(b"1.25", b"1e999")).layers[0].size == 1


def test_descriptor_fields() -> None:
    entry = {
        "mediaType": OCI_MANIFEST,
        "digest": digest_of(b"hello"),
        "size": 5,
        "data": base64.b64encode(b"hello").decode(),
        "urls": [],
        "artifactType": "application/spdx+json",
        "annotations": {"b": "2", "a": "1"},
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"},
    }
    (found,) = index(raw({"schemaVersion": 2, "manifests": [entry]})).manifests
    assert found.platform == "linux/arm64/v8"
    assert found.annotations == (("a", "1"), ("b", "2"))
    assert found.annotation("b") == "2"
    assert found.annotation("c") == ""
    assert found.artifact_type == "application/spdx+json"


@pytest.mark.parametrize(
    "platform",
    [{}, {"os": "linux"}, {"os": "", "architecture": ""}, {"os": None, "architecture": "amd64", "variant": None}],
    ids=["empty", "half", "empty-texts", "null"],
)
def test_a_platform_with_gaps_says_nothing(platform: dict[str, object]) -> None:
    found = parse_oci(edited("config.platform", platform))
    assert isinstance(found, ImageManifest)
    assert found.config.platform is None


def test_a_null_in_annotations_is_a_missing_key() -> None:
    found = parse_oci(edited("annotations", {"a": None, "b": "c"}))
    assert found.annotations == (("b", "c"),)


def test_null_means_absent_as_go_writes_it() -> None:
    document = {**MANIFEST, "layers": None, "subject": None, "annotations": None, "mediaType": None}
    found = image(raw(document))
    assert (found.layers, found.subject, found.annotations) == ((), None, ())


def edited(where: str, value: object) -> bytes:
    document = json.loads(raw(MANIFEST))
    place = document
    *parents, last = where.split(".")
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return raw(document)


REFUSED: dict[str, tuple[bytes, str]] = {
    "both-kinds": (raw({**MANIFEST, **INDEX}), "both manifests and config"),
    "both-kinds-empty": (raw({**INDEX, "layers": []}), "both manifests and layers"),
    "both-kinds-null": (raw({**MANIFEST, "manifests": None}), "both manifests and config"),
    "schema-1": (edited("schemaVersion", 1), "schemaVersion is 1, expected 2"),
    "schema-true": (edited("schemaVersion", True), "schemaVersion is true"),
    "schema-2.0": (edited("schemaVersion", 2.0), "schemaVersion is 2.0"),
    "schema-absent": (raw({"config": CONFIG, "layers": []}), "schemaVersion is null"),
    "docker-schema-1": (raw({"schemaVersion": 2, "fsLayers": []}), "without config"),
    "no-config": (raw({"schemaVersion": 2, "layers": []}), "without config"),
    "no-layers": (raw({"schemaVersion": 2, "config": CONFIG}), "without layers"),
    "neither": (raw({"schemaVersion": 2}), "without config"),
    "index-type": (edited("mediaType", OCI_INDEX), "without manifests"),
    "manifest-type": (raw({**INDEX, "mediaType": OCI_MANIFEST}), "manifests instead of config"),
    "other-type": (edited("mediaType", "application/json"), "media type is application/json"),
    "media-type-newline": (edited("mediaType", OCI_MANIFEST + "\n"), "expected a media type"),
    "digest-newline": (edited("config.digest", DIGEST + "\n"), "$.config.digest: digest is"),
    "digest-upper": (edited("config.digest", DIGEST.upper()), "lower-case hex"),
    "digest-short": (edited("config.digest", DIGEST[:-1]), "lower-case hex"),
    "digest-sha512": (edited("config.digest", "sha512:" + "0" * 128), "expected sha256:"),
    "digest-md5": (edited("config.digest", "md5:" + "0" * 32), "expected sha256:"),
    "digest-path": (edited("config.digest", "sha256:../../x"), "expected sha256:"),
    "digest-number": (edited("config.digest", 5), "found a JSON number"),
    "size-negative": (edited("config.size", -1), "size is -1"),
    "size-float": (edited("config.size", 1.0), "size is 1.0"),
    "size-bool": (edited("config.size", True), "size is true"),
    "size-text": (edited("config.size", "1"), 'size is "1"'),
    "size-huge": (edited("config.size", 2**53), "size is 9007199254740992"),
    "size-absent": (edited("config", {"mediaType": OCI_CONFIG, "digest": DIGEST}), "size is null"),
    "type-absent": (edited("config", {"digest": DIGEST, "size": 1}), "without mediaType"),
    "urls-of-config": (edited("config.urls", ["https://example.com/x"]), "names urls"),
    "urls-of-no-web": (edited("layers.0.urls", ["ftp://example.com/x"]), "addresses with http or https"),
    "data-other": (edited("layers.0.data", "eQ=="), "embedded data has 1 bytes"),
    "data-long": (edited("layers.0.data", "eHg="), "embedded data has 2 bytes"),
    "data-garbage": (edited("layers.0.data", "e*=="), "found no base64"),
    "data-not-ascii": (edited("layers.0.data", "é"), "found no base64"),
    "layers-object": (edited("layers", {}), "found a JSON object, expected an array"),
    "layer-text": (edited("layers", ["x"]), "$.layers[0]: found a JSON string"),
    "config-null": (edited("config", None), "found a JSON null"),
    "annotations-list": (edited("annotations", []), "found a JSON array"),
    "annotation-number": (edited("annotations", {"a": 1}), "found a JSON number"),
    "annotation-surrogate": (edited("annotations", {"a": "\ud800"}), "surrogate"),
    "platform-path": (edited("config.platform", {"os": "../x", "architecture": "a"}), "name of a platform"),
    "platform-text": (edited("config.platform", "linux"), "found a JSON string"),
    "spelling": (edited("Layers", []), 'field \\"Layers\\" is spelled layers'.replace("\\", "")),
    "spelling-folds": (edited("layer\u017f", []), "is spelled layers"),
    "spelling-digest": (edited("config.Digest", DIGEST), "is spelled digest"),
    "subject-text": (edited("subject", "x"), "$.subject: found a JSON string"),
    "duplicate-key": (b'{"schemaVersion":2,"schemaVersion":2}', '"schemaVersion" appears twice'),
    "duplicate-inside": (b'{"schemaVersion":2,"a":[{"b":1,"\\u0062":2}]}', '"b" appears twice'),
    "array": (b"[]", "found a JSON array"),
    "empty": (b"", "not JSON"),
    "nan": (b'{"a":NaN}', "NaN is not a JSON number"),
    "infinity": (b'{"a":-Infinity}', "-Infinity is not"),
    "huge-number": (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
    "trailing": (raw(MANIFEST) + b"{}", "not JSON"),
    "bom": (b"\xef\xbb\xbf" + raw(MANIFEST), "not JSON"),
    "utf-16": (json.dumps(MANIFEST).encode("utf-16"), "no UTF-8"),
    "latin-1": (b'{"a":"\xe9"}', "no UTF-8"),
    "deep": (b'{"a":' + b"[" * 100_000, "nested deeper than 32"),
    "deep-objects": (b'{"a":' * 1000 + b"1" + b"}" * 1000, "nested deeper than 32"),
    "large": (b" " * (MAX_MANIFEST_BYTES + 1), "at most 4194304 are read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, words = REFUSED[case]
    with pytest.raises(MalformedError) as caught:
        parse_oci(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_may_have_urls() -> None:
    document = parse_oci(edited("layers.0.urls", ["https://example.com/x"]))
    assert isinstance(document, ImageManifest)
    assert document.layers[0].urls == ("https://example.com/x",)


def test_document_may_not_contradict_its_descriptor() -> None:
    with pytest.raises(MalformedError, match="its descriptor says"):
        parse_oci(raw({**MANIFEST, "mediaType": OCI_MANIFEST}), media_type=DOCKER_MANIFEST)
    with pytest.raises(MalformedError, match="without manifests"):
        parse_oci(raw(MANIFEST), media_type=OCI_INDEX)
    with pytest.raises(MalformedError, match="media type is application/json"):
        parse_oci(raw(MANIFEST), media_type="application/json")


def test_brackets_inside_strings_are_not_depth() -> None:
    assert read_json(raw({"a": "[" * 1000 + '\\"' + "{" * 1000}))["a"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"' + b'\\"' * 2_000_000,
        b'"\\' * 2_000_000,
        b'{"a":"' + b"\\" * 4_000_000,
        b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b',"299999":0}',
    ],
    ids=["escapes", "open-strings", "backslashes", "late-duplicate"],
)
def test_hostile_text_takes_linear_time(data: bytes) -> None:
    started = time.process_time()
    with pytest.raises(MalformedError):
        read_json(data)
    assert time.process_time() - started < 5


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        parse_oci(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LAYER, "x"]), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(["config", "layers", "subject", "annotations", "artifactType", "mediaType"]), JSON)
def test_any_value_in_a_known_place_parses_or_is_malformed(key: str, value: object) -> None:
    with contextlib.suppress(MalformedError):
        parse_oci(raw({**MANIFEST, key: value}))


def test_own_manifest_round_trip() -> None:
    subject = Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=1, platform="linux/arm64/v8")
    layer = describe(b"sbom", media_type="application/spdx+json", artifact_type="application/x")
    data = encode_manifest(
        EMPTY, [layer], subject=subject, artifact_type="application/spdx+json", annotations=[("é", "ü"), ("a", "b")]
    )
    found = image(data, OCI_MANIFEST)
    assert found == ImageManifest(
        media_type=OCI_MANIFEST,
        config=EMPTY,
        layers=(layer,),
        subject=subject,
        artifact_type="application/spdx+json",
        annotations=(("a", "b"), ("é", "ü")),
    )
    assert found.referrer_type == "application/spdx+json"
    assert EMPTY.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (EMPTY.media_type, EMPTY.size) == (OCI_EMPTY, len(EMPTY_BYTES))


def test_own_index_bytes() -> None:
    entry = Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=1, platform="linux/amd64")
    data = encode_index([entry])
    assert data == (
        b'{"manifests":[{"digest":"' + DIGEST.encode() + b'","mediaType":"application/vnd.oci.image.manifest.v1+json"'
        b',"platform":{"architecture":"amd64","os":"linux"},"size":1}]'
        b',"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
    )
    assert index(data).manifests == (entry,)


def test_append_to_index_keeps_what_it_cannot_read() -> None:
    first = {**LAYER, "mediaType": OCI_MANIFEST, "platform": {"os": "windows", "architecture": "amd64"}}
    first = {**first, "platform": {"os": "windows", "architecture": "amd64", "os.version": "10.0"}, "x": [1]}
    before = raw({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [first], "y": "z"})
    added = describe(b"new", media_type=OCI_MANIFEST, artifact_type="application/spdx+json")
    after = append_to_index(before, added)
    document = json.loads(after)
    assert document["manifests"][0] == first
    assert document["y"] == "z"
    assert index(after).manifests[1] == added
    assert append_to_index(after, added) == after
    with pytest.raises(MalformedError):
        append_to_index(raw(MANIFEST), added)


@pytest.mark.parametrize("value", [b"[%s]", b'{"a":[%s]}'])
def test_a_document_has_a_number_of_values(value: bytes) -> None:
    """F-10.19: an empty object of two bytes takes thirty times as much memory."""

    def unknown(count: int) -> bytes:
        rest = value % b",".join([b"{}"] * count)
        return raw(MANIFEST)[:-1] + b',"x":' + rest + b',"y":"' + b",[{" * 200_000 + b'"}'

    parse_oci(unknown(99_900))
    with pytest.raises(MalformedError, match="more than 200000 values"):
        parse_oci(unknown(100_000))
