"""Check a release before it is packed: signers, authorisations, earlier releases, signatures of images."""

from pathlib import Path

from bundler.collect import BuildFinding, CollectedRelease, ReleaseInput
from bundler.parts import FetchedPart, HeldPart, Parts
from bundler.trust_documents import read_trust
from content.bundle.companions import refused_by_reader
from content.bundle.graph import Graph, walk
from content.bundle.layout import read_extent
from content.bundle.oci import MAX_MANIFEST_BYTES
from content.sigstore.image_signers import find_judge
from content.sigstore.signatures import ImageFinding, judge_images
from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.documents.authorisation import MAX_AUTHORISATION, verify_authorisation
from manifests.documents.contract import parse_contract
from manifests.documents.release import Release
from manifests.documents.release_reader import parse_release
from manifests.documents.rollback import parse_rollback
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import Signer
from manifests.trust.root import Chain, Mark, Root, check_vendor_product
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import CHANGED_SOURCE, DamagedError, MalformedError, RefusedError, UsageError
from manifests.words.version import in_any, in_range

_REASONS = {"role": "it does not have that role", "revoked": "it is revoked", "retired": "it is retired"}


def release_key_uris(trust_yaml: Path) -> tuple[str, ...]:
    """The key URIs of role ``release`` in ``trust.yaml``. Raises UsageError unless exactly its threshold have one."""
    trust, file = read_trust(trust_yaml)
    role = trust.roles["release"]
    uris = {name: uri for name in role.keys if (uri := trust.keys[name].use) is not None}
    if len(uris) != role.threshold:
        raise UsageError(
            f"{role.threshold} release keys have to sign, and `use` names {len(uris)} ({', '.join(uris) or 'none'})",
            where=file.at("$.roles.release"),
            remedy="name the keys with --key URI, or build with --unsigned and sign later",
        )
    return tuple(uris.values())


def check_signers(chain: Chain, signers: tuple[Signer, ...], product: str, at: Mark) -> tuple[str, ...]:
    """Key ids of ``signers``, sorted. Raises RefusedError where the root does not count a signature of one of them."""
    check_vendor_product(chain.newest, product)
    keyids = sorted({signer.public.keyid for signer in signers})
    for keyid in keyids:
        reason = chain.counts("release", keyid, at)
        if reason != "counted":
            raise RefusedError(
                f"key {keyid[:12]} does not count as a release key of root {chain.newest.version}: {_REASONS[reason]}",
                where="--key",
                remedy="sign with a key of the role `release` in trust.yaml",
                finding="key-not-in-role" if reason == "role" else f"signature-{reason}",
            )
    return tuple(keyids)


def check_authorisations(file: Handwritten, release: ReleaseFile, chain: Chain, mark: Mark, folder: Path) -> None:
    """Refuse an authorisation that no site could use.

    Raises:
        MalformedError, UntrustedError: Not an authorisation, or not signed by enough of the rollback role.
        RefusedError: It is for a rollback from another release, or for another product.
    """
    for i, text in enumerate(release.authorisations):
        where = file.at(f"$.authorisations[{i}]")
        path = folder / text
        document = verify_authorisation(read_capped(path, MAX_AUTHORISATION), chain, str(path)).authorisation
        leaves = document.leaves
        if (document.product, leaves.channel, leaves.mark) != (release.product, release.channel, mark):  # D-6.7
            raise RefusedError(
                f"authorisation {document.number} is for a rollback from {document.product} {leaves.channel} "
                f"{leaves.mark.sequence} of epoch {leaves.mark.epoch}, this release is {release.product} "
                f"{release.channel} {mark.sequence} of epoch {mark.epoch}",
                where=where,
                remedy="write `leaves` for this release, and sign it anew",
                finding="authorisation-other-release",
            )


def check_earlier(inputs: ReleaseInput, epoch: int, earlier: tuple[Release, ...]) -> tuple[BuildFinding, ...]:
    """Check ``needs.from``, ``back_to`` and ``floor`` against the releases named with ``--after``, which sites may run.

    Raises:
        RefusedError: A range or a rollback that is promised cannot be kept.
    """
    for before in earlier:
        _check_stream(inputs, epoch, before)
    if not earlier:
        return ()
    ranges = [("$.needs.from", "needs.from", range_) for range_ in inputs.release.needs.from_]
    name = f"`back_to` of {inputs.release.rollback}"
    ranges += [("$.rollback", name, range_) for range_ in inputs.rollback.back_to]
    for place, name, range_ in ranges:
        if not any(in_range(before.version, range_) for before in earlier):
            problem = f"{name} says {range_!r}, which covers none of {', '.join(before.version for before in earlier)}"
            remedy = "correct the range, or name the release that it means with --after"
            raise RefusedError(problem, where=inputs.file.at(place), remedy=remedy, finding="range-covers-nothing")
    findings = [_check_rollback(inputs, epoch, before) for before in earlier]
    return tuple(finding for finding in findings if finding is not None)


def _check_stream(inputs: ReleaseInput, epoch: int, before: Release) -> None:
    release = inputs.release
    if (before.product, before.channel) != (release.product, release.channel):
        raise RefusedError(
            f"{before.product} {before.channel} is named as an earlier release of {release.product} {release.channel}",
            where="--after",
            finding="other-stream",
            remedy=f"name releases of {release.product} {release.channel}",
        )
    if before.mark >= Mark(epoch=epoch, sequence=release.sequence):
        raise RefusedError(
            f"sequence {release.sequence} (epoch {epoch}) is not above that of {before.version}, "
            f"{before.sequence} (epoch {before.epoch})",
            where=inputs.file.at("$.sequence"),
            remedy="write a higher sequence: each is used once in a product and channel",
            finding="sequence-not-above",
        )
    if before.version == release.version:
        problem = f"version {before.version} is used by an earlier release"
        remedy = "write a new version"
        raise RefusedError(problem, where=inputs.file.at("$.version"), finding="version-used", remedy=remedy)


def _check_rollback(inputs: ReleaseInput, epoch: int, before: Release) -> BuildFinding | None:
    """Whether a site that came from ``before`` can roll back to it, and whether the release promises that."""
    release, version = inputs.release, before.version
    comes, goes = in_any(version, release.needs.from_), in_any(version, inputs.rollback.back_to)
    if goes and not comes:
        raise RefusedError(
            f"{release.rollback} promises a rollback to {version}, but needs.from does not allow an upgrade from it",
            where=inputs.file.at("$.rollback"),
            remedy=f"add {version} to needs.from, or take it out of `back_to`",
            finding="way-back-without-way",
        )
    if goes and (before.epoch < epoch or release.floor > before.sequence):
        raise RefusedError(
            f"floor {release.floor} is above sequence {before.sequence} of {version}, "
            f"to which {release.rollback} promises a rollback",
            where=inputs.file.at("$.floor"),
            remedy=f"lower the floor to {before.sequence}, or take {version} out of `back_to`",
            finding="floor-above-way-back",
        )
    if comes and not goes:
        return BuildFinding("no-way-back", f"a site that upgrades from {version} cannot roll back to it")
    return None


def check_as_reader(release: Release, index: bytes, collected: CollectedRelease, parts: Parts) -> Graph:
    """Judge the release by the rules of those who verify it, before anything of it is signed or written.

    ``index`` is index.json. Raises MalformedError, with the image that it is about, for what a verifier would refuse.
    """

    def read(digest: str) -> bytes:
        return index if digest == release.members[0].digest else _read(parts, digest)

    try:
        parse_release(encode(release))
        parse_contract(read(release.contract.digest))
        parse_rollback(read(release.rollback.digest))
        return walk(release, read)
    except MalformedError as error:
        names = tuple(image.image.name for image in collected.images if image.documents & set(error.where.split()))
        raise refused_by_reader(error, names) from None


def check_image_signatures(
    release: Release, graph: Graph, index: bytes, parts: Parts, root: Root, doubts: tuple[str, ...] = ()
) -> tuple[ImageFinding, ...]:
    """Judge the images that name a signer; ``index`` is index.json. The findings are for information.

    An error names ``doubts`` too: what lies beside the images and could not be read may be the missing signature.

    Raises:
        UntrustedError: An image is not signed, or by another signer, or its signature is wrong.
        RefusedError: An identity signs, and sigstore is not installed.
        MalformedError, DamagedError, HostError: Collected content cannot be read, or contradicts itself.
    """
    if not release.asks_signers:
        return ()

    def read(digest: str) -> bytes:
        return index if digest == release.members[0].digest else _read(parts, digest)

    findings = judge_images(release, graph, read, find_judge(release, root, read))
    for finding in findings:
        if finding.error is not None:
            raise finding.error.with_(problem="; ".join((finding.error.problem, *doubts)))
    return findings


def _read(parts: Parts, digest: str) -> bytes:
    """The bytes of a small part, hashed. Bytes from a registry are kept while there is room."""
    part = parts.by_digest[digest]
    if part.blob.size > MAX_MANIFEST_BYTES:
        raise MalformedError(f"{digest} has {part.blob.size} bytes, at most {MAX_MANIFEST_BYTES} are read")
    if isinstance(part.origin, HeldPart):
        return part.origin.data
    if isinstance(part.origin, FetchedPart):
        data = b"".join(part.origin.open())
        if parts.may_hold(len(data)):
            parts.add(part.blob, HeldPart(data), part.where, document=part.document)
        return data
    data = read_extent(part.origin)
    if digest_of(data) != digest:
        problem = f"found bytes with {digest_of(data)}, expected {digest}"
        raise DamagedError(problem, where=part.where, remedy=CHANGED_SOURCE)
    return data
