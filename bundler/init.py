"""Write a vendor folder: every file that a vendor edits by hand, commented; it builds as it is."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from manifests.authored.handwritten import parse_handwritten
from manifests.words.digest import NAME
from manifests.words.errors import HostError, MalformedError, RefusedError, UsageError

# Packaging tools pass over files whose names begin with a dot.
_WRITTEN_AS = {"gitignore": ".gitignore"}
# The service that a vendor replaces by an application of his own.
_EXAMPLE = ("service/", "sbom/")
_ISSUED_AT = 'issued_at: "{{issued_at}}"'


def suggest_product(target: Path) -> str:
    """The product's name, from the name of the folder to be made. Raises UsageError when that holds no product name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", target.absolute().name.lower()).strip("-._")[:128]
    try:
        _check_name("product", name)
    except UsageError as error:
        problem = f"the folder name {target.absolute().name!r} holds no product name"
        raise UsageError(problem, where=str(target), remedy="add --product NAME") from error
    return name


def init_folder(
    target: Path,
    *,
    product: str,
    vendor: str,
    issued_at: str | None = None,
    instead: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Write the vendor folder ``target`` without keys and root document, all or nothing; return the files, sorted.

    Args:
        target: A folder that does not exist, or an empty one.
        issued_at: RFC 3339; without it the line stays a comment, and build needs SOURCE_DATE_EPOCH.
        instead: Texts by name that take the place of the templates, and of the example service.

    Raises:
        UsageError: A name that no document could hold.
        RefusedError: ``target`` exists and is not an empty folder.
        HostError: The folder cannot be written.
    """
    _check_name("product", product)
    _check_name("vendor", vendor)
    texts = dict(_templates(resources.files("bundler") / "templates", ""))
    if instead is not None:
        texts = {name: text for name, text in texts.items() if not name.startswith(_EXAMPLE)} | dict(instead)
    files = {
        path: _fill(text, product=product, vendor=vendor, issued_at=issued_at) for path, text in sorted(texts.items())
    }
    _refuse_existing(target)
    try:
        _write(target, files)
    except OSError as error:
        _refuse_existing(target)  # another process made it meanwhile
        raise HostError(f"cannot write the folder: {error.strerror}", where=str(target)) from error
    return tuple(target / path for path in files)


def _check_name(what: str, name: str) -> None:
    """A name that all documents accept, and that YAML reads back as the same text without quotes."""
    if not NAME.fullmatch(name):
        problem = f"{what} is {name!r}, expected a name of a-z, 0-9, dot, dash and underscore"
        remedy = "begin with a letter or a digit, and write at most 128 characters"
        raise UsageError(problem, where=f"--{what}", remedy=remedy)
    try:
        same = parse_handwritten(f"x: {name}\n".encode(), what).plain == {"x": name}
    except MalformedError:
        same = False
    if not same:
        problem = f"{what} is {name!r}, which YAML does not read as text"
        raise UsageError(problem, where=f"--{what}", remedy=f"add letters: --{what} {what}-{name}")


def _templates(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _templates(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + _WRITTEN_AS.get(entry.name, entry.name), entry.read_text(encoding="utf-8")


def _fill(text: str, *, product: str, vendor: str, issued_at: str | None) -> str:
    if issued_at is None:
        text = text.replace(_ISSUED_AT, '# issued_at: "2026-11-20T09:00:00Z"')
    else:
        text = text.replace(_ISSUED_AT, f'issued_at: "{issued_at}"')
    return text.replace("{{product}}", product).replace("{{vendor}}", vendor)


def _refuse_existing(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        problem = "exists already"
        raise RefusedError(problem, where=str(target), remedy="name a folder that does not exist, or an empty one")


def _write(target: Path, files: dict[str, str]) -> None:
    """Write beside, then rename. Into an empty folder, which may be in use, rename entry by entry.

    OSError leaves nothing behind.
    """
    parent = target.absolute().parent
    staging = Path(tempfile.mkdtemp(prefix=".waybill-init-", dir=parent))
    try:
        made = staging / "made"  # mkdtemp's own folder is closed to others; this one has the usual mode
        for path, text in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8", newline="\n")
        if not target.exists():
            made.rename(target)
            return
        moved: list[Path] = []
        try:
            for entry in sorted(made.iterdir()):
                moved.append(entry.rename(target / entry.name))
        except OSError:
            for renamed in moved:
                renamed.rename(made / renamed.name)
            raise
    finally:
        shutil.rmtree(staging)
