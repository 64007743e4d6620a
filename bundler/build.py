"""Build one release: read what the vendor wrote, collect what it names, write the bundle, sign it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bundler.access import Access
from bundler.checks import (
    check_as_reader,
    check_authorisations,
    check_earlier,
    check_image_signatures,
    check_signers,
)
from bundler.collect import BuildFinding, ReleaseInput, Sources, collect, read_release_input
from bundler.compile import ReleasePlan, compile_release, list_images, order_members
from bundler.parts import Parts
from bundler.write import check_free_space, held_part, plan_bulk, refuse_existing, write_bundle
from content.bundle.head import VERIFY_TXT, Head
from content.bundle.head_writer import encode_head, sign_release
from content.trust.head import VerifiedHead
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.release_yaml_checks import data_warnings, proof_warnings
from manifests.documents.release import Release
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import revoke, verify_revocations
from manifests.trust.root import Chain, Mark
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, RefusedError, UsageError
from manifests.words.progress import Progress
from manifests.words.time import rfc3339

ShowProgress = Callable[[str, int], AbstractContextManager[Progress]]


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The inputs of one build.

    Attributes:
        out: A folder (made if it is missing) for ``<product>-<version>.tar``, or a file with that ending.
        chain: The vendor's verified root documents.
        signers: Empty for a bundle that is signed later.
        revocations: The newest finished list; every bundle carries it.
        after: Earlier releases, to check ``floor`` and ranges against.
        source_date_epoch: Seconds since 1970, for a ``release.yaml`` without ``issued_at``.
    """

    release_yaml: Path
    out: Path
    chain: Chain
    signers: tuple[Signer, ...]
    after: tuple[VerifiedHead, ...] = ()
    revocations: bytes | None = None
    kits: tuple[Path, ...] = ()
    source_date_epoch: int | None = None
    access: Access = field(default_factory=Access)


@dataclass(frozen=True)
class BuiltBundle:
    """A finished bundle.

    Attributes:
        size: Of the file, in bytes.
        signers: Key ids, sorted.
        sboms: Which SBOM each image is compared by, where that is not plain.
        missing: How many signatures it still needs before a site accepts it.
    """

    path: Path
    release: Release
    release_digest: str
    size: int
    signers: tuple[str, ...]
    missing: int
    practice: bool
    sboms: tuple[str, ...]
    findings: tuple[BuildFinding, ...]


def build(request: BuildRequest, progress: ShowProgress) -> BuiltBundle:
    """Build the bundle of ``request.release_yaml``. Raises any WaybillError of the steps.

    Steps: 1 read and check the handwritten files; 2 root, signers, earlier releases; 3 collect, hashing files and
    reading manifests; 4 compile ``release.json``, which fixes every place; 5 judge it by the rules of its readers;
    6 judge signatures of images; 7 write the bulk; 8 sign; 9 write the head.
    """
    inputs = read_release_input(request.release_yaml)  # 1
    issued_at = inputs.release.issued_at or _issued_at(request.source_date_epoch, inputs.file.at("$"))
    target = name_output(request.out, inputs.release)
    chain, mark = _check_root(request, inputs)  # 2
    keyids = check_signers(chain, request.signers, inputs.release.product, mark)
    check_authorisations(inputs.file, inputs.release, chain, mark, inputs.folder)
    findings = check_earlier(inputs, mark.epoch, tuple(head.release for head in request.after))
    elsewhere = data_warnings(inputs.release, inputs.rollback)
    findings += tuple(BuildFinding("data-elsewhere", f"{where}: {text}") for where, text in elsewhere)
    unproven = proof_warnings(inputs.release, inputs.rollback)
    findings += tuple(BuildFinding("backup-proves-nothing", f"{where}: {text}") for where, text in unproven)

    parts = Parts()
    roots = tuple(root.raw for root in request.chain.roots)
    with Sources(inputs.folder, request.access) as sources:
        collected = collect(inputs, sources, request.kits, parts)  # 3
        listed = list_images(collected)
        index, verify = held_part(listed, "index.json"), held_part(VERIFY_TXT, "VERIFY.txt")  # 4
        members = order_members(index.blob, verify.blob, parts.by_digest.values())
        release_plan = ReleasePlan(members, mark.epoch, issued_at, roots, request.revocations)
        release = compile_release(inputs.release, collected, release_plan)
        doubts = tuple(doubt for image in collected.images for doubt in image.doubts)
        graph = check_as_reader(release, listed, collected, parts)  # 5
        image_findings = check_image_signatures(release, graph, listed, parts, chain.newest, doubts)  # 6
        data = encode(release)
        stored = (index, verify, *(parts.by_digest[blob.digest] for blob in release.members[2:]))
        bulk = plan_bulk(stored, release.bulk_at)

        def make_head() -> bytes:
            by_keyid = {signer.public.keyid: signer for signer in request.signers}
            signatures = tuple(sign_release(data, by_keyid[keyid]) for keyid in sorted(by_keyid))  # 8
            first = request.chain.roots[0].root.version
            return encode_head(Head(data, signatures, roots, release.bulk_at, first, request.revocations))  # 9

        target.parent.mkdir(exist_ok=True)
        check_free_space(target.parent, bulk.length)
        with progress(f"packing {target.name}", bulk.length - bulk.bulk_at) as bar:
            write_bundle(target, bulk, make_head, bar.advance)  # 7
    return BuiltBundle(
        path=target,
        release=release,
        release_digest=digest_of(data),
        size=bulk.length,
        signers=keyids,
        missing=max(0, chain.newest.roles["release"].threshold - len(keyids)),
        practice=chain.newest.practice,
        sboms=tuple(line for image in collected.images for line in image.sboms.lines(image.image.name)),
        findings=(
            *collected.findings,
            *findings,
            *(BuildFinding(image.id, image.text) for image in image_findings if image.level != "ok"),
        ),
    )


def _check_root(request: BuildRequest, inputs: ReleaseInput) -> tuple[Chain, Mark]:
    """The chain without revoked keys, and the mark of this release under its newest root."""
    chain = request.chain
    if request.revocations is not None:
        chain = revoke(chain, verify_revocations(request.revocations, chain))
    needed, newest = inputs.release.needs.trust_root, chain.newest
    if needed > newest.version:
        problem = f"the release requires root {needed}; the newest here is {newest.version}"
        remedy = f"write `trust_root: {newest.version}`, or make the next root document: waybill trust trust.yaml"
        raise RefusedError(problem, where=inputs.file.at("$.needs.trust_root"), finding="root-missing", remedy=remedy)
    return chain, Mark(epoch=newest.epoch, sequence=inputs.release.sequence)


def name_output(out: Path, release: ReleaseFile) -> Path:
    """The file to write: ``out`` itself when it ends in ``.tar``, else one in the folder ``out``, named by the release.

    Raises:
        HostError: There is no folder to write into.
        RefusedError: The file exists.
    """
    is_file = out.suffix == ".tar" and not out.is_dir()
    target = out if is_file else out / f"{release.product}-{release.version}.tar"
    folder = target.parent if is_file else out.parent
    if not folder.is_dir():
        raise HostError("no such folder", where=str(folder), remedy="make it, or choose another one with -o")
    refuse_existing(target)
    return target


def _issued_at(source_date_epoch: int | None, where: str) -> str:
    if source_date_epoch is None:
        problem = "the release does not say when it was issued"
        raise UsageError(problem, where=where, remedy='add issued_at: "2026-11-20T09:00:00Z", or set SOURCE_DATE_EPOCH')
    try:
        return rfc3339(datetime.fromtimestamp(source_date_epoch, UTC))
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{source_date_epoch} is no time", where="SOURCE_DATE_EPOCH") from None
