"""Root documents and revocation lists that come alone: found by content, taken in oldest first."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, parse_revocations
from manifests.trust.root import parse_root
from manifests.words.errors import UntrustedError, WaybillError
from verifier.intake.scan import FileKind
from verifier.site.folder import Site
from verifier.site.vendor_trust import NewList, NewRoot, Notify, adopt_revocations, adopt_roots

# What a document that comes later on the same medium may mend.
_LATER = frozenset({"root-gap", "signature-unknown"})


@dataclass(frozen=True)
class TrustFile:
    """A file that claims to be one of these. Nothing in it is believed.

    Attributes:
        named: A person named this very file, so it is for this site or an error.
    """

    path: Path
    kind: FileKind
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


def receive_trust(site: Site, files: Iterable[TrustFile], say: Notify) -> ReceivedTrust:
    """Take in what came alone: root documents by version, then lists by version.

    Raises:
        MalformedError: A file that a person named is not what it claims to be.
    """
    result = ReceivedTrust()
    ordered: list[tuple[bool, int, TrustFile, bytes]] = []
    for file in files:
        try:
            raw = read_capped(file.path, MAX_REVOCATIONS)
            vendor, version = _claims(file, raw)
        except WaybillError as error:
            if file.named:
                raise
            result.unread.append(error)
            continue
        if vendor != site.state.trust.vendor and not file.named:
            result.others += 1
        else:
            ordered.append((file.kind != "root", version, file, raw))
    for _, _, file, raw in sorted(ordered, key=lambda row: (row[0], row[1], str(row[2].path))):
        try:
            _take(site, file, raw, say, result)
        except UntrustedError as error:
            if error.finding in _LATER:
                result.later.append((file, error))
            else:
                result.refused.append(error)
        except WaybillError as error:
            result.refused.append(error)
    return result


def _claims(file: TrustFile, raw: bytes) -> tuple[str, int]:
    """Vendor and version that the file names."""
    if file.kind == "root":
        root = parse_root(raw, str(file.path)).root
        return root.vendor, root.version
    _, revocations = parse_revocations(raw, str(file.path))
    return revocations.vendor, revocations.version


def _take(site: Site, file: TrustFile, raw: bytes, say: Notify, result: ReceivedTrust) -> None:
    if file.kind == "root":
        roots = adopt_roots(site, (raw,), say)
        result.roots += roots
        result.known += not roots
        return
    changed = adopt_revocations(site, raw, str(file.path), say)
    result.lists += [changed] if changed.new or changed.ignored else []
    result.known += not (changed.new or changed.ignored)
