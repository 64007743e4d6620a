"""Read OCI descriptors, image manifests and indexes, leniently but within bounds.

Fields that we do not know are passed over. The bytes that travel are always the bytes received, never a re-encoding.
Docker's schema 2 documents have the same shape and are read by the same code.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manifests.words.canonical import check_depth, outside_strings
from manifests.words.digest import MAX_INTEGER, Blob, digest_of, is_digest
from manifests.words.errors import MalformedError

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

REF_NAME = "org.opencontainers.image.ref.name"
# The full name of an image in a layout by containerd or Docker, whose ref.name is then the tag alone.
CONTAINERD_NAME = "io.containerd.image.name"

MAX_MANIFEST_BYTES = 4 << 20
# A value takes up to 200 bytes when it is read.
MAX_VALUES = 200_000
# One sign that is not ASCII makes each of a text take four bytes.
MAX_NOT_ASCII = 1 << 20
FOREIGN = "foreign-layer"

_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}(;[ -~]{1,100})?"
)
MAX_URLS = 16
_URL = re.compile(r"https?://[!-~]{1,2000}")
_PLATFORM_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Readers in Go take a field under any capitalisation, so another spelling would mean one thing to us and
# another to a runtime.
_DOCUMENT_FIELDS = frozenset(
    {"schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers", "blobs"}
    | {"subject", "artifactType", "annotations"}
)
_DESCRIPTOR_FIELDS = frozenset(
    {"mediaType", "digest", "size", "urls", "data", "platform", "artifactType", "annotations"}
)
_PLATFORM_FIELDS = frozenset({"os", "architecture", "variant"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A typed, sized pointer to a blob (OCI image-spec, descriptor.md).

    Attributes:
        platform: ``os/architecture`` or ``os/architecture/variant``.
        annotations: Pairs, sorted by key.
        urls: Of a foreign layer, where else its content is; empty for everything else.
    """

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    platform: str | None = None
    urls: tuple[str, ...] = ()

    def annotation(self, key: str) -> str:
        """The value under ``key``, or an empty string."""
        return dict(self.annotations).get(key, "")


@dataclass
class Texts:
    """Which texts of documents are kept in memory: equal ones once, and of annotations short ASCII under ``notes``.

    Attributes:
        notes: Names of annotations; None keeps all of them, short or long.
        blobs: Blobs whose digests are in memory already.
        noted: How many annotations and ``urls`` were read, those that are not kept too.
    """

    notes: frozenset[str] | None = None
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    longest: int = 512
    noted: int = 0
    _known: dict[str, str] = field(default_factory=dict)

    def once(self, text: str) -> str:
        return self._known.setdefault(text, text)

    def keeps(self, note: str, text: str) -> bool:
        return self.notes is None or (note in self.notes and len(text) <= self.longest and text.isascii())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Document:
    """What manifests and indexes share; ``media_type`` is the document's, else its descriptor's, else OCI's.

    Attributes:
        noted: How many annotations and ``urls`` it has, those of its descriptors too.
    """

    media_type: str
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()
    noted: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageManifest(_Document):
    """What an image manifest points at."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def referrer_type(self) -> str:
        """``artifactType``, else the config's media type, as a list of referrers says it (distribution-spec)."""
        return self.artifact_type or self.config.media_type

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """Every blob that the image needs, config first; the subject is not one of them."""
        return (self.config, *self.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageIndex(_Document):
    """What an image index, also a layout's ``index.json`` or a list of referrers, points at."""

    manifests: tuple[Descriptor, ...]

    @property
    def referrer_type(self) -> str | None:
        return self.artifact_type

    @property
    def children(self) -> tuple[Descriptor, ...]:
        return self.manifests


def read_json(data: bytes, *, max_bytes: int = MAX_MANIFEST_BYTES, where: str = "") -> dict[str, object]:
    """Parse one JSON object of other programs; size, depth and encoding are checked first.

    Unlike our own documents it need not be canonical, but it must have one meaning: UTF-8, no duplicate
    keys, no NaN, nothing after it. Raises MalformedError for anything else.
    """
    value = read_json_value(data, max_bytes, where)
    if not isinstance(value, dict):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected an object", where=where)
    return value


def read_json_value(data: bytes, max_bytes: int, where: str) -> object:
    """As `read_json`, for a value of any kind."""
    if len(data) > max_bytes:  # F-10.10
        raise MalformedError(f"document has {len(data)} bytes, at most {max_bytes} are read", where=where)
    check_depth(data, where)
    if len(data) > MAX_VALUES and sum(sum(map(text.count, b",[{")) for text in outside_strings(data)) > MAX_VALUES:
        raise MalformedError(f"document has more than {MAX_VALUES} values", where=where)  # F-10.19
    try:
        # F-10.1; decoded here: json.loads would also take UTF-16 and UTF-32.
        value: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise MalformedError(f"not JSON: no UTF-8 at byte {error.start}", where=where) from error
    except ValueError as error:
        problem = "a page of HTML or XML" if data.lstrip()[:1] == b"<" else f"not JSON: {str(error)[:200]}"
        raise MalformedError(problem, where=where) from error
    return value


def parse_oci(data: bytes, *, media_type: str | None = None, texts: Texts | None = None) -> ImageManifest | ImageIndex:
    """Read an image manifest or index. The caller has compared the digest of ``data``.

    ``media_type`` is as the descriptor or the registry states it. A document may leave its own ``mediaType`` out
    (image-spec 1.0 had none) but may not contradict this one. ``texts`` says which annotations are kept. Raises
    MalformedError for a document of neither kind, and for one that could be read as both.
    """
    texts = texts or Texts()
    before = texts.noted
    if len(data) > MAX_NOT_ASCII and (not data.isascii() or b"\\u" in data):  # F-10.20
        raise MalformedError(f"not ASCII, and {len(data)} bytes; at most {MAX_NOT_ASCII} are read", where="$")
    fields = read_json(data, where="$")
    _refuse_other_spelling(fields, _DOCUMENT_FIELDS, "$")
    version = fields.get("schemaVersion")
    if type(version) is not int or version != 2:  # F-10.3
        raise MalformedError(f"schemaVersion is {_shown(version)}, expected 2", where="$.schemaVersion")
    own_type = _media_type(fields, "mediaType", "$", texts)
    if own_type and media_type and own_type != media_type:  # F-10.4
        problem = f"the document calls itself {own_type}, its descriptor says {media_type}"
        raise MalformedError(problem, where="$.mediaType")
    kind = _document_type(fields, own_type or media_type)
    subject = None if fields.get("subject") is None else _descriptor(fields["subject"], "$.subject", texts)
    artifact_type = _media_type(fields, "artifactType", "$", texts)
    annotations = _annotations(fields, "$", texts)
    if kind in INDEX_TYPES:
        return ImageIndex(
            media_type=kind,
            subject=subject,
            artifact_type=artifact_type,
            annotations=annotations,
            manifests=_descriptors(fields, "manifests", texts),
            noted=texts.noted - before,
        )
    return ImageManifest(
        media_type=kind,
        subject=subject,
        artifact_type=artifact_type,
        annotations=annotations,
        config=_descriptor(fields["config"], "$.config", texts),
        layers=_descriptors(fields, "layers", texts, foreign=True),
        noted=texts.noted - before,
    )


def _document_type(fields: dict[str, object], stated: str | None) -> str:
    """The media type of the document; its fields must be those of this type and of no other."""
    is_index = "manifests" in fields
    of_manifest = sorted(fields.keys() & {"config", "layers", "fsLayers", "blobs"})
    # Two readers could take such a document for two things (CVE-2021-41190).
    if is_index and of_manifest:  # F-10.5
        raise MalformedError(f"one document has both manifests and {of_manifest[0]}", where="$")
    kind = stated or (OCI_INDEX if is_index else OCI_MANIFEST)
    if kind in INDEX_TYPES:
        if not is_index:
            raise MalformedError(f"{kind} without manifests", where="$")
        return kind
    if kind not in MANIFEST_TYPES:
        raise MalformedError(f"media type is {kind}, expected an image manifest or an image index", where="$.mediaType")
    if is_index:
        raise MalformedError(f"{kind} with manifests instead of config and layers", where="$")
    for name in ("config", "layers"):
        if name not in fields:
            raise MalformedError(f"{kind} without {name}", where="$")
    if "fsLayers" in fields:  # F-10.5
        raise MalformedError("fsLayers is of schema version 1", where="$.fsLayers")
    return kind


def _unique_object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {_shown(key)} appears twice in one object")
        fields[key] = value
    return fields


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def json_kind(value: object) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _shown(value: object) -> str:
    """A value in a message: short, escaped, of any type."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse_other_spelling(fields: dict[str, object], known: frozenset[str], where: str) -> None:
    folded = {name.casefold(): name for name in known}
    for key in fields:
        meant = folded.get(key.casefold(), key)
        if meant != key:
            raise MalformedError(f"field {_shown(key)} is spelled {meant}", where=where)


def _text(fields: dict[str, object], key: str, where: str) -> str | None:
    value = fields.get(key)
    return None if value is None else _checked_text(value, f"{where}.{key}")


def _checked_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected a string", where=where)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("text holds half of a surrogate pair", where=where) from error
    return value


def _media_type(fields: dict[str, object], key: str, where: str, texts: Texts) -> str | None:
    text = _text(fields, key, where) or None
    if text and not _MEDIA_TYPE.fullmatch(text):
        raise MalformedError(f"found {_shown(text)}, expected a media type", where=f"{where}.{key}")
    return text and texts.once(text)


def _annotations(fields: dict[str, object], where: str, texts: Texts) -> tuple[tuple[str, str], ...]:
    value = fields.get("annotations")
    where = f"{where}.annotations"
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected an object", where=where)
    notes = {_checked_text(key, where): _checked_text(text, where) for key, text in value.items() if text is not None}
    texts.noted += len(notes)
    return tuple(sorted((texts.once(key), text) for key, text in notes.items() if texts.keeps(key, text)))


def _descriptors(fields: dict[str, object], key: str, texts: Texts, *, foreign: bool = False) -> tuple[Descriptor, ...]:
    value = fields[key]
    if value is None:  # how Go writes an empty list
        return ()
    if not isinstance(value, list):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected an array", where=f"$.{key}")
    return tuple(_descriptor(entry, f"$.{key}[{n}]", texts, foreign=foreign) for n, entry in enumerate(value))


def _descriptor(value: object, where: str, texts: Texts, *, foreign: bool = False) -> Descriptor:
    """Read one descriptor; ``foreign``: it may have ``urls``."""
    if not isinstance(value, dict):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected a descriptor", where=where)
    fields: dict[str, object] = value
    _refuse_other_spelling(fields, _DESCRIPTOR_FIELDS, where)
    media_type = _media_type(fields, "mediaType", where, texts)
    if not media_type:
        raise MalformedError("a descriptor without mediaType", where=where)
    digest = _text(fields, "digest", where) or ""
    if not is_digest(digest):  # F-10.6
        problem = f"digest is {_shown(digest)}, expected sha256: and 64 lower-case hex digits"
        raise MalformedError(problem, where=f"{where}.digest")
    size = fields.get("size")
    if type(size) is not int or not 0 <= size <= MAX_INTEGER:
        raise MalformedError(f"size is {_shown(size)}, expected an integer from 0 to 2^53-1", where=f"{where}.size")
    _check_data(fields, digest, size, where)
    if (blob := texts.blobs.get(digest)) is not None and blob.size == size:
        digest, size = blob.digest, blob.size  # the same two objects for each descriptor of a blob
    platform, urls = _platform(fields, where), _urls(fields, f"{where}.urls", foreign=foreign)
    texts.noted += len(urls)
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        artifact_type=_media_type(fields, "artifactType", where, texts),
        annotations=_annotations(fields, where, texts),
        platform=platform and texts.once(platform),
        urls=urls,
    )


def _urls(fields: dict[str, object], where: str, *, foreign: bool) -> tuple[str, ...]:
    value = fields.get("urls")
    if value in (None, []):
        return ()
    # A manifest or config that has to be fetched from elsewhere is not what was signed here (CVE-2020-15157).
    if not foreign:  # F-10.6
        url = _shown(value[0] if isinstance(value, list) else value)
        problem = f"the descriptor names urls ({url}), which only a layer may have"
        raise MalformedError(problem, where=where, finding=FOREIGN)
    urls = value if isinstance(value, list) else ()
    if not 0 < len(urls) <= MAX_URLS or not all(isinstance(url, str) and _URL.fullmatch(url) for url in urls):  # F-10.6
        problem = f"found {_shown(value)}, expected at most {MAX_URLS} addresses with http or https"
        raise MalformedError(problem, where=where)
    return tuple(urls)


def _check_data(fields: dict[str, object], digest: str, size: int, where: str) -> None:
    """Content inside a descriptor must be the content that its digest names."""
    value = fields.get("data")
    if value is None:
        return
    try:
        data = base64.b64decode(_checked_text(value, f"{where}.data"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("found no base64", where=f"{where}.data") from error
    if len(data) != size or digest_of(data) != digest:
        problem = f"embedded data has {len(data)} bytes and {digest_of(data)}, expected {size} bytes and {digest}"
        raise MalformedError(problem, where=f"{where}.data")


def _platform(fields: dict[str, object], where: str) -> str | None:
    value = fields.get("platform")
    where = f"{where}.platform"
    if value is None:
        return None
    if not isinstance(value, dict):
        raise MalformedError(f"found a JSON {json_kind(value)}, expected an object", where=where)
    _refuse_other_spelling(value, _PLATFORM_FIELDS, where)
    os, architecture, variant = (_text(value, key, where) or "" for key in ("os", "architecture", "variant"))
    for part in filter(None, (os, architecture, variant)):
        if not _PLATFORM_PART.fullmatch(part):
            raise MalformedError(f"found {_shown(part)}, expected the name of a platform", where=where)
    if not os or not architecture:  # says nothing of its own; the config of the image does
        return None
    return "/".join((os, architecture, variant) if variant else (os, architecture))
