"""Read and write the vendor's revocation lists: the next one from trust.yaml, the newest one for a bundle."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from bundler.roots import numbered_files
from content.signing.files import replace_file
from manifests.authored.trust_yaml import TrustFile
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.revocations import (
    MAX_REVOCATIONS,
    REVOCATIONS_TYPE,
    Revocations,
    parse_revocations,
    verify_revocations,
)
from manifests.trust.root import Chain, Identity
from manifests.trust.root_writer import encode_revocations
from manifests.words.errors import RefusedError, UntrustedError


@dataclass(frozen=True)
class NextList:
    """The list that `waybill trust` is about to write. Attributes: adds: new pairs (kind, digest or key id)."""

    revocations: Revocations
    adds: tuple[tuple[str, str], ...]


def list_files(folder: Path) -> tuple[Path, ...]:
    """``trust/<n>.revocations.json`` beside trust.yaml, from 1 on without a gap."""
    return numbered_files(folder / "trust", "revocations")


def read_lists(folder: Path) -> tuple[bytes, ...]:
    return tuple(read_capped(path, MAX_REVOCATIONS) for path in list_files(folder))


def newest_list(folder: Path, chain: Chain) -> bytes | None:
    """The list that a bundle carries; None while there is none.

    Raises:
        RefusedError: Too few keys of the newest root have signed it; a bundle without it would withhold a revocation.
    """
    files = list_files(folder)
    if not files:
        return None
    data = read_capped(files[-1], MAX_REVOCATIONS)
    _check_finished(data, chain, files[-1])
    return data


def _id_of(name: str, trust: TrustFile, keys: dict[str, PublicKey]) -> str:
    key = trust.keys[name]
    if key.identity is not None and key.issuer is not None:
        return Identity(identity=key.identity, issuer=key.issuer).id
    return keys[name].keyid


def plan_list(trust: TrustFile, keys: dict[str, PublicKey], before: bytes | None) -> NextList | None:
    """The next list, or None where it would equal the newest one. Reads and writes nothing.

    Raises:
        RefusedError: Something would no longer be revoked; or a root key is named, which a list cannot end.
    """
    old = parse_revocations(before, "the newest revocation list")[1] if before is not None else None
    for name in trust.revoked.keys:
        if name in trust.roles["root"].keys:
            problem = f"key {name} has the role root, and a revocation list cannot revoke root keys"
            remedy = "take it out of the role root, and write under `leave` how it leaves; then run waybill trust"
            raise RefusedError(problem, where="trust.yaml $.revoked.keys", remedy=remedy, finding="root-key-revoked")
    revocations = Revocations(
        vendor=trust.vendor,
        version=old.version + 1 if old else 1,
        keys=tuple(sorted({_id_of(name, trust, keys) for name in trust.revoked.keys})),
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
    if lists and chain is not None:
        _check_finished(lists[-1], chain, folder / "trust" / f"{len(lists)}.revocations.json")


def _check_finished(data: bytes, chain: Chain, path: Path) -> None:
    try:
        verify_revocations(data, chain, path.name)
    except UntrustedError as error:
        problem = f"the newest revocation list is not finished under root {chain.newest.version}: {error.problem}"
        remedy = f"waybill sign {quote(str(path))} --key KEY, or delete it if nobody else has it"
        raise RefusedError(problem, where=str(path), remedy=remedy, finding="revocations-unfinished") from None
