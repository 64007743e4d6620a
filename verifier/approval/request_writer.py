"""The request folder: everything that an approver elsewhere needs to judge an item and to sign. The site's side."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from content.trust.head import VerifiedHead
from manifests.documents.review_request import (
    Pair,
    ReviewRequest,
    SignedRequest,
    Spare,
    Stated,
    StatedSpace,
    ToldBefore,
    sign_request,
)
from manifests.words.canonical import encode
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import HostError, RefusedError
from manifests.words.text import one_line
from manifests.words.time import rfc3339
from verifier.approval.items import AnyItem
from verifier.approval.release_documents import ReadBlob, ReleaseDocuments
from verifier.approval.request_folder import ANSWERS, DOCUMENTS, REQUEST
from verifier.approval.review_input import ReviewInput, read_review_input, store_reader
from verifier.approval.verdicts import approval_status, verdicts_on
from verifier.change.driver_steps import LoadDriver
from verifier.change.space import SpaceNeed
from verifier.site.disk import Disk
from verifier.site.folder import Site
from verifier.site.release_heads import read_kept_head
from verifier.site.vendor_trust import list_in_force, root_documents

MAX_TEXT = 4096


README = """\
A request to judge, from the site {site}.

What it is about: {item}. Nothing here has been checked by opening it.

On a computer with waybill and your key; it needs no site and no network:

    waybill review {name}
    waybill approve {name} --key KEY     or: waybill reject {name} --key KEY

The answer is put into the folder `answers`. Carry it back to the site, where

    waybill receive {name}/answers

takes it in. review.html is the same review as a page, written at the site; it is
for reading. What you sign is the plan {plan}.

The folder holds the configuration of the site, as its people see it. Keep it as
you would keep that.
"""


@dataclass
class _Shelf:
    """The folder of documents while it is filled. Attributes: held: digest of each that is there."""

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
        """``read``, which keeps a copy here of whatever could be read."""

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
    pages: Callable[[ReviewInput], dict[str, bytes]],
) -> SignedRequest:
    """Write a new request folder. The site is not changed by it.

    Args:
        items: As a person named them.
        pages: Makes what is for reading, by file name.

    Raises:
        RefusedError: The folder is there already, or the item cannot be done here anyway.
        HostError: It cannot be written; nothing is left of it.
    """
    if folder.exists():
        raise RefusedError(
            "exists already", where=str(folder), remedy="choose another name, or remove it first", finding="exists"
        )
    staging = folder.with_name(f".{folder.name}.new")
    disk = site.disk
    disk.remove_tree(staging)
    try:
        disk.make_folder(staging / DOCUMENTS, durable=False)
        disk.make_folder(staging / ANSWERS, durable=False)
        request, review_input = _collect(site, asked, items, _Shelf(staging / DOCUMENTS, disk), load)
        raw = sign_request(request, site.signer())
        disk.write_new(staging / REQUEST, raw)
        words = README.format(
            site=site.state.site, item=one_line(review_input.item), name=one_line(folder.name), plan=request.plan.digest
        )
        for name, data in {"README.txt": words.encode(), **pages(review_input)}.items():
            disk.write_new(staging / name, data)
        disk.rename(staging, folder)
        disk.sync_folder(folder.parent)
    except OSError as error:
        disk.remove_tree(staging)
        raise HostError(
            f"cannot be written: {(error.strerror or str(error)).lower()}",
            where=str(folder),
            remedy="make room, or name another place"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "name a folder that can be written",
        ) from None
    except BaseException:
        disk.remove_tree(staging)
        raise
    return SignedRequest(raw, request)


def _collect(
    site: Site, asked: AnyItem, items: tuple[str, ...], shelf: _Shelf, load: LoadDriver
) -> tuple[ReviewRequest, ReviewInput]:
    state = site.state
    review_input = read_review_input(site, asked, load, shelf.reading(store_reader(site)))
    status = approval_status(site, asked)
    documents = tuple(shelf.held.values())
    heads = {one.release: read_kept_head(site, one.release) for one in review_input.vouched}
    roots = {one.root.version: one.raw for head in heads.values() for one in head.chain.roots}
    if not roots and review_input.way:
        roots = dict(enumerate(root_documents(site), 1))
    lists = list_in_force(site)
    request = ReviewRequest(
        items=items,
        plan=asked.plan,
        then=asked.then,
        key=state.site_key,
        made_at=rfc3339(site.host.now()),
        root=state.trust.root,
        roots=tuple(shelf.put(raw) for _, raw in sorted(roots.items())),
        revocations=shelf.put(site.document(state.trust.revocations[1])) if lists and state.trust.revocations else None,
        policy=shelf.put(encode(review_input.policy)),
        proposed=shelf.put(encode(review_input.proposed)) if review_input.proposed is not None else None,
        before=_stated(shelf, review_input.before, None) if review_input.before else None,
        way=tuple(_stated(shelf, side, heads.get(side.digest)) for side in review_input.way),
        authorisation=shelf.put(review_input.authorised.raw) if review_input.authorised else None,
        between=tuple(shelf.put(encode(one)) for one in review_input.between),
        documents=documents,
        said=tuple(shelf.put(one.raw) for one in verdicts_on(site, site.policy, asked.plan)),
        proposers=asked.proposers,
        emergency=tuple(Spare(rule=one.rule, uses_left=one.uses_left) for one in status.emergency if one.rule),
        work=_texts(review_input.work),
        more_leaves=_texts(review_input.more_leaves),
        rooms=None if review_input.rooms is None else tuple(_space(one) for one in review_input.rooms),
        findings=tuple(
            ToldBefore(finding=one.id, level=one.level, text=_text(one.text)) for one in review_input.findings
        ),
        unread=_texts(review_input.unread),
    )
    return request, review_input


def _stated(shelf: _Shelf, side: ReleaseDocuments, head: VerifiedHead | None) -> Stated:
    signatures = head.head.signatures if head else ()
    return Stated(
        release=shelf.put(head.head.release if head else encode(side.release)),
        signatures=tuple(
            Pair(keyid=pair.keyid, sig=None if pair.sig is None else shelf.put(pair.sig), bundle=shelf.put(pair.bundle))
            for pair in signatures
        ),
        trusted_root=shelf.put(head.head.trusted_root) if head and head.head.trusted_root else None,
        config=shelf.put(side.config) if side.config is not None else None,
        settings=shelf.put(side.settings) if side.settings is not None else None,
    )


def _space(room: SpaceNeed) -> StatedSpace:
    return StatedSpace(
        places=_texts(room.places),
        bytes=room.bytes,
        inodes=room.inodes,
        free_bytes=room.free_bytes,
        free_inodes=room.free_inodes,
    )


def _texts(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_text(one) for one in lines)


def _text(line: str) -> str:
    return one_line(line)[:MAX_TEXT]
