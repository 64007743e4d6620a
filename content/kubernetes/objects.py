"""Find and replace the images that manifests of Kubernetes name.

A manifest is changed only where an image stands: the rest of its text stays as it was, byte for byte, so that no other
reading of YAML comes between what was reviewed and what is applied.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

from manifests.words.errors import MalformedError

MAX_MANIFESTS = 16 << 20
MAX_OBJECTS = 10_000
# YAML may use one part in many places: what is read is counted, not what is written.
_MAX_NODES = 2_000_000
# Fields of a pod (Kubernetes API, PodSpec) that list containers.
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SOURCE = re.compile(r"^# Source: ([^\n]+)$", re.MULTILINE)
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
# Text that names a registry with a dot or a port, a repository, and a tag or a digest.
_LIKE_IMAGE = re.compile(
    r"[a-z0-9][a-z0-9.-]*(?:\.[a-z]{2,}|:[0-9]{1,5})/[a-z0-9._/-]+(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True)
class ImageField:
    """A field of a manifest that names an image.

    Attributes:
        kind, name: Of the object that it belongs to.
        path: Inside the object, as ``spec.template.spec.containers[0].image``.
        source: The template that it was rendered from, as Helm states it; empty where it does not.
        start, end: Where its text stands, as indexes of characters.
    """

    kind: str
    name: str
    path: str
    reference: str
    source: str
    start: int
    end: int

    @property
    def place(self) -> str:
        return f"{self.kind} {self.name} {self.path}"


def image_fields(
    text: str, where: str, own_fields: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[ImageField, ...]:
    """Return the fields of ``text``, documents of YAML, that name an image, in their order.

    These are the images of containers and of volumes, at any depth, and of each kind the fields of ``own_fields``: a
    path of keys joined by dots, where ``*`` is every entry of a list or a mapping.

    Raises:
        MalformedError: Not YAML, no manifest, an image that is no text, or more than the limits.
    """
    return tuple(field for field, _ in _fields(_Documents(text, where), own_fields or {}))


def objects_of(text: str, where: str) -> tuple[dict[str, object], ...]:
    """Return the objects as plain values, to read from; raises what `image_fields` raises."""
    _Documents(text, where)
    values = yaml.load_all(text, Loader=_LOADER)
    items = [one.get("items") if str(one.get("kind", "")).endswith("List") else [one] for one in values if one]
    return tuple(one for listed in items for one in listed or () if isinstance(one, dict))


def suspected_images(text: str, where: str, own_fields: Mapping[str, tuple[str, ...]] | None = None) -> tuple[str, ...]:
    """Return each text outside of the known fields that looks like an image, with its place: ``PLACE: TEXT``.

    Raises what `image_fields` raises.
    """
    documents = _Documents(text, where)
    known = {id(node) for _, node in _fields(documents, own_fields or {})}
    return tuple(
        f"{head.kind} {head.name} {path}: {node.value}"
        for head, document in documents.objects
        for path, node in documents.scalars(document)
        if id(node) not in known and _LIKE_IMAGE.fullmatch(node.value)
    )


def texts_that_are(text: str, where: str, wanted: Collection[str]) -> tuple[ImageField, ...]:
    """Return each text outside of the known fields that is one of ``wanted``, such as an image that an operator starts.

    Raises what `image_fields` raises.
    """
    documents = _Documents(text, where)
    known = {id(node) for _, node in _fields(documents, {})}
    return tuple(
        ImageField(head.kind, head.name, path, node.value, "", node.start_mark.index, node.end_mark.index)
        for head, document in documents.objects
        for path, node in {id(node): (path, node) for path, node in documents.scalars(document)}.values()
        if node.value in wanted and id(node) not in known
    )


def replace_images(text: str, fields: Iterable[ImageField], replacements: Mapping[str, str]) -> str:
    """Return ``text`` with each reference replaced. Raises KeyError for one that ``replacements`` has not."""
    parts, done = [], 0
    for field in sorted(fields, key=lambda field: field.start):
        written = text[field.start : field.end]
        properties = _PROPERTIES.match(written)
        kept = properties[0] if properties else ""
        newline = "\n" if written.endswith("\n") else ""
        parts += [text[done : field.start], kept, json.dumps(replacements[field.reference]), newline]
        done = field.end
    return "".join((*parts, text[done:]))


@dataclass(frozen=True)
class _Head:
    kind: str
    name: str


class _Documents:
    """The documents of a text as nodes of YAML, which know their places."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        self._count = 0
        if len(text) > MAX_MANIFESTS:
            raise MalformedError(f"the manifests have more than {MAX_MANIFESTS} characters", where=name)
        try:
            composed = [node for node in yaml.compose_all(text, Loader=_LOADER) if node is not None]
        except yaml.MarkedYAMLError as error:
            line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
            raise MalformedError(f"not YAML: {error.problem or error.context}", where=f"{name}{line}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise MalformedError(f"not YAML: {' '.join(str(error).split())[:200]}", where=name) from None
        documents = [part for node in composed for part in self._objects(node)]
        if len(documents) > MAX_OBJECTS:
            raise MalformedError(f"{len(documents)} objects, at most {MAX_OBJECTS} are allowed", where=name)
        self.objects = [(self._head(node), node) for node in documents]

    def walk(self, node: yaml.Node, path: str = "") -> Iterator[tuple[str, yaml.Node]]:
        """Yield every node with its path, parents first."""
        waiting = [(path, node, 0)]
        while waiting:
            place, below, depth = waiting.pop()
            self._count += 1
            if self._count > _MAX_NODES or depth > 100:
                problem = f"the manifests have more than {_MAX_NODES} values, or 100 levels"
                raise MalformedError(problem, where=self.name)
            yield place, below
            waiting += [(inside, child, depth + 1) for inside, child in reversed(list(children(below, place)))]

    def scalars(self, node: yaml.Node) -> Iterator[tuple[str, yaml.ScalarNode]]:
        for path, below in self.walk(node):
            if isinstance(below, yaml.ScalarNode):
                yield path, below

    def _objects(self, node: yaml.Node) -> Iterator[yaml.Node]:
        """Yield the node, or the objects of a ``List``."""
        if _is_empty(node):
            return
        items = value_of(node, "items")
        if _text(value_of(node, "kind")).endswith("List") and isinstance(items, yaml.SequenceNode):
            yield from items.value
        else:
            yield node

    def _head(self, node: yaml.Node) -> _Head:
        kind = _text(value_of(node, "kind"))
        metadata = value_of(node, "metadata")
        name = _text(value_of(metadata, "name")) or _text(value_of(metadata, "generateName"))
        if not kind or not _text(value_of(node, "apiVersion")):
            problem = "a document is no object of Kubernetes: it has no apiVersion or no kind"
            line = node.start_mark.line + 1
            raise MalformedError(problem, where=f"{self.name}:{line}", remedy="correct the manifest")
        return _Head(kind, name)


def children(node: yaml.Node | None, path: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield what is directly below a node, with its path; keys that are no text are left out."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (f"{path}.{key.value}" if path else key.value), value
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield f"{path}[{i}]", value


def value_of(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key of a mapping; the last, as readers of YAML take it."""
    values = [value for name, value in node.value if name.value == key] if isinstance(node, yaml.MappingNode) else []
    return values[-1] if values else None


def _fields(documents: _Documents, own_fields: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[ImageField, yaml.Node]]:
    sources = [(match.start(), match[1].strip()) for match in _SOURCE.finditer(documents.text)]
    taken: set[int] = set()
    for head, document in documents.objects:
        own = [pair for path in own_fields.get(head.kind, ()) for pair in _at(document, path.split("."), "")]
        for path, node in (*_pod_images(documents, document), *own):
            if id(node) in taken:  # an alias: the text stands in one place
                continue
            taken.add(id(node))
            if not isinstance(node, yaml.ScalarNode) or not node.value:
                problem = f"{head.kind} {head.name} {path} is no text, expected the name of an image"
                raise MalformedError(problem, where=f"{documents.name}:{node.start_mark.line + 1}")
            start, end = node.start_mark.index, node.end_mark.index
            source = next((name for place, name in reversed(sources) if place < start), "")
            yield ImageField(head.kind, head.name, path, node.value, source, start, end), node


def _pod_images(documents: _Documents, document: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the images of containers and of volumes, wherever a pod stands."""
    for path, node in documents.walk(document):
        for key in _CONTAINERS:
            listed = value_of(node, key)
            if isinstance(listed, yaml.SequenceNode):
                yield from _each(listed, f"{path}.{key}" if path else key, ("image",))
        volumes = value_of(node, "volumes")
        if isinstance(volumes, yaml.SequenceNode):
            yield from _each(volumes, f"{path}.volumes" if path else "volumes", ("image", "reference"))


def _each(listed: yaml.SequenceNode, path: str, keys: tuple[str, ...]) -> Iterator[tuple[str, yaml.Node]]:
    for place, entry in children(listed, path):
        node: yaml.Node | None = entry
        for key in keys:
            node = value_of(node, key)
        if node is not None:
            yield ".".join((place, *keys)), node


def _at(node: yaml.Node, keys: list[str], path: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the nodes at a path; a part of it that is not there yields nothing."""
    if not keys:
        yield path, node
        return
    for place, child in children(node, path):
        name = place.removeprefix(f"{path}.") if path else place
        if keys[0] == "*" or name == keys[0]:
            yield from _at(child, keys[1:], place)


def _text(node: yaml.Node | None) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else ""


def _is_empty(node: yaml.Node) -> bool:
    """Whether a document says nothing: comments alone, or null."""
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
