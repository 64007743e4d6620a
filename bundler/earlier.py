"""What a release promises about earlier releases, held against those releases. Pure."""

from collections.abc import Iterator

from bundler.collect import BuildFinding
from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.documents.release import Release
from manifests.documents.rollback import Rollback
from manifests.trust.root import Mark
from manifests.words.errors import RefusedError
from manifests.words.version import in_any, in_range


def check_earlier(
    file: Handwritten, release: ReleaseFile, rollback: Rollback, epoch: int, earlier: tuple[Release, ...]
) -> tuple[BuildFinding, ...]:
    """Hold ``needs.from``, ``back_to`` and ``floor`` against releases that sites may run.

    Args:
        earlier: Those named with ``--after``; with none of them nothing can be checked.

    Raises:
        RefusedError: A promise that cannot be kept.
    """
    for one in earlier:
        _check_stream(file, release, epoch, one)
    if not earlier:
        return ()
    for place, ranges in (("$.needs.from", release.needs.from_), ("$.rollback", rollback.back_to)):
        name = "needs.from" if place == "$.needs.from" else f"`back_to` of {release.rollback}"
        for range_ in ranges:
            if not any(in_range(one.version, range_) for one in earlier):
                raise RefusedError(
                    f"{name} says {range_!r}, which covers none of {_list(earlier)}",
                    where=file.at(place),
                    remedy="correct the range, or name the release that it means with --after",
                    finding="range-covers-nothing",
                )
    return tuple(_check_ways(file, release, rollback, epoch, earlier))


def _check_stream(file: Handwritten, release: ReleaseFile, epoch: int, one: Release) -> None:
    if (one.product, one.channel) != (release.product, release.channel):
        raise RefusedError(
            f"{one.product} {one.channel} is given as an earlier release of {release.product} {release.channel}",
            where="--after",
            finding="other-stream",
            remedy="--after takes releases of this product and channel",
        )
    if one.mark >= Mark(epoch=epoch, sequence=release.sequence):
        raise RefusedError(
            f"sequence {release.sequence} (epoch {epoch}) is not above that of {one.version}, "
            f"{one.sequence} (epoch {one.epoch})",
            where=file.at("$.sequence"),
            remedy="a sequence is used once in a product and channel, and only grows",
            finding="sequence-not-above",
        )
    if one.version == release.version:
        raise RefusedError(
            f"{one.version} is an earlier release already",
            where=file.at("$.version"),
            finding="version-used",
            remedy="every release has a version of its own",
        )


def _check_ways(
    file: Handwritten, release: ReleaseFile, rollback: Rollback, epoch: int, earlier: tuple[Release, ...]
) -> Iterator[BuildFinding]:
    for one in earlier:
        comes, goes = in_any(one.version, release.needs.from_), in_any(one.version, rollback.back_to)
        if goes and not comes:
            raise RefusedError(
                f"{release.rollback} promises a way back to {one.version}, from which nothing comes here",
                where=file.at("$.rollback"),
                remedy="add it to needs.from, or take it out of `back_to`",
                finding="way-back-without-way",
            )
        if goes and (one.epoch < epoch or release.floor > one.sequence):
            raise RefusedError(
                f"floor {release.floor} is above sequence {one.sequence} of {one.version}, "
                f"to which {release.rollback} promises a way back",
                where=file.at("$.floor"),
                remedy=f"lower the floor to {one.sequence}, or take {one.version} out of `back_to`",
                finding="floor-above-way-back",
            )
        if comes and not goes:
            yield BuildFinding("no-way-back", f"a site that comes from {one.version} cannot go back to it")


def _list(earlier: tuple[Release, ...]) -> str:
    return ", ".join(one.version for one in earlier)
