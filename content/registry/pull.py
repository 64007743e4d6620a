"""Read images from a registry (OCI distribution-spec 1.1).

Bytes are streamed and checked against size and digest; manifests are the raw bytes that were stored. What a registry
says about digests is never believed: it is computed again. docs/decisions/0003-registry-client.md says which part of
this is oras.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from content.bundle.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    parse_oci,
    read_json,
)
from content.bundle.schema_1 import SCHEMA_1, is_schema_1, schema_1_refused
from content.registry.addresses import path_only
from content.registry.answer import ATTEMPTS, BrokenError, GatewayError, Peer, Response, pause_after, repeated
from content.registry.reference import check_repository, check_tag, is_tag
from content.registry.session import DEFAULTS, RegistryOptions, Session
from manifests.words.digest import digest_of, is_digest
from manifests.words.errors import DamagedError, HostError, MalformedError, RefusedError

MAX_TAGS = 100_000
MAX_PAGES = 200
MIN_PROGRESS = 1 << 20
# How registries say that they have no referrers API; older ones take the path for something else.
NO_REFERRERS_API = frozenset({404, 405, 501})
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*?\brel="?next"?')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")
# In the order in which a registry should prefer them: whole indexes first.
_MANIFESTS = {"Accept": ", ".join((OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST))}


@dataclass(frozen=True)
class ShortAnswer:
    """An answer that was read whole. Attributes: peer: the host that gave ``data``, which may be behind a redirect."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    peer: Peer


class RegistryReader:
    """Reads from one registry host. Several threads may share it. Attributes: what: how errors call the host."""

    what = "the registry"

    def __init__(self, host: str, options: RegistryOptions = DEFAULTS) -> None:
        self.host = host
        self._session = Session(host, options, self.what)

    def manifest(self, repository: str, reference: str, *, max_bytes: int = MAX_MANIFEST_BYTES) -> tuple[bytes, str]:
        """The raw bytes of a manifest or index, and its media type.

        Args:
            reference: A digest, against which the bytes are checked, or a tag.

        Raises:
            DamagedError: Other bytes than the digest says.
            MalformedError: Neither a manifest nor an index, or one that calls itself something else.
            HostError: The registry does not have it, or does not answer.
        """
        manifest = self.find_manifest(repository, reference, max_bytes=max_bytes)
        if manifest is None:
            raise self._missing(f"manifest {repository} {reference}")
        return manifest

    def manifest_exists(self, repository: str, digest: str) -> bool:
        """Whether the registry claims to have the manifest; a tag may be given too."""
        # Without the media types some registries deny what they have.
        return self._exists(manifest_path(repository, digest), repository, _MANIFESTS)

    def blob(self, repository: str, digest: str, size: int) -> Iterator[bytes]:
        """Stream a blob, and fail before the end unless it is exactly ``size`` bytes with this digest.

        Reads at most ``size`` bytes plus one chunk, and goes on where it was when a connection breaks. Until the
        iterator is exhausted the consumer holds untrusted bytes: write them to staging, then rename.

        Raises:
            DamagedError: Too long, too short, or another digest.
            HostError: The registry does not have it, or does not answer.
        """
        hashed = hashlib.sha256()
        received = attempt = 0
        peer = self._session.peer
        while True:
            before = received
            try:
                for peer, chunk in self._blob_from(repository, digest, size, received):
                    received += len(chunk)
                    if received > size:
                        raise self._damaged(f"sent more than {size} bytes", digest, peer)
                    hashed.update(chunk)
                    yield chunk
                break
            except BrokenError as error:
                # A long download over a bad line goes on as long as it gets somewhere each time.
                attempt = 0 if received - before >= MIN_PROGRESS else attempt + 1
                if attempt >= ATTEMPTS - 1:
                    raise
                pause_after(attempt, error)
        if received != size:
            raise self._damaged(f"sent {received} bytes, expected {size}", digest, peer)
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise self._damaged(f"sent bytes with sha256:{hashed.hexdigest()}", digest, peer)

    def blob_exists(self, repository: str, digest: str) -> bool:
        """Whether the registry claims to have the blob."""
        return self._exists(_blob_path(repository, digest), repository)

    def tags(self, repository: str, warn: Callable[[str], None] = lambda _: None) -> tuple[str, ...]:
        """All tags of a repository, sorted; a name that the grammar of tags does not allow is left out.

        Args:
            warn: Called at most once, with what the list holds beside names.

        Raises:
            MalformedError: More than `MAX_TAGS`, or no list.
            HostError: No such repository.
        """
        tags: set[str] = set()
        entries = strange = 0
        for status, document in self._pages(f"/v2/{check_repository(repository)}/tags/list?n=1000", repository, {}):
            if status != 200:
                raise self._missing(f"repository {repository}")
            listed = read_json(document, where=self.host).get("tags") or []
            if not isinstance(listed, list):
                raise MalformedError("the list of tags is not a list of names", where=self.host)
            names = [tag for tag in listed if isinstance(tag, str)]
            entries, strange = entries + len(listed), strange + len(listed) - len(names)
            # Nothing can be asked for by such a name.
            tags.update(filter(is_tag, names))
            if len(tags) > MAX_TAGS:
                raise MalformedError(f"more than {MAX_TAGS} tags in {repository}", where=self.host)
        if strange:
            warn(f"{strange} of {entries} entries in the list of tags of {repository} are no text and were left out")
        return tuple(sorted(tags))

    def find_manifest(
        self, repository: str, reference: str, *, max_bytes: int = MAX_MANIFEST_BYTES
    ) -> tuple[bytes, str] | None:
        """As `manifest`; None where the registry does not have it."""
        path = manifest_path(repository, reference)
        answer = self._document(path, repository, _MANIFESTS, max_bytes)
        if answer.status == 404:
            return None
        data = answer.data
        named = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        # First: the digest of schema version 1 leaves out the signatures that are in its bytes.
        if named in SCHEMA_1:
            raise self._schema_1(repository, reference)
        if is_digest(reference) and digest_of(data) != reference:
            raise self._damaged(f"sent bytes with {digest_of(data)}", f"{repository} {reference}", answer.peer)
        try:
            # Some registries call every document JSON; only a name that says something can contradict.
            return data, parse_oci(data, media_type=named if named in MANIFEST_TYPES | INDEX_TYPES else None).media_type
        except MalformedError as error:
            if is_schema_1(data):
                raise self._schema_1(repository, reference) from None
            raise self._no_manifest(repository, reference, error, answer.peer) from None

    def _open_blob(self, repository: str, digest: str, headers: Mapping[str, str]) -> Response:
        path = _blob_path(repository, digest)
        return self._session.request("GET", path, repository=repository, headers=headers, retry=False)

    def _blob_from(self, repository: str, digest: str, size: int, start: int) -> Iterator[tuple[Peer, bytes]]:
        """The bytes of a blob from ``start`` on, each piece with the host that sends it."""
        # An offset at the very end would be answered with 416; there is nothing to ask for.
        if start >= size > 0:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._open_blob(repository, digest, headers) as answer:
            if answer.status == 404 and answer.peer is self._session.peer:
                raise self._missing(f"blob {digest}")
            skip = 0
            if answer.status == 206 and start:
                part = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                if not part or int(part[1]) != start:
                    raise self._damaged(f"sent another part than the one from byte {start}", digest, answer.peer)
            elif answer.status == 200:
                skip = start
                if answer.length is not None and answer.length != size:
                    raise self._damaged(f"has {answer.length} bytes, expected {size}", digest, answer.peer)
            else:
                raise self._failed(answer, f"blob {digest}")
            for chunk in answer.chunks():
                fresh = chunk[skip:]
                skip -= len(chunk) - len(fresh)
                if fresh:
                    yield answer.peer, fresh

    def _pages(self, path: str, repository: str, headers: Mapping[str, str]) -> Iterator[tuple[int, bytes]]:
        """A list, page by page, as ``Link`` leads (RFC 8288): status and document of each."""
        url = path
        for _ in range(MAX_PAGES):
            try:
                page = self._document(url, repository, headers, MAX_MANIFEST_BYTES, without=NO_REFERRERS_API)
            except GatewayError as error:
                # A gateway gives up on a long list of a registry that answers everything else.
                raise self._session.peer.error(error.problem.removeprefix(f"{self.what} ")) from None
            yield page.status, page.data
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
        without: frozenset[int] = frozenset({404}),
    ) -> ShortAnswer:
        """A short answer, read whole; repeated when the connection breaks.

        The body is empty for the statuses of ``without``, which mean that there is no document.
        """

        def read() -> ShortAnswer:
            with self._session.request("GET", url, repository=repository, headers=headers, retry=False) as answer:
                if answer.status in without:
                    answer.discard()
                    return ShortAnswer(answer.status, answer.headers, b"", answer.peer)
                if answer.status != 200:
                    raise self._failed(answer, path_only(url))
                data = answer.read(max_bytes)
                if answer.length is not None and len(data) != answer.length:
                    raise BrokenError("the answer ended early", where=answer.peer.host)
                return ShortAnswer(answer.status, answer.headers, data, answer.peer)

        return repeated(read)

    def _exists(self, path: str, repository: str, headers: Mapping[str, str] = MappingProxyType({})) -> bool:
        with self._session.request("HEAD", path, repository=repository, headers=headers) as answer:
            if answer.status not in (200, 404):
                raise self._failed(answer, path_only(path))
            return answer.status == 200

    def _no_manifest(self, repository: str, reference: str, error: MalformedError, peer: Peer) -> MalformedError:
        """The error for an answer of ``peer`` that is no manifest, and who must do what about it."""
        cause = error.problem if error.where == "$" else str(error)
        if is_digest(reference):
            return error.with_(
                problem=cause, where=self.host, remedy="the image is stored like this: push a correct one"
            )
        problem = f"{peer.what} sent no manifest for {repository} {reference}: {cause}"
        remedy = f"check that {self.host} is the registry, and that no proxy or login page answers for it"
        if peer is not self._session.peer:
            remedy = f"check what {peer.host} holds: {self.host} redirects there"
        return error.with_(problem=problem, where=peer.host, remedy=remedy)

    def _failed(self, answer: Response, what: str) -> HostError:
        remedy = answer.peer.log
        if answer.peer is not self._session.peer:
            remedy += f": {self.host} redirects there, without credentials"
        elif answer.status in (401, 403):
            remedy = "use credentials that have the right for it"
        elif answer.status in (500, 507):
            remedy = "look at the registry's log and at its free space"
        elif answer.status == 413:
            remedy = "raise the limit for the size of uploads in the registry, or in a proxy before it"
        return answer.peer.error(f"answered {answer.status} for {what}{answer.reason()}", remedy=remedy)

    def _missing(self, what: str) -> HostError:
        remedy = "check the name and the credentials; some registries answer 404 to users without the right"
        return self._session.peer.error(f"has no {what} (404)", remedy=remedy, finding="registry-missing")

    def _schema_1(self, repository: str, reference: str) -> RefusedError:
        """The refusal of an image of schema version 1."""
        place = f"docker://{self.host}/{repository}{'@' if is_digest(reference) else ':'}{reference}"
        return schema_1_refused(f"{repository} {reference}", self.host, place)

    def _damaged(self, problem: str, what: str, peer: Peer | None = None) -> DamagedError:
        peer = peer or self._session.peer
        remedy = "fetch it from another place, or store it there again"
        if peer is not self._session.peer:
            remedy = f"store it in {self.host} again, which redirects to {peer.host}, or fetch it from another place"
        return DamagedError(f"{peer.what} {problem}", where=f"{peer.host} {what}", remedy=remedy)


def manifest_path(repository: str, reference: str) -> str:
    pointer = reference if is_digest(reference) else check_tag(reference)
    return f"/v2/{check_repository(repository)}/manifests/{pointer}"


def checked_digest(digest: str) -> str:
    """``digest`` if it is one, else MalformedError."""
    if not is_digest(digest):
        raise MalformedError(f"found {digest[:100]!r}, expected sha256: and 64 lower-case hex digits")
    return digest


def _blob_path(repository: str, digest: str) -> str:
    return f"/v2/{check_repository(repository)}/blobs/{checked_digest(digest)}"
