"""The vendor's revocation lists: the next one from trust.yaml, and the newest finished one for a bundle."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

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
    """What `waybill trust` is about to write. Attributes: adds: (kind, digest or key id) pairs that are new."""

    found: Revocations
    adds: tuple[tuple[str, str], ...]


def list_files(folder: Path) -> tuple[Path, ...]:
    """``trust/<n>.revocations.json`` beside trust.yaml, from 1 on without a gap."""
    found: list[Path] = []
    while (path := folder / "trust" / f"{len(found) + 1}.revocations.json").exists():
        found.append(path)
    return tuple(found)


def read_lists(folder: Path) -> tuple[bytes, ...]:
    return tuple(read_capped(path, MAX_REVOCATIONS) for path in list_files(folder))


def newest_list(folder: Path, chain: Chain) -> bytes | None:
    """The list that a bundle carries; None while there is none.

    Raises:
        RefusedError: The newest root's keys have not finished it: a bundle without it would keep the news back.
    """
    files = list_files(folder)
    if not files:
        return None
    data = read_capped(files[-1], MAX_REVOCATIONS)
    try:
        verify_revocations(data, chain, files[-1].name)
    except UntrustedError as error:
        raise RefusedError(
            f"the newest revocation list is not finished under root {chain.newest.version}: {error.problem}",
            where=str(files[-1]),
            remedy=f"waybill sign {files[-1]} --key KEY, with the root keys",
            finding="revocations-unfinished",
        ) from None
    return data


def _id_of(name: str, trust: TrustFile, keys: dict[str, PublicKey]) -> str:
    one = trust.keys[name]
    if one.identity is not None and one.issuer is not None:
        return Identity(identity=one.identity, issuer=one.issuer).id
    return keys[name].keyid


def plan_list(trust: TrustFile, keys: dict[str, PublicKey], before: bytes | None) -> NextList | None:
    """The next list, or None where ``revoked`` in trust.yaml says what the newest one says: pure.

    Raises:
        RefusedError: Something would no longer be revoked; or a root key is named, which a list cannot end.
    """
    old = parse_revocations(before, "the newest revocation list")[1] if before is not None else None
    for name in trust.revoked.keys:
        if name in trust.roles["root"].keys:
            raise RefusedError(
                f"{name} has the role root, which a list cannot end",
                where="trust.yaml $.revoked.keys",
                remedy="take it out of the role and say under `leave` how it leaves: that is a new root document",
                finding="root-key-revoked",
            )
    found = Revocations(
        vendor=trust.vendor,
        version=old.version + 1 if old else 1,
        keys=tuple(sorted({_id_of(name, trust, keys) for name in trust.revoked.keys})),
        releases=tuple(sorted(set(trust.revoked.releases))),
        handlers=tuple(sorted(set(trust.revoked.handlers))),
    )
    now, was = _entries(found), _entries(old) if old else set()
    if was - now:
        kind, one = sorted(was - now)[0]
        raise RefusedError(
            f"{kind} {one} was revoked by list {old.version if old else 0} and is not under `revoked` any more",
            where="trust.yaml $.revoked",
            remedy="a list only grows, since sites have acted on it; publish a new release, or a new key",
            finding="revoked-no-more",
        )
    if now == was:
        return None
    return NextList(found=found, adds=tuple(sorted(now - was)))


def _entries(found: Revocations) -> set[tuple[str, str]]:
    return {
        (name.removesuffix("s"), one)
        for name in ("keys", "releases", "handlers")
        for one in msgspec.structs.asdict(found)[name]
    }


def write_list(folder: Path, planned: NextList) -> Path:
    """The unsigned document as ``trust/<n>.revocations.json``."""
    target = folder / "trust" / f"{planned.found.version}.revocations.json"
    target.parent.mkdir(exist_ok=True)
    replace_file(target, seal(encode_revocations(planned.found), REVOCATIONS_TYPE, ()))
    return target


def check_list_finished(lists: tuple[bytes, ...], chain: Chain | None, folder: Path) -> None:
    if not lists or chain is None:
        return
    path = folder / "trust" / f"{len(lists)}.revocations.json"
    try:
        verify_revocations(lists[-1], chain, path.name)
    except UntrustedError as error:
        raise RefusedError(
            f"list {len(lists)} is not finished ({error.problem})",
            where=str(path),
            remedy=f"waybill sign {path} --key KEY, or delete it if nobody has it",
            finding="revocations-unfinished",
        ) from None
