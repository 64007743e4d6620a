"""Find the keys that may sign a file: a bundle, a root document, a revocation list or an authorisation."""

from pathlib import Path

from content.bundle.head import open_head
from content.signing.authorisations import root_folder
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.root import MAX_ROOT, Root, parse_root
from manifests.words.errors import RefusedError


def release_keys(file: Path) -> tuple[PublicKey, ...]:
    root = parse_root(open_head(file).roots[-1], "trust").root
    held = root.roles["release"].keys
    return tuple(key for keyid in held if (key := root.keys.get(keyid)) is not None and key.known)


def root_keys(file: Path) -> tuple[PublicKey, ...]:
    found: dict[str, PublicKey] = {}
    for root in root_and_before(file):
        found |= {keyid: root.keys[keyid] for keyid in root.roles["root"].keys}
    return tuple(key for key in found.values() if key.known)


def root_and_before(file: Path) -> tuple[Root, ...]:
    """A root document and, when it lies beside it, the version before."""
    found = parse_root(read_capped(file, MAX_ROOT), str(file)).root
    beside = file.with_name(f"{found.version - 1}.root.json")
    return (found, parse_root(read_capped(beside, MAX_ROOT), str(beside)).root) if beside.exists() else (found,)


def list_judge(file: Path) -> Root:
    """The newest root document that lies beside a revocation list: its root keys sign the list."""
    return newest_root(file.parent)


def newest_root(folder: Path) -> Root:
    """The newest root document in a folder of a vendor. Raises RefusedError when there is none."""
    found: Root | None = None
    while (path := folder / f"{found.version + 1 if found else 1}.root.json").exists():
        found = parse_root(read_capped(path, MAX_ROOT), str(path)).root
    if found is None:
        raise RefusedError(
            "no root document lies here, so nobody knows who may sign",
            where=str(folder),
            remedy="put 1.root.json and its successors there",
            finding="root-missing",
        )
    return found


def rollback_keys(file: Path) -> tuple[PublicKey, ...]:
    root = newest_root(root_folder(file))
    return tuple(key for keyid in root.roles["rollback"].keys if (key := root.keys[keyid]).known)


def list_keys(file: Path) -> tuple[PublicKey, ...]:
    judge = list_judge(file)
    return tuple(key for keyid in judge.roles["root"].keys if (key := judge.keys[keyid]).known)
