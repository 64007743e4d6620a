"""Write a request folder: everything that an approver elsewhere needs to review an item and to sign."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import convert

from content.differences.release_documents import ReadBlob, ReleaseDocuments
from content.trust.head import VerifiedHead
from manifests.documents.review_request import (
    Pair,
    ReviewRequest,
    SignedRequest,
    Spare,
    Stated,
    StatedFinding,
    StatedHost,
    StatedSpace,
    sign_request,
)
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError, RefusedError
from manifests.words.text import one_line
from manifests.words.time import rfc3339
from verifier.approval.items import AnyItem, check_filled
from verifier.approval.request_reader import ANSWERS, DOCUMENTS, REQUEST
from verifier.approval.review_input import ReviewInput, read_review_input
from verifier.approval.verdicts import approval_status, verdicts_on
from verifier.change.driver_steps import LoadDriver
from verifier.change.space import SpaceNeed
from verifier.runtime.preflight.result import PreflightResult
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.releases import read_kept_head
from verifier.site.vendor_trust import list_in_force, root_documents

MAX_TEXT = 4096
README = """\
A request for approval from the site {site}.

Item: {item}. Opening these files checks nothing.

On a computer with waybill and your key; it needs no site and no network:

    waybill review {name}
    waybill approve {name} --key KEY     or: waybill reject {name} --key KEY

The answer is written to the folder `answers`. Carry it back to the site and run

    waybill receive {name}/answers

review.html is the same review as a page, written at the site for reading. It is
not the evidence: no signature covers it, nor this text.
Your signature is over the plan {plan}.

The folder holds the configuration of the site. Protect it like the site's own
configuration files.
"""


@dataclass
class _DocumentFolder:
    """The folder of documents while it is filled; ``held`` are the documents in it, by digest."""

    folder: Path
    disk: Disk
    held: dict[str, Blob] = field(default_factory=dict)

    def put(self, data: bytes) -> Blob:
        blob = Blob(digest=digest_of(data), size=len(data))
        if blob.digest not in self.held:
            self.disk.write_new(self.folder / blob.digest.removeprefix("sha256:"), data)
            self.held[blob.digest] = blob
        return blob

    def reading(self, read: ReadBlob) -> ReadBlob:
        """Return ``read``, which also keeps a copy of each document in the folder."""

        def keep(blob: Blob, limit: int) -> bytes:
            data = read(blob, limit)
            self.put(data)
            return data

        return keep


def write_request(
    site: Site,
    asked: AnyItem,
    items: tuple[str, ...],
    folder: Path,
    load: LoadDriver,
    pages: Callable[[ReviewInput, SignedRequest], dict[str, bytes]],
) -> SignedRequest:
    """Write a new request folder. The site is not changed.

    Args:
        items: The items as the operator named them.
        pages: Returns the pages for people, by file name.

    Raises:
        RefusedError: The folder exists already, or the item cannot be carried out at this site.
        MalformedError: ``site.yaml`` has placeholders, so the plan to agree to is not known yet.
        HostError: The folder cannot be written; nothing of it is left.
    """
    check_filled(asked)
    if folder.exists():
        raise RefusedError(
            "the folder exists already",
            where=str(folder),
            remedy="choose another name, or remove the folder first",
            finding="exists",
        )
    staging = folder.with_name(f".{folder.name}.new")
    disk = site.disk
    disk.remove_tree(staging)
    try:
        disk.make_folder(staging / DOCUMENTS, durable=False)
        disk.make_folder(staging / ANSWERS, durable=False)
        request, review_input = _collect(site, asked, items, _DocumentFolder(staging / DOCUMENTS, disk), load)
        raw = sign_request(request, site.signer())
        signed = SignedRequest(raw, request)
        disk.write_new(staging / REQUEST, raw)
        words = README.format(
            site=site.state.site, item=one_line(review_input.item), name=one_line(folder.name), plan=request.plan.digest
        )
        for name, data in {"README.txt": words.encode(), **pages(review_input, signed)}.items():
            disk.write_new(staging / name, data)
        disk.rename(staging, folder)
        disk.sync_folder(folder.parent)
    except OSError as error:
        disk.remove_tree(staging)
        raise HostError(
            f"the folder cannot be written: {(error.strerror or str(error)).lower()}",
            where=str(folder),
            remedy="free some space, or choose another folder"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "choose a folder that can be written",
        ) from None
    except BaseException:
        disk.remove_tree(staging)
        raise
    return signed


def _collect(
    site: Site, asked: AnyItem, items: tuple[str, ...], folder: _DocumentFolder, load: LoadDriver
) -> tuple[ReviewRequest, ReviewInput]:
    """Put every document into the folder; return the unsigned request and the input of its review."""
    state = site.state
    review_input = read_review_input(site, asked, load, folder.reading(site.store.get))
    status = approval_status(site, asked)
    documents = tuple(folder.held.values())
    heads = {signers.release: read_kept_head(site, signers.release) for signers in review_input.signers}
    roots = {root.root.version: root.raw for head in heads.values() for root in head.chain.roots}
    if not roots and review_input.releases:
        roots = dict(enumerate(root_documents(site), 1))
    lists = list_in_force(site)
    request = ReviewRequest(
        items=items,
        plan=asked.plan,
        then=asked.then,
        key=state.site_key,
        made_at=rfc3339(site.host.now()),
        root=state.trust.root,
        roots=tuple(folder.put(raw) for _, raw in sorted(roots.items())),
        revocations=folder.put(site.document(state.trust.revocations[1]))
        if lists and state.trust.revocations
        else None,
        policy=folder.put(encode(review_input.policy)),
        proposed=folder.put(encode(review_input.proposed)) if review_input.proposed is not None else None,
        before=_stated(folder, review_input.before, None) if review_input.before else None,
        way=tuple(_stated(folder, side, heads.get(side.digest)) for side in review_input.releases),
        authorisation=folder.put(review_input.authorised.raw) if review_input.authorised else None,
        between=tuple(folder.put(encode(release)) for release in review_input.between),
        use=folder.put(encode(review_input.use)) if review_input.use is not None else None,
        definition=folder.put(encode(review_input.definition)) if review_input.definition is not None else None,
        documents=documents,
        said=tuple(folder.put(verdict.raw) for verdict in verdicts_on(site, site.policy, asked.plan)),
        proposers=asked.proposers,
        emergency=tuple(Spare(rule=rule.rule, uses_left=rule.uses_left) for rule in status.emergency if rule.rule),
        work=_texts(review_input.work),
        more_leaves=_texts(review_input.more_leaves),
        rooms=None if review_input.rooms is None else tuple(_space(need) for need in review_input.rooms),
        host=tuple(_host(result) for result in review_input.host),
        findings=tuple(
            StatedFinding(finding=finding.id, level=finding.level, text=one_line(finding.text)[:MAX_TEXT])
            for finding in review_input.findings
        ),
        unread=_texts(review_input.unread),
    )
    return request, review_input


def _stated(folder: _DocumentFolder, side: ReleaseDocuments, head: VerifiedHead | None) -> Stated:
    signatures = head.head.signatures if head else ()
    return Stated(
        release=folder.put(head.head.release if head else encode(side.release)),
        signatures=tuple(
            Pair(
                keyid=pair.keyid, sig=None if pair.sig is None else folder.put(pair.sig), bundle=folder.put(pair.bundle)
            )
            for pair in signatures
        ),
        trusted_root=folder.put(head.head.trusted_root) if head and head.head.trusted_root else None,
        config=folder.put(side.config) if side.config is not None else None,
        settings=folder.put(side.settings) if side.settings is not None else None,
    )


def _space(need: SpaceNeed) -> StatedSpace:
    return convert(replace(need, places=_texts(need.places)), StatedSpace, from_attributes=True)


def _host(result: PreflightResult) -> StatedHost:
    check, needs, observed, remedy = _texts((result.check, result.needs, result.observed, result.remedy))
    return StatedHost(check=check, status=result.status, needs=needs, observed=observed, remedy=remedy)


def _texts(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(one_line(line)[:MAX_TEXT] for line in lines)
