"""Root documents and revocation lists that come alone: found by content, taken in oldest first."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, parse_revocations
from manifests.trust.root import MAX_ROOT, ROOT_TYPE, parse_root
from manifests.words.errors import UntrustedError, WaybillError
from verifier.site.folder import Site
from verifier.site.vendor_trust import NewList, NewRoot, Notify, adopt_revocations, adopt_roots

TrustFileKind = Literal["root", "revocations"]
# Canonical JSON sorts keys, so a DSSE envelope of ours begins with its payload and ends with type and signatures.
_BEGIN = b'{"payload":"'
_TYPES: tuple[tuple[TrustFileKind, bytes, int], ...] = (
    ("root", f'"payloadType":"{ROOT_TYPE}"'.encode(), MAX_ROOT),
    ("revocations", f'"payloadType":"{REVOCATIONS_TYPE}"'.encode(), MAX_REVOCATIONS),
)
# What a document that comes later on the same medium may mend.
_LATER = frozenset({"root-gap", "signature-unknown"})


@dataclass(frozen=True)
class TrustFile:
    """A file that claims to be one of these. Nothing in it is believed.

    Attributes:
        named: A person named this very file, so it is for this site or an error.
    """

    path: Path
    kind: TrustFileKind
    named: bool


@dataclass
class ReceivedTrust:
    """What came of them.

    Attributes:
        known: How many brought nothing new.
        others: How many are another vendor's.
        later: Those that may hold once a newer root has come, with what is wrong now.
    """

    roots: list[NewRoot] = field(default_factory=list)
    lists: list[NewList] = field(default_factory=list)
    known: int = 0
    others: int = 0
    later: list[tuple[TrustFile, WaybillError]] = field(default_factory=list)
    unread: list[WaybillError] = field(default_factory=list)
    refused: list[WaybillError] = field(default_factory=list)


def kind_of(path: Path) -> TrustFileKind | None:
    """By content, and without believing it."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_REVOCATIONS:
            return None
        with path.open("rb") as file:
            if file.read(len(_BEGIN)) != _BEGIN:
                return None
            rest = file.read(MAX_REVOCATIONS)
    except OSError:
        return None
    return next((kind for kind, mark, most in _TYPES if mark in rest and len(rest) <= most), None)


def receive_trust(site: Site, files: Iterable[TrustFile], say: Notify) -> ReceivedTrust:
    """Take in what came alone: root documents by version, then lists by version.

    Raises:
        MalformedError: A file that a person named is not what it claims to be.
    """
    result = ReceivedTrust()
    ordered: list[tuple[bool, int, TrustFile, bytes]] = []
    for one in files:
        try:
            raw = read_capped(one.path, MAX_REVOCATIONS)
            vendor, version = _claims(one, raw)
        except WaybillError as error:
            if one.named:
                raise
            result.unread.append(error)
            continue
        if vendor != site.state.trust.vendor and not one.named:
            result.others += 1
        else:
            ordered.append((one.kind != "root", version, one, raw))
    for _, _, one, raw in sorted(ordered, key=lambda row: (row[0], row[1], str(row[2].path))):
        try:
            _take(site, one, raw, say, result)
        except UntrustedError as error:
            if error.finding in _LATER:
                result.later.append((one, error))
            else:
                result.refused.append(error)
        except WaybillError as error:
            result.refused.append(error)
    return result


def _claims(one: TrustFile, raw: bytes) -> tuple[str, int]:
    if one.kind == "root":
        root = parse_root(raw, str(one.path)).root
        return root.vendor, root.version
    _, found = parse_revocations(raw, str(one.path))
    return found.vendor, found.version


def _take(site: Site, one: TrustFile, raw: bytes, say: Notify, result: ReceivedTrust) -> None:
    if one.kind == "root":
        new = adopt_roots(site, (raw,), say)
        result.roots += new
        result.known += not new
        return
    found = adopt_revocations(site, raw, str(one.path), say)
    result.lists += [found] if found.new or found.ignored else []
    result.known += not (found.new or found.ignored)
