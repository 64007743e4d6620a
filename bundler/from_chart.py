"""Read from a chart what a vendor folder needs: its images, its values, what it runs, what it keeps."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bundler.values_schema import schema_of_values
from content.bundle.charts import chart_file, collect_chart
from content.kubernetes.chart_places import place_of
from content.kubernetes.image_names import taken_images
from content.kubernetes.objects import ImageField, image_fields, objects_of
from content.kubernetes.render import ChartInstall, find_program, render_chart
from manifests.authored.release_yaml import ChartFile, ChartImagesFile, ImageFile
from manifests.foreign.config_schema import DIALECT, MAX_SCHEMA, schema_problems
from manifests.trust.keys import read_capped
from manifests.words.errors import MalformedError, UsageError
from manifests.words.version import parse_version

MAX_VALUES = 1 << 20
_WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")
_SECRET = re.compile(r"passw|token|secret|credential|private.?key|api.?key", re.IGNORECASE)


@dataclass(frozen=True)
class FoundImage:
    """An image that the chart names.

    Attributes:
        place: File and line in the chart, or the object and its field.
    """

    image: ImageFile
    place: str


@dataclass(frozen=True)
class ChartFacts:
    """What a chart says about a release.

    Attributes:
        name: Of the chart.
        kubernetes: The oldest version, as ``1.25``; empty when it states none.
        schema: Of the values, a JSON Schema of the subset that releases have.
        schema_source: Where it comes from, in words.
        keeps: Objects that keep data, as ``StatefulSet db``.
        hooks: Jobs that run before or after an install, as ``Job migrate (pre-upgrade)``.
        answers: Readiness checks over HTTP, as (workload, port, path).
        secrets: Values whose names look like secrets, as ``auth.password``.
    """

    path: Path
    name: str
    version: str
    kubernetes: str
    values: tuple[Path, ...]
    images: tuple[FoundImage, ...]
    schema: bytes
    schema_source: str
    keeps: tuple[str, ...]
    hooks: tuple[str, ...]
    answers: tuple[tuple[str, str, str], ...]
    secrets: tuple[str, ...]


def read_chart(path: Path, values: tuple[Path, ...] = ()) -> ChartFacts:
    """Render the chart with its defaults, or with ``values``, and read it.

    Raises:
        UsageError: ``path`` is no chart.
        MalformedError: Helm would not load or render it.
        HostError: It cannot be read, or this host has no helm.
    """
    if not ((path / "Chart.yaml").is_file() if path.is_dir() else path.name.endswith((".tgz", ".tar.gz"))):
        problem = "is neither a chart's folder, which has a Chart.yaml, nor a .tgz of `helm package`"
        raise UsageError(problem, where=str(path), remedy="name a chart: waybill init DIR --from charts/NAME")
    helm = find_program("helm")
    archive = collect_chart(path)
    chart = _mapping(chart_file(archive, "Chart.yaml", str(path)) or b"", f"{path} Chart.yaml")
    defaults = chart_file(archive, "values.yaml", str(path)) or b""
    given = tuple(read_capped(file, MAX_VALUES) for file in values)
    name, kubernetes = str(chart["name"]), _kubernetes(str(chart.get("kubeVersion", "")))
    try:
        text = render_chart(helm, archive, given, ChartInstall(name, kubernetes=kubernetes or None), str(path))
    except MalformedError as error:
        remedy = "write the values that it needs into a file, and add --values FILE"
        raise error.with_(remedy=remedy) from None
    objects = objects_of(text, str(path))
    schema, source = _schema(path, archive, defaults, chart)
    return ChartFacts(
        path=path,
        name=name,
        version=_version(str(chart["version"]), path),
        kubernetes=kubernetes,
        values=values,
        images=tuple(_images(path, name, image_fields(text, str(path)))),
        schema=schema,
        schema_source=source,
        keeps=tuple(_keeps(objects)),
        hooks=tuple(_hooks(objects)),
        answers=tuple(_answers(objects)),
        secrets=tuple(key for key in _keys(_mapping(defaults, f"{path} values.yaml")) if _SECRET.search(key)),
    )


def _images(path: Path, name: str, fields: Iterable[ImageField]) -> Iterator[FoundImage]:
    first: dict[str, ImageField] = {}
    for field in fields:
        first.setdefault(field.reference, field)
    undecided = ChartImagesFile(signed_by="none", reason="not decided yet", sbom="none", sbom_reason="not decided yet")
    chart = ChartFile(name=name.lower(), from_=str(path), images_from="chart", images=undecided)
    for field, image in zip(first.values(), taken_images(chart, first, ()), strict=True):
        yield FoundImage(image, place_of(path, field) or f"{field.source} {field.place}".strip())


def _version(text: str, path: Path) -> str:
    version = text.removeprefix("v").lower()
    try:
        parse_version(version)
    except MalformedError:
        problem = f"the chart's version {text!r} is not three numbers (SemVer)"
        raise MalformedError(problem, where=f"{path} Chart.yaml", remedy="write version: 1.0.0") from None
    return version


def _kubernetes(wanted: str) -> str:
    """The version in ``>=1.25.0-0``; a range that says more is left to a person."""
    match = re.fullmatch(r">=? ?v?(\d{1,3}\.\d{1,3})(\.\d+)?(-0)?", wanted.strip())
    return match[1] if match else ""


def _schema(path: Path, archive: bytes, defaults: bytes, chart: Mapping[str, object]) -> tuple[bytes, str]:
    """The chart's own schema where a release may carry it, else one that is made of its values."""
    own = chart_file(archive, "values.schema.json", str(path))
    source = "made of the chart's values.yaml; narrow it"
    if own is not None and len(own) <= MAX_SCHEMA:
        try:
            schema = json.loads(own)
            data = json.dumps({**schema, "$schema": DIALECT}, indent=2, ensure_ascii=False).encode() + b"\n"
            problems = schema_problems(data, f"{path} values.schema.json")
        except (ValueError, TypeError, RecursionError):
            return schema_of_values(defaults, chart, str(path)), f"{source}; values.schema.json is no JSON object"
        if not problems:
            return data, "the chart's values.schema.json"
        source += f"; values.schema.json cannot be carried: {problems[0].problem}"
    return schema_of_values(defaults, chart, str(path)), source


def _keeps(objects: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for item in objects:
        claims = item.get("kind") == "StatefulSet" and _at(item, "spec", "volumeClaimTemplates")
        if claims or item.get("kind") == "PersistentVolumeClaim":
            yield f"{item['kind']} {_at(item, 'metadata', 'name')}"


def _hooks(objects: Iterable[Mapping[str, object]]) -> Iterator[str]:
    for item in objects:
        hook = _at(item, "metadata", "annotations", "helm.sh/hook")
        if hook is not None:
            yield f"{item['kind']} {_at(item, 'metadata', 'name')} ({hook})"


def _answers(objects: Iterable[Mapping[str, object]]) -> Iterator[tuple[str, str, str]]:
    for item in objects:
        containers = _at(item, "spec", "template", "spec", "containers") if item.get("kind") in _WORKLOADS else None
        for container in containers if isinstance(containers, list) else ():
            check = _at(container, "readinessProbe", "httpGet")
            if isinstance(check, dict):
                yield str(_at(item, "metadata", "name")), str(check.get("port", "")), str(check.get("path", "/"))


def _keys(values: object, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            if isinstance(value, dict) and value:
                yield from _keys(value, f"{prefix}{key}.")
            elif not isinstance(value, bool):
                yield f"{prefix}{key}"


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _mapping(data: bytes, what: str) -> dict[str, object]:
    try:
        value = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MalformedError(f"not YAML: {' '.join(str(error).split())[:200]}", where=what) from None
    return value if isinstance(value, dict) else {}
