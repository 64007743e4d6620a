"""Check what a release promises about earlier releases against those releases. Reads and writes nothing."""

from bundler.collect import BuildFinding
from bundler.inputs import ReleaseInput
from manifests.documents.release import Release
from manifests.trust.root import Mark
from manifests.words.errors import RefusedError
from manifests.words.version import in_any, in_range


def check_earlier(inputs: ReleaseInput, epoch: int, earlier: tuple[Release, ...]) -> tuple[BuildFinding, ...]:
    """Check ``needs.from``, ``back_to`` and ``floor`` against releases that sites may run.

    Args:
        earlier: Those named with ``--after``; with none of them nothing can be checked.

    Raises:
        RefusedError: A promise that cannot be kept.
    """
    for before in earlier:
        _check_stream(inputs, epoch, before)
    if not earlier:
        return ()
    ranges = [("$.needs.from", "needs.from", range_) for range_ in inputs.release.needs.from_]
    name = f"`back_to` of {inputs.release.rollback}"
    ranges += [("$.rollback", name, range_) for range_ in inputs.rollback.back_to]
    for place, name, range_ in ranges:
        if not any(in_range(before.version, range_) for before in earlier):
            problem = f"{name} says {range_!r}, which covers none of {', '.join(before.version for before in earlier)}"
            remedy = "correct the range, or name the release that it means with --after"
            raise RefusedError(problem, where=inputs.file.at(place), remedy=remedy, finding="range-covers-nothing")
    findings = [_check_rollback(inputs, epoch, before) for before in earlier]
    return tuple(finding for finding in findings if finding is not None)


def _check_stream(inputs: ReleaseInput, epoch: int, before: Release) -> None:
    release = inputs.release
    if (before.product, before.channel) != (release.product, release.channel):
        raise RefusedError(
            f"{before.product} {before.channel} is named as an earlier release of {release.product} {release.channel}",
            where="--after",
            finding="other-stream",
            remedy=f"name releases of {release.product} {release.channel}",
        )
    if before.mark >= Mark(epoch=epoch, sequence=release.sequence):
        raise RefusedError(
            f"sequence {release.sequence} (epoch {epoch}) is not above that of {before.version}, "
            f"{before.sequence} (epoch {before.epoch})",
            where=inputs.file.at("$.sequence"),
            remedy="write a higher sequence: each is used once in a product and channel",
            finding="sequence-not-above",
        )
    if before.version == release.version:
        problem = f"version {before.version} is used by an earlier release"
        remedy = "write a new version"
        raise RefusedError(problem, where=inputs.file.at("$.version"), finding="version-used", remedy=remedy)


def _check_rollback(inputs: ReleaseInput, epoch: int, before: Release) -> BuildFinding | None:
    """Whether a site that came from ``before`` can go back to it, and whether that was promised."""
    release, version = inputs.release, before.version
    comes, goes = in_any(version, release.needs.from_), in_any(version, inputs.rollback.back_to)
    if goes and not comes:
        raise RefusedError(
            f"{release.rollback} promises a rollback to {version}, but needs.from does not allow an upgrade from it",
            where=inputs.file.at("$.rollback"),
            remedy=f"add {version} to needs.from, or take it out of `back_to`",
            finding="way-back-without-way",
        )
    if goes and (before.epoch < epoch or release.floor > before.sequence):
        raise RefusedError(
            f"floor {release.floor} is above sequence {before.sequence} of {version}, "
            f"to which {release.rollback} promises a rollback",
            where=inputs.file.at("$.floor"),
            remedy=f"lower the floor to {before.sequence}, or take {version} out of `back_to`",
            finding="floor-above-way-back",
        )
    if comes and not goes:
        return BuildFinding("no-way-back", f"a site that upgrades from {version} cannot roll back to it")
    return None
