"""The differences of two files of one kind: bundles, roots, policies, contracts, reports, other signed documents.

Neither file is verified.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from content.bundle.archive import BLOCK, header
from content.bundle.head import OCI_LAYOUT, open_head
from content.differences.bundle_documents import read_bundle_documents, read_bundle_pair
from content.differences.compare_values import PARTS, Difference
from content.differences.documents import (
    contract_differences,
    document_differences,
    policy_differences,
    root_differences,
)
from content.differences.release import release_differences
from content.differences.release_documents import DocumentNote, ReleaseDocuments
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import read_handwritten
from manifests.authored.policy_yaml import compile_policy
from manifests.documents.contract import CONTRACT_TYPE, Contract, parse_contract
from manifests.documents.policy import POLICY_TYPE, Policy, parse_policy
from manifests.trust.envelope import Envelope, bundle_payload
from manifests.trust.keys import open_regular, read_capped, read_public
from manifests.trust.root import Root, parse_root
from manifests.words.canonical import check_depth, decode
from manifests.words.errors import MalformedError, UsageError
from verifier.documents.values import MAX_DOCUMENT, DocumentHead

AnyDocument = ReleaseDocuments | Root | Policy | Contract | dict[str, object]


@dataclass(frozen=True)
class Compared:
    """Attributes: notes: documents that were not compared, or not entirely; and the SBOMs that were."""

    differences: tuple[Difference, ...]
    notes: tuple[DocumentNote, ...] = ()

    @property
    def unread(self) -> tuple[DocumentNote, ...]:
        return tuple(note for note in self.notes if note.kind != "read")


def compare_files(old: Path, new: Path, only: frozenset[str] = frozenset()) -> Compared:
    """Return every difference, or those of the parts ``only``.

    Raises:
        UsageError: The two are not of one kind, or a part is unknown.
    """
    unknown = sorted(only - set(PARTS))
    if unknown:
        raise UsageError(f"no part {unknown[0]!r}", where="--only", remedy=f"the parts are {', '.join(PARTS)}")
    before, after = _read_both(old, new)
    if type(before) is not type(after):
        raise UsageError(
            f"{old} is a {_kind(before)} and {new} is a {_kind(after)}",
            where="compare",
            remedy="compare two files of one kind",
        )
    differences = tuple(each for each in _differences(before, after) if not only or each.part in only)
    notes = (note for side in (before, after) if isinstance(side, ReleaseDocuments) for note in side.notes)
    return Compared(differences, tuple(note for note in notes if not only or note.part in only))


def _differences(before: AnyDocument, after: AnyDocument) -> tuple[Difference, ...]:
    match before, after:
        case ReleaseDocuments(), ReleaseDocuments():
            return release_differences(before, after)
        case Root(), Root():
            return root_differences(before, after)
        case Policy(), Policy():
            return policy_differences(before, after)
        case Contract(), Contract():
            return tuple(contract_differences(before, after))
        case dict(), dict():
            return document_differences(before, after)
        case _:
            raise AssertionError("two kinds")


def _kind(document: AnyDocument) -> str:
    if isinstance(document, ReleaseDocuments):
        return "bundle"
    return "document" if isinstance(document, dict) else type(document).__name__.lower()


def _read_both(old: Path, new: Path) -> tuple[AnyDocument, AnyDocument]:
    if _is_bundle(old) and _is_bundle(new):
        return read_bundle_pair(old, new)
    return read_document(old), read_document(new)


def _is_bundle(path: Path) -> bool:
    if path.is_dir():
        open_head(path)
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(BLOCK) == header("oci-layout", len(OCI_LAYOUT))


def read_document(path: Path) -> AnyDocument:
    """Read a file of a kind that its content names.

    Raises:
        MalformedError: Neither a bundle nor a document.
    """
    if _is_bundle(path):
        return read_bundle_documents(path)
    data = read_capped(path, MAX_DOCUMENT)
    return _json(data, str(path)) if data[:1] == b"{" else _yaml(path)


def _json(data: bytes, what: str) -> AnyDocument:
    seen = decode(data, DocumentHead, what)
    if seen.payload_type == "application/vnd.waybill.root.v1+json":
        return parse_root(data, what).root
    if seen.type == POLICY_TYPE:
        return parse_policy(data, what)
    if seen.type == CONTRACT_TYPE:
        return parse_contract(data, what)
    if seen.payload_type:
        payload = decode(data, Envelope, what).payload_bytes
    elif seen.type:
        payload = data
    else:
        payload = bundle_payload(data, what)
    check_depth(payload, what)
    return decode(payload, dict[str, object], what)


def _yaml(path: Path) -> AnyDocument:
    file = read_handwritten(path)
    keys = set(file.plain) if isinstance(file.plain, dict) else set()
    if "contract" in keys:
        return compile_contract(file)
    if "policy" in keys:
        return compile_policy(file, lambda key: read_public(path.parent / key))
    if isinstance(file.plain, dict):
        return decode(msgspec.json.encode(file.plain), dict[str, object], str(path))
    raise MalformedError("neither a bundle nor a document", where=str(path), remedy="name two files of one kind")
