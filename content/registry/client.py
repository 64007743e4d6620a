"""The client of one registry (OCI distribution-spec 1.1): pull, push, and what refers to a manifest.

Blobs go in pieces, manifests as they are; referrers are listed by the registry or under a fallback tag.
"""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from content.bundle.oci import MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, ImageIndex, parse_oci
from content.bundle.oci_writer import append_to_index, describe, encode_index
from content.registry.answer import ATTEMPTS, BrokenError, pause_after
from content.registry.pull import NO_REFERRERS_API, RegistryReader, checked_digest, manifest_path
from content.registry.reference import check_repository
from content.registry.session import DEFAULTS, Body, RegistryOptions
from manifests.words.digest import digest_of, is_digest
from manifests.words.errors import CHANGED_SOURCE, DamagedError, HostError, MalformedError

MAX_REFERRERS = 4096
SMALL = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


@dataclass(frozen=True)
class _Upload:
    """A blob on its way; ``chunks`` gives it from its start, again for each repetition."""

    repository: str
    digest: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass
class _OneRead:
    """Gives pieces that can be read only once. Raises HostError at the second call, which a repetition would need."""

    pieces: Iterable[memoryview]
    digest: str
    size: int
    begun: bool = False

    def __call__(self) -> Iterator[bytes]:
        if self.begun:
            raise HostError("the upload cannot be repeated from the same source", where=self.digest)
        self.begun = True
        return self._counted()

    def _counted(self) -> Iterator[bytes]:
        """Raises DamagedError unless there are ``size`` bytes: the server waits for that many."""
        seen = 0
        for piece in self.pieces:
            seen += len(piece)
            if seen > self.size:
                break
            # A socket takes any buffer; the types of requests know bytes only.
            yield cast(bytes, piece)
        if seen != self.size:
            raise DamagedError(f"found {seen} bytes, expected {self.size}", where=self.digest, remedy=CHANGED_SOURCE)


class Registry(RegistryReader):
    """One registry host. A context manager; several threads may share it."""

    def __init__(self, host: str, options: RegistryOptions = DEFAULTS) -> None:
        super().__init__(host, options)
        # The threads of one client queue here; other clients are noticed afterwards.
        self._fallback_lock = threading.Lock()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Store ``data`` as it is, then read it back and compare.

        Raises DamagedError if ``reference`` is another digest or other bytes came back, HostError for a refusal.
        """
        self._put_manifest(repository, reference, data, media_type)

    def push_blob(
        self,
        repository: str,
        digest: str,
        size: int,
        chunks: Callable[[], Iterator[bytes]],
        *,
        mount_from: str | None = None,
    ) -> None:
        """Store a blob unless the registry has it; continue an upload that broke.

        Args:
            chunks: Gives the blob from its start; called again when the upload has to be repeated.
            mount_from: Another repository of this registry that may have the blob already.

        Raises DamagedError, before the last bytes are sent, if ``chunks`` gives other bytes; HostError for a refusal.
        """
        if self.blob_exists(repository, digest):
            return
        upload = _Upload(repository, digest, size, chunks)
        offset = 0
        location = self._start_upload(repository, digest, mount_from)
        for attempt in range(ATTEMPTS):
            if location is None:
                return
            try:
                if self._upload(upload, location, offset):
                    return
                offset = 0  # the registry has lost the upload, or put the pieces together wrongly: once more, whole
            except BrokenError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                pause_after(attempt, error)
                offset = self._uploaded(repository, location, size)
            if not offset:
                location = self._start_upload(repository, digest, None)
        raise self._session.peer.error(f"did not keep the upload of {digest}")

    def push_stream(
        self, repository: str, digest: str, size: int, pieces: Iterable[memoryview], sent: Callable[[], str]
    ) -> None:
        """Store a blob from a source that can be read only once. The registry must not have the blob.

        Args:
            pieces: The blob from its start; a piece is not used after the next one was asked for.
            sent: Called after the last piece; returns the digest of all pieces.

        Raises DamagedError for other bytes: the upload is then never closed, and the registry is told to forget it.
        HostError for a refusal or a break: nothing is repeated.
        """
        location = self._start_upload(repository, digest, None)
        if location is None:
            return
        upload = _Upload(repository, digest, size, _OneRead(pieces, digest, size))
        part = {"Content-Range": f"0-{size - 1}"}
        headers = self._send("PATCH", location, upload, Body(size, upload.chunks), part)
        if headers is None:
            raise self._session.peer.error(f"did not keep the upload of {digest}")
        location = self._session.own_url(location, headers.get("Location", location))
        if (observed := sent()) != digest:
            with suppress(HostError), self._session.request("DELETE", location, repository=repository) as answer:
                answer.discard()
            raise DamagedError(f"found bytes with {observed}", where=digest, remedy=CHANGED_SOURCE)
        if self._send("PUT", _closing(location, digest), upload, b"", {}) is None:
            raise self._session.peer.error(f"did not keep the upload of {digest}")

    def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Make the blob of the repository ``source`` one of ``repository`` too; return whether the registry did it."""
        return self._start_upload(repository, digest, source) is None

    def _put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str, *, compare: bool = True
    ) -> Mapping[str, str]:
        path = manifest_path(repository, reference)
        if is_digest(reference) and digest_of(data) != reference:
            raise DamagedError(f"the manifest has {digest_of(data)}", where=reference, remedy=CHANGED_SOURCE)
        if len(data) > MAX_MANIFEST_BYTES:
            raise MalformedError(f"manifest of {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are sent")
        headers = {"Content-Type": media_type}
        with self._session.request("PUT", path, repository=repository, headers=headers, body=data) as answer:
            if answer.status not in (200, 201, 202):
                raise self._failed(answer, f"the manifest {repository} {reference}")
            answer.discard()
        if compare:
            stored = self._document(path, repository, {"Accept": media_type}, MAX_MANIFEST_BYTES)
            if stored.status == 404 or stored.data != data:
                there = "nothing" if stored.status == 404 else digest_of(stored.data)
                problem = f"stored the manifest, and now has {there}"
                raise self._damaged(problem, f"{repository} {reference}", stored.peer)
        return answer.headers

    def _start_upload(self, repository: str, digest: str, mount_from: str | None) -> str | None:
        """The address of a new upload; None if the registry mounted the blob instead."""
        path = f"/v2/{check_repository(repository)}/blobs/uploads/"
        if mount_from:
            path += f"?mount={checked_digest(digest)}&from={check_repository(mount_from)}"
        with self._session.request("POST", path, repository=repository, body=b"") as answer:
            if answer.status == 201 and mount_from:
                return None
            location = answer.headers.get("Location", "")
            if answer.status != 202 or not location:
                raise self._failed(answer, f"an upload to {repository}")
            answer.discard()
        return self._session.own_url(path, location)

    def _upload(self, upload: _Upload, location: str, offset: int) -> bool:
        """Send what is missing and close the upload; False if only a new one can help.

        What is short goes with the closing request. What is long goes before it, and can be continued.
        """
        body: Body | bytes = b""
        if offset < upload.size:
            body = Body(
                upload.size - offset, lambda: checked_chunks(upload.chunks(), upload.digest, upload.size, skip=offset)
            )
        if body and (upload.size > SMALL or offset):
            part = {"Content-Range": f"{offset}-{upload.size - 1}"}
            headers = self._send("PATCH", location, upload, body, part)
            if headers is None:
                return False
            location = self._session.own_url(location, headers.get("Location", location))
            body = b""
        closing = _closing(location, upload.digest)
        return self._send("PUT", closing, upload, body, {}, lost=(404, 416, 400) if offset else (404, 416)) is not None

    def _send(
        self,
        method: str,
        url: str,
        upload: _Upload,
        body: Body | bytes,
        headers: Mapping[str, str],
        *,
        lost: tuple[int, ...] = (404, 416),
    ) -> Mapping[str, str] | None:
        """Send a part of a blob; the headers of the answer, None if it says that the upload is lost."""
        headers = {"Content-Type": "application/octet-stream", **headers}
        with self._session.request(
            method, url, repository=upload.repository, headers=headers, body=body, retry=False
        ) as answer:
            if answer.status not in (*lost, 204, 202 if method == "PATCH" else 201):
                raise self._failed(answer, f"blob {upload.digest}")
            answer.discard()
            return None if answer.status in lost else answer.headers

    def _uploaded(self, repository: str, location: str, size: int) -> int:
        """How much of a broken upload the registry kept; 0 if that is not clear."""
        try:
            with self._session.request("GET", location, repository=repository) as answer:
                answer.discard()
                kept_range = _RANGE.fullmatch(answer.headers.get("Range", ""))
                # `0-0` is also how an empty upload is reported.
                kept = int(kept_range[1]) + 1 if kept_range and answer.status == 204 else 0
        except HostError:
            return 0
        return kept if 1 < kept <= size else 0

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a manifest through ``subject``, sorted by digest: by the API, else by the fallback tag.

        From the referrers API, else from the fallback tag ``sha256-<hex>``.

        Raises:
            MalformedError: Not an image index, or more than `MAX_REFERRERS` entries.
            HostError: The registry refuses to list them, or does not answer.
        """
        listed: dict[str, Descriptor] = {}
        path = f"/v2/{check_repository(repository)}/referrers/{checked_digest(digest)}"
        for status, document in self._pages(path, repository, {"Accept": OCI_INDEX}):
            if status in NO_REFERRERS_API:
                return self.tagged_referrers(repository, digest)
            self._listed(document, listed)
        return tuple(listed[key] for key in sorted(listed))

    def tagged_referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """As `referrers`, from the fallback tag alone."""
        data = self._fallback(repository, digest)
        return self._listed(data, {}) if data else ()

    def push_referrer(self, repository: str, data: bytes, media_type: str) -> Descriptor:
        """Store a manifest with a ``subject`` by digest, and return the descriptor under which it is listed.

        A registry that knows ``subject`` answers with ``OCI-Subject``. For any other the fallback tag ``sha256-<hex>``
        is kept up to date; entries of others stay.

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
        if headers.get("OCI-Subject") != subject:
            with self._fallback_lock:
                self._list_under_fallback(repository, subject, entry)
        return entry

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
            raise self._session.peer.error(
                f"lists other referrers of {subject} than were written: other clients keep rewriting the list",
                remedy="try again when they are done",
            )

    def _fallback(self, repository: str, digest: str) -> bytes | None:
        """The bytes under the fallback tag, if there is one."""
        manifest = self.find_manifest(repository, _fallback_tag(digest))
        return manifest[0] if manifest else None

    def _listed(self, data: bytes, listed: dict[str, Descriptor]) -> tuple[Descriptor, ...]:
        """Add the entries of an index to ``listed``; all of them so far, sorted."""
        index = parse_oci(data)
        if not isinstance(index, ImageIndex):
            raise MalformedError("found a manifest, expected a list of referrers", where=self.host)
        for entry in index.manifests:
            listed.setdefault(entry.digest, entry)
        if len(listed) > MAX_REFERRERS:
            raise MalformedError(f"more than {MAX_REFERRERS} referrers of one manifest", where=self.host)
        return tuple(listed[key] for key in sorted(listed))


def _fallback_tag(digest: str) -> str:
    """distribution-spec, referrers tag schema."""
    return checked_digest(digest).replace(":", "-")


def _closing(location: str, digest: str) -> str:
    """The address that closes an upload (distribution-spec, pushing a blob in chunks)."""
    parts = urlsplit(location)
    query = f"{parts.query}&digest={digest}" if parts.query else f"digest={digest}"
    return urlunsplit(parts._replace(query=query))


def checked_chunks(chunks: Iterator[bytes], digest: str, size: int, *, skip: int = 0) -> Iterator[bytes]:
    """Pass chunks on from ``skip``; the last only when all of them have the digest.

    Raises DamagedError for other bytes, HostError if the source cannot be read.
    """
    hashed = hashlib.sha256()
    seen = 0
    held = b""
    try:
        for chunk in chunks:
            seen += len(chunk)
            if seen > size:
                raise DamagedError(f"more than {size} bytes", where=digest, remedy=CHANGED_SOURCE)
            hashed.update(chunk)
            fresh = chunk[max(0, skip - (seen - len(chunk))) :]
            if fresh:
                if held:
                    yield held
                held = fresh
    except OSError as error:
        # Translated here: the HTTP libraries would take it for a failure of the network.
        raise HostError(f"cannot read what is to be uploaded: {error.strerror}", where=digest) from error
    if seen != size:
        raise DamagedError(f"found {seen} bytes, expected {size}", where=digest, remedy=CHANGED_SOURCE)
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise DamagedError(f"found bytes with sha256:{hashed.hexdigest()}", where=digest, remedy=CHANGED_SOURCE)
    if held:
        yield held
