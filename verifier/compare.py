"""What differs between two releases, part by part, from their bundles."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from content.bulk import find_places, open_bundle, read_blob
from content.head import open_head
from manifests.canonical import parse
from manifests.contract import MAX_CONTRACT, Contract
from manifests.errors import DamagedError
from manifests.release import Release, parse_release
from manifests.rollback import MAX_ROLLBACK, Rollback
from manifests.sbom import MAX_SBOM, read_components


@dataclass(frozen=True)
class Difference:
    """Attributes: part: what kind of thing; name: which; how: ``added``, ``removed`` or ``changed``."""

    part: str
    name: str
    how: str
    detail: str = ""

    def line(self) -> str:
        return f"{self.part:<10} {self.how:<8} {self.name}" + (f": {self.detail}" if self.detail else "")


class _Side:
    """One bundle: its release, and small documents of its bulk on demand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.release: Release = parse_release(open_head(path).release, str(path))
        self._descriptor = open_bundle(path)
        self._places = {
            place.blob.digest: place for place in find_places(self._descriptor, self.release, str(path)).present
        }

    def close(self) -> None:
        os.close(self._descriptor)

    def read(self, digest: str, limit: int) -> bytes:
        if digest not in self._places:
            raise DamagedError(f"{digest} is not in the bundle", where=str(self.path))
        return read_blob(self._descriptor, self._places[digest], limit)

    def components(self) -> dict[str, str]:
        """From ``image component`` to its versions, over the SBOMs of all images."""
        found: dict[str, set[str]] = {}
        for image in self.release.images:
            for sbom in image.sboms:
                for name, version in read_components(self.read(sbom.digest, MAX_SBOM), sbom.digest):
                    found.setdefault(f"{image.name} {name}", set()).add(version)
        return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def compare_releases(old: Path, new: Path) -> tuple[Difference, ...]:
    """Every difference that an approver or a release engineer would ask about."""
    before, after = _Side(old), _Side(new)
    try:
        return tuple(_differences(before, after))
    finally:
        before.close()
        after.close()


def _differences(before: _Side, after: _Side) -> Iterator[Difference]:
    old, new = before.release, after.release
    facts = ("product", "version", "channel", "sequence", "floor", "issued_at")
    yield from _maps("release", {k: str(getattr(old, k)) for k in facts}, {k: str(getattr(new, k)) for k in facts})
    for part in ("images", "charts"):
        was = {one.name: _digest(one) for one in getattr(old, part)}
        now = {one.name: _digest(one) for one in getattr(new, part)}
        yield from _maps(part.removesuffix("s"), was, now)
    yield from _maps("file", _files(old), _files(new))
    yield from _maps("component", before.components(), after.components())
    yield from _maps("fix", {f.advisory: f.severity for f in old.fixes}, {f.advisory: f.severity for f in new.fixes})
    yield from _maps("config", _config(old), _config(new))
    yield from _maps("signal", _signals(before), _signals(after))
    yield from _maps("handler", {h.name: h.risk for h in old.handlers}, {h.name: h.risk for h in new.handlers})
    ways = [
        {"class": one.class_, "back to": ", ".join(one.back_to), "loses": one.loses, "no return": one.no_return}
        for one in (_rollback(before), _rollback(after))
    ]
    yield from _maps("rollback", ways[0], ways[1])


def _maps(part: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Difference(part, name, "removed", old[name])
        elif name not in old:
            yield Difference(part, name, "added", new[name])
        elif old[name] != new[name]:
            yield Difference(part, name, "changed", f"{old[name]} to {new[name]}")


def _digest(one: object) -> str:
    manifest = getattr(one, "manifest", None)
    digest: str = manifest.digest if manifest is not None else getattr(one, "digest")  # noqa: B009 - images, charts
    return digest


def _files(release: Release) -> dict[str, str]:
    return {f"{one.name}/{entry.path}": entry.digest for one in release.files for entry in one.entries}


def _config(release: Release) -> dict[str, str]:
    if release.config is None:
        return {}
    return {"version": str(release.config.version), "schema": release.config.schema.digest}


def _signals(side: _Side) -> dict[str, str]:
    contract = parse(
        side.read(side.release.contract.digest, MAX_CONTRACT), Contract, "contract", max_bytes=MAX_CONTRACT
    )
    return {one.name: f"{one.kind} {', '.join(sorted(one.fields) or one.core)}" for one in contract.signals}


def _rollback(side: _Side) -> Rollback:
    raw = side.read(side.release.rollback.digest, MAX_ROLLBACK)
    return parse(raw, Rollback, "rollback", max_bytes=MAX_ROLLBACK)
