"""The ``registry`` driver: images, indexes and what hangs on them, into the site's registry, under the site's prefix.

Everything that is addressed by digest is pushed while staging; nobody asks for it yet. Activating moves the tags.
A registry may be unable to take a tag away again, and tools may have put things there: what is said about it is
always what was read from it, compared by digest.
"""

import platform
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from content.bundle.graph import Node
from content.bundle.oci import OCI_MANIFEST, Descriptor, ImageIndex
from content.bundle.oci_writer import EMPTY, EMPTY_BYTES, encode_manifest
from content.registry.client import Registry
from content.registry.reference import check_host, check_repository
from content.registry.session import RegistryOptions
from manifests.authored.site_yaml import RegistryDriverFile
from manifests.documents.release import Image, InstallStep
from manifests.words.canonical import decode, encode, parse
from manifests.words.digest import Digest, digest_of
from manifests.words.document import Document
from manifests.words.errors import HostError, MalformedError, RefusedError, WaybillError
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, Component, DriverContext, DriverPlan
from verifier.runtime.drivers.folder import guarded
from verifier.runtime.drivers.images import ImageParts, check_step, image_parts
from verifier.runtime.drivers.settings import read_secret, read_settings, under_site
from verifier.site.blobs import BUFFER, blob_path, read_blob, unreadable

WITHDRAWN = "application/vnd.waybill.withdrawn.v1"
MAX_RECORD = 16 << 20
_MISSING = "registry-missing"
_UNREACHABLE = "registry-unreachable"


T = TypeVar("T")


class Login(Document, frozen=True, kw_only=True):
    username: str
    password: str


class Tag(Document, frozen=True, kw_only=True):
    """A tag that we set, and the digests that it then named or may have named."""

    repository: str
    tag: str
    digests: tuple[Digest, ...]


class TagRecord(Document, frozen=True, kw_only=True):
    """``run/registry/<step>.<generation>.json``: which tags a generation may have set, written before it sets them."""

    endpoint: str
    tags: tuple[Tag, ...]


class SiteRegistry(Registry):
    """The site's registry, from which a tag may also be taken away."""

    def __enter__(self) -> "SiteRegistry":
        return self

    def remove(self, repository: str, reference: str) -> None:
        """Ask for a tag or manifest to be deleted; whether that did anything has to be looked at."""
        path = f"/v2/{check_repository(repository)}/manifests/{reference}"
        with self._session.request("DELETE", path, repository=repository) as answer:
            answer.discard()

    def read(self, repository: str, reference: str) -> bytes | None:
        """A manifest's bytes, or None where there is none."""
        try:
            return self.manifest(repository, reference)[0]
        except HostError as error:
            if error.finding == _MISSING:
                return None
            raise


class RegistryDriver:
    name = "registry"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        check_step(step, self.name)
        settings = _settings(context)
        lines = []
        for name in step.images:
            image = context.release.image(name)
            lines.append(f"push {settings.endpoint}/{_repository(settings, image)}:{_tag(context)}")
            if image.platforms:
                lines.append(
                    f"{name}: only {', '.join(image.platforms)}; where the registry takes no index with gaps, the tag "
                    "names one platform's image and the index's signature cannot be checked there"
                )
        return DriverPlan(
            step=step,
            driver=self.name,
            bytes_needed=64 << 10,
            inodes_needed=4,
            lines=tuple(lines),
        )

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        settings = _settings(context)
        parts = image_parts(context, plan.step)
        with _connect(context, settings) as registry:
            _push(registry, settings, context.blobs, parts)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. remember which tags; 2. all is there, still; 3. tags; 4. tags of later generations go."""
        settings = _settings(context)
        parts = image_parts(context, plan.step)
        record = _record(settings, parts)
        guarded(lambda: _write_record(context, plan.step, record), context.site)  # 1
        with _connect(context, settings) as registry:
            _push(registry, settings, context.blobs, parts)  # 2
            for part in parts:  # 3
                repository = _repository(settings, part.image)
                node = part.top if registry.manifest_exists(repository, part.top.descriptor.digest) else _stand_in(part)
                data = read_blob(context.blobs, node.descriptor.digest, node.descriptor.size)
                registry.push_manifest(repository, part.tag, data, node.document.media_type)
            own = {(tag.repository, tag.tag) for tag in record.tags}
            for path, later in _later_records(context, plan.step, settings):  # 4
                if _withdraw_all(registry, [tag for tag in later.tags if (tag.repository, tag.tag) not in own]):
                    _forget(context, path)

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """The generation's tags go, as far as the registry lets them; what has only a digest stays."""
        settings = _settings(context)
        path = _record_path(context, plan.step, context.generation)
        record = _read_record(path, settings)
        if record is None:
            return
        with _connect(context, settings) as registry:
            if _withdraw_all(registry, record.tags):
                _forget(context, path)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        try:
            settings = _settings(context)
            parts = image_parts(context, plan.step)
            with _connect(context, settings) as registry:
                left = _left_over(registry, context, plan.step, settings)
                seen = [_look(registry, settings, context, part) for part in parts]
        except (WaybillError, OSError) as error:
            left, seen = "", [(UNREADABLE, str(error)) for _ in plan.step.images]
        return tuple(
            Component(
                name=name,
                expected=context.release.image(name).manifest.digest,
                observed=observed,
                level="placed",
                step=plan.step.step,
                detail="; ".join(word for word in (detail, left) if word),
            )
            for name, (observed, detail) in zip(plan.step.images, seen, strict=True)
        )

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Blobs in the registry are the registry's to collect; what we remember of the generation goes."""
        _forget(context, _record_path(context, plan.step, context.generation))


# -- where, and as whom ----------------------------------------------------------------------------------------------


def _settings(context: DriverContext) -> RegistryDriverFile:
    settings = read_settings(context, "registry", RegistryDriverFile)
    try:
        check_host(settings.endpoint)
        if settings.prefix:
            check_repository(settings.prefix)
    except MalformedError as error:
        raise RefusedError(
            error.problem, where="site.yaml $.drivers.registry", remedy=error.remedy, finding="driver-settings"
        ) from None
    return settings


def _repository(settings: RegistryDriverFile, image: Image) -> str:
    return f"{settings.prefix}/{image.to}" if settings.prefix else image.to


def _tag(context: DriverContext) -> str:
    return context.release.version.replace("+", "_")


@contextmanager
def _connect(context: DriverContext, settings: RegistryDriverFile) -> Iterator[SiteRegistry]:
    ca = None
    if settings.ca:
        ca = Path(settings.ca) if settings.ca.startswith("/") else under_site(context, settings.ca, "registry.ca")
    auth_file, credentials = _login(context, settings)
    with SiteRegistry(
        settings.endpoint,
        RegistryOptions(
            plain_http=settings.plain_http,
            ca=ca,
            auth_file=auth_file,
            credentials=credentials,
            realm_hosts=frozenset(settings.token_hosts),
            # A site's login is what site.yaml says; what the operator's shell points at is not looked at.
            environ={},
        ),
    ) as registry:
        yield registry


def _login(context: DriverContext, settings: RegistryDriverFile) -> tuple[Path | None, tuple[str, str] | None]:
    if settings.login is None:
        return None, None
    path, data = read_secret(context, settings.login.secret, "registry.login.secret")
    try:
        login = decode(data, Login, str(path))
    except MalformedError:
        # Then it is a file of login tools, which says for itself what is wrong with it.
        return path, None
    return None, (login.username, login.password)


# -- pushing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Upload:
    """A blob, and the repositories that need it."""

    blob: Descriptor
    repositories: tuple[str, ...]


def _push(registry: SiteRegistry, settings: RegistryDriverFile, blobs: Path, parts: tuple[ImageParts, ...]) -> None:
    """Everything that has a digest: blobs, then documents, children first, then what refers to them."""
    _in_parallel(settings, _uploads(settings, parts), lambda one: _push_blob(registry, blobs, one))
    _in_parallel(
        settings, parts, lambda part: _push_documents(registry, _repository(settings, part.image), blobs, part)
    )


def _uploads(settings: RegistryDriverFile, parts: Iterable[ImageParts]) -> list[_Upload]:
    found: dict[str, tuple[Descriptor, list[str]]] = {}
    for part in parts:
        for blob in part.blobs:
            found.setdefault(blob.digest, (blob, []))[1].append(_repository(settings, part.image))
    uploads = [_Upload(blob, tuple(repositories)) for blob, repositories in found.values()]
    return sorted(uploads, key=lambda one: -one.blob.size)


def _push_blob(registry: SiteRegistry, blobs: Path, upload: _Upload) -> None:
    path = blob_path(blobs, upload.blob.digest)
    first, *others = upload.repositories
    registry.push_blob(first, upload.blob.digest, upload.blob.size, lambda: _chunks(path))
    for repository in others:
        registry.push_blob(repository, upload.blob.digest, upload.blob.size, lambda: _chunks(path), mount_from=first)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(BUFFER):
            yield chunk


def _push_documents(registry: SiteRegistry, repository: str, blobs: Path, part: ImageParts) -> None:
    referrers = {node.descriptor.digest for node in part.referrers}
    for node in part.documents:
        digest = node.descriptor.digest
        data = read_blob(blobs, digest, node.descriptor.size)
        if digest in referrers:
            registry.push_referrer(repository, data, node.document.media_type)
            continue
        if registry.manifest_exists(repository, digest):
            continue
        try:
            registry.push_manifest(repository, digest, data, node.document.media_type)
        except HostError as error:
            # An index with gaps may be refused (MANIFEST_BLOB_UNKNOWN); a stand-in gets the tag then.
            if not (part.sparse and isinstance(node.document, ImageIndex)) or error.finding == _UNREACHABLE:
                raise
    for tag, node in part.cosign:
        data = read_blob(blobs, node.descriptor.digest, node.descriptor.size)
        registry.push_manifest(repository, tag, data, node.document.media_type)


def _in_parallel(settings: RegistryDriverFile, items: Iterable[T], act: Callable[[T], None]) -> None:
    """All of them; the first failure ends it when those under way have ended."""
    with ThreadPoolExecutor(max_workers=settings.parallel) as pool:
        futures = [pool.submit(act, one) for one in items]
        try:
            for future in futures:
                future.result()
        finally:
            for future in futures:
                future.cancel()


def _stand_in(part: ImageParts) -> Node:
    """What gets the tag where the registry takes no index with gaps: this host's platform if there, else the first."""
    held = [node for node in part.manifests if not isinstance(node.document, ImageIndex)]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return next((node for node in held if node.descriptor.platform.split("/")[1:2] == [machine]), held[0])


# -- tags ------------------------------------------------------------------------------------------------------------


def _record(settings: RegistryDriverFile, parts: Iterable[ImageParts]) -> TagRecord:
    tags = []
    for part in parts:
        digests = tuple(
            sorted({part.top.descriptor.digest, *([_stand_in(part).descriptor.digest] if part.sparse else [])})
        )
        tags.append(Tag(repository=_repository(settings, part.image), tag=part.tag, digests=digests))
    return TagRecord(endpoint=settings.endpoint, tags=tuple(tags))


def _records(context: DriverContext) -> Path:
    return context.site / "run" / "registry"


def _record_path(context: DriverContext, step: InstallStep, generation: int) -> Path:
    return _records(context) / f"{step.step}.{generation}.json"


def _write_record(context: DriverContext, step: InstallStep, record: TagRecord) -> None:
    context.disk.make_folder(_records(context))
    context.disk.write(_record_path(context, step, context.generation), encode(record))


def _read_record(path: Path, settings: RegistryDriverFile) -> TagRecord | None:
    """None where there is none, or one of another registry."""
    try:
        record = parse(path.read_bytes(), TagRecord, str(path), max_bytes=MAX_RECORD)
    except (FileNotFoundError, MalformedError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    return record if record.endpoint == settings.endpoint else None


def _later_records(
    context: DriverContext, step: InstallStep, settings: RegistryDriverFile
) -> Iterator[tuple[Path, TagRecord]]:
    """Of generations after this one: left for it, so their tags are not to be found any more."""
    for path in sorted(_records(context).glob(f"{step.step}.*.json")):
        number = path.name.removeprefix(f"{step.step}.").removesuffix(".json")
        if number.isdecimal() and int(number) > context.generation:
            record = _read_record(path, settings)
            if record is not None:
                yield path, record


def _forget(context: DriverContext, path: Path) -> None:
    guarded(lambda: context.disk.remove(path), path)


def _withdraw_all(registry: SiteRegistry, tags: Iterable[Tag]) -> bool:
    """Take every tag away; whether none of them names an image of ours any more."""
    gone = [_withdraw(registry, tag) for tag in tags]
    return all(gone)


def _withdraw(registry: SiteRegistry, tag: Tag) -> bool:
    """1. ours still? 2. delete the tag; 3. where that does nothing, let it name a marker, and delete the marker.

    Many registries delete by digest only, and then every tag of that digest goes. An image may have another tag that
    stays good, so the tag is first moved to a document that nothing else names.
    """
    if not _names_ours(registry, tag):  # 1
        return True
    registry.remove(tag.repository, tag.tag)  # 2
    if not _names_ours(registry, tag):
        return True
    marker = _marker(tag)  # 3
    try:
        registry.push_blob(tag.repository, EMPTY.digest, EMPTY.size, lambda: iter((EMPTY_BYTES,)))
        registry.push_manifest(tag.repository, tag.tag, marker, OCI_MANIFEST)
    except HostError as error:
        if error.finding == _UNREACHABLE:
            raise
        return False
    registry.remove(tag.repository, digest_of(marker))
    return not _names_ours(registry, tag)


def _names_ours(registry: SiteRegistry, tag: Tag) -> bool:
    data = registry.read(tag.repository, tag.tag)
    return data is not None and digest_of(data) in tag.digests


def _marker(tag: Tag) -> bytes:
    """Nothing that a runtime could start; its own for each tag."""
    return encode_manifest(
        EMPTY,
        (EMPTY,),
        artifact_type=WITHDRAWN,
        annotations={"vnd.waybill.withdrawn": f"{tag.repository}:{tag.tag}"}.items(),
    )


# -- looking ---------------------------------------------------------------------------------------------------------


def _look(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, part: ImageParts
) -> tuple[str, str]:
    """What the tag names, and what is missing below it.

    An image of named platforms counts as there when each of them is, and the tag names the index or one of them.
    """
    repository = _repository(settings, part.image)
    data = registry.read(repository, part.tag)
    if data is None:
        return ABSENT, f"{repository} has no tag {part.tag}"
    found = digest_of(data)
    top = part.top.descriptor.digest
    by_stand_in = part.sparse and found == _stand_in(part).descriptor.digest
    if found != top and not by_stand_in:
        return found, f"read from {repository}:{part.tag}"
    missing: list[str] = []

    def check(item: Descriptor | str) -> None:
        problem = _missing(registry, repository, context, part, item, by_stand_in=by_stand_in)
        if problem:
            missing.append(problem)

    items: list[Descriptor | str] = [*(node.descriptor.digest for node in part.documents), *part.blobs]
    _in_parallel(settings, items, check)
    for tag, node in part.cosign:
        data = registry.read(repository, tag)
        if data is None or digest_of(data) != node.descriptor.digest:
            missing.append(f"the tag {tag} does not name {node.descriptor.digest}")
    for subject in sorted({node.document.subject.digest for node in part.referrers if node.document.subject}):
        listed = {one.digest for one in registry.referrers(repository, subject)}
        for node in part.referrers:
            if (
                node.document.subject
                and node.document.subject.digest == subject
                and node.descriptor.digest not in listed
            ):
                missing.append(f"{node.descriptor.digest} is not listed as a referrer of {subject}")
    if missing:
        return UNREADABLE, "; ".join(sorted(missing)[:3])
    return top, "the registry takes no index with gaps; the tag names one platform's image" if by_stand_in else ""


def _missing(
    registry: SiteRegistry,
    repository: str,
    context: DriverContext,
    part: ImageParts,
    item: Descriptor | str,
    *,
    by_stand_in: bool,
) -> str:
    """What is wrong with a document (by digest) or blob (by descriptor); empty if it is there."""
    if isinstance(item, str):
        if by_stand_in and item == part.top.descriptor.digest:
            return ""
        # Read whole: the client compares the digest of what comes.
        return "" if registry.read(repository, item) is not None else f"{item} is not there"
    if context.thorough:
        try:
            for _ in registry.blob(repository, item.digest, item.size):
                pass
        except HostError as error:
            if error.finding != _MISSING:
                raise
            return f"{item.digest} is not there"
        return ""
    return "" if registry.blob_exists(repository, item.digest) else f"{item.digest} is not there"


def _left_over(registry: SiteRegistry, context: DriverContext, step: InstallStep, settings: RegistryDriverFile) -> str:
    """Tags of generations that were left and that the registry would not take away."""
    left = [
        f"{tag.repository}:{tag.tag}"
        for _, record in _later_records(context, step, settings)
        for tag in record.tags
        if tag.tag != _tag(context) and _names_ours(registry, tag)
    ]
    return f"the registry still has {', '.join(left)}" if left else ""
