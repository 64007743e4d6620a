"""The chart of a step as it is installed here: rendered once, images replaced by those of the site's registry, kept.

It is written as a chart of plain files into the folder of the generation. What was reviewed is what Helm applies, and
the way back needs nothing but that folder. CRDs are a chart of their own, because Helm removes and changes no CRD.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from content.bundle.charts import MAX_CHART, chart_facts
from content.kubernetes.objects import MAX_MANIFESTS, ImageField, image_fields, replace_images, texts_that_are
from content.kubernetes.render import ChartInstall, find_program, render_chart
from manifests.authored.site_yaml import HelmDriverFile
from manifests.documents.release import Chart, InstallStep
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, Text, digest_of
from manifests.words.errors import DamagedError, MalformedError, RefusedError
from verifier.runtime.drivers.driver import DriverContext, settings_error
from verifier.runtime.drivers.folder import host_errors
from verifier.runtime.kubernetes.manifests import CRD, Manifest, split_manifests
from verifier.site.blobs import blob_path, read_blob

FOLDER = "charts"
RECORD = "staged.json"
OBJECTS = "objects.yaml"
CRDS = "crds.yaml"
# Files of a site may hold secrets of the configuration, so only the account and group of the site read them.
_MODE = 0o640
# Helm keeps what it installs in a Secret of at most 1 MiB.
_MAX_RECORD = 1 << 20


class StagedFile(Document, frozen=True, kw_only=True):
    path: Text
    digest: Digest


class StagedChart(Document, frozen=True, kw_only=True):
    """``staged.json``: the chart that a generation installs, and the files that were made of it."""

    chart: Digest
    version: Text
    files: tuple[StagedFile, ...]


@dataclass(frozen=True)
class Rendered:
    """A chart as it is applied; ``objects`` and ``crds`` are YAML, and ``version`` is the chart's own."""

    objects: str
    crds: str
    version: str
    where: str

    @cached_property
    def manifests(self) -> tuple[Manifest, ...]:
        return split_manifests(self.objects, self.where)

    @cached_property
    def definitions(self) -> tuple[Manifest, ...]:
        return split_manifests(self.crds, self.where)


def chart_of(step: InstallStep, context: DriverContext) -> Chart:
    return next(chart for chart in context.release.charts if chart.name == step.chart)


def staged_folder(context: DriverContext, step: InstallStep, generation: int | None = None) -> Path:
    number = context.generation if generation is None else generation
    return context.site / "generations" / str(number) / FOLDER / step.step


def has_blob(context: DriverContext, step: InstallStep) -> bool:
    return blob_path(context.blobs, chart_of(step, context).digest).is_file()


def render(context: DriverContext, step: InstallStep, settings: HelmDriverFile) -> Rendered:
    """Render the chart of a step with the configuration of this site as its values.

    Raises:
        RefusedError: It names an image that the release does not list, or Helm refuses chart or values.
        HostError: This host has no Helm, or it fails.
        DamagedError: The store lacks the chart.
    """
    chart = chart_of(step, context)
    helm = find_program("helm", context.search_path) if settings.program is None else settings.program
    data = read_blob(context.blobs, chart.digest, MAX_CHART)
    where = f"chart {chart.name}"
    values = () if context.config is None else (context.config,)
    try:
        host = context.release.host
        install = ChartInstall(step.step, settings.namespace, host.kubernetes if host else None)
        text = render_chart(helm, data, values, install, where)
        fields = image_fields(text, where)
        places = image_places(context, chart, settings)
        _check_listed(fields, places)
        fields += texts_that_are(text, where, {reference for reference in places if ":" in reference})
        text = replace_images(text, fields, places)
        version = chart_facts(data, where)[1]
        manifests = split_manifests(text, where)
    except MalformedError as error:
        remedy = (
            error.remedy if error.finding == "image-not-listed" else "correct `config` in site.yaml, or ask the vendor"
        )
        raise RefusedError(error.problem, where=error.where, remedy=remedy, finding=error.finding) from None
    crds = [manifest for manifest in manifests if manifest.kind == CRD and not manifest.hook]
    objects = [manifest for manifest in manifests if manifest not in crds]
    return Rendered(joined(objects), joined(crds), version, where)


def image_places(context: DriverContext, chart: Chart, settings: HelmDriverFile) -> dict[str, str]:
    """Return by what each reference of a chart is replaced: the image in the site's registry, by digest."""
    at = context.images_at
    if at is None and not chart.references:
        return {}
    if at is None:
        problem = f"the images of chart {chart.name} lie in the site's registry, and site.yaml names none"
        raise settings_error(problem, "registry", "add `registry:` with its endpoint under `drivers:` in site.yaml")
    if settings.registry is not None:
        at = "/".join((settings.registry, *at.split("/")[1:]))
    places = {}
    for reference in chart.references:
        image = context.release.image(reference.image)
        places[reference.reference] = f"{at}/{image.to}@{image.manifest.digest}"
    return places


def write_staged(context: DriverContext, step: InstallStep, rendered: Rendered) -> None:
    """Write the charts of a step into the generation's folder, durably; whatever lies there is replaced."""
    folder = staged_folder(context, step)
    staging = folder.with_name(f".{folder.name}.new")
    files = dict(_files(step, rendered))
    record = StagedChart(
        chart=chart_of(step, context).digest,
        version=rendered.version or "0",
        files=tuple(StagedFile(path=path, digest=digest_of(data)) for path, data in sorted(files.items())),
    )
    with host_errors(folder):
        disk = context.disk
        disk.make_folder(folder.parent)
        disk.remove_tree(staging)
        disk.remove_tree(folder)
        disk.make_folder(staging, durable=False)
        for path, data in {**files, RECORD: encode(record)}.items():
            disk.make_folder((staging / path).parent, durable=False)
            disk.write_new(staging / path, data, _MODE)
        for made in sorted({(staging / path).parent for path in files} | {staging}, reverse=True):
            disk.sync_folder(made)
        disk.rename(staging, folder)
        disk.sync_folder(folder.parent)


def read_staged(context: DriverContext, step: InstallStep, generation: int | None = None) -> Rendered | None:
    """Return what a generation installs; None where nothing is staged. Raises DamagedError when a file was changed."""
    folder = staged_folder(context, step, generation)
    try:
        record = parse((folder / RECORD).read_bytes(), StagedChart, str(folder / RECORD), max_bytes=_MAX_RECORD)
        data = {file.path: (folder / file.path).read_bytes() for file in record.files}
    except FileNotFoundError:
        return None
    except (MalformedError, OSError) as error:
        raise _damaged(folder, str(error)) from None
    for file in record.files:
        if digest_of(data[file.path]) != file.digest:
            raise _damaged(folder / file.path, "the file was changed")
    objects, crds = (data.get(name, b"").decode("utf-8", "replace") for name in (OBJECTS, CRDS))
    return Rendered(objects, crds, record.version, f"chart {step.chart}")


def _damaged(path: Path, problem: str) -> DamagedError:
    return DamagedError(
        problem,
        where=str(path),
        remedy="run `waybill recover`; it renders the chart again",
        finding="generation-damaged",
    )


def _check_listed(fields: Iterable[ImageField], places: dict[str, str]) -> None:
    for field in fields:
        if field.reference not in places:
            raise MalformedError(
                f"{field.place} names the image {field.reference}, which the release does not list",
                where=field.source or "chart",
                remedy="correct what names it in `config` of site.yaml, or ask the vendor for a release that lists it",
                finding="image-not-listed",
            )


def _files(step: InstallStep, rendered: Rendered) -> Iterator[tuple[str, bytes]]:
    """Yield the files below the staged folder: what is applied, and the charts that apply exactly that."""
    for name, text, folder in ((OBJECTS, rendered.objects, "chart"), (CRDS, rendered.crds, "crds")):
        if name == CRDS and not text:
            continue
        yield name, text.encode()
        facts = {"apiVersion": "v2", "name": step.chart, "version": rendered.version, "type": "application"}
        yield f"{folder}/Chart.yaml", json.dumps(facts, indent=1).encode()
        yield f"{folder}/templates/{name}", as_template(text).encode()


def as_template(text: str) -> str:
    """Return a template that renders to ``text``."""
    return text.replace("{{", '{{ "{{" }}')


def joined(manifests: Iterable[Manifest]) -> str:
    """Return the text of several objects; their own text stays as it is, to the last empty line."""
    text = "".join(f"---{one.text}" + ("" if one.text.endswith("\n") else "\n") for one in manifests)
    if len(text) > MAX_MANIFESTS:
        problem = f"the rendered manifests have more than {MAX_MANIFESTS} characters"
        raise RefusedError(problem, where="chart", remedy="ask the vendor for a smaller chart")
    return text
