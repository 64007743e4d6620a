"""Find the keys that may sign a file: a bundle, a root document, a revocation list or an authorisation."""

from pathlib import Path
from shlex import quote

from content.bundle.head import open_head
from manifests.trust.keys import PublicKey
from manifests.trust.root import Root, parse_root, read_root
from manifests.words.errors import RefusedError


def release_keys(bundle: Path) -> tuple[PublicKey, ...]:
    return _role_keys(parse_root(open_head(bundle).roots[-1], "trust").root, "release")


def root_keys(file: Path) -> tuple[PublicKey, ...]:
    """The root keys of a root document and of the version before it."""
    return tuple(dict.fromkeys(key for root in root_and_before(file) for key in _role_keys(root, "root")))


def list_keys(file: Path) -> tuple[PublicKey, ...]:
    """The root keys of the newest root document beside a revocation list."""
    return _role_keys(newest_root(file.parent), "root")


def rollback_keys(file: Path) -> tuple[PublicKey, ...]:
    return _role_keys(root_for_authorisation(file), "rollback")


def root_for_authorisation(file: Path) -> Root:
    """The newest root document beside an authorisation, else in the folder ``trust`` there."""
    return newest_root(file.parent if (file.parent / "1.root.json").exists() else file.parent / "trust")


def _role_keys(root: Root, role: str) -> tuple[PublicKey, ...]:
    return tuple(root.keys[keyid] for keyid in root.roles[role].keys if keyid in root.keys and root.keys[keyid].known)


def root_and_before(file: Path) -> tuple[Root, ...]:
    """A root document and the version before it, if that file is in the same folder."""
    root = _read(file)
    before = file.with_name(f"{root.version - 1}.root.json")
    return (root, _read(before)) if before.exists() else (root,)


def newest_root(folder: Path) -> Root:
    """The newest root document in a folder of a vendor. Raises RefusedError when there is none."""
    root: Root | None = None
    while (path := folder / f"{root.version + 1 if root else 1}.root.json").exists():
        root = _read(path)
    if root is None:
        problem = "there is no root document here, and it says who may sign"
        remedy = f"put 1.root.json and its successors into {quote(str(folder))}"
        raise RefusedError(problem, where=str(folder), remedy=remedy, finding="root-missing")
    return root


def _read(path: Path) -> Root:
    return read_root(path).root
