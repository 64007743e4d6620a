"""The files of a vendor folder that are made from a chart; what no chart says is marked `decide:`."""

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from bundler.from_chart import ChartFacts, FoundImage

DECIDE = "decide:"


def files_from_chart(facts: ChartFacts, target: Path) -> dict[str, str]:
    """Return texts by name inside the folder; ``{{product}}`` and ``{{issued_at}}`` are left to fill."""
    templates = resources.files("bundler") / "chart_templates"
    release, site = ((templates / name).read_text(encoding="utf-8") for name in ("release.yaml", "site.example.yaml"))
    texts = {
        "{{version}}": facts.version,
        "{{host}}": _host(facts),
        "{{images}}": _images(facts),
        "{{chart}}": facts.name.lower(),
        "{{from}}": _from(facts.path, target),
        "{{values}}": _values(facts, target),
        "{{schema}}": f"{facts.schema_source}; the version grows when it changes",
        "{{install}}": _install(facts),
        "{{probes}}": "".join(_probes(facts)),
    }
    for key, text in texts.items():
        release = release.replace(key, text)
    registry = "  registry: {endpoint: FILL-IN}                      # where the cluster pulls its images\n"
    return {
        "release.yaml": release,
        "site.example.yaml": site.replace("{{registry}}", registry if facts.images else ""),
        "config.schema.json": facts.schema.decode("utf-8"),
        "rollback.yaml": _rollback(facts),
        "contract.yaml": _template("contract.yaml").replace("{probe: answers}", "{probe: ready}"),
    }


def decisions(facts: ChartFacts) -> tuple[str, ...]:
    """What a person has to decide, each with the file and its key."""
    lines = ["release.yaml audience: which customers and environments may install it"]
    for image in facts.images:
        lines.append(f"release.yaml image {image.image.name}: who signed it, and its SBOM")
    if facts.keeps:
        lines.append(f"rollback.yaml class, backup: {', '.join(facts.keeps)} keep data")
    if facts.hooks:
        lines.append(f"rollback.yaml class: {', '.join(facts.hooks)}, which a way back does not undo")
    if facts.secrets:
        shown = ", ".join(facts.secrets[:5]) + (" and others" if len(facts.secrets) > 5 else "")
        lines.append(f"config.schema.json {shown}: many read the config; name a Secret of the cluster instead")
    return tuple(lines)


def _host(facts: ChartFacts) -> str:
    if not facts.kubernetes:
        return ""
    return f'host: {{kubernetes: "{facts.kubernetes}"}}{" " * 16}# or newer, as Chart.yaml says\n'


def _images(facts: ChartFacts) -> str:
    if not facts.images:
        return "# images:                               # the chart names none\n"
    lines = [f"images:                                  # {DECIDE} who signed each, and its SBOM"]
    for found_image in facts.images:
        lines += _image(found_image, facts.path)
    return "\n".join((*lines, ""))


def _image(found_image: FoundImage, chart: Path) -> Iterator[str]:
    image = found_image.image
    place = found_image.place.removeprefix(f"{chart}/")
    yield f"  - name: {image.name:<34} # {place}"
    yield f'    from: "{image.from_}"'
    yield f'    to: "{image.to}"'
    yield "    signed_by: none"
    yield f"    reason: {image.reason}"
    yield "    sbom: none"
    yield f"    sbom_reason: {image.sbom_reason}"


def _from(path: Path, target: Path) -> str:
    return _quoted(os.path.relpath(path, target))


def _values(facts: ChartFacts, target: Path) -> str:
    """The files of values with which the chart was rendered, and places for what rendering does not show."""
    lines = []
    if facts.values:
        lines.append(f"    values: [{', '.join(_from(path, target) for path in facts.values)}]")
    lines.append("    # values: [ci/other.yaml]            # render it with these values too: no image is forgotten")
    lines.append("    # image_fields: [{kind: Database, path: spec.image}]   # where custom resources name images")
    return "\n".join((*lines, ""))


def _install(facts: ChartFacts) -> str:
    lines = ["  - {step: images, driver: registry, images: all}"] if facts.images else []
    after = ", after: [images]" if facts.images else ""
    lines.append(f"  - {{step: app, driver: helm, chart: {facts.name.lower()}{after}}}")
    return "\n".join((*lines, ""))


def _probes(facts: ChartFacts) -> Iterator[str]:
    for workload, port, path in facts.answers:
        yield (
            f"  # - {{name: {workload}-answers, http: {{endpoint: {workload}, path: {path}, status: 200}}}}"
            f"   # its readiness check, at port {port}\n"
        )


def _rollback(facts: ChartFacts) -> str:
    text = _template("rollback.yaml")
    notes = [f"# {DECIDE} the chart has {name}, which keeps data that an upgrade may change.\n" for name in facts.keeps]
    notes += [f"# {DECIDE} the chart has the hook {name}; a way back does not undo it.\n" for name in facts.hooks]
    head, line, rest = text.partition("class: stateless")
    return "".join((head, *notes, line, rest))


def _template(name: str) -> str:
    return (resources.files("bundler") / "templates" / name).read_text(encoding="utf-8")


def _quoted(text: str) -> str:
    plain = text.replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    return text if plain and text[0] not in ".-" else f'"{text}"'
