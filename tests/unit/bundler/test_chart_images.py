"""No image of a chart is forgotten: what Helm renders is compared with the images of the release, at build and lint."""

from pathlib import Path
from typing import Any

import pytest

from content.bundle.head import open_head
from content.commands.lint import lint
from content.trust.head import verify_head
from manifests.documents.release import Release
from manifests.words.errors import HostError, MalformedError
from tests.images import sbom, tiny_layout
from tests.real import put_helm_on_path
from tests.workshop import Workshop

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- if .Values.metrics }}
        - name: metrics
          image: registry.example.com/metrics:0.9
{{- end }}
"""
HOOK = """\
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {"helm.sh/hook": pre-upgrade}}
spec: {template: {spec: {containers: [{name: a, image: registry.example.com/web:1.0.0}]}}}
"""
TEST = HOOK.replace("pre-upgrade", "test").replace("registry.example.com/web:1.0.0", "busybox")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A chart and its image, which is in a layout under the name that the chart uses."""
    put_helm_on_path(monkeypatch)
    made = Workshop(tmp_path / "vendor")
    made.write("charts/web/Chart.yaml", 'apiVersion: v2\nname: web\nversion: 0.1.0\nappVersion: "1.0.0"\n')
    made.write("charts/web/values.yaml", "image:\n  repository: registry.example.com/web\nmetrics: false\n")
    made.write("charts/web/templates/web.yaml", DEPLOYMENT)
    made.write("charts/web/templates/hook.yaml", HOOK)
    made.write("charts/web/templates/test.yaml", TEST)
    made.release["charts"] = [{"name": "web", "from": "charts/web"}]
    made.write("sbom.json", sbom("1.0.0"))
    return made


def _add(shop: Workshop, name: str, **changes: Any) -> None:
    tiny_layout(shop.path / "dist" / name, "1.0.0")
    shop.image(name, **changes)


def _built(shop: Workshop) -> Release:
    return verify_head(open_head(shop.build().path), shop.pin()).release


def _references(release: Release) -> dict[str, str]:
    return {one.reference: one.image for one in release.charts[0].references}


def test_an_image_of_a_chart_that_is_missing(shop: Workshop) -> None:
    with pytest.raises(
        MalformedError, match=r"names the image registry\.example\.com/web:1\.0\.0, which is not in"
    ) as error:
        shop.build()
    assert error.value.where == f"{shop.path}/charts/web/values.yaml:2"
    assert "{name: web, from: registry.example.com/web:1.0.0, to: web, signed_by: none" in error.value.remedy
    problems = lint(shop.save()).problems
    assert [(one.where, one.finding) for one in problems] == [(error.value.where, "image-not-listed")]


def test_the_line_of_the_hint_is_what_was_missing(shop: Workshop) -> None:
    shop.write("charts/web/values.yaml", "image:\n  repository: registry.example.com/web\nmetrics: true\n")
    problems = lint(shop.save()).problems
    assert [one.where.rsplit("/", 1)[-1] for one in problems] == ["values.yaml:2", "web.yaml:12"]


def test_references_are_in_the_release(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    release = _built(shop)
    assert _references(release) == {"registry.example.com/web:1.0.0": "app"}
    assert lint(shop.save()).problems == ()


def test_named_values_are_rendered_too(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    shop.write("with-metrics.yaml", "metrics: true\n")
    shop.release["charts"][0]["values"] = ["with-metrics.yaml"]
    with pytest.raises(MalformedError, match=r"names the image registry\.example\.com/metrics:0\.9"):
        shop.build()
    _add(shop, "metrics", known_as=["registry.example.com/metrics:0.9"])
    assert sorted(_references(_built(shop)).values()) == ["app", "metrics"]


def test_values_that_do_not_render(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    shop.write("charts/web/templates/need.yaml", '{{ required "say the site" .Values.site }}')
    with pytest.raises(MalformedError, match=r"helm does not render it: .*say the site"):
        shop.build()
    shop.write("site.yaml", "site: a\n")
    shop.write("charts/web/templates/need.yaml", '{{ $_ := required "say the site" .Values.site }}')
    shop.release["charts"][0]["values"] = ["site.yaml"]
    built = shop.build()
    assert [one.finding for one in built.findings] == ["chart-needs-values"]
    shop.release["charts"][0]["values"] = ["gone.yaml"]
    assert "there is no gone.yaml" in [one.problem for one in lint(shop.save()).problems]


def test_a_digest_decides(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    digest = _built(shop).images[0].manifest.digest
    shop.write(
        "charts/web/values.yaml",
        f'image: {{repository: registry.example.com/web, tag: "1.0.0@{digest}"}}\nmetrics: false\n',
    )
    (shop.path / "out" / "small-1.0.0.tar").unlink()
    assert _references(_built(shop))[f"registry.example.com/web:1.0.0@{digest}"] == "app"
    other = f"sha256:{'0' * 64}"
    shop.write(
        "charts/web/values.yaml",
        f'image: {{repository: registry.example.com/web, tag: "1.0.0@{other}"}}\nmetrics: false\n',
    )
    (shop.path / "out" / "small-1.0.0.tar").unlink()
    with pytest.raises(MalformedError, match="no image of this release has this digest"):
        shop.build()


def test_fields_of_custom_resources(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    resource = (
        "apiVersion: example.com/v1\nkind: Database\nmetadata: {name: db}\nspec: {image: registry.example.com/db:15}\n"
    )
    shop.write("charts/web/templates/db.yaml", resource)
    built = shop.build()
    assert [(one.finding, "Database db spec.image" in one.text) for one in built.findings] == [
        ("image-suspected", True)
    ]
    shop.release["charts"][0]["image_fields"] = [{"kind": "Database", "path": "spec.image"}]
    with pytest.raises(MalformedError, match=r"names the image registry\.example\.com/db:15"):
        shop.build(out=shop.path / "other")


def test_a_chart_that_is_never_the_same(shop: Workshop) -> None:
    _add(shop, "app", known_as=["registry.example.com/web:1.0.0"])
    shop.write("charts/web/templates/s.yaml", "apiVersion: v1\nkind: Secret\nstringData: {p: {{ randAlphaNum 20 }}}\n")
    assert [one.finding for one in shop.build().findings] == ["chart-not-constant"]


def test_helm_is_needed_where_a_chart_gives_the_images(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(shop.path))
    shop.release["charts"][0] |= {"images_from": "chart", "images": {"signed_by": "none", "reason": "built here"}}
    with pytest.raises(HostError, match="no program helm"):
        shop.build()


def test_images_from_and_images_go_together(shop: Workshop) -> None:
    shop.release["charts"][0] |= {"images_from": "chart"}
    with pytest.raises(MalformedError, match="`images_from: chart` and `images` go together"):
        shop.build()
    shop.release["charts"][0] |= {"images": {"signed_by": "none"}}
    with pytest.raises(MalformedError, match="an image that nobody signed needs a `reason`"):
        shop.build()
