"""Read images from a registry and write them to it (OCI distribution-spec 1.1).

Bytes are streamed and checked against size and digest in both directions; manifests travel as the raw bytes they
are. What a registry says about digests is never believed: it is recomputed. docs/decisions/0003-registry-client.md
says which part of this is oras.
"""

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from urllib.parse import urlsplit, urlunsplit

from content.bundle.oci import (
    ACCEPTED,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    Descriptor,
    ImageIndex,
    parse_oci,
    read_json,
)
from content.bundle.oci_writer import append_to_index, describe, encode_index
from content.registry.auth import Credentials, find_credentials
from content.registry.reference import check_host, check_repository, check_tag
from content.registry.session import ATTEMPTS, Answer, Body, BrokenError, Session, pause_after
from manifests.words.digest import digest_of, is_digest
from manifests.words.errors import CHANGED_SOURCE, DamagedError, HostError, MalformedError

MAX_REFERRERS = 4096
MAX_TAGS = 100_000
MAX_PAGES = 200
MIN_PROGRESS = 1 << 20
SMALL = 1 << 20
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*?\brel="?next"?')
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")
# How registries say that they have no referrers API; older ones take the path for something else.
_NO_API = frozenset({404, 405, 501})
_MANIFESTS = {"Accept": ", ".join(ACCEPTED)}
_OCTETS = {"Content-Type": "application/octet-stream"}


class Registry:
    """One registry host. A context manager; several threads may share it.

    Args:
        host: ``name[:port]``.
        plain_http: Speak without TLS. Only ever because somebody asked for it, for this host.
        ca: A PEM file whose authorities replace the system's.
        auth_file: The only file of credentials to look at, instead of those where login tools put theirs.
        credentials: Name and password, instead of any file.
        timeout: Seconds without a byte after which the registry counts as hanging.
        realm_hosts: Other hosts that may issue its tokens, and so see the credentials.
        content_hosts: Other hosts to which a download may be redirected, without credentials; None for any over
            TLS. Uploads are never redirected.
        environ: Where ``REGISTRY_AUTH_FILE``, ``XDG_RUNTIME_DIR``, ``XDG_CONFIG_HOME``, ``DOCKER_CONFIG`` and
            ``HOME`` are looked up; the process's own if None. Proxies are not.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool = False,
        ca: Path | None = None,
        auth_file: Path | None = None,
        credentials: tuple[str, str] | None = None,
        timeout: float = 30.0,
        realm_hosts: frozenset[str] = frozenset(),
        content_hosts: frozenset[str] | None = frozenset(),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.host = check_host(host)
        # The threads of one client queue here; other clients are noticed afterwards.
        self._fallback_lock = threading.Lock()
        variables = os.environ if environ is None else environ

        def found() -> Credentials | None:
            if credentials:
                return Credentials(*credentials)
            home = Path(variables.get("HOME") or "/")
            return find_credentials(host, auth_file=auth_file, environ=variables, home=home)

        self._session = Session(
            host,
            plain_http=plain_http,
            ca=ca,
            credentials=found,
            timeout=timeout,
            realm_hosts=realm_hosts,
            content_hosts=content_hosts,
        )

    def __enter__(self) -> "Registry":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    # -- manifests ---------------------------------------------------------------------------------------------------

    def manifest(self, repository: str, reference: str, *, max_bytes: int = MAX_MANIFEST_BYTES) -> tuple[bytes, str]:
        """The raw bytes of a manifest or index, and its media type.

        Args:
            reference: A digest, against which the bytes are checked, or a tag.

        Raises:
            DamagedError: Other bytes than the digest says.
            MalformedError: Neither a manifest nor an index, or one that calls itself something else.
            HostError: The registry does not have it, or does not answer.
        """
        found = self._manifest(repository, reference, max_bytes=max_bytes)
        if found is None:
            raise self._missing(f"manifest {repository} {reference}")
        return found

    def manifest_exists(self, repository: str, digest: str) -> bool:
        """Whether the registry claims to have the manifest; a tag may be given too."""
        # Without the media types some registries deny what they have.
        return self._exists(_manifest_path(repository, digest), repository, _MANIFESTS)

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Store ``data`` as it is, then read it back and compare.

        Raises:
            DamagedError: ``reference`` is another digest, or something else came back.
            HostError: The registry did not take it.
        """
        self._put_manifest(repository, reference, data, media_type)

    # -- blobs -------------------------------------------------------------------------------------------------------

    def blob(self, repository: str, descriptor_digest: str, size: int) -> Iterator[bytes]:
        """Stream a blob, and fail before the end unless it is exactly ``size`` bytes with this digest.

        Reads at most ``size`` bytes plus one chunk, and goes on where it was when a connection breaks. Until the
        iterator is exhausted the consumer holds untrusted bytes: write them to staging, then rename.

        Raises:
            DamagedError: Too long, too short, or another digest.
            HostError: The registry does not have it, or does not answer.
        """
        path = _blob_path(repository, descriptor_digest)
        digest = hashlib.sha256()
        received = 0
        attempt = 0
        while True:
            before = received
            try:
                for chunk in self._blob_from(path, repository, descriptor_digest, size, received):
                    received += len(chunk)
                    if received > size:
                        raise self._damaged(f"sent more than {size} bytes", descriptor_digest)
                    digest.update(chunk)
                    yield chunk
                break
            except BrokenError as error:
                # A long download over a bad line goes on as long as it gets somewhere each time.
                attempt = 0 if received - before >= MIN_PROGRESS else attempt + 1
                if attempt >= ATTEMPTS - 1:
                    raise
                pause_after(attempt, error)
        if received != size:
            raise self._damaged(f"sent {received} bytes, expected {size}", descriptor_digest)
        if (found := f"sha256:{digest.hexdigest()}") != descriptor_digest:
            raise self._damaged(f"sent bytes with {found}", descriptor_digest)

    def blob_exists(self, repository: str, digest: str) -> bool:
        """Whether the registry claims to have the blob."""
        return self._exists(_blob_path(repository, digest), repository)

    def push_blob(
        self,
        repository: str,
        digest: str,
        size: int,
        chunks: Callable[[], Iterator[bytes]],
        *,
        mount_from: str = "",
    ) -> None:
        """Store a blob unless the registry has it; continue an upload that broke.

        Args:
            chunks: Gives the blob from its start; called again when the upload has to be repeated.
            mount_from: Another repository of this registry that may have the blob already.

        Raises:
            DamagedError: ``chunks`` gives other bytes; the registry has not been given the last of them then.
            HostError: The registry did not take it.
        """
        if self.blob_exists(repository, digest):
            return
        offset = 0
        location = self._start_upload(repository, digest, mount_from)
        for attempt in range(ATTEMPTS):
            if not location:
                return
            try:
                if self._upload(repository, location, digest, size, chunks, offset):
                    return
                # The registry has lost the upload, or put the pieces together wrongly: once more, whole.
                pause: BrokenError | None = None
            except BrokenError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                pause = error
            if pause:
                pause_after(attempt, pause)
            offset = self._uploaded(repository, location, size) if pause else 0
            if not offset:
                location = self._start_upload(repository, digest, "")
        raise self._session.error(f"did not keep the upload of {digest}", remedy="look at the registry's log")

    # -- lists -------------------------------------------------------------------------------------------------------

    def tags(self, repository: str) -> tuple[str, ...]:
        """All tags of a repository, sorted.

        Raises:
            MalformedError: More than `MAX_TAGS`, or no tags at all by their grammar.
            HostError: No such repository.
        """
        found: set[str] = set()
        for page in self._pages(f"/v2/{check_repository(repository)}/tags/list?n=1000", repository, {}):
            if page.status != 200:
                raise self._missing(f"repository {repository}")
            listed = read_json(page.document, where=self.host).get("tags") or []
            if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
                raise MalformedError("the list of tags is not a list of names", where=self.host)
            found.update(check_tag(tag) for tag in listed)
            if len(found) > MAX_TAGS:
                raise MalformedError(f"more than {MAX_TAGS} tags in {repository}", where=self.host)
        return tuple(sorted(found))

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a manifest through ``subject``, sorted by digest.

        From the referrers API, else from the fallback tag ``sha256-<hex>`` (distribution-spec, listing referrers).

        Raises:
            MalformedError: Not an image index, or more than `MAX_REFERRERS` entries.
        """
        found: dict[str, Descriptor] = {}
        path = f"/v2/{check_repository(repository)}/referrers/{_checked(digest)}"
        for page in self._pages(path, repository, {"Accept": OCI_INDEX}):
            if page.status in _NO_API:
                data = self._fallback(repository, digest)
                return self._listed(data, found) if data else ()
            self._listed(page.document, found)
        return tuple(found[key] for key in sorted(found))

    def push_referrer(self, repository: str, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest with a ``subject``, by digest, so that it is listed among the subject's referrers.

        A registry that understands ``subject`` says so with ``OCI-Subject``. For any other the fallback tag is kept
        up to date; what others put there stays.

        Returns:
            The descriptor under which it is listed.

        Raises:
            MalformedError: ``data`` has no subject, or the fallback tag holds something else than an index.
            HostError: As for `push_manifest`.
        """
        document = parse_oci(data, media_type=media_type)
        if document.subject is None:
            raise MalformedError("a referrer without subject", where="$.subject")
        described = describe(data, media_type=document.media_type, artifact_type=document.referrer_type)
        entry = replace(described, annotations=document.annotations)
        headers = self._put_manifest(repository, entry.digest, data, media_type)
        subject = document.subject.digest
        if headers.get("OCI-Subject") == subject:
            return entry
        with self._fallback_lock:
            self._list_under_fallback(repository, subject, entry)
        return entry

    # -- below -------------------------------------------------------------------------------------------------------

    def _manifest(self, repository: str, reference: str, *, max_bytes: int) -> tuple[bytes, str] | None:
        path = _manifest_path(repository, reference)
        page = self._document(path, repository, _MANIFESTS, max_bytes)
        if page.status == 404:
            return None
        data = page.document
        if is_digest(reference) and digest_of(data) != reference:
            raise self._damaged(f"sent bytes with {digest_of(data)}", reference)
        # Some registries call every document JSON; only a name that says something can contradict.
        named = page.headers.get("Content-Type", "").partition(";")[0].strip()
        return data, parse_oci(data, media_type=named if named in MANIFEST_TYPES | INDEX_TYPES else "").media_type

    def _put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str, *, compare: bool = True
    ) -> Mapping[str, str]:
        path = _manifest_path(repository, reference)
        if is_digest(reference) and digest_of(data) != reference:
            raise DamagedError(f"the manifest has {digest_of(data)}", where=reference, remedy=CHANGED_SOURCE)
        if len(data) > MAX_MANIFEST_BYTES:
            raise MalformedError(f"manifest of {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are sent")
        headers = {"Content-Type": media_type}
        with self._session.request("PUT", path, repository=repository, headers=headers, body=data) as answer:
            if answer.status not in (200, 201, 202):
                raise self._failed(answer, f"the manifest {repository} {reference}")
            answer.discard()
            replied = answer.headers
        if compare:
            back = self._document(path, repository, {"Accept": media_type}, MAX_MANIFEST_BYTES)
            if back.status == 404 or back.document != data:
                found = "nothing" if back.status == 404 else digest_of(back.document)
                raise self._damaged(f"stored the manifest, and now has {found}", f"{repository} {reference}")
        return replied

    def _list_under_fallback(self, repository: str, subject: str, entry: Descriptor) -> None:
        """Read, modify, write; then look whether another client wrote in between."""
        for _ in range(ATTEMPTS):
            before = self._fallback(repository, subject)
            after = append_to_index(before, entry) if before else encode_index([entry])
            if after == before:
                return
            self._put_manifest(repository, _fallback_tag(subject), after, OCI_INDEX, compare=False)
        data = self._fallback(repository, subject)
        if not data or entry.digest not in {listed.digest for listed in self._listed(data, {})}:
            raise self._session.error(
                f"others keep rewriting the list of referrers of {subject}", remedy="try again when they are done"
            )

    def _blob_from(self, path: str, repository: str, digest: str, size: int, start: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        # An offset at the very end would be answered with 416; there is nothing to ask for.
        if start >= size > 0:
            return
        with self._session.request("GET", path, repository=repository, headers=headers, retry=False) as answer:
            if answer.status == 404:
                raise self._missing(f"blob {digest}")
            skip = 0
            if answer.status == 206 and start:
                found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if not found or int(found[1]) != start:
                    raise self._damaged(f"sent another part than the one from byte {start}", digest)
            elif answer.status == 200:
                skip = start
                if answer.length is not None and answer.length != size:
                    raise self._damaged(f"has {answer.length} bytes, expected {size}", digest)
            else:
                raise self._failed(answer, f"blob {digest}")
            for chunk in answer.chunks():
                fresh = chunk[skip:]
                skip -= len(chunk) - len(fresh)
                if fresh:
                    yield fresh

    def _start_upload(self, repository: str, digest: str, mount_from: str) -> str:
        """The address of a new upload; empty if the registry mounted the blob instead."""
        path = f"/v2/{check_repository(repository)}/blobs/uploads/"
        if mount_from:
            path += f"?mount={_checked(digest)}&from={check_repository(mount_from)}"
        with self._session.request("POST", path, repository=repository, body=b"") as answer:
            if answer.status == 201 and mount_from:
                return ""
            location = answer.headers.get("Location", "")
            if answer.status != 202 or not location:
                raise self._failed(answer, f"an upload to {repository}")
            answer.discard()
        return self._session.own_url(path, location)

    def _upload(
        self,
        repository: str,
        location: str,
        digest: str,
        size: int,
        chunks: Callable[[], Iterator[bytes]],
        offset: int,
    ) -> bool:
        """Send what is missing and close the upload; False if only a new one can help.

        What is short goes with the closing request. What is long goes before it, and can be continued.
        """
        body: Body | bytes = b""
        if offset < size:
            body = Body(size - offset, lambda: checked_chunks(chunks(), digest, size, skip=offset))
        if body and (size > SMALL or offset):
            headers = {**_OCTETS, "Content-Range": f"{offset}-{size - 1}"}
            with self._session.request(
                "PATCH", location, repository=repository, headers=headers, body=body, retry=False
            ) as answer:
                if answer.status in (404, 416):
                    answer.discard()
                    return False
                if answer.status not in (202, 204):
                    raise self._failed(answer, f"blob {digest}")
                answer.discard()
                location = self._session.own_url(location, answer.headers.get("Location", location))
            body = b""
        parts = urlsplit(location)
        query = f"{parts.query}&digest={digest}" if parts.query else f"digest={digest}"
        closing = urlunsplit(parts._replace(query=query))
        with self._session.request(
            "PUT", closing, repository=repository, headers=_OCTETS, body=body, retry=False
        ) as answer:
            if answer.status in (404, 416) or (answer.status == 400 and offset):
                answer.discard()
                return False
            if answer.status not in (201, 204):
                raise self._failed(answer, f"blob {digest}")
            answer.discard()
        return True

    def _uploaded(self, repository: str, location: str, size: int) -> int:
        """How much of a broken upload the registry kept; 0 if that is not clear."""
        try:
            with self._session.request("GET", location, repository=repository) as answer:
                answer.discard()
                found = _RANGE.fullmatch(answer.headers.get("Range", ""))
                # `0-0` is also how an empty upload is reported.
                kept = int(found[1]) + 1 if found and answer.status == 204 else 0
        except HostError:
            return 0
        return kept if 1 < kept <= size else 0

    def _fallback(self, repository: str, digest: str) -> bytes:
        """The bytes under the fallback tag; empty if there is none."""
        found = self._manifest(repository, _fallback_tag(digest), max_bytes=MAX_MANIFEST_BYTES)
        return found[0] if found else b""

    def _listed(self, data: bytes, found: dict[str, Descriptor]) -> tuple[Descriptor, ...]:
        index = parse_oci(data, media_type=OCI_INDEX)
        assert isinstance(index, ImageIndex)
        for entry in index.manifests:
            found.setdefault(entry.digest, entry)
        if len(found) > MAX_REFERRERS:
            raise MalformedError(f"more than {MAX_REFERRERS} referrers of one manifest", where=self.host)
        return tuple(found[key] for key in sorted(found))

    def _pages(self, path: str, repository: str, headers: Mapping[str, str]) -> Iterator["_Page"]:
        """A list, page by page, as ``Link`` leads (RFC 8288)."""
        url = path
        for _ in range(MAX_PAGES):
            page = self._document(url, repository, headers, MAX_MANIFEST_BYTES, passing=_NO_API)
            yield page
            following = _NEXT.search(page.headers.get("Link", "")[:8192])
            if not following:
                return
            url = self._session.own_url(url, following[1])
        raise MalformedError(f"a list of more than {MAX_PAGES} pages", where=self.host)

    def _document(
        self,
        url: str,
        repository: str,
        headers: Mapping[str, str],
        max_bytes: int,
        *,
        passing: frozenset[int] = frozenset({404}),
    ) -> "_Page":
        """A short answer, whole; asked for again when the connection breaks under it."""
        for attempt in range(ATTEMPTS):
            try:
                with self._session.request("GET", url, repository=repository, headers=headers, retry=False) as answer:
                    if answer.status in passing:
                        answer.discard()
                        return _Page(answer, b"")
                    if answer.status != 200:
                        raise self._failed(answer, printable_path(url))
                    data = answer.read(max_bytes)
                    if answer.length is not None and len(data) != answer.length:
                        raise BrokenError("the answer ended early", where=self.host, remedy="try again")
                    return _Page(answer, data)
            except BrokenError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                pause_after(attempt, error)
        raise AssertionError("the last attempt returns or raises")

    def _exists(self, path: str, repository: str, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
        with self._session.request("HEAD", path, repository=repository, headers=headers) as answer:
            if answer.status == 404:
                return False
            if answer.status != 200:
                raise self._failed(answer, printable_path(path))
            return True

    def _failed(self, answer: Answer, what: str) -> HostError:
        reason = answer.reason()
        remedy = "look at the registry's log"
        if answer.status in (401, 403):
            remedy = "these credentials lack the right for it"
        elif answer.status in (500, 507):
            remedy = "look at the registry's log and at its free space"
        elif answer.status == 413:
            remedy = "the registry, or a proxy before it, limits the size of an upload"
        return self._session.error(
            f"answered {answer.status} for {what}{': ' + reason if reason else ''}", remedy=remedy
        )

    def _missing(self, what: str) -> HostError:
        return self._session.error(
            f"has no {what} (404)",
            remedy="check the name; some registries answer so to those who may not see it",
            finding="registry-missing",
        )

    def _damaged(self, problem: str, what: str) -> DamagedError:
        return DamagedError(
            f"the registry {problem}",
            where=f"{self.host} {what}",
            remedy="fetch it from another place, or store it there again",
        )


class _Page:
    """A document as a registry sent it."""

    def __init__(self, answer: Answer, document: bytes) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.document = document


def checked_chunks(chunks: Iterator[bytes], digest: str, size: int, *, skip: int = 0) -> Iterator[bytes]:
    """Pass chunks on from ``skip``, but the last only when all of them are what the digest says.

    Raises:
        DamagedError: Too long, too short, or another digest.
        HostError: The source cannot be read.
    """
    found = hashlib.sha256()
    seen = 0
    held = b""
    try:
        for chunk in chunks:
            seen += len(chunk)
            if seen > size:
                raise DamagedError(f"more than {size} bytes", where=digest, remedy=CHANGED_SOURCE)
            found.update(chunk)
            fresh = chunk[max(0, skip - (seen - len(chunk))) :]
            if fresh:
                if held:
                    yield held
                held = fresh
    except OSError as error:
        # Named here: the libraries below would take it for a failure of the network.
        raise HostError(f"cannot read what is to be uploaded: {error.strerror}", where=digest) from error
    if seen != size:
        raise DamagedError(f"found {seen} bytes, expected {size}", where=digest, remedy=CHANGED_SOURCE)
    if f"sha256:{found.hexdigest()}" != digest:
        raise DamagedError(f"found bytes with sha256:{found.hexdigest()}", where=digest, remedy=CHANGED_SOURCE)
    if held:
        yield held


def printable_path(url: str) -> str:
    """A URL for a message, without the query, which may hold a secret state."""
    return urlsplit(url).path[:300]


def _checked(digest: str) -> str:
    if not is_digest(digest):
        raise MalformedError(f"found {digest[:100]!r}, expected sha256: and 64 lower-case hex digits")
    return digest


def _manifest_path(repository: str, reference: str) -> str:
    pointer = reference if is_digest(reference) else check_tag(reference)
    return f"/v2/{check_repository(repository)}/manifests/{pointer}"


def _blob_path(repository: str, digest: str) -> str:
    return f"/v2/{check_repository(repository)}/blobs/{_checked(digest)}"


def _fallback_tag(digest: str) -> str:
    """distribution-spec, referrers tag schema."""
    return _checked(digest).replace(":", "-")
