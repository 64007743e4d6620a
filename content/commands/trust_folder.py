"""Check what lies in ``trust/`` beside trust.yaml: root documents and revocation lists, as `build` reads them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from content.signing.vendor_keys import TRUST_YAML
from manifests.authored.named_file import check_named_file, read_named_file
from manifests.trust.revocations import MAX_REVOCATIONS, parse_revocations
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.errors import WaybillError

_KINDS: tuple[tuple[str, int, Callable[[bytes, str], object]], ...] = (
    ("root", MAX_ROOT, parse_root),
    ("revocations", MAX_REVOCATIONS, parse_revocations),
)


def numbered_files(folder: Path, kind: str) -> tuple[Path, ...]:
    """``1.KIND.json``, ``2.KIND.json``, … in ``folder``, up to the first gap."""
    files: list[Path] = []
    while (path := folder / f"{len(files) + 1}.{kind}.json").exists():
        files.append(path)
    return tuple(files)


def trust_folder_problems(folder: Path) -> Iterator[WaybillError]:
    """Yield why a root document or list in ``folder / "trust"`` cannot be read. Signatures are not judged."""
    for kind, cap, check in _KINDS:
        for path in numbered_files(folder / "trust", kind):
            try:
                check(read_named_file(path, cap), str(path))
            except WaybillError as error:
                yield error


def trust_beside_problems(folder: Path) -> Iterator[WaybillError]:
    """The same for a release in ``folder``, and why its trust.yaml cannot be opened."""
    path = folder / TRUST_YAML
    if path.exists():
        try:
            check_named_file(path)
        except WaybillError as error:
            yield error
    yield from trust_folder_problems(folder)
