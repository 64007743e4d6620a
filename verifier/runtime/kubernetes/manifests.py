"""Manifests as they are applied: one object each, told apart, and compared for people who review."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import yaml

from content.kubernetes.objects import MAX_MANIFESTS
from manifests.words.errors import MalformedError
from manifests.words.text import one_line

CRD = "CustomResourceDefinition"
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
# A document begins at such a line, and at no other (YAML 1.2, section 9.1.2): inside of text it would be indented.
_BEGIN = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SHOWN_FIELDS = 6
_SHOWN_TEXT = 60
_HOOK = "helm.sh/hook"


@dataclass(frozen=True)
class Manifest:
    """One object of a cluster.

    Attributes:
        namespace: As it says itself; empty where it does not.
        hook: When Helm runs it; empty for an object that stays.
        text: YAML, as it is applied.
    """

    api_version: str
    kind: str
    name: str
    namespace: str
    hook: str
    text: str

    @cached_property
    def document(self) -> dict[str, object]:
        """The object with every value as text."""
        value = _loaded(self.text, self.kind)
        return value if isinstance(value, dict) else {}

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Two releases of one chart have the same object under it, whatever its version of the API."""
        return self.kind, self.namespace, self.name


def split_manifests(text: str, where: str) -> tuple[Manifest, ...]:
    """Return the objects of a rendered text, each with its own text. Raises MalformedError.

    A ``List`` is one object here; the text must have been read by `image_fields`, which knows the limits.
    """
    if len(text) > MAX_MANIFESTS:
        raise MalformedError(f"the manifests have more than {MAX_MANIFESTS} characters", where=where)
    manifests = []
    for part in _BEGIN.split(text):
        document = _loaded(part, where)
        if isinstance(document, dict):
            manifests.append(_manifest(document, part, where))
        elif document not in (None, ""):
            raise MalformedError("a document is no object of Kubernetes", where=where)
    return tuple(manifests)


def changes(before: Iterable[Manifest], after: Iterable[Manifest]) -> Iterator[str]:
    """Yield a line for each object that is created, changed or removed; nothing of a Secret but its keys is shown."""
    old = {manifest.key: manifest for manifest in before}
    new = {manifest.key: manifest for manifest in after}
    for key, manifest in new.items():
        if key not in old:
            yield f"create {manifest.title}"
        elif words := _differences(old[key], manifest):
            yield f"change {manifest.title}: {words}"
    for key, manifest in old.items():
        if key not in new:
            yield f"remove {manifest.title}"


def secret_values(manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """Return the values of Secrets, so that they can be kept out of messages."""
    values = []
    for manifest in manifests:
        if manifest.kind == "Secret":
            values += [
                text
                for path, text in _fields(manifest.document)
                if path.startswith(("data.", "stringData.")) and len(text) >= 6
            ]
    return tuple(values)


def _loaded(text: str, where: str) -> object:
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  # the base loader makes text alone
    except yaml.YAMLError as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())[:200]}", where=where) from None


def _manifest(document: dict[object, object], text: str, where: str) -> Manifest:
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    annotations = metadata.get("annotations")
    hook = annotations.get(_HOOK, "") if isinstance(annotations, dict) else ""
    api_version, kind = document.get("apiVersion"), document.get("kind")
    name = metadata.get("name") or metadata.get("generateName") or ""
    if not isinstance(api_version, str) or not isinstance(kind, str) or not isinstance(name, str):
        raise MalformedError("a document is no object of Kubernetes", where=where)
    return Manifest(api_version, kind, name, str(metadata.get("namespace") or ""), str(hook), text)


def _differences(old: Manifest, new: Manifest) -> str:
    before, after = (dict(_fields(manifest.document)) for manifest in (old, new))
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    words = [_difference(new.kind, path, before.get(path), after.get(path)) for path in paths[:_SHOWN_FIELDS]]
    more = f", and {len(paths) - _SHOWN_FIELDS} more" if len(paths) > _SHOWN_FIELDS else ""
    return ", ".join(words) + more


def _difference(kind: str, path: str, old: str | None, new: str | None) -> str:
    if kind == "Secret" and path.startswith(("data.", "stringData.")):
        return f"{path} {'added' if old is None else 'removed' if new is None else 'changed'}"
    if old is None:
        return f"{path} {_shown(new)} added"
    return f"{path} {_shown(old)} removed" if new is None else f"{path} {_shown(old)} to {_shown(new)}"


def _shown(text: str | None) -> str:
    line = one_line(text or '""')
    return line if len(line) <= _SHOWN_TEXT else f"{line[:_SHOWN_TEXT]}…"


def _fields(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text with its path; entries of a list that have a name are told apart by it."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _fields(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, below in enumerate(value):
            name = below.get("name") if isinstance(below, dict) else None
            yield from _fields(below, f"{path}[{name if isinstance(name, str) else i}]")
    elif value is not None:
        yield path, str(value)
