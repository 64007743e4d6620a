"""The vendor's root documents: the next version from trust.yaml, and what it changes."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from content.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from content.keys_cli import replace_file
from manifests.authored import TrustFile, trust_problems
from manifests.digest import digest_of
from manifests.envelope import seal
from manifests.errors import RefusedError
from manifests.handwritten import Handwritten, read_handwritten
from manifests.keys import PublicKey, read_capped, read_public
from manifests.trust import MAX_ROOT, ROOT_TYPE, Chain, Leaver, Pin, Role, Root, encode_root, parse_root, verify_chain


@dataclass(frozen=True)
class NextRoot:
    """What `waybill trust` is about to write.

    Attributes:
        joins: (role, key name) pairs that are new; for ``sigstore`` the digest of a file.
        leaves: (role, key id) pairs that are gone.
    """

    root: Root
    joins: tuple[tuple[str, str], ...]
    leaves: tuple[tuple[str, str], ...]


def read_trust(path: Path) -> tuple[TrustFile, Handwritten]:
    """``trust.yaml``, checked. Raises MalformedError with ``file:line``."""
    file = read_handwritten(path)
    trust = file.to(TrustFile)
    for problem in trust_problems(file, trust):
        raise problem
    return trust, file


def root_files(folder: Path) -> tuple[Path, ...]:
    """``trust/<n>.root.json`` beside trust.yaml, from 1 on without a gap."""
    found: list[Path] = []
    while (path := folder / "trust" / f"{len(found) + 1}.root.json").exists():
        found.append(path)
    return tuple(found)


def read_roots(folder: Path) -> tuple[bytes, ...]:
    return tuple(read_capped(path, MAX_ROOT) for path in root_files(folder))


def own_chain(folder: Path) -> Chain:
    """The vendor's own chain, pinned by its first document: at home the folder is the authority.

    Raises:
        RefusedError: There is none yet.
        UntrustedError: The newest is not signed by enough root keys.
    """
    documents = read_roots(folder)
    if not documents:
        raise RefusedError("no root document yet", where=str(folder / "trust"), remedy="waybill trust trust.yaml")
    first = parse_root(documents[0], "trust/1.root.json")
    return verify_chain(documents, Pin(version=1, digest=first.fingerprint))


def plan_root(
    trust: TrustFile, keys: dict[str, PublicKey], before: bytes | None, sigstore: tuple[str, ...] = ()
) -> NextRoot:
    """The next version: pure.

    Args:
        keys: The public halves by name.
        before: The newest file.
        sigstore: Digests of the ``trusted_root.json`` files.

    Raises:
        RefusedError: Nothing changed.
    """
    old = parse_root(before, "the newest root document").root if before is not None else None
    ids = {name: key.keyid for name, key in keys.items()}
    roles = {
        name: Role(
            keys=tuple(sorted(ids[key] for key in role.keys)),
            threshold=role.threshold,
            products=tuple(sorted(role.products)),
        )
        for name, role in trust.roles.items()
    }
    root = Root(
        vendor=trust.vendor,
        version=old.version + 1 if old else 1,
        epoch=trust.epoch,
        practice=trust.practice,
        previous=digest_of(before) if before is not None else None,
        keys={key.keyid: key for key in keys.values()},
        roles=roles,
        leave={ids[one.key]: Leaver(how=one.how, last=one.last) for one in trust.leave},
        sigstore=tuple(sorted(set(sigstore))),
    )
    if old is not None and msgspec.structs.replace(root, version=old.version, previous=old.previous) == old:
        raise RefusedError(
            f"nothing changed since version {old.version}", where="trust.yaml", remedy="edit trust.yaml first"
        )
    names = {keyid: name for name, keyid in ids.items()}
    now = {(role, keyid) for role, held in roles.items() for keyid in held.keys}
    was = {(role, keyid) for role, held in (old.roles if old else {}).items() for keyid in held.keys}
    now |= {("sigstore", digest) for digest in root.sigstore}
    was |= {("sigstore", digest) for digest in (old.sigstore if old else ())}
    names |= {digest: digest for digest in root.sigstore}
    return NextRoot(
        root=root,
        joins=tuple(sorted((role, names[keyid]) for role, keyid in now - was)),
        leaves=tuple(sorted((role, names.get(keyid, keyid.removeprefix("sha256:")[:12])) for role, keyid in was - now)),
    )


def public_keys(trust: TrustFile, file: Handwritten, folder: Path) -> dict[str, PublicKey]:
    """The public halves that trust.yaml names; one key under two names is refused."""
    keys: dict[str, PublicKey] = {}
    for name, one in trust.keys.items():
        key = read_public(folder / one.public)
        twin = next((other for other, held in keys.items() if held == key), None)
        if twin is not None:
            raise RefusedError(f"{name} and {twin} are one key", where=file.at(f"$.keys.{name}"))
        keys[name] = key
    return keys


def sigstore_digests(trust: TrustFile, folder: Path) -> tuple[str, ...]:
    """Digests of the ``trusted_root.json`` files that trust.yaml names, each checked to be one."""
    found = []
    for name in trust.sigstore:
        data = read_capped(folder / name, MAX_TRUSTED_ROOT)
        check_trusted_root(data, str(folder / name))
        found.append(digest_of(data))
    return tuple(found)


def write_root(folder: Path, planned: NextRoot) -> Path:
    """The unsigned document as ``trust/<n>.root.json``."""
    target = folder / "trust" / f"{planned.root.version}.root.json"
    target.parent.mkdir(exist_ok=True)
    replace_file(target, seal(encode_root(planned.root), ROOT_TYPE, ()))
    return target
