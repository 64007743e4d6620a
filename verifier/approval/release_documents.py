"""One side of a comparison: a release with its small documents, from the store or from a request folder."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from manifests.documents.contract import MAX_CONTRACT, Contract, parse_contract
from manifests.documents.release import Release
from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.foreign.attachments import MAX_OPENVEX, MAX_SCHEMA, check_openvex
from manifests.foreign.sbom import MAX_SBOM, SbomComponent, read_components
from manifests.words.digest import Blob
from manifests.words.errors import WaybillError

# Reads a blob of at most so many bytes and checks its digest.
ReadBlob = Callable[[Blob, int], bytes]


class _Everything:
    def __contains__(self, _: object) -> bool:
        return True


# For a release that is only passed through: its images are not compared.
ALL_IMAGES: Container[str] = _Everything()


@dataclass(frozen=True)
class ReleaseDocuments:
    """A release and the documents that are compared.

    Attributes:
        digest: Digest of ``release.json``.
        contract, rollback, schema: None if they could not be read; ``unread`` then lists them.
        config, settings: The site's config and settings for it; None without a site.
        components: Components of each image, by the image's name; images that were not read are missing.
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
    same: Container[str] = frozenset(),
) -> ReleaseDocuments:
    """Read the documents of ``release``. One that cannot be read is listed in ``unread``.

    Args:
        same: Names of images that are identical on both sides; their SBOMs are not read.
    """
    unread: list[str] = []

    def small(blob: Blob, limit: int, what: str) -> bytes | None:
        try:
            return read(blob, limit)
        except WaybillError as error:
            unread.append(f"{what} of {release.version}: {error.problem}")
            return None

    contract = small(release.contract, MAX_CONTRACT, "telemetry contract")
    rollback = small(release.rollback, MAX_ROLLBACK, "rollback document")
    schema = small(release.config.schema, MAX_SCHEMA, "config schema") if release.config else None
    components: dict[str, tuple[SbomComponent, ...]] = {}
    for image in release.images:
        if image.name in same:
            continue
        parts: set[SbomComponent] = set()
        for sbom in image.sboms:
            what = f"SBOM of image {image.name}"
            data = small(Blob(digest=sbom.digest, size=sbom.size), MAX_SBOM, what)
            try:
                parts |= set(read_components(data, sbom.digest)) if data is not None else set()
            except WaybillError as error:
                unread.append(f"{what} of {release.version}: {error.problem}")
        if parts:
            components[image.name] = tuple(sorted(parts))
    return ReleaseDocuments(
        release=release,
        digest=digest,
        contract=parse_contract(contract) if contract is not None else None,
        rollback=parse_rollback(rollback) if rollback is not None else None,
        schema=schema,
        config=config,
        settings=settings,
        components=components,
        advisories=_advisories(release, small, unread),
        unread=tuple(unread),
    )


def _advisories(
    release: Release, small: Callable[[Blob, int, str], bytes | None], unread: list[str]
) -> dict[str, frozenset[str]]:
    statuses_by_name: dict[str, set[str]] = {}
    for blob in release.advisories:
        data = small(blob, MAX_OPENVEX, "advisories")
        if data is None:
            continue
        try:
            document = check_openvex(data, blob.digest)
        except WaybillError as error:
            unread.append(f"advisories of {release.version}: {error.problem}")
            continue
        for statement in document.statements:
            name = statement.vulnerability if isinstance(statement.vulnerability, str) else statement.vulnerability.name
            statuses_by_name.setdefault(name, set()).add(statement.status)
    return {name: frozenset(statuses) for name, statuses in statuses_by_name.items()}
