"""The vendor's root documents: the next version from trust.yaml, and what it changes."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from content.signing.files import replace_file
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.trust_yaml import TrustFile, trust_problems
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey, read_capped, read_public
from manifests.trust.root import (
    MAX_ROOT,
    ROLES,
    ROOT_TYPE,
    Chain,
    Identity,
    Leaver,
    Pin,
    Role,
    Root,
    parse_root,
    short,
    verify_chain,
)
from manifests.trust.root_change import RootChange, change_of_roots
from manifests.trust.root_writer import encode_root
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UntrustedError


@dataclass(frozen=True)
class NextRoot:
    """What `waybill trust` is about to write.

    Attributes:
        change: Who joins, who leaves, and what else is different.
        names: The vendor's own names of keys, by key id.
    """

    root: Root
    change: RootChange
    names: dict[str, str]

    def named(self, pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        """(role, key name) pairs; a key without a name any more keeps the beginning of its id."""
        return [(role, self.names.get(keyid, keyid[:12] if len(keyid) == 64 else keyid)) for role, keyid in pairs]


def read_trust(path: Path) -> tuple[TrustFile, Handwritten]:
    """``trust.yaml``, checked. Raises MalformedError with ``file:line``."""
    file = read_handwritten(path)
    trust = file.to(TrustFile)
    for problem in trust_problems(file, trust):
        raise problem
    return trust, file


def root_files(folder: Path) -> tuple[Path, ...]:
    """``trust/<n>.root.json`` beside trust.yaml, from 1 on without a gap."""
    return _numbered(folder / "trust")


def roots_up_to(newest: Path) -> tuple[bytes, ...]:
    """A root document and every one before it, from the folder in which it lies.

    Raises:
        RefusedError: It is not one of an unbroken row ``1.root.json``, ``2.root.json``, …
    """
    row = _numbered(newest.parent)
    if newest not in row:
        raise RefusedError(
            "not one of 1.root.json, 2.root.json, … without a gap",
            where=str(newest),
            remedy="put the earlier ones beside it, under these names",
            finding="root-gap",
        )
    return tuple(read_capped(path, MAX_ROOT) for path in row[: row.index(newest) + 1])


def _numbered(folder: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    while (path := folder / f"{len(found) + 1}.root.json").exists():
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
        RefusedError: Nothing changed; or what changed would be refused by every site, or says too little.
    """
    old = parse_root(before, "the newest root document").root if before is not None else None
    identities = {
        name: Identity(identity=one.identity, issuer=one.issuer)
        for name, one in trust.keys.items()
        if one.identity is not None and one.issuer is not None
    }
    ids = {name: key.keyid for name, key in keys.items()} | {name: one.id for name, one in identities.items()}
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
        identities={one.id: one for one in identities.values()},
        roles=roles,
        leave={ids[one.key]: Leaver(how=one.how, last=one.last) for one in trust.leave},
        sigstore=tuple(sorted(set(sigstore))),
    )
    if old is not None and msgspec.structs.replace(root, version=old.version, previous=old.previous) == old:
        raise RefusedError(
            f"nothing changed since version {old.version}",
            where="trust.yaml",
            remedy="edit trust.yaml first",
            finding="nothing-changed",
        )
    if old is not None:
        _check_next(old, root)
    names = {keyid: name for name, keyid in ids.items()}
    return NextRoot(root=root, change=change_of_roots(old, root), names=names)


def _check_next(old: Root, root: Root) -> None:
    """What every site would refuse, or could not tell from an accident, is not written."""
    if root.vendor != old.vendor:
        raise RefusedError(
            f"vendor changes from {old.vendor} to {root.vendor}",
            where="trust.yaml $.vendor",
            remedy="a chain has one vendor for ever; another one begins a folder of its own with `waybill init`",
            finding="vendor-changes",
        )
    if root.epoch < old.epoch:
        raise RefusedError(
            f"epoch falls from {old.epoch} to {root.epoch}",
            where="trust.yaml $.epoch",
            remedy="it may only grow",
            finding="epoch-falls",
        )
    held = {keyid for role in root.roles.values() for keyid in role.keys}
    gone = {keyid for name in ROLES for keyid in old.roles[name].keys} - held - set(root.leave)
    if gone:
        raise RefusedError(
            f"{short(sorted(gone))} has no role any more, and nothing says how it leaves",
            where="trust.yaml $.leave",
            remedy="keep it under `keys`, and add {key: NAME, how: retired, last: {epoch: 1, sequence: 40}}, or "
            "{key: NAME, how: revoked}",
            finding="leaves-unsaid",
        )


def public_keys(trust: TrustFile, file: Handwritten, folder: Path) -> dict[str, PublicKey]:
    """The public halves that trust.yaml names; one key under two names is refused."""
    keys: dict[str, PublicKey] = {}
    for name, one in trust.keys.items():
        if one.public is None:
            continue  # an identity
        key = read_public(folder / one.public)
        twin = next((other for other, held in keys.items() if held == key), None)
        if twin is not None:
            raise RefusedError(
                f"{name} and {twin} are one key",
                where=file.at(f"$.keys.{name}"),
                remedy="each name needs a key of its own: waybill keygen",
            )
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
    """The unsigned document as ``trust/<n>.root.json``; raises RefusedError when that exists."""
    target = folder / "trust" / f"{planned.root.version}.root.json"
    if target.exists():
        raise RefusedError(
            "exists already", where=str(target), remedy="delete it if nobody else has it", finding="exists"
        )
    target.parent.mkdir(exist_ok=True)
    replace_file(target, seal(encode_root(planned.root), ROOT_TYPE, ()))
    return target


def finished_chain(documents: tuple[bytes, ...], file: Path) -> Chain | None:
    """The chain to go on from; None before the first version.

    Raises:
        RefusedError: Its newest version is not signed by enough.
    """
    if not documents:
        return None
    first = parse_root(documents[0], "trust/1.root.json")
    try:
        return verify_chain(documents, Pin(version=1, digest=first.fingerprint))
    except UntrustedError as error:
        raise RefusedError(
            f"version {len(documents)} is not finished ({error.problem})",
            where=str(file),
            remedy=f"waybill sign {file.parent}/trust/{len(documents)}.root.json --key KEY, "
            "or delete it if nobody has it",
            finding="root-unfinished",
        ) from None
