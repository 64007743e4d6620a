"""Find an entry of a layout or archive by what people call it: full name, short name, tag or digest."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from content.bundle.oci import CONTAINERD_NAME, REF_NAME, Descriptor
from manifests.words.errors import RefusedError

_DEFAULT_HOST = "docker.io"
_DEFAULT_FOLDER = "library"
_DEFAULT_TAG = "latest"


class EntryNames:
    """The names of entries. Each entry may have several, and each name several spellings."""

    def __init__(self, entries: Iterable[Descriptor], aliases: Mapping[str, tuple[str, ...]]) -> None:
        self._all = tuple(entries)
        self._aliases = aliases
        self._exact: dict[str, dict[str, Descriptor]] = {}
        self._full: dict[str, dict[str, Descriptor]] = {}
        self._short: dict[str, dict[str, Descriptor]] = {}
        self._tags: dict[str, dict[str, Descriptor]] = {}
        for entry in self._all:
            _add(self._exact, entry.digest, entry)
            for name in self._names(entry):
                _add(self._exact, name, entry)
                _add(self._tags, name, entry)
                _add(self._tags, name.rpartition(":")[2], entry)
                if "/" in name or ":" in name:
                    _add(self._full, full_name(name), entry)
                    for short in _short_names(full_name(name)):
                        _add(self._short, short, entry)

    def called(self, ref: str) -> dict[str, Descriptor]:
        """Entries called ``ref``, by digest: exactly so, else by Docker's rules, else by the end of their names."""
        tagged = ref if ":" in ref.rpartition("/")[2] else f"{ref}:{_DEFAULT_TAG}"
        return (
            self._exact.get(ref)
            or self._full.get(full_name(ref))
            or self._short.get(ref)
            or self._tags.get(ref)
            or self._short.get(tagged)
            or {}
        )

    def only(self, entries: Mapping[str, Descriptor], ref: str, where: str) -> Descriptor:
        """The one of ``entries`` that ``ref`` means. Raises RefusedError for none or several, with full names."""
        if len(entries) == 1:
            return next(iter(entries.values()))
        names = sorted(self.labels(entries.values() or self._all))
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        if not shown:
            remedy = "save or copy the image again"
            raise RefusedError("there is no image in it", where=where, remedy=remedy, finding="image-missing")
        wanted = f"called {ref!r}" if ref else "that could be meant"
        raise RefusedError(
            f"{len(entries) or 'no'} images {wanted}, expected one",
            where=where,
            remedy=f"add :NAME to say which; here are {shown}",
            finding="image-ambiguous" if entries else "image-missing",
        )

    def of_tag(self, tag: str) -> dict[str, Descriptor]:
        """Entries named ``tag`` or ``repo:tag``, by digest."""
        return self._tags.get(tag, {})

    def has_name(self, entry: Descriptor) -> bool:
        """Whether an entry is called anything but its digest."""
        return any(self._names(entry))

    def labels(self, entries: Iterable[Descriptor]) -> set[str]:
        """What to call each of ``entries``: its fullest name, or its digest where it has none of its own."""
        first = {entry.digest: next(iter(self._names(entry)), entry.digest) for entry in entries}
        count = Counter(first.values())
        return {name if count[name] == 1 else digest for digest, name in first.items()}

    def _names(self, entry: Descriptor) -> Iterator[str]:
        """Names of an entry, the fullest first."""
        names = (entry.annotation(CONTAINERD_NAME), *self._aliases.get(entry.digest, ()), entry.annotation(REF_NAME))
        yield from dict.fromkeys(filter(None, names))


def full_name(name: str) -> str:
    """``name`` with registry, folder and tag, where Docker's rules add them (distribution/reference, normalize)."""
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = _DEFAULT_HOST, name
    if host == _DEFAULT_HOST and "/" not in rest:
        rest = f"{_DEFAULT_FOLDER}/{rest}"
    if ":" not in rest and "@" not in rest:
        rest = f"{rest}:{_DEFAULT_TAG}"
    return f"{host}/{rest}"


def _short_names(name: str) -> Iterator[str]:
    """``name`` without its first folders: ``library/app:1.0`` and ``app:1.0``."""
    while "/" in name:
        name = name.partition("/")[2]
        yield name


def _add(names: dict[str, dict[str, Descriptor]], name: str, entry: Descriptor) -> None:
    names.setdefault(name, {})[entry.digest] = entry
