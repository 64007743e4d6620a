"""Write OCI descriptors, image manifests and indexes."""

import json
from collections.abc import Iterable, Mapping

from content.bundle.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, parse_oci, read_json
from manifests.words.digest import digest_of

OCI_EMPTY = "application/vnd.oci.empty.v1+json"
EMPTY_BYTES = b"{}"
EMPTY = Descriptor(media_type=OCI_EMPTY, digest=digest_of(EMPTY_BYTES), size=len(EMPTY_BYTES))


def describe(data: bytes, *, media_type: str, artifact_type: str | None = None) -> Descriptor:
    """The descriptor of the bytes in hand."""
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data), artifact_type=artifact_type)


def encode_manifest(
    config: Descriptor,
    layers: Iterable[Descriptor],
    *,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of an image manifest of our own, always the same for the same arguments."""
    document = {"mediaType": OCI_MANIFEST, "config": _value(config), "layers": [_value(layer) for layer in layers]}
    return _encode(document, subject, artifact_type, annotations)


def encode_index(
    manifests: Iterable[Descriptor],
    *,
    subject: Descriptor | None = None,
    artifact_type: str | None = None,
    annotations: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of an image index of our own, in the order given."""
    document = {"mediaType": OCI_INDEX, "manifests": [_value(manifest) for manifest in manifests]}
    return _encode(document, subject, artifact_type, annotations)


def append_to_index(data: bytes, added: Descriptor) -> bytes:
    """An index with one more entry; unknown fields stay. If the digest is listed already, the same bytes.

    Raises MalformedError if ``data`` is not an image index.
    """
    index = parse_oci(data, media_type=OCI_INDEX)
    if added.digest in {entry.digest for entry in index.children}:
        return data
    document = read_json(data)
    entries = document["manifests"]
    document["manifests"] = [*(entries if isinstance(entries, list) else []), _value(added)]
    return _dump(document)


def _encode(
    document: Mapping[str, object],
    subject: Descriptor | None,
    artifact_type: str | None,
    annotations: Iterable[tuple[str, str]],
) -> bytes:
    document = {"schemaVersion": 2, **document}
    if subject is not None:
        document["subject"] = _value(subject)
    if artifact_type:
        document["artifactType"] = artifact_type
    if pairs := dict(annotations):
        document["annotations"] = pairs
    return _dump(document)


def _dump(document: dict[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _value(descriptor: Descriptor) -> dict[str, object]:
    value: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        value["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        value["annotations"] = dict(descriptor.annotations)
    if descriptor.platform:
        parts = descriptor.platform.split("/")
        value["platform"] = dict(zip(("os", "architecture", "variant"), parts, strict=False))
    return value
