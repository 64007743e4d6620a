"""The vendor's root documents and revocation lists: the next version from trust.yaml, and what it changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import msgspec

from content.commands.trust_folder import numbered_files
from content.signing.files import replace_file
from content.signing.vendor_keys import read_vendor_keys
from content.sigstore.keyless import MAX_TRUSTED_ROOT, check_trusted_root
from manifests.authored.handwritten import Handwritten, read_handwritten
from manifests.authored.named_file import read_named_file
from manifests.authored.trust_yaml import LeaveFile, TrustFile, trust_problems
from manifests.documents.described import key_text
from manifests.trust.envelope import Envelope
from manifests.trust.envelope_writer import encode_revocations, encode_root, seal
from manifests.trust.keys import PublicKey, read_capped, read_public
from manifests.trust.revocations import (
    MAX_REVOCATIONS,
    REVOCATIONS_TYPE,
    Revocations,
    parse_revocations,
    verify_revocations,
)
from manifests.trust.root import (
    MAX_ROOT,
    ROLES,
    ROOT_TYPE,
    Chain,
    Identity,
    Leaver,
    Mark,
    Pin,
    Role,
    Root,
    parse_root,
    verify_chain,
)
from manifests.trust.root_change import RootChange, change_of_roots
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UntrustedError

FIRST_MARK = Mark(epoch=1, sequence=1)


@dataclass(frozen=True)
class NextRoot:
    """The root document that `waybill trust` is about to write; ``names`` are the vendor's names of keys, by id."""

    root: Root
    change: RootChange
    names: dict[str, str]

    def named(self, pairs: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
        """(role, key name) pairs; a key that has no name any more is shown by the start of its id."""
        return [(role, self.names.get(keyid, keyid[:12] if len(keyid) == 64 else keyid)) for role, keyid in pairs]


def read_trust(path: Path) -> tuple[TrustFile, Handwritten]:
    """``trust.yaml``, checked. Raises MalformedError with ``file:line``."""
    file = read_handwritten(path)
    trust = file.to(TrustFile)
    for problem in trust_problems(file, trust):
        raise problem
    return trust, file


def roots_up_to(newest: Path) -> tuple[bytes, ...]:
    """A root document and every one before it. Raises RefusedError unless they lie in one folder without a gap."""
    files = numbered_files(newest.parent, "root")
    if newest not in files:
        problem = "not in an unbroken row 1.root.json, 2.root.json, …"
        remedy = "put the earlier root documents beside it, under these names"
        raise RefusedError(problem, where=str(newest), remedy=remedy, finding="root-gap")
    return tuple(read_named_file(path, MAX_ROOT) for path in files[: files.index(newest) + 1])


def read_roots(folder: Path) -> tuple[bytes, ...]:
    return tuple(read_named_file(path, MAX_ROOT) for path in numbered_files(folder / "trust", "root"))


def own_chain(folder: Path) -> Chain:
    """The vendor's own chain, pinned by its first document.

    Raises:
        RefusedError: There is none yet.
        UntrustedError: The newest is not signed by enough root keys.
    """
    documents = read_roots(folder)
    if not documents:
        remedy = f"waybill trust {quote(str(folder / 'trust.yaml'))}"
        raise RefusedError("no root document yet", where=str(folder / "trust"), remedy=remedy)
    return _verified(documents)


def plan_root(
    trust: TrustFile, keys: dict[str, PublicKey], before: bytes | None, sigstore: tuple[str, ...] = ()
) -> NextRoot:
    """The next version. Reads and writes nothing.

    Args:
        keys: Public keys by name.
        before: The newest file.
        sigstore: Digests of the ``trusted_root.json`` files.

    Raises:
        RefusedError: Nothing changed; or every site would refuse the change.
    """
    old = parse_root(before, "the newest root document").root if before is not None else None
    identities, ids = _signers(trust, keys)
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
        leave={ids[one.key]: _leaver(one, ids[one.key], old) for one in trust.leave},
        sigstore=tuple(sorted(set(sigstore))),
    )
    names = {keyid: name for name, keyid in ids.items()}
    if old is not None and msgspec.structs.replace(root, version=old.version, previous=old.previous) == old:
        problem = f"no change since root {old.version}"
        raise RefusedError(problem, where="trust.yaml", remedy="edit trust.yaml first", finding="nothing-changed")
    if old is not None:
        _check_next(old, root, names)
    return NextRoot(root=root, change=change_of_roots(old, root), names=names)


def _signers(trust: TrustFile, keys: dict[str, PublicKey]) -> tuple[dict[str, Identity], dict[str, str]]:
    """By name: the identities, and the ids of keys and identities."""
    identities = {
        name: Identity(identity=key.identity, issuer=key.issuer)
        for name, key in trust.keys.items()
        if key.identity is not None and key.issuer is not None
    }
    ids = {name: key.keyid for name, key in keys.items()} | {name: one.id for name, one in identities.items()}
    return identities, ids


def _leaver(entry: LeaveFile, keyid: str, old: Root | None) -> Leaver:
    """How a key leaves. One that signs no releases needs no `last`: the document then has the first of all marks.

    Raises RefusedError for a retired key of the role ``release`` without `last`.
    """
    last = entry.last
    if entry.how == "retired" and last is None:
        if old is not None and keyid in old.roles["release"].keys:
            remedy = "write `last: {epoch: 1, sequence: 40}`: the last release that it signed"
            problem = f"{entry.key} signs releases; a retired one needs `last`"
            raise RefusedError(problem, where="trust.yaml $.leave", remedy=remedy, finding="last-missing")
        known = old.leave.get(keyid) if old is not None else None
        last = known.last if known is not None and known.last is not None else FIRST_MARK
    return Leaver(how=entry.how, last=last)


def _check_next(old: Root, root: Root, names: Mapping[str, str]) -> None:
    """Refuse a change that every site would refuse, or that does not say how a key leaves."""
    if root.vendor != old.vendor:
        problem = f"vendor changes from {old.vendor} to {root.vendor}"
        remedy = f"write `vendor: {old.vendor}`; begin a folder of its own for another vendor: waybill init DIR"
        raise RefusedError(problem, where="trust.yaml $.vendor", remedy=remedy, finding="vendor-changes")
    if root.epoch < old.epoch:
        problem = f"epoch falls from {old.epoch} to {root.epoch}"
        remedy = f"write `epoch: {old.epoch}` or a higher one"
        raise RefusedError(problem, where="trust.yaml $.epoch", remedy=remedy, finding="epoch-falls")
    held = {keyid for role in root.roles.values() for keyid in role.keys}
    gone = {keyid for name in ROLES for keyid in old.roles[name].keys} - held - set(root.leave)
    if gone:
        shown = ", ".join(key_text(keyid, names) for keyid in sorted(gone))
        raise RefusedError(
            f"{shown} has no role any more, and `leave` does not say how it leaves",
            where="trust.yaml $.leave",
            remedy="keep it under `keys`; add under `leave` {key: NAME, how: retired} or {key: NAME, how: revoked}; "
            "a retired release key needs `last: {epoch: 1, sequence: 40}` too",
            finding="leaves-unsaid",
        )


def public_keys(trust: TrustFile, file: Handwritten, folder: Path) -> dict[str, PublicKey]:
    """The public keys that trust.yaml names. Raises RefusedError when two names have one key."""
    keys: dict[str, PublicKey] = {}
    for name, entry in trust.keys.items():
        if entry.public is None:
            continue  # an identity
        key = read_public(folder / entry.public)
        twin = next((other for other, held in keys.items() if held == key), None)
        if twin is not None:
            remedy = f"make a key of its own for {name}: waybill keygen FILE"
            raise RefusedError(f"{name} and {twin} are the same key", where=file.at(f"$.keys.{name}"), remedy=remedy)
        keys[name] = key
    return keys


def sigstore_digests(trust: TrustFile, folder: Path) -> tuple[str, ...]:
    """Digests of the ``trusted_root.json`` files that trust.yaml names, each checked to be one."""
    digests = []
    for name in trust.sigstore:
        data = read_capped(folder / name, MAX_TRUSTED_ROOT)
        check_trusted_root(data, str(folder / name))
        digests.append(digest_of(data))
    return tuple(digests)


def write_root(folder: Path, planned: NextRoot) -> Path:
    """The unsigned document as ``trust/<n>.root.json``; raises RefusedError when that exists."""
    target = folder / "trust" / f"{planned.root.version}.root.json"
    if target.exists():
        problem = "exists already"
        raise RefusedError(problem, where=str(target), remedy="delete it, if nobody else has it", finding="exists")
    target.parent.mkdir(exist_ok=True)
    replace_file(target, seal(encode_root(planned.root), ROOT_TYPE, ()))
    return target


def finished_chain(documents: tuple[bytes, ...], file: Path) -> Chain | None:
    """The chain that the next version follows, None before the first. Raises RefusedError if it lacks signatures."""
    try:
        return _verified(documents) if documents else None
    except UntrustedError as error:
        newest = file.parent / "trust" / f"{len(documents)}.root.json"
        signed = parse_root(documents[-1], str(newest))
        key = _missing_key(newest, signed.root.roles["root"], signed.envelope)
        problem = f"root {len(documents)} is not finished: {error.problem}"
        remedy = f"waybill sign {quote(str(newest))} --key {key}, or delete it if nobody else has it"
        raise RefusedError(problem, where=str(file), remedy=remedy, finding="root-unfinished") from None


def _missing_key(file: Path, role: Role, envelope: Envelope) -> str:
    """Return what `--key` takes for a key of the role that has not signed ``file``."""
    missing = set(role.keys) - {signature.keyid for signature in envelope.signatures}
    return read_vendor_keys(file).best_option(sorted(missing))


def _verified(documents: tuple[bytes, ...]) -> Chain:
    first = parse_root(documents[0], "trust/1.root.json")
    return verify_chain(documents, Pin(version=1, digest=first.fingerprint))


@dataclass(frozen=True)
class NextList:
    """The list that `waybill trust` is about to write; ``adds`` are new pairs (kind, digest or key id)."""

    revocations: Revocations
    adds: tuple[tuple[str, str], ...]


def list_files(folder: Path) -> tuple[Path, ...]:
    """``trust/<n>.revocations.json`` beside trust.yaml, from 1 on without a gap."""
    return numbered_files(folder / "trust", "revocations")


def read_lists(folder: Path) -> tuple[bytes, ...]:
    return tuple(read_named_file(path, MAX_REVOCATIONS) for path in list_files(folder))


def newest_list(folder: Path, chain: Chain) -> bytes | None:
    """The list that a bundle carries, None while there is none. Raises RefusedError if it lacks signatures."""
    lists = read_lists(folder)
    check_list_finished(lists, chain, folder)
    return lists[-1] if lists else None


def plan_list(trust: TrustFile, keys: dict[str, PublicKey], before: bytes | None) -> NextList | None:
    """The next list, or None where it would equal the newest one. Reads and writes nothing.

    Raises:
        RefusedError: An entry of the newest list is missing; or a root key is named, which a list cannot revoke.
    """
    old = parse_revocations(before, "the newest revocation list")[1] if before is not None else None
    for name in trust.revoked.keys:
        if name in trust.roles["root"].keys:
            problem = f"key {name} has the role root, and a revocation list cannot revoke root keys"
            remedy = "take it out of the role root, and write under `leave` how it leaves; then run waybill trust"
            raise RefusedError(problem, where="trust.yaml $.revoked.keys", remedy=remedy, finding="root-key-revoked")
    _, ids = _signers(trust, keys)
    revocations = Revocations(
        vendor=trust.vendor,
        version=old.version + 1 if old else 1,
        keys=tuple(sorted({ids[name] for name in trust.revoked.keys})),
        releases=tuple(sorted(set(trust.revoked.releases))),
        handlers=tuple(sorted(set(trust.revoked.handlers))),
    )
    entries, before_entries = _entries(revocations), _entries(old) if old else set()
    if before_entries - entries:
        kind, id_ = sorted(before_entries - entries)[0]
        problem = f"{kind} {id_} was revoked by list {old.version if old else 0} and is not under `revoked` any more"
        remedy = "add it again: a list only grows; publish a new release or a new key instead"
        raise RefusedError(problem, where="trust.yaml $.revoked", remedy=remedy, finding="revoked-no-more")
    if entries == before_entries:
        return None
    return NextList(revocations, tuple(sorted(entries - before_entries)))


def _entries(revocations: Revocations) -> set[tuple[str, str]]:
    kinds = {"key": revocations.keys, "release": revocations.releases, "handler": revocations.handlers}
    return {(kind, id_) for kind, ids in kinds.items() for id_ in ids}


def write_list(folder: Path, planned: NextList) -> Path:
    """The unsigned document as ``trust/<n>.revocations.json``."""
    target = folder / "trust" / f"{planned.revocations.version}.revocations.json"
    target.parent.mkdir(exist_ok=True)
    replace_file(target, seal(encode_revocations(planned.revocations), REVOCATIONS_TYPE, ()))
    return target


def check_list_finished(lists: tuple[bytes, ...], chain: Chain | None, folder: Path) -> None:
    """Raise RefusedError unless the newest of ``lists`` is signed by enough root keys."""
    if not lists or chain is None:
        return
    path = folder / "trust" / f"{len(lists)}.revocations.json"
    try:
        verify_revocations(lists[-1], chain, path.name)
    except UntrustedError as error:
        key = _missing_key(path, chain.newest.roles["root"], parse_revocations(lists[-1], path.name)[0])
        problem = f"the newest revocation list is not finished under root {chain.newest.version}: {error.problem}"
        remedy = f"waybill sign {quote(str(path))} --key {key}, or delete it if nobody else has it"
        raise RefusedError(problem, where=str(path), remedy=remedy, finding="revocations-unfinished") from None
