"""Write images to a registry (OCI distribution-spec 1.1): blobs in pieces, manifests as they are."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit, urlunsplit

from content.bundle.oci import MAX_MANIFEST_BYTES
from content.registry.answer import ATTEMPTS, BrokenError, pause_after
from content.registry.pull import RegistryReader, checked_digest, manifest_path
from content.registry.reference import check_repository
from content.registry.session import Body
from manifests.words.digest import digest_of, is_digest
from manifests.words.errors import CHANGED_SOURCE, DamagedError, HostError, MalformedError

SMALL = 1 << 20
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_OCTETS = {"Content-Type": "application/octet-stream"}


class RegistryWriter(RegistryReader):
    """Reads from and writes to one registry host. Several threads may share it."""

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> None:
        """Store ``data`` as it is, then read it back and compare.

        Raises:
            DamagedError: ``reference`` is another digest, or something else came back.
            HostError: The registry did not take it.
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

        Raises:
            DamagedError: ``chunks`` gives other bytes; the registry has not been given the last of them then.
            HostError: The registry did not take it.
        """
        if self.blob_exists(repository, digest):
            return
        offset = 0
        location = self._start_upload(repository, digest, mount_from)
        for attempt in range(ATTEMPTS):
            if location is None:
                return
            broken: BrokenError | None = None
            try:
                if self._upload(repository, location, digest, size, chunks, offset):
                    return
                # The registry has lost the upload, or put the pieces together wrongly: once more, whole.
            except BrokenError as error:
                if attempt == ATTEMPTS - 1:
                    raise
                broken = error
                pause_after(attempt, error)
            offset = self._uploaded(repository, location, size) if broken else 0
            if not offset:
                location = self._start_upload(repository, digest, None)
        raise self._session.peer.error(f"did not keep the upload of {digest}")

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
            status, _, stored = self._document(path, repository, {"Accept": media_type}, MAX_MANIFEST_BYTES)
            if status == 404 or stored != data:
                there = "nothing" if status == 404 else digest_of(stored)
                raise self._damaged(f"stored the manifest, and now has {there}", f"{repository} {reference}")
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

    def _upload(
        self, repository: str, location: str, digest: str, size: int, chunks: Callable[[], Iterator[bytes]], offset: int
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
                kept_range = _RANGE.fullmatch(answer.headers.get("Range", ""))
                # `0-0` is also how an empty upload is reported.
                kept = int(kept_range[1]) + 1 if kept_range and answer.status == 204 else 0
        except HostError:
            return 0
        return kept if 1 < kept <= size else 0


def checked_chunks(chunks: Iterator[bytes], digest: str, size: int, *, skip: int = 0) -> Iterator[bytes]:
    """Pass chunks on from ``skip``, but the last only when all of them are what the digest says.

    Raises:
        DamagedError: Too long, too short, or another digest.
        HostError: The source cannot be read.
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
