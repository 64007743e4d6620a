"""Read what a preview needs: from the folder of the vendor, or from a request that was carried to another machine."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from content.bundle.head import open_head
from content.differences.bundle_documents import opened_bundle, read_bundle_documents
from content.differences.release_documents import ReleaseDocuments, read_release_documents, with_release_notes
from content.signing.detached import RELEASE, DetachedRequest
from content.signing.preview import Preview, preview_authorisation, preview_list, preview_release, preview_root
from content.signing.request_signers import read_signers
from content.signing.surroundings import MAX_FILES, Surroundings, find_base, look_around, named_before, root_before
from manifests.documents.authorisation import MAX_AUTHORISATION, Authorisation, parse_authorisation
from manifests.documents.release import MAX_RELEASE
from manifests.documents.release_reader import parse_release
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS, Revocations, parse_revocations
from manifests.trust.root import MAX_ROOT, Root, parse_root
from manifests.words.canonical import parse
from manifests.words.digest import Blob, digest_of
from manifests.words.errors import DamagedError, WaybillError

MAX_RELEASE_FILES = 4 * MAX_FILES
# Files of a request that are only read. The document names some by their digest; nothing vouches for the others.
BEFORE, LIST, OLD_LIST, BASE = (
    "previous.root.json",
    "newest.revocations.json",
    "previous.revocations.json",
    "base.release.json",
)


def preview_file(file: Path, kind: str, near: Sequence[Path] = ()) -> tuple[Preview, Surroundings]:
    """What a signature of the ``file`` would say; ``kind`` is bundle, root, list or authorisation.

    Args:
        near: Files by which the vendor's folder is known; ``file`` where there are none.
    """
    around = look_around(file, near)
    if kind == "bundle":
        head = open_head(file)
        side = read_bundle_documents(file, same=None)
        carried = (head.revocations,) if head.revocations is not None else ()
        files = tuple(
            sorted((*around.list_files, *carried), key=lambda data: parse_revocations(data, "list")[1].version)
        )
        base = find_base(file, side.release)
        around = replace(around, list_files=files, base=_read_base(base) if base is not None else None)
        return preview_release(side, around), around
    if kind == "root":
        signed = parse_root(read_capped(file, MAX_ROOT), str(file))
        around = replace(around, before=root_before(file, signed.root))
        return preview_root(signed.root, signed.fingerprint, around), around
    if kind == "list":
        envelope, revoked = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))
        return preview_list(revoked, digest_of(envelope.payload_bytes), around), around
    envelope, permit = parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))
    return preview_authorisation(permit, digest_of(envelope.payload_bytes), around), around


def context_files(file: Path, kind: str, around: Surroundings) -> tuple[tuple[str, bytes], ...]:
    """What a request needs besides its document, so that the other machine can show the same preview."""
    if kind == "bundle":
        base = find_base(file, parse_release(open_head(file).release))
        files = [*_release_files(file, ""), *(_release_files(base, "base.") if base is not None else ())]
        return (*files, *_newest_list(around))
    if kind == "root":
        return ((BEFORE, around.before),) if around.before is not None else ()
    if kind == "list":
        revoked = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))[1]
        older = [data for data in around.list_files if parse_revocations(data, "list")[1].version < revoked.version]
        named = [
            (f"release-{digest.removeprefix('sha256:')[:12]}.json", raw)
            for digest, raw in around.releases.items()
            if digest in revoked.releases
        ]
        return (*((OLD_LIST, data) for data in older[-1:]), *named)
    return _newest_list(around)


def _newest_list(around: Surroundings) -> tuple[tuple[str, bytes], ...]:
    return tuple((LIST, data) for data in around.list_files[-1:])


def _release_files(bundle: Path, prefix: str) -> Iterator[tuple[str, bytes]]:
    """The documents of a release, and for a base its ``release.json`` too."""
    with opened_bundle(bundle) as opened:
        release = opened.release
        if prefix:
            yield f"{prefix}release.json", opened.raw
        blobs = {"contract.json": release.contract, "rollback.json": release.rollback}
        if release.notes is not None:
            blobs["notes.txt"] = release.notes
        if release.config is not None:
            blobs["schema.json"] = release.config.schema
        blobs |= {f"advisories-{i}.json": blob for i, blob in enumerate(release.advisories, 1)}
        blobs |= {f"authorisation-{i}.json": blob for i, blob in enumerate(release.authorisations, 1)}
        for name, blob in islice(blobs.items(), MAX_FILES):
            with suppress(WaybillError):  # the preview there says what is missing
                yield f"{prefix}{name}", opened.read(blob, MAX_RELEASE)


def preview_request(folder: Path, request: DetachedRequest) -> Preview:
    """The same from a folder of ``sign --prepare``, whose ``request`` was read, with the folder's names of keys."""
    name, data = request.document
    newest, signers = _optional(folder / LIST, MAX_REVOCATIONS), read_signers(folder)
    names = signers.names if signers is not None else {}
    around = Surroundings(names, list_files=(newest,) if newest is not None and _is_list(newest) else ())
    if name == RELEASE:
        base = _optional(folder / BASE, MAX_RELEASE)
        side = _documents(folder, data)
        return preview_release(side, replace(around, base=_base(folder, base) if base is not None else None))
    fingerprint = digest_of(data)
    if name == "root.json":
        root = parse(data, Root, name, max_bytes=MAX_ROOT)
        before = _optional(folder / BEFORE, MAX_ROOT)
        pinned = named_before(root, before) if before is not None else None
        return preview_root(root, fingerprint, replace(around, before=pinned))
    if name == "revocations.json":
        revoked = parse(data, Revocations, name, max_bytes=MAX_REVOCATIONS)
        older = _optional(folder / OLD_LIST, MAX_REVOCATIONS)
        files = (older,) if older is not None and _is_list(older) else ()
        return preview_list(revoked, fingerprint, Surroundings(names, {}, dict(_releases(folder)), files))
    permit = parse(data, Authorisation, name, max_bytes=MAX_AUTHORISATION)
    return preview_authorisation(permit, fingerprint, around)


def _documents(folder: Path, raw: bytes) -> ReleaseDocuments:
    """The release with the documents that lie in the folder; each is found by its digest."""

    def read(blob: Blob, limit: int) -> bytes:
        for path in islice(sorted(folder.iterdir()), MAX_RELEASE_FILES):
            if path.is_file() and path.stat().st_size == blob.size <= limit:
                data = read_capped(path, limit)
                if digest_of(data) == blob.digest:
                    return data
        raise DamagedError("it is not in this folder", where=str(folder))

    return with_release_notes(read_release_documents(parse_release(raw), digest_of(raw), read, same=None), read)


def _read_base(bundle: Path) -> ReleaseDocuments | None:
    with suppress(WaybillError):
        return read_bundle_documents(bundle, same=None)
    return None


def _base(folder: Path, raw: bytes) -> ReleaseDocuments | None:
    with suppress(WaybillError):
        return _documents(folder, raw)
    return None


def _releases(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in islice(sorted(folder.glob("release-*.json")), MAX_FILES):
        with suppress(WaybillError):
            raw = read_capped(path, MAX_RELEASE)
            parse_release(raw)
            yield digest_of(raw), raw


def _is_list(data: bytes) -> bool:
    with suppress(WaybillError):
        parse_revocations(data, "list")
        return True
    return False


def _optional(path: Path, limit: int) -> bytes | None:
    with suppress(WaybillError):
        return read_capped(path, limit)
    return None
