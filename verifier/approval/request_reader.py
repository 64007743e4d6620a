"""Read a request folder away from the site, without a network.

Only documents that the site's signature covers by digest are used. Releases are verified again.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import convert

from content.bundle.head import MAX_SIG, MAX_TRUSTED_ROOT, Head, Signature
from content.differences.release_documents import ReadBlob, ReleaseDocuments, read_release_documents, with_release_notes
from content.trust.head import Known, VerifiedHead, verify_head
from manifests.documents.approval import MAX_APPROVAL, SignedApproval, verify_approval
from manifests.documents.authorisation import MAX_AUTHORISATION, SignedAuthorisation, verify_authorisation
from manifests.documents.handler_use import MAX_HANDLER_USE, HandlerUse, parse_handler_use
from manifests.documents.policy import MAX_POLICY, Policy, parse_policy
from manifests.documents.release import MAX_RELEASE, Handler, Release
from manifests.documents.release_reader import parse_release
from manifests.documents.review_request import MAX_REQUEST, ReviewRequest, SignedRequest, Stated, verify_request
from manifests.foreign.sbom import MAX_SBOM
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, Revocations, parse_revocations, revoke
from manifests.trust.root import MAX_ROOT, Pin, parse_root, verify_chain
from manifests.words.canonical import parse
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, MalformedError
from manifests.words.fingerprint import as_groups
from verifier.approval.review_input import ReviewInput, release_signers, same_images
from verifier.change.space import SpaceNeed
from verifier.rules.agreement import ApprovalRequest, ApprovalStatus, count_approvals, needed_for_plan
from verifier.runtime.preflight.result import PreflightResult
from verifier.site.generations import MAX_CONFIG
from verifier.trust.findings import Finding

# Names in a request folder.
REQUEST, DOCUMENTS, ANSWERS = "request.json", "documents", "answers"
NEW_REQUEST = "request a new folder from the site: waybill review ITEM --out DIR"


@dataclass(frozen=True)
class OpenRequest:
    """A request folder whose every document was checked.

    Attributes:
        status: Who must approve and who has, counted from the signatures in the folder.
        root: The vendor's root with which the releases were verified, in words.
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
    return (path / REQUEST).is_file()


def open_request(folder: Path, fingerprint: str | None = None) -> OpenRequest:
    """Read and check a request folder.

    Steps: 1 the site's signature, and that every named document is in the folder; 2 the policy that the plan names;
    3 the releases that the plan names, each verified with the vendor's root; 4 the documents to compare;
    5 the approvals and rejections so far.

    Args:
        fingerprint: Digest of the vendor's root, from the vendor's paper; None to use the root that the site trusts.

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
    _must_be(request.policy, request.plan.policy, "policy", str(path))  # 2
    policy = parse_policy(read(request.policy, MAX_POLICY), "policy")
    proposed = None
    if request.proposed is not None:
        _must_be(request.proposed, request.plan.subject, "proposed policy", str(path))
        proposed = parse_policy(read(request.proposed, MAX_POLICY), "proposed policy")
    review_input, root = _read_input(request, read, policy, proposed, fingerprint, str(path))  # 3, 4
    approvals = tuple(_approval(request, read(blob, MAX_APPROVAL), policy) for blob in request.said)  # 5
    return OpenRequest(
        folder=folder,
        signed=signed,
        policy=policy,
        review_input=review_input,
        asked=ApprovalRequest(
            item=" ".join(request.items),
            plan=request.plan,
            then=request.then,
            proposers=request.proposers,
            first=request.plan.action == "install" and request.plan.generation == 1,
        ),
        status=_status(request, policy, approvals, str(path)),
        root=root,
    )


def _reader(folder: Path) -> ReadBlob:
    def read(blob: Blob, limit: int) -> bytes:
        path = folder / DOCUMENTS / blob.digest.removeprefix("sha256:")
        if blob.size > limit:
            raise MalformedError(f"the document has {blob.size} bytes; the limit is {limit}", where=str(path))
        remedy = f"copy the folder again, or {NEW_REQUEST}"
        if not path.is_file():
            raise DamagedError(
                f"document {blob.digest[:19]} is not in the folder",
                where=str(path),
                remedy=remedy,
                finding="request-incomplete",
            )
        data = read_capped(path, max(blob.size, 1))
        if len(data) != blob.size or digest_of(data) != blob.digest:
            raise DamagedError(
                f"document {blob.digest[:19]} was changed", where=str(path), remedy=remedy, finding="request-changed"
            )
        return data

    return read


def _contradiction(problem: str, where: str) -> MalformedError:
    return MalformedError(problem, where=where, remedy=NEW_REQUEST, finding="request-contradicts")


def _must_be(blob: Blob, digest: str | None, what: str, where: str) -> None:
    if blob.digest != digest:
        raise _contradiction(f"the {what} in the request is {blob.digest}, its plan names {digest or 'none'}", where)


def _read_input(
    request: ReviewRequest, read: ReadBlob, policy: Policy, proposed: Policy | None, fingerprint: str | None, where: str
) -> tuple[ReviewInput, str]:
    """Return what the review is made from, and the vendor's root in words."""
    plan = request.plan
    _check_release_digests(request, where)
    releases = tuple(parse_release(read(stated.release, MAX_RELEASE)) for stated in request.way)
    before = parse_release(read(request.before.release, MAX_RELEASE)) if request.before else None
    pin = Pin(version=0, digest=fingerprint) if fingerprint else request.root
    heads = _verify_releases(request, releases, read, pin, where)
    if releases:
        _check_configs(request, releases[-1], where)
    use, definition = _read_use(request, read, where)
    same = same_images(before, releases[-1]) if releases else frozenset()
    sides = tuple(
        with_release_notes(_side(stated, release, read, same if release is releases[-1] else None), read)
        for stated, release in zip(request.way, releases, strict=True)
    )
    return (
        ReviewInput(
            item=" ".join(request.items),
            plan=plan,
            policy=policy,
            before=_side(request.before, before, read, same) if request.before and before else None,
            releases=sides,
            between=tuple(parse_release(read(blob, MAX_RELEASE)) for blob in request.between),
            proposed=proposed,
            signers=tuple(release_signers(head) for head in heads),
            work=request.work,
            authorised=_authorised(request, read, pin, where),
            use=use,
            definition=definition,
            more_leaves=request.more_leaves,
            rooms=None
            if request.rooms is None
            else tuple(convert(stated, SpaceNeed, from_attributes=True) for stated in request.rooms),
            host=tuple(convert(stated, PreflightResult, from_attributes=True) for stated in request.host),
            # A site writes no request for an item that it refuses, so the level "error" cannot occur here.
            findings=tuple(
                Finding(stated.finding, "warning" if stated.level == "warning" else "ok", stated.text)
                for stated in request.findings
            ),
            unread=request.unread,
        ),
        _root_text(request, heads, fingerprint),
    )


def _check_release_digests(request: ReviewRequest, where: str) -> None:
    """Raise MalformedError unless the releases are the last ones of the plan, in its order."""
    planned = request.plan.releases
    digests = tuple(stated.release.digest for stated in request.way)
    # The first releases of the plan may be installed already.
    if planned[len(planned) - len(digests) :] != digests or bool(planned) != bool(digests):
        raise _contradiction("the releases in the request are not those of its plan", where)


def _verify_releases(
    request: ReviewRequest, releases: tuple[Release, ...], read: ReadBlob, pin: Pin, where: str
) -> tuple[VerifiedHead, ...]:
    """Verify each release that has signatures; an install needs them for every release."""
    heads = tuple(
        _verified(stated, release, request, read, pin)
        for stated, release in zip(request.way, releases, strict=True)
        if stated.signatures
    )
    if request.plan.action == "install" and len(heads) < len(releases):
        raise _contradiction("the request holds no signatures of a release", where)
    return heads


def _check_configs(request: ReviewRequest, release: Release, where: str) -> None:
    """Raise MalformedError unless the contract and both configs of the last release are those of the plan."""
    plan, stated = request.plan, request.way[-1]
    _must_be(release.contract, plan.contract, "telemetry contract", where)
    if stated.settings is not None:
        _must_be(stated.settings, plan.settings, "site.yaml", where)
    if stated.config is not None:
        _must_be(stated.config, plan.config, "config", where)
    if (stated.settings is None, stated.config is None) != (plan.settings is None, plan.config is None):
        raise _contradiction("the request holds no config, but its plan names one", where)


def _root_text(request: ReviewRequest, heads: tuple[VerifiedHead, ...], fingerprint: str | None) -> str:
    root = f"root {request.root.version}, {as_groups(request.root.digest)}"
    if heads:
        chain = heads[-1].chain
        root = f"root {chain.newest.version} of {chain.newest.vendor}, {as_groups(chain.pin.digest)}"
    how = "by the fingerprint that you gave" if fingerprint else "which the site trusts; compare it with the paper"
    return f"{root}, {how}"


def _side(stated: Stated, release: Release, read: ReadBlob, same: frozenset[str] | None) -> ReleaseDocuments:
    """Read the documents of a release; ``same`` is None for a release that is only passed through."""
    return read_release_documents(
        release,
        stated.release.digest,
        read,
        config=read(stated.config, MAX_CONFIG) if stated.config else None,
        settings=read(stated.settings, MAX_CONFIG) if stated.settings else None,
        same=same,
    )


def _verified(stated: Stated, release: Release, request: ReviewRequest, read: ReadBlob, pin: Pin) -> VerifiedHead:
    roots = tuple(read(root, MAX_ROOT) for root in request.roots)
    if not roots:
        raise _contradiction("the request holds no root document of the vendor", REQUEST)
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
        first_root=parse_root(roots[0], "the first root document").root.version,
        trusted_root=read(stated.trusted_root, MAX_TRUSTED_ROOT) if stated.trusted_root else None,
    )
    return verify_head(head, pin, Known(revocations=_revocations(request, read)))


def _authorised(request: ReviewRequest, read: ReadBlob, pin: Pin, where: str) -> SignedAuthorisation | None:
    """Return the authorisation that the plan names, verified again; None unless it is a rollback below the floor."""
    if ("below-floor" in request.plan.kinds) != (request.authorisation is not None):
        raise MalformedError("a rollback below the floor and its authorisation must be in one request", where=where)
    if request.authorisation is None:
        return None
    roots = tuple(read(root, MAX_ROOT) for root in request.roots)
    chain = revoke(verify_chain(roots, pin), _revocations(request, read))
    authorisation = verify_authorisation(read(request.authorisation, MAX_AUTHORISATION), chain)
    if authorisation.fingerprint != request.plan.subject:
        raise _contradiction("the authorisation in the request is not the one that its plan names", where)
    return authorisation


def _read_use(request: ReviewRequest, read: ReadBlob, where: str) -> tuple[HandlerUse | None, Handler | None]:
    """Return the use of a handler that the plan names, and the handler's definition; None for any other plan."""
    plan = request.plan
    if plan.handler is None:
        return None, None
    if request.use is None or request.definition is None:
        raise _contradiction("the request does not hold the handler of its plan", where)
    _must_be(request.use, plan.subject, "use of a handler", where)
    use = parse_handler_use(read(request.use, MAX_HANDLER_USE))
    _must_be(request.definition, use.definition, "definition of a handler", where)
    definition = parse(read(request.definition, MAX_HANDLER_USE), Handler, "handler", max_bytes=MAX_HANDLER_USE)
    if not plan.handler == use.handler == definition.name:
        problem = f"the plan is about the handler {plan.handler}, the request holds {use.handler} and {definition.name}"
        raise _contradiction(problem, where)
    return use, definition


def _revocations(request: ReviewRequest, read: ReadBlob) -> Revocations | None:
    if request.revocations is None:
        return None
    return parse_revocations(read(request.revocations, MAX_REVOCATIONS), "revocation list")[1]


def _approval(request: ReviewRequest, data: bytes, policy: Policy) -> SignedApproval:
    approval = verify_approval(data, policy, "an approval in the request")
    if approval.approval.plan != request.plan.digest:
        raise _contradiction("an approval in the request is for another plan", REQUEST)
    return approval


def _status(
    request: ReviewRequest, policy: Policy, approvals: tuple[SignedApproval, ...], where: str
) -> ApprovalStatus:
    ordinary = count_approvals(policy, needed_for_plan(policy, request.plan), approvals, request.proposers)
    rules = {rule.name: rule for rule in policy.emergency}
    unknown = next((rule.rule for rule in request.emergency if rule.rule not in rules), None)
    if unknown is not None:
        raise _contradiction(f"the request names the emergency rule {unknown}, which its policy does not have", where)
    if ordinary.met or ordinary.vetoed:
        return ordinary
    emergency = (
        count_approvals(
            policy, rules[rule.rule].needs, approvals, request.proposers, rule=rule.rule, uses_left=rule.uses_left
        )
        for rule in request.emergency
    )
    return replace(ordinary, emergency=tuple(emergency))
