"""From what the vendor wrote and what was collected to ``release.json`` and ``index.json``. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from bundler.collect import CollectedRelease
from bundler.parts import Part
from content.bundle.head_writer import RESERVE, choose_bulk_at
from content.bundle.oci import REF_NAME, Descriptor
from content.bundle.oci_writer import encode_index
from manifests.authored.release_yaml import HandlerFile, ProbeFile, ReleaseFile, StepFile
from manifests.documents.release import (
    BULK_STEP,
    MAX_HEAD,
    MAX_MEMBERS,
    MAX_RELEASE,
    Absent,
    FileProbe,
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
from manifests.words.units import parse_duration, parse_size

SMALL = 1 << 20


def list_images(collected: CollectedRelease) -> bytes:
    """``index.json``: images in the order of the release, then cosign's tags by name, then referrers by digest."""
    entries: dict[tuple[bool, bool, str, str], Descriptor] = {}
    images = []
    for one in collected.images:
        images.append(one.listed[0])
        for entry in one.listed[1:]:
            name = entry.annotation(REF_NAME)
            entries[(True, not name, name, entry.digest)] = entry
    return encode_index((*images, *(entries[key] for key in sorted(entries))))


def absent_children(collected: CollectedRelease) -> tuple[Absent, ...]:
    """Children that no image packed; one index may serve two images that name different platforms."""
    packed = frozenset[tuple[str, str]]().union(*(one.edges for one in collected.images))
    found = {
        (one.parent, one.digest): one
        for image in collected.images
        for one in image.absent
        if (one.parent, one.digest) not in packed
    }
    return tuple(found[key] for key in sorted(found))


def order_members(index: Blob, verify: Blob, parts: Iterable[Part]) -> tuple[Blob, ...]:
    """The order of the bulk: what is small and needed first comes first, so that a pipe can be judged early.

    Raises:
        RefusedError: More members than the format allows.
    """

    def place(part: Part) -> tuple[bool, int, str]:
        return (not (part.document and part.blob.size < SMALL), part.blob.size, part.blob.digest)

    members = (index, verify, *(part.blob for part in sorted(parts, key=place)))
    if len(members) > MAX_MEMBERS:
        raise RefusedError(
            f"{len(members)} files in one release, at most {MAX_MEMBERS} are allowed",
            where="release",
            remedy="pack folders of many files into an archive or an image",
        )
    return members


def compile_release(
    source: ReleaseFile,
    collected: CollectedRelease,
    *,
    members: tuple[Blob, ...],
    epoch: int,
    issued_at: str,
    roots: tuple[bytes, ...],
    revocations: bytes | None = None,
    reserve: int = RESERVE,
) -> Release:
    """The release, with the place where its bulk begins.

    Raises:
        MalformedError: Something contradicts something else.
        RefusedError: ``release.json`` or the head would be longer than the format allows.
    """
    release = Release(
        format=1,
        product=source.product,
        version=source.version,
        channel=source.channel,
        epoch=epoch,
        sequence=source.sequence,
        issued_at=issued_at,
        next_expected_by=source.next_expected_by,
        supported_until=source.supported_until,
        notes=collected.notes,
        audience=source.audience,
        needs=source.needs,
        floor=source.floor,
        fixes=source.fixes,
        advisories=collected.advisories,
        authorisations=collected.authorisations,
        signers=collected.signers,
        sigstore=collected.sigstore,
        images=tuple(one.image for one in collected.images),
        files=collected.files,
        charts=collected.charts,
        programs=collected.programs,
        config=collected.config,
        contract=collected.contract,
        rollback=collected.rollback,
        handlers=tuple(_handler(one) for one in source.handlers),
        install=tuple(_step(one) for one in source.install),
        probes=tuple(_probe(one) for one in source.probes),
        trial=Trial(at_most_seconds=parse_duration(source.trial.at_most), confirm=source.trial.confirm),
        kits=collected.kits,
        bulk_at=MAX_HEAD,
        members=members,
        absent=absent_children(collected),
    )
    check_release(release, "release.json")
    # The place is stated in the bytes whose length decides it: the longest number that it can be stands in for it.
    size = len(encode(release))
    if size > MAX_RELEASE:
        raise RefusedError(
            f"release.json would have {size} bytes, at most {MAX_RELEASE} are allowed",
            where="release",
            remedy="fewer images and files in one release",
        )
    bulk_at = choose_bulk_at(size, roots, revocations, reserve)
    assert bulk_at % BULK_STEP == 0
    return replace(release, bulk_at=bulk_at)


def _handler(one: HandlerFile) -> Handler:
    return Handler(
        name=one.name,
        does=one.does,
        source=one.source,
        run=one.run,
        parameters=one.parameters,
        may=one.may,
        risk=one.risk,
        repeatable=one.repeatable,
        limits=Limits(
            seconds=parse_duration(one.limits.time),
            memory_bytes=parse_size(one.limits.memory),
            output_bytes=parse_size(one.limits.output),
        ),
        returns=one.returns,
    )


def _step(one: StepFile) -> InstallStep:
    return InstallStep(
        step=one.step,
        driver=one.driver,
        files=one.files,
        images=one.images,
        chart=one.chart,
        migration=one.migration,
        keep_running=one.keep_running,
        after=one.after,
        downtime_seconds=0 if one.downtime is None else parse_duration(one.downtime),
    )


def _probe(one: ProbeFile) -> Probe:
    every = 10 if one.every is None else parse_duration(one.every)
    file = None if one.file is None else FileProbe(files=one.file.files, path=one.file.path)
    return Probe(
        name=one.name,
        http=one.http,
        tcp=one.tcp,
        file=file,
        step=one.step,
        every_seconds=every,
        passes=one.passes,
    )
