"""The ``registry`` driver: images, indexes and what refers to them, in the site's registry under the site's prefix.

Staging pushes everything that is addressed by digest, large blobs while they are copied into the store; nothing uses it
yet. Activating sets the tags. A registry may be unable to delete a tag, and other tools may write to it, so `observe`
reads everything and compares digests.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from content.bundle.graph import Node
from content.bundle.oci import Descriptor, ImageIndex
from manifests.authored.site_yaml import RegistryDriverFile
from manifests.documents.release import InstallStep
from manifests.documents.report_condition import ComponentReason
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, WaybillError
from verifier.runtime.drivers.driver import ABSENT, UNREADABLE, Component, DriverContext, DriverPlan, ReadDocument
from verifier.runtime.drivers.images import ImageParts, check_step, foreign_lines, image_parts, registry_tag
from verifier.runtime.drivers.registry_client import (
    MISSING,
    REASONS,
    UNREACHABLE,
    SiteRegistry,
    Tag,
    TagRecord,
    connect,
    image_place,
    later_records,
    names_ours,
    read_record,
    record_path,
    registry_settings,
    remove_record,
    repository_of,
    tag_errors,
    withdraw_tags,
    write_record,
)
from verifier.runtime.drivers.registry_push import in_parallel, place_of, push, upload_receivers
from verifier.runtime.setup import SetupFinding, look
from verifier.site.blobs import read_blob
from verifier.site.disk import Receiver

# A review waits for a registry that does not answer, so not for long.
CHECK_SECONDS = 5.0


class RegistryDriver:
    name = "registry"

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        check_step(step, self.name)
        settings = registry_settings(context)
        staging, activation, deactivation = [], [], []
        for name in step.images:
            image = context.release.image(name)
            repository = f"{settings.endpoint}/{repository_of(settings, image)}"
            tag = registry_tag(image, context.release.version)
            staging.append(f"push {repository}@{image.manifest.digest}")
            activation.append(f"set the tag {repository}:{tag}")
            deactivation.append(f"withdraw the tag {repository}:{tag}")
            if image.platforms:
                activation.append(
                    f"{name}: only {', '.join(image.platforms)}; if the registry refuses an index with gaps, the tag "
                    "names the image of one platform, and the signature of the index cannot be checked there"
                )
        staging += foreign_lines(
            step, context.release, "they are not pushed: hosts that pull these images must reach these addresses"
        )
        return DriverPlan(
            step=step,
            bytes_needed=64 << 10,
            inodes_needed=4,
            staging=tuple(staging),
            activation=tuple(activation),
            deactivation=tuple(deactivation),
        )

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        """Ask the registry for the first image: it has to answer, and to know this login. Pushing is not tried."""
        settings = registry_settings(context)
        image = context.release.image(plan.step.images[0])

        def ask() -> None:
            with (
                image_place(settings, image).errors(),
                connect(context, settings, timeout_seconds=CHECK_SECONDS) as registry,
            ):
                registry.manifest_exists(repository_of(settings, image), registry_tag(image, context.release.version))

        findings = look(ask)
        if any("plain_http: true" in finding.error.remedy for finding in findings):
            return tuple(replace(one, add={"drivers": {"registry": {"plain_http": True}}}) for one in findings)
        return findings

    @contextmanager
    def receivers(
        self, plan: DriverPlan, context: DriverContext, read: ReadDocument
    ) -> Iterator[Mapping[str, Receiver]]:
        """Send large blobs while they are copied. Whatever fails here is left to `stage`, which reports it."""
        with ExitStack() as stack:
            receivers: Mapping[str, Receiver] = {}
            with suppress(WaybillError, OSError):
                settings = registry_settings(context)
                parts = image_parts(context, plan.step, read)
                registry = stack.enter_context(connect(context, settings))
                receivers = upload_receivers(registry, settings, context, parts)
            yield receivers

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        settings = registry_settings(context)
        parts = image_parts(context, plan.step)
        with connect(context, settings) as registry:
            push(registry, settings, context, parts)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        """1. record the tags; 2. push what is missing; 3. set the tags; 4. withdraw tags of later generations."""
        settings = registry_settings(context)
        parts = image_parts(context, plan.step)
        record = _tag_record(settings, parts)
        write_record(context, plan.step, record)  # 1
        with connect(context, settings) as registry:
            push(registry, settings, context, parts)  # 2
            for part in parts:  # 3
                repository = repository_of(settings, part.image)
                with place_of(settings, part).errors():
                    _set_tag(registry, repository, context.blobs, part)
            own = {(tag.repository, tag.tag) for tag in record.tags}
            for path, later in later_records(context, plan.step, settings.endpoint):  # 4
                others = [tag for tag in later.tags if (tag.repository, tag.tag) not in own]
                if withdraw_tags(registry, settings, context, others):
                    remove_record(context, path)

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Withdraw the generation's tags, as far as the registry allows it. What has only a digest stays."""
        settings = registry_settings(context)
        path = record_path(context, plan.step)
        record = read_record(path, settings.endpoint)
        if record is None:
            return
        with connect(context, settings) as registry:
            if withdraw_tags(registry, settings, context, record.tags):
                remove_record(context, path)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        names, remedy = plan.step.images, ""
        # What the registry lacks of an image that it has.
        reason: ComponentReason | None = "incomplete"
        try:
            settings = registry_settings(context)
            parts = image_parts(context, plan.step)
            with connect(context, settings) as registry:
                left = _tags_left(registry, context, plan.step, settings)
                seen = [_observe_named(registry, settings, context, part) for part in parts]
        except (WaybillError, OSError) as error:
            left, seen = None, [(UNREADABLE, _named(error, context, name)) for name in names]
            remedy, reason = "", None
            if isinstance(error, WaybillError):
                remedy, reason = error.remedy, REASONS.get(error.finding)
        return tuple(
            Component(
                name=name,
                expected=context.release.image(name).manifest.digest,
                observed=observed,
                step=plan.step.step,
                detail="; ".join(filter(None, (detail, left))) or None,
                remedy=remedy,
                reason=reason if observed == UNREADABLE else None,
            )
            for name, (observed, detail) in zip(names, seen, strict=True)
        )

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        """Remove the record of the generation's tags. Unused blobs are the registry's to collect."""
        remove_record(context, record_path(context, plan.step))


def _named(error: WaybillError | OSError, context: DriverContext, name: str) -> str:
    """The error of all images for one of them, with its own name and repository unless it is about another image."""
    if not isinstance(error, HostError):
        return str(error)
    place = image_place(registry_settings(context), context.release.image(name))
    if error.where.startswith("image "):
        # Whichever image was looked at first: a registry that does not answer has none of them.
        return str(error.with_(where=str(place)) if error.finding == UNREACHABLE else error)
    return str(place.named(error))


def _set_tag(registry: SiteRegistry, repository: str, blobs: Path, part: ImageParts) -> None:
    node = part.top if registry.manifest_exists(repository, part.top.descriptor.digest) else _stand_in(part)
    data = read_blob(blobs, node.descriptor.digest, node.descriptor.size)
    registry.push_manifest(repository, part.tag, data, node.document.media_type)


def _tag_record(settings: RegistryDriverFile, parts: Iterable[ImageParts]) -> TagRecord:
    tags = []
    for part in parts:
        # Whether the registry takes the index or only the stand-in is not known yet.
        nodes = (part.top, _stand_in(part)) if part.sparse else (part.top,)
        digests = tuple(sorted({node.descriptor.digest for node in nodes}))
        tags.append(Tag(repository=repository_of(settings, part.image), tag=part.tag, digests=digests))
    return TagRecord(endpoint=settings.endpoint, tags=tuple(tags))


def _stand_in(part: ImageParts) -> Node:
    """Return what gets the tag if the registry refuses an index with gaps: this host's platform, else the first."""
    held = [node for node in part.manifests if not isinstance(node.document, ImageIndex)]
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return next((node for node in held if (node.descriptor.platform or "").split("/")[1:2] == [machine]), held[0])


def _observe_named(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, part: ImageParts
) -> tuple[str, str | None]:
    with place_of(settings, part).errors():
        return _observe(registry, settings, context, part)


def _observe(
    registry: SiteRegistry, settings: RegistryDriverFile, context: DriverContext, part: ImageParts
) -> tuple[str, str | None]:
    """Return the digest that the tag names, and what is missing below it.

    An image of named platforms counts as there when each of them is, and the tag names the index or one of them.
    """
    repository = repository_of(settings, part.image)
    data = registry.read(repository, part.tag)
    if data is None:
        return ABSENT, f"{repository} has no tag {part.tag}"
    observed = digest_of(data)
    top = part.top.descriptor.digest
    by_stand_in = part.sparse and observed == _stand_in(part).descriptor.digest
    if observed != top and not by_stand_in:
        return observed, f"read from {repository}:{part.tag}"
    missing: list[str] = []

    def check_document(node: Node) -> None:
        digest = node.descriptor.digest
        # Read whole: the client compares the digest of what it gets. The index may be absent where a stand-in has
        # the tag.
        if not (by_stand_in and digest == top) and registry.read(repository, digest) is None:
            missing.append(f"{digest} is not there")

    def check_blob(blob: Descriptor) -> None:
        if not _has_blob(registry, repository, blob, thorough=context.thorough):
            missing.append(f"{blob.digest} is not there")

    in_parallel(settings, part.documents, check_document)
    in_parallel(settings, part.blobs, check_blob)
    for tag, node in part.cosign:
        data = registry.read(repository, tag)
        if data is None or digest_of(data) != node.descriptor.digest:
            missing.append(f"the tag {tag} does not name {node.descriptor.digest}")
    subjects: dict[str, list[str]] = {}
    for node in part.referrers:
        if node.document.subject:
            subjects.setdefault(node.document.subject.digest, []).append(node.descriptor.digest)
    for subject, referrers in subjects.items():
        listed = {descriptor.digest for descriptor in registry.referrers(repository, subject)}
        missing += [
            f"{digest} is not listed as a referrer of {subject}" for digest in referrers if digest not in listed
        ]
    if missing:
        return UNREADABLE, "; ".join(sorted(missing)[:3])
    return top, "the registry refuses an index with gaps; the tag names one platform's image" if by_stand_in else None


def _has_blob(registry: SiteRegistry, repository: str, blob: Descriptor, *, thorough: bool) -> bool:
    """Return whether the registry has the blob; ``thorough`` reads it, and the client compares its digest."""
    if not thorough:
        return registry.blob_exists(repository, blob.digest)
    try:
        for _ in registry.blob(repository, blob.digest, blob.size):
            pass
    except HostError as error:
        if error.finding != MISSING:
            raise
        return False
    return True


def _tags_left(
    registry: SiteRegistry, context: DriverContext, step: InstallStep, settings: RegistryDriverFile
) -> str | None:
    """Return which tags of later generations the registry did not delete, other than those of this step."""
    images = [context.release.image(name) for name in step.images]
    own = {(repository_of(settings, image), registry_tag(image, context.release.version)) for image in images}
    left = [
        f"{tag.repository}:{tag.tag}"
        for _, record in later_records(context, step, settings.endpoint)
        for tag in record.tags
        if (tag.repository, tag.tag) not in own and _still_ours(registry, context, settings, tag)
    ]
    return f"the registry still has {', '.join(left)}" if left else None


def _still_ours(registry: SiteRegistry, context: DriverContext, settings: RegistryDriverFile, tag: Tag) -> bool:
    with tag_errors(settings, context, tag):
        return names_ours(registry, tag)
