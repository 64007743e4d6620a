"""The client of one registry: pull, push, and what refers to a manifest (distribution-spec 1.1, listing referrers)."""

import threading
from dataclasses import replace

from content.bundle.oci import MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, ImageIndex, parse_oci
from content.bundle.oci_writer import append_to_index, describe, encode_index
from content.registry.answer import ATTEMPTS
from content.registry.pull import NO_REFERRERS_API, checked_digest
from content.registry.push import RegistryWriter
from content.registry.reference import check_repository
from content.registry.session import DEFAULTS, RegistryOptions
from manifests.words.errors import MalformedError

MAX_REFERRERS = 4096


class Registry(RegistryWriter):
    """One registry host. A context manager; several threads may share it."""

    def __init__(self, host: str, options: RegistryOptions = DEFAULTS) -> None:
        super().__init__(host, options)
        # The threads of one client queue here; other clients are noticed afterwards.
        self._fallback_lock = threading.Lock()

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a manifest through ``subject``, sorted by digest.

        From the referrers API, else from the fallback tag ``sha256-<hex>``.

        Raises:
            MalformedError: Not an image index, or more than `MAX_REFERRERS` entries.
        """
        listed: dict[str, Descriptor] = {}
        path = f"/v2/{check_repository(repository)}/referrers/{checked_digest(digest)}"
        for status, document in self._pages(path, repository, {"Accept": OCI_INDEX}):
            if status in NO_REFERRERS_API:
                data = self._fallback(repository, digest)
                return self._listed(data, listed) if data else ()
            self._listed(document, listed)
        return tuple(listed[key] for key in sorted(listed))

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
        manifest = self._manifest(repository, _fallback_tag(digest), max_bytes=MAX_MANIFEST_BYTES)
        return manifest[0] if manifest else None

    def _listed(self, data: bytes, listed: dict[str, Descriptor]) -> tuple[Descriptor, ...]:
        """Add the entries of an index to ``listed``; all of them so far, sorted."""
        index = parse_oci(data, media_type=OCI_INDEX)
        assert isinstance(index, ImageIndex)
        for entry in index.manifests:
            listed.setdefault(entry.digest, entry)
        if len(listed) > MAX_REFERRERS:
            raise MalformedError(f"more than {MAX_REFERRERS} referrers of one manifest", where=self.host)
        return tuple(listed[key] for key in sorted(listed))


def _fallback_tag(digest: str) -> str:
    """distribution-spec, referrers tag schema."""
    return checked_digest(digest).replace(":", "-")
