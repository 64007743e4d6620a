"""The approver's side of a request folder: a desk without a site and without a network.

Nothing in the folder is believed that is not named by digest under the site's signature, and releases are verified
here once more.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from content.bundle.head import MAX_SIG, MAX_TRUSTED_ROOT, Head, Signature
from content.trust.head import Known, VerifiedHead, verify_head
from manifests.documents.approval import MAX_APPROVAL, SignedApproval, verify_approval
from manifests.documents.authorisation import MAX_AUTHORISATION, SignedAuthorisation, verify_authorisation
from manifests.documents.policy import MAX_POLICY, Policy, parse_policy
from manifests.documents.release import MAX_RELEASE, Release
from manifests.documents.release_reader import parse_release
from manifests.documents.review_request import (
    MAX_REQUEST,
    ReviewRequest,
    SignedRequest,
    Stated,
    ToldBefore,
    verify_request,
)
from manifests.foreign.sbom import MAX_SBOM
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, Revocations, parse_revocations, revoke
from manifests.trust.root import MAX_ROOT, Pin, parse_root, verify_chain
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from manifests.words.fingerprint import as_groups
from verifier.approval.release_documents import ALL_IMAGES, ReadBlob, ReleaseDocuments, read_release_documents
from verifier.approval.request_folder import DOCUMENTS, REQUEST
from verifier.approval.review_input import ReleaseSigners, ReviewInput, same_images
from verifier.change.space import SpaceNeed
from verifier.rules.agreement import ApprovalRequest, ApprovalStatus, count_approvals, roles_needed
from verifier.site.generations import MAX_CONFIG
from verifier.trust.findings import Finding


@dataclass(frozen=True)
class OpenRequest:
    """A request folder whose every document was checked.

    Attributes:
        asked: What the person is asked, as the site asks it.
        status: Who must agree and who has, counted here from the signatures in the folder.
        root: Of the vendor, in words: what the verification of the releases rests on.
    """

    folder: Path
    signed: SignedRequest
    policy: Policy
    review_input: ReviewInput
    asked: ApprovalRequest
    status: ApprovalStatus
    root: str

    @property
    def request(self) -> ReviewRequest:
        return self.signed.request


def is_request_folder(path: Path) -> bool:
    """Whether a person who names ``path`` means a request folder."""
    return (path / REQUEST).is_file()


def open_request(folder: Path, fingerprint: str | None = None) -> OpenRequest:
    """Read and check a request folder. Steps: 1 the site's signature, and that all it names is here; 2 the policy that
    the plan names; 3 the releases that the plan names, each verified with the vendor's root; 4 what is compared;
    5 what was said so far.

    Args:
        fingerprint: Digest of a root of the vendor, from the vendor's paper; instead of believing the site.

    Raises:
        DamagedError: A document is missing or is another than the request names.
        MalformedError, UntrustedError, RefusedError, NewerError: As the step says.
    """
    path = folder / REQUEST
    signed = verify_request(read_capped(path, MAX_REQUEST), str(path))  # 1
    request = signed.request
    read = _reader(folder)
    for blob in request.documents:
        read(blob, MAX_SBOM)
    policy = _policy(request, read, str(path))  # 2
    proposed = None
    if request.proposed is not None:
        _must_be(request.proposed, request.plan.subject, "proposed policy", str(path))
        proposed = parse_policy(read(request.proposed, MAX_POLICY), "proposed policy")
    review_input, root = _matter(request, read, policy, proposed, fingerprint, str(path))  # 3, 4
    approvals = tuple(_said(request, read(blob, MAX_APPROVAL), policy) for blob in request.said)  # 5
    return OpenRequest(
        folder=folder,
        signed=signed,
        policy=policy,
        review_input=review_input,
        asked=ApprovalRequest(
            item=" ".join(request.items), plan=request.plan, then=request.then, proposers=request.proposers
        ),
        status=_standing(request, policy, approvals, str(path)),
        root=root,
    )


def _reader(folder: Path) -> ReadBlob:
    def read(blob: Blob, limit: int) -> bytes:
        path = folder / DOCUMENTS / blob.digest.removeprefix("sha256:")
        if blob.size > limit:
            raise MalformedError(f"{blob.size} bytes, at most {limit} are allowed", where=str(path))
        remedy = "copy the folder again, or ask the site for a new one: waybill review ITEM --out DIR"
        if not path.is_file():
            raise DamagedError(
                f"document {blob.digest[:19]} is not in the folder",
                where=str(path),
                remedy=remedy,
                finding="request-incomplete",
            )
        data = read_capped(path, max(blob.size, 1))
        if len(data) != blob.size or digest_of(data) != blob.digest:
            raise DamagedError("was changed", where=str(path), remedy=remedy, finding="request-changed")
        return data

    return read


def _must_be(blob: Blob, digest: str | None, what: str, where: str) -> None:
    if blob.digest != digest:
        raise MalformedError(
            f"its {what} is {blob.digest[:19]}, its plan names {(digest or 'none')[:19]}",
            where=where,
            remedy="ask the site for a new one: waybill review ITEM --out DIR",
            finding="request-contradicts",
        )


def _policy(request: ReviewRequest, read: ReadBlob, where: str) -> Policy:
    _must_be(request.policy, request.plan.policy, "policy", where)
    return parse_policy(read(request.policy, MAX_POLICY), "policy")


def _matter(
    request: ReviewRequest, read: ReadBlob, policy: Policy, proposed: Policy | None, fingerprint: str | None, where: str
) -> tuple[ReviewInput, str]:
    plan = request.plan
    digests = tuple(one.release.digest for one in request.way)
    # A part of several releases may be installed already.
    if plan.releases[len(plan.releases) - len(digests) :] != digests or bool(plan.releases) != bool(digests):
        raise MalformedError(
            "its releases are not those of its plan",
            where=where,
            remedy="ask the site for a new one: waybill review ITEM --out DIR",
            finding="request-contradicts",
        )
    releases = tuple(_release(one, read) for one in request.way)
    before = _release(request.before, read) if request.before else None
    pin = Pin(version=0, digest=fingerprint) if fingerprint else request.root
    heads = tuple(
        _verified(one, release, request, read, pin)
        for one, release in zip(request.way, releases, strict=True)
        if one.signatures
    )
    if plan.action == "install" and len(heads) < len(releases):
        raise MalformedError("it holds no signatures of a release", where=where, finding="request-contradicts")
    way: list[ReleaseDocuments] = []
    for i, (stated, release) in enumerate(zip(request.way, releases, strict=True)):
        last = i == len(releases) - 1
        if last:
            _must_be(release.contract, plan.contract, "telemetry contract", where)
            if stated.settings is not None:
                _must_be(stated.settings, plan.settings, "site.yaml", where)
            if stated.config is not None:
                _must_be(stated.config, plan.config, "config", where)
            if (stated.settings is None, stated.config is None) != (plan.settings is None, plan.config is None):
                raise MalformedError(
                    "it lacks a config that its plan names", where=where, finding="request-contradicts"
                )
        way.append(_side(stated, release, read, same_images(before, release) if last else None))
    authorised = _authorised(request, read, pin, where)
    stands = heads[-1].chain.newest if heads else None
    root = f"root {request.root.version}, {as_groups(request.root.digest)}"
    if stands is not None:
        root = f"root {stands.version} of {stands.vendor}, {as_groups(heads[-1].chain.pin.digest)}"
    how = "by the fingerprint that you gave" if fingerprint else "which the site trusts; compare it with the paper"
    return (
        ReviewInput(
            item=" ".join(request.items),
            plan=plan,
            policy=policy,
            before=_side(request.before, before, read, same_images(before, releases[-1]) if releases else frozenset())
            if request.before and before
            else None,
            way=tuple(way),
            between=tuple(parse_release(read(blob, MAX_RELEASE)) for blob in request.between),
            proposed=proposed,
            vouched=tuple(
                ReleaseSigners(
                    one.release_digest,
                    one.signers,
                    one.practice,
                    f"verified with root {one.chain.newest.version} of {one.chain.newest.vendor}",
                )
                for one in heads
            ),
            work=request.work,
            authorised=authorised,
            more_leaves=request.more_leaves,
            rooms=None
            if request.rooms is None
            else tuple(
                SpaceNeed(one.places, one.bytes, one.inodes, one.free_bytes, one.free_inodes) for one in request.rooms
            ),
            findings=tuple(_finding(one) for one in request.findings),
            unread=request.unread,
        ),
        f"{root}, {how}",
    )


def _finding(stated: ToldBefore) -> Finding:
    # What an item was refused for at the site is never asked about, so there is no third level here.
    return Finding(stated.finding, "warning" if stated.level == "warning" else "ok", stated.text)


def _release(stated: Stated, read: ReadBlob) -> Release:
    return parse_release(read(stated.release, MAX_RELEASE))


def _side(stated: Stated, release: Release, read: ReadBlob, same: frozenset[str] | None) -> ReleaseDocuments:
    """``same``: None for a release that is only passed through."""
    return read_release_documents(
        release,
        stated.release.digest,
        read,
        config=read(stated.config, MAX_CONFIG) if stated.config else None,
        settings=read(stated.settings, MAX_CONFIG) if stated.settings else None,
        same=ALL_IMAGES if same is None else same,
    )


def _verified(stated: Stated, release: Release, request: ReviewRequest, read: ReadBlob, pin: Pin) -> VerifiedHead:
    roots = tuple(read(pair, MAX_ROOT) for pair in request.roots)
    head = Head(
        release=read(stated.release, MAX_RELEASE),
        signatures=tuple(
            Signature(
                keyid=pair.keyid,
                sig=read(pair.sig, MAX_SIG) if pair.sig else None,
                bundle=read(pair.bundle, MAX_BUNDLE),
            )
            for pair in stated.signatures
        ),
        roots=roots,
        bulk_at=release.bulk_at,
        first_root=_first(roots),
        trusted_root=read(stated.trusted_root, MAX_TRUSTED_ROOT) if stated.trusted_root else None,
    )
    return verify_head(head, pin, Known(revocations=_revocations(request, read)))


def _authorised(request: ReviewRequest, read: ReadBlob, pin: Pin, where: str) -> SignedAuthorisation | None:
    """Of a way back below the floor: the very authorisation that the plan names, verified again."""
    if ("below-floor" in request.plan.kinds) != (request.authorisation is not None):
        raise MalformedError("a way back below the floor and its authorisation go together", where=where)
    if request.authorisation is None:
        return None
    roots = tuple(read(authorisation, MAX_ROOT) for authorisation in request.roots)
    chain = revoke(verify_chain(roots, pin), _revocations(request, read))
    authorisation = verify_authorisation(read(request.authorisation, MAX_AUTHORISATION), chain)
    if authorisation.fingerprint != request.plan.subject:
        raise MalformedError(
            "its authorisation is not the one that its plan names", where=where, finding="request-contradicts"
        )
    return authorisation


def _first(roots: tuple[bytes, ...]) -> int:
    if not roots:
        raise MalformedError("it holds no root document of the vendor", where=REQUEST, finding="request-contradicts")
    return parse_root(roots[0], "the first root document").root.version


def _revocations(request: ReviewRequest, read: ReadBlob) -> Revocations | None:
    if request.revocations is None:
        return None
    return parse_revocations(read(request.revocations, MAX_REVOCATIONS), "revocation list")[1]


def _said(request: ReviewRequest, data: bytes, policy: Policy) -> SignedApproval:
    approval = verify_approval(data, policy, "an approval in the request")
    if approval.approval.plan != request.plan.digest:
        raise MalformedError("an approval in it is about another plan", where=REQUEST, finding="request-contradicts")
    return approval


def _standing(
    request: ReviewRequest, policy: Policy, approvals: tuple[SignedApproval, ...], where: str
) -> ApprovalStatus:
    ordinary = count_approvals(policy, roles_needed(policy, request.plan.kinds), approvals, request.proposers)
    rules = {rule.name: rule for rule in policy.emergency}
    unknown = next((rule.rule for rule in request.emergency if rule.rule not in rules), None)
    if unknown is not None:
        raise MalformedError(
            f"it names the emergency rule {unknown}, which its policy does not have",
            where=where,
            finding="request-contradicts",
        )
    if ordinary.met or ordinary.vetoed:
        return ordinary
    spare = (
        count_approvals(
            policy, rules[rule.rule].needs, approvals, request.proposers, rule=rule.rule, uses_left=rule.uses_left
        )
        for rule in request.emergency
    )
    return replace(ordinary, emergency=tuple(spare))


def person_of_request(request: OpenRequest, keyid: str) -> str:
    """The person whose key it is, by the policy in the request.

    Raises:
        RefusedError: Nobody's; the site would not count it.
    """
    person = request.policy.person_of(keyid)
    if person is None:
        raise RefusedError(
            f"key {keyid[:12]} belongs to no person of policy {request.policy.number} of the site",
            where="--key",
            remedy=f"the policy lists {', '.join(sorted(request.policy.people))}",
            finding="approver-unknown",
        )
    return person[0]
