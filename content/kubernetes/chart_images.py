"""Render the charts of ``release.yaml``, take the images that they name, and refuse those that the release lacks."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from content.bundle.charts import collect_chart
from content.kubernetes.chart_places import place_of
from content.kubernetes.image_names import image_named, taken_images
from content.kubernetes.objects import ImageField, image_fields, suspected_images
from content.kubernetes.render import ChartInstall, find_program, render_chart
from manifests.authored.handwritten import Handwritten
from manifests.authored.release_yaml import ChartFile, ReleaseFile
from manifests.documents.release import ImageReference
from manifests.trust.keys import read_capped
from manifests.words.errors import HostError, MalformedError, WaybillError

MAX_VALUES = 1 << 20


@dataclass(frozen=True)
class ChartImages:
    """What was seen of one chart when it was rendered.

    Attributes:
        index: Of the chart in ``charts``.
        fields: Where the rendered manifests name images, each reference once.
        doubts: What a person should look at: an id of a finding, and its text.
    """

    index: int
    chart: ChartFile
    fields: tuple[ImageField, ...] = ()
    doubts: tuple[tuple[str, str], ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        return tuple(sorted(field.reference for field in self.fields))


@dataclass(frozen=True)
class ChartsLook:
    """The charts of a release, and why some could not be rendered."""

    charts: tuple[ChartImages, ...]
    problems: tuple[WaybillError, ...]


def look_at_charts(file: Handwritten, release: ReleaseFile, folder: Path) -> ChartsLook:
    """Render every chart with its defaults and with each file of values. Where Helm is not needed it may be missing."""
    charts: list[ChartImages] = []
    problems: list[WaybillError] = []
    for i, chart in enumerate(release.charts):
        needed = chart.images_from is not None or any(step.chart == chart.name for step in release.install)
        try:
            helm = find_program("helm")
        except HostError as error:
            if needed:
                problems.append(error.with_(where=file.at(f"$.charts[{i}]")))
            text = f"chart {chart.name} was not rendered, since this host has no helm: its images were not compared"
            charts.append(ChartImages(i, chart, doubts=(("chart-not-rendered", text),)))
            continue
        try:
            name = next((step.step for step in release.install if step.chart == chart.name), chart.name)
            install = ChartInstall(name, kubernetes=release.host.kubernetes if release.host else None)
            charts.append(_look(helm, chart, i, folder, install))
        except WaybillError as error:
            problems.append(error.with_(where=f"{file.at(f'$.charts[{i}]')}: {error.where}"))
    return ChartsLook(tuple(charts), tuple(problems))


def with_taken_images(release: ReleaseFile, charts: Iterable[ChartImages]) -> ReleaseFile:
    """Return the release with the images of charts that ask for it. Raises MalformedError for a wrong reference."""
    for seen in charts:
        if seen.chart.images_from is not None:
            release = replace(
                release, images=(*release.images, *taken_images(seen.chart, seen.references, release.images))
            )
    return release


def missing_images(
    file: Handwritten, release: ReleaseFile, charts: Iterable[ChartImages], folder: Path
) -> Iterator[MalformedError]:
    """Yield each image that a chart names and the release has not, and each name in a step that is no image."""
    names = {image.name for image in release.images}
    for seen in charts:
        for field in seen.fields:
            if image_named(field.reference, release.images) is None:
                yield _missing(file, seen, field, folder / seen.chart.from_)
    if any(seen.chart.images_from is not None for seen in charts):
        for i, step in enumerate(release.install):
            for name in step.images if isinstance(step.images, tuple) else ():
                if name not in names:
                    problem = f"{name!r} is not in this release, which has {', '.join(sorted(names))}"
                    yield file.wrong(problem, f"$.install[{i}].images", "name one of these, or write `images: all`")


def image_references(
    file: Handwritten, seen: ChartImages, release: ReleaseFile, digests: Mapping[str, str]
) -> tuple[ImageReference, ...]:
    """Return what the chart calls the images; ``digests`` are those of their manifests.

    Raises MalformedError when a reference states the digest of another image than the release has.
    """
    references = []
    for text in seen.references:
        name = image_named(text, release.images, digests)
        if name is None:
            problem = f"chart {seen.chart.name} names {text}, and no image of this release has this digest"
            raise file.wrong(problem, f"$.charts[{seen.index}]", "state the same digest in `from` of the image")
        references.append(ImageReference(reference=text, image=name))
    return tuple(references)


def _look(helm: str, chart: ChartFile, index: int, folder: Path, install: ChartInstall) -> ChartImages:
    where = str(folder / chart.from_)
    data = collect_chart(folder / chart.from_)
    own: dict[str, tuple[str, ...]] = {}
    for entry in chart.image_fields:
        own[entry.kind] = (*own.get(entry.kind, ()), entry.path)
    doubts: list[tuple[str, str]] = []
    fields: dict[str, ImageField] = {}

    def add(text: str) -> None:
        for field in image_fields(text, where, own):
            fields.setdefault(field.reference, field)
        for place in suspected_images(text, where, own):
            problem = f"chart {chart.name}: {place} looks like an image; if it is one, name its place in `image_fields`"
            doubts.append(("image-suspected", problem))

    values = {name: read_capped(folder / name, MAX_VALUES) for name in chart.values}
    try:
        first = render_chart(helm, data, (), install, where)
    except MalformedError as error:
        if not values:
            remedy = "correct the chart, or name a file with the values that it needs: `values: [FILE]`"
            raise error.with_(remedy=remedy) from None
        doubts.append(("chart-needs-values", f"chart {chart.name} is not rendered without values: {error.problem}"))
    else:
        add(first)
        if render_chart(helm, data, (), install, where) != first:
            text = f"chart {chart.name} is not rendered the same twice, for example because it makes a password"
            doubts.append(("chart-not-constant", f"{text}: each install and each change makes it new"))
    for name, given in values.items():
        add(render_chart(helm, data, (given,), install, f"{where} with {name}"))
    return ChartImages(index, chart, tuple(fields.values()), tuple(dict.fromkeys(doubts)))


def _missing(file: Handwritten, seen: ChartImages, field: ImageField, chart: Path) -> MalformedError:
    place = place_of(chart, field) or f"{file.at(f'$.charts[{seen.index}]')} {field.source or field.place}"
    name = re.sub(r"[^a-z0-9._-]+", "-", re.split(r"[@:]", field.reference.rsplit("/", 1)[-1])[0].lower())
    to = re.sub(r"@.*|:[^/]*$", "", field.reference).partition("/")[2] or name
    line = f"- {{name: {name}, from: {field.reference}, to: {to}, signed_by: none, reason: TEXT}}"
    remedy = f"add to `images` of {file.name}: {line}; or write `images_from: chart`, which takes all of them"
    return MalformedError(
        f"chart {seen.chart.name} names the image {field.reference}, which is not in the release ({field.place})",
        where=place,
        remedy=remedy,
        finding="image-not-listed",
    )
