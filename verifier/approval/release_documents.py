"""One side of a comparison: a release with its small documents, from the store or from a request folder."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.foreign.attachments import MAX_OPENVEX, check_openvex
from manifests.foreign.config_schema import MAX_SCHEMA
from manifests.foreign.sbom import MAX_SBOM, SbomComponent, read_components
from manifests.words.digest import Blob
from manifests.words.errors import WaybillError

# Reads a blob of at most so many bytes and checks its digest.
ReadBlob = Callable[[Blob, int], bytes]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class ReleaseDocuments:
    """A release and the documents that are compared.

    Attributes:
        digest: Digest of ``release.json``.
        contract, rollback, schema: None when it could not be read.
        config, settings: The site's config and settings for it; None without a site.
        components: Components of the images whose SBOMs were read, by the image's name.
        advisories: Statuses in the release's OpenVEX documents, by advisory.
        unread: Documents that could not be read and were not compared, one line each.
    """

    release: Release
    digest: str
    contract: Contract | None = None
    rollback: Rollback | None = None
    schema: bytes | None = None
    config: bytes | None = None
    settings: bytes | None = None
    components: dict[str, tuple[SbomComponent, ...]] = field(default_factory=dict)
    advisories: dict[str, frozenset[str]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def read_release_documents(
    release: Release,
    digest: str,
    read: ReadBlob,
    *,
    config: bytes | None = None,
    settings: bytes | None = None,
    same: Container[str] | None = frozenset(),
) -> ReleaseDocuments:
    """Read the documents of ``release``. One that cannot be read is listed in ``unread``.

    Args:
        same: Images that are the same on both sides, so their SBOMs are not read. None to read no SBOMs.
    """
    unread: list[str] = []

    def attempt(what: str, blob: Blob, limit: int, parse: Callable[[bytes], Parsed]) -> Parsed | None:
        try:
            return parse(read(blob, limit))
        except WaybillError as error:
            unread.append(f"{what} of {release.version}: {error.problem}")
            return None

    contract = attempt("telemetry contract", release.contract, MAX_CONTRACT, bytes)
    rollback = attempt("rollback document", release.rollback, MAX_ROLLBACK, bytes)
    schema = attempt("config schema", release.config.schema, MAX_SCHEMA, bytes) if release.config else None
    components: dict[str, tuple[SbomComponent, ...]] = {}
    for image in release.images:
        if same is None or image.name in same:
            continue
        parts: set[SbomComponent] = set()
        for sbom in image.sboms:
            blob = Blob(digest=sbom.digest, size=sbom.size)
            parse = partial(read_components, what=sbom.digest)
            parts |= set(attempt(f"SBOM of image {image.name}", blob, MAX_SBOM, parse) or ())
        if parts:
            components[image.name] = tuple(sorted(parts))
    statuses_by_name: dict[str, set[str]] = {}
    for blob in release.advisories:
        document = attempt("advisories", blob, MAX_OPENVEX, partial(check_openvex, what=blob.digest))
        for statement in document.statements if document else ():
            name = statement.vulnerability if isinstance(statement.vulnerability, str) else statement.vulnerability.name
            statuses_by_name.setdefault(name, set()).add(statement.status)
    return ReleaseDocuments(
        release=release,
        digest=digest,
        contract=parse_contract(contract) if contract is not None else None,
        rollback=parse_rollback(rollback) if rollback is not None else None,
        schema=schema,
        config=config,
        settings=settings,
        components=components,
        advisories={name: frozenset(statuses) for name, statuses in statuses_by_name.items()},
        unread=tuple(unread),
    )
