"""Pack one release: read what the vendor wrote, collect what it names, write the bundle, sign it."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bundler.authorisations import check_authorisations
from bundler.collect import Access, BuildFinding, Sources, collect
from bundler.compile import compile_release, list_images, order_members
from bundler.earlier import check_earlier
from bundler.image_signatures import check_image_signatures
from bundler.parts import Part, Parts
from bundler.signers import check_signers
from bundler.write import check_free_space, held_part, plan_bulk, refuse_existing, write_bundle
from content.bundle.head import VERIFY_TXT, Head
from content.bundle.head_writer import encode_head, sign_release
from content.trust.head import VerifiedHead
from manifests.authored.contract_yaml import compile_contract
from manifests.authored.handwritten import read_handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.release_yaml_checks import reference_problems, release_problems
from manifests.authored.rollback_yaml import compile_rollback
from manifests.documents.release import Release
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import revoke, verify_revocations
from manifests.trust.root import Chain, Mark
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, UsageError
from manifests.words.progress import Progress
from manifests.words.time import rfc3339

ShowProgress = Callable[[str, int], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class BuiltBundle:
    """A finished bundle.

    Attributes:
        size: Of the file, in bytes.
        signers: Key ids, sorted.
        missing: How many signatures it still needs before a site believes it.
    """

    path: Path
    release: Release
    release_digest: str
    size: int
    signers: tuple[str, ...]
    missing: int
    practice: bool
    findings: tuple[BuildFinding, ...]


def build(
    release_yaml: Path,
    out: Path,
    *,
    chain: Chain,
    signers: tuple[Signer, ...],
    after: tuple[VerifiedHead, ...] = (),
    revocations: bytes | None = None,
    kits: tuple[Path, ...] = (),
    source_date_epoch: int | None = None,
    access: Access | None = None,
    progress: ShowProgress,
) -> BuiltBundle:
    """Build the bundle of ``release_yaml``.

    Steps: 1 read and judge what was written by hand; 2 root, signers, earlier releases; 3 collect, hashing files and
    reading manifests; 4 compile ``release.json``, which fixes every place; 5 judge signatures of images; 6 write the
    bulk; 7 sign; 8 write the head.

    Args:
        out: A folder (made if it is missing), in which the file is called ``<product>-<version>.tar``, or a file with
            that ending.
        chain: The vendor's root documents, believed.
        signers: None of them leaves the bundle to be signed later.
        revocations: The newest list, finished; every bundle carries it.
        after: Earlier releases, to hold ``floor`` and ranges against.
        source_date_epoch: Seconds since 1970, when ``release.yaml`` does not say ``issued_at``.

    Raises:
        WaybillError: By step: MalformedError, UntrustedError, RefusedError, DamagedError, HostError.
    """
    file = read_handwritten(release_yaml)  # 1
    source = file.to(ReleaseFile)
    _raise_first(release_problems(file, source))
    folder = release_yaml.parent
    contract = compile_contract(read_handwritten(folder / source.contract))
    rollback = compile_rollback(read_handwritten(folder / source.rollback))
    _raise_first(reference_problems(file, source, contract, rollback))
    issued_at = source.issued_at or _issued_at(source_date_epoch, file.at("$"))
    target = name_output(out, source)

    roots = tuple(one.raw for one in chain.roots)  # 2
    if revocations is not None:
        chain = revoke(chain, verify_revocations(revocations, chain))
    if source.needs.trust_root > chain.newest.version:
        raise RefusedError(
            f"the release asks for root {source.needs.trust_root}, the newest here is {chain.newest.version}",
            where=file.at("$.needs.trust_root"),
            finding="root-missing",
            remedy="waybill trust makes the next root document, its root keys sign it; or ask for an older one",
        )
    mark = Mark(epoch=chain.newest.epoch, sequence=source.sequence)
    keyids = check_signers(chain, signers, source.product, mark)
    earlier = tuple(one.release for one in after)
    check_authorisations(file, source, chain, mark, folder)
    findings = check_earlier(file, source, rollback, mark.epoch, earlier)

    parts = Parts()
    with Sources(folder, access or Access()) as sources:
        collected = collect(  # 3
            source, contract, rollback, name=file.name, folder=folder, sources=sources, kits=kits, parts=parts
        )
        listed = list_images(collected)
        index = _made(listed, "index.json")  # 4
        verify = _made(VERIFY_TXT, "VERIFY.txt")
        release = compile_release(
            source,
            collected,
            members=order_members(index.blob, verify.blob, parts.found.values()),
            epoch=mark.epoch,
            issued_at=issued_at,
            roots=roots,
            revocations=revocations,
        )
        judged = check_image_signatures(release, listed, parts, chain.newest)  # 5
        data = encode(release)
        members = (index, verify, *(parts.found[one.digest] for one in release.members[2:]))
        plan = plan_bulk(members, release.bulk_at)

        def make_head() -> bytes:
            signatures = tuple(sign_release(data, one) for one in _each_once(signers))  # 7
            first = chain.roots[0].root.version
            return encode_head(Head(data, signatures, roots, release.bulk_at, first, revocations))  # 8

        target.parent.mkdir(exist_ok=True)
        check_free_space(target.parent, plan.length)
        with progress(f"packing {target.name}", plan.length - plan.bulk_at) as bar:
            write_bundle(target, plan, make_head, bar.advance)  # 6
    threshold = chain.newest.roles["release"].threshold
    return BuiltBundle(
        path=target,
        release=release,
        release_digest=digest_of(data),
        size=plan.length,
        signers=keyids,
        missing=max(0, threshold - len(keyids)),
        practice=chain.newest.practice,
        findings=(*collected.findings, *findings, *(BuildFinding(one.id, one.text) for one in judged)),
    )


def name_output(out: Path, source: ReleaseFile) -> Path:
    """The file to write: ``out`` itself when it ends in ``.tar``, else one in the folder ``out``, named by the release.

    Raises:
        HostError: There is no folder to write into.
        RefusedError: The file exists.
    """
    is_file = out.suffix == ".tar" and not out.is_dir()
    target = out if is_file else out / f"{source.product}-{source.version}.tar"
    folder = target.parent if is_file else out.parent
    if not folder.is_dir():
        raise HostError("no such folder", where=str(folder), remedy="make it, or choose another one with -o")
    refuse_existing(target)
    return target


def _issued_at(source_date_epoch: int | None, where: str) -> str:
    if source_date_epoch is None:
        raise UsageError(
            "the release does not say when it was issued",
            where=where,
            remedy='add issued_at: "2026-11-20T09:00:00Z", or set SOURCE_DATE_EPOCH',
        )
    try:
        return rfc3339(datetime.fromtimestamp(source_date_epoch, UTC))
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{source_date_epoch} is no time", where="SOURCE_DATE_EPOCH") from None


def _made(data: bytes, name: str) -> Part:
    return held_part(data, Blob(digest=digest_of(data), size=len(data)), name)


def _each_once(signers: tuple[Signer, ...]) -> Iterable[Signer]:
    found = {one.public.keyid: one for one in signers}
    return (found[keyid] for keyid in sorted(found))


def _raise_first(problems: Iterable[MalformedError]) -> None:
    for problem in problems:
        raise problem
