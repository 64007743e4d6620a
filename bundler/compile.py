"""Compile ``release.json`` and ``index.json`` from handwritten files and collected content; touch no file."""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from bundler.collect import CollectedRelease
from bundler.parts import Part
from content.bundle.head_writer import RESERVE, choose_bulk_at
from content.bundle.oci import REF_NAME, Descriptor
from content.bundle.oci_writer import encode_index
from manifests.authored.handwritten import compiled
from manifests.authored.release_yaml import ALL, HandlerFile, HostFile, ReleaseFile, StepFile
from manifests.authored.values_yaml import compile_value
from manifests.documents.host_needs import HostNeeds
from manifests.documents.release import (
    BULK_STEP,
    MAX_HEAD,
    MAX_MEMBERS,
    MAX_RELEASE,
    Absent,
    Handler,
    InstallStep,
    Limits,
    Probe,
    Release,
    Trial,
)
from manifests.documents.release_reader import check_release
from manifests.words.canonical import encode
from manifests.words.digest import Blob
from manifests.words.errors import RefusedError
from manifests.words.quantities import parse_duration, parse_size

SMALL = 1 << 20


@dataclass(frozen=True)
class ReleasePlan:
    """What a release states besides handwritten files and content.

    Attributes:
        members: The files of the bulk, in order.
        issued_at: RFC 3339.
        roots: The root documents that the head carries, oldest first.
    """

    members: tuple[Blob, ...]
    epoch: int
    issued_at: str
    roots: tuple[bytes, ...]
    revocations: bytes | None


def list_images(collected: CollectedRelease) -> bytes:
    """``index.json``: images in the order of the release, then cosign's tags by name, then referrers by digest."""
    entries: dict[tuple[bool, bool, str, str], Descriptor] = {}
    images = []
    for image in collected.images:
        images.append(image.listed[0])
        for entry in image.listed[1:]:
            name = entry.annotation(REF_NAME)
            entries[(True, not name, name, entry.digest)] = entry
    return encode_index((*images, *(entries[key] for key in sorted(entries))))


def absent_children(collected: CollectedRelease) -> tuple[Absent, ...]:
    """Children that no image packed. One index may serve two images with different platforms."""
    packed = frozenset[tuple[str, str]]().union(*(image.edges for image in collected.images))
    children = {(child.parent, child.digest): child for image in collected.images for child in image.absent}
    return tuple(children[key] for key in sorted(children.keys() - packed))


def order_members(index: Blob, verify: Blob, parts: Iterable[Part]) -> tuple[Blob, ...]:
    """Small documents first, so that a pipe can be judged early. Raises RefusedError above ``MAX_MEMBERS``."""

    def place(part: Part) -> tuple[bool, int, str]:
        return (not (part.document and part.blob.size < SMALL), part.blob.size, part.blob.digest)

    members = (index, verify, *(part.blob for part in sorted(parts, key=place)))
    if len(members) > MAX_MEMBERS:
        problem = f"{len(members)} files in one release, at most {MAX_MEMBERS} are allowed"
        raise RefusedError(problem, where="release", remedy="put folders of many files into an archive or an image")
    return members


def compile_release(source: ReleaseFile, collected: CollectedRelease, plan: ReleasePlan) -> Release:
    """The release, with the place where its bulk begins.

    Raises:
        MalformedError: Its parts contradict each other.
        RefusedError: ``release.json`` or the head would be longer than the format allows.
    """
    release = compiled(
        Release,
        source,
        collected,
        plan,
        format=1,
        host=None if source.host is None else _host(source.host),
        images=tuple(image.image for image in collected.images),
        handlers=tuple(_handler(handler) for handler in source.handlers),
        install=tuple(
            compiled(InstallStep, step, images=_images(step, source), downtime_seconds=_seconds(step.downtime, 0))
            for step in source.install
        ),
        probes=tuple(compiled(Probe, probe, every_seconds=_seconds(probe.every, 10)) for probe in source.probes),
        trial=Trial(at_most_seconds=parse_duration(source.trial.at_most), confirm=source.trial.confirm),
        bulk_at=MAX_HEAD,
        absent=absent_children(collected),
    )
    check_release(release, "release.json")
    # The place is stated in the bytes whose length decides it: the longest number that it can be stands in for it.
    size = len(encode(release))
    if size > MAX_RELEASE:
        problem = f"release.json would have {size} bytes, at most {MAX_RELEASE} are allowed"
        raise RefusedError(problem, where="release", remedy="put fewer images and files into one release")
    bulk_at = choose_bulk_at(size, plan.roots, plan.revocations, RESERVE)
    assert bulk_at % BULK_STEP == 0
    return replace(release, bulk_at=bulk_at)


def _images(step: StepFile, source: ReleaseFile) -> tuple[str, ...]:
    return tuple(image.name for image in source.images) if step.images == ALL else tuple(step.images)


def _handler(handler: HandlerFile) -> Handler:
    parameters = {name: compile_value(values, name) for name, values in handler.parameters.items()}
    return compiled(Handler, handler, limits=_limits(handler), parameters=parameters)


def _limits(handler: HandlerFile) -> Limits:
    limits = handler.limits
    memory, output = parse_size(limits.memory), parse_size(limits.output)
    return Limits(seconds=parse_duration(limits.time), memory_bytes=memory, output_bytes=output)


def _host(host: HostFile) -> HostNeeds:
    return compiled(
        HostNeeds,
        host,
        disk_bytes=None if host.disk is None else parse_size(host.disk),
        memory_bytes=None if host.memory is None else parse_size(host.memory),
        clock_seconds=None if host.clock is None else parse_duration(host.clock),
    )


def _seconds(text: str | None, default: int) -> int:
    return default if text is None else parse_duration(text)
