"""The components that a report of an installed release lists."""

from dataclasses import dataclass

from manifests.documents.release import Release
from manifests.documents.report import ComponentKind, Level
from manifests.words.canonical import encode
from manifests.words.digest import digest_of


@dataclass(frozen=True, order=True)
class Expected:
    """One component that a release brings to a site, by one step of its install plan.

    Attributes:
        wanted: ``running`` where the step keeps a process of it running.
    """

    kind: ComponentKind
    name: str
    step: str
    digest: str
    wanted: Level = "placed"


def expected_components(release: Release) -> tuple[Expected, ...]:
    """What a report about ``release`` must cover, sorted by kind, name and step.

    A file set has no bytes of its own; its digest is over its canonical list of paths, digests and sizes.
    """
    images = {one.name: one.manifest.digest for one in release.images}
    files = {one.name: digest_of(encode(one)) for one in release.files}
    charts = {one.name: one.digest for one in release.charts}
    expected = []
    for step in release.install:
        expected += [Expected("image", name, step.step, images[name]) for name in step.images]
        wanted: Level = "placed" if step.keep_running is None else "running"
        expected += [Expected("files", name, step.step, files[name], wanted) for name in step.files]
        if step.chart is not None:
            expected.append(Expected("chart", step.chart, step.step, charts[step.chart]))
    return tuple(sorted(expected))
