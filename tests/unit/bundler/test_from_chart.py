"""`waybill init --from CHART`: what a chart says is in the folder, and what it does not say is named."""

import json
import re
from pathlib import Path

import pytest

from bundler.chart_folder import decisions, files_from_chart
from bundler.from_chart import read_chart
from bundler.init import init_folder
from bundler.values_schema import schema_of_values
from manifests.authored.handwritten import read_handwritten
from manifests.authored.release_yaml import ReleaseFile
from manifests.authored.release_yaml_checks import release_problems
from manifests.foreign.config_schema import check_config_schema
from manifests.words.errors import HostError, MalformedError, UsageError
from tests.real import put_helm_on_path

VALUES = """\
# How many run at once
replicas: 2
image:
  # -- where it is
  repository: quay.io/acme/pump
  tag: ""
ratio: 0.5
debug: false
auth: {password: "", existingSecret: null}
hosts: []
resources: {}
"""
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
        - name: web
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          readinessProbe: {httpGet: {path: /healthz, port: 8080}}
"""
DATABASE = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  template: {spec: {containers: [{name: db, image: "postgres:15"}]}}
  volumeClaimTemplates: [{metadata: {name: data}}]
"""
HOOK = """\
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, annotations: {"helm.sh/hook": pre-upgrade}}
spec: {template: {spec: {containers: [{name: m, image: "quay.io/acme/pump:4.5"}]}}}
"""


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    put_helm_on_path(monkeypatch)
    folder = tmp_path / "pump"
    (folder / "templates").mkdir(parents=True)
    about = 'apiVersion: v2\nname: pump\nversion: 1.2.3\nappVersion: "4.5"\nkubeVersion: ">=1.25.0-0"\n'
    (folder / "Chart.yaml").write_text(about)
    (folder / "values.yaml").write_text(VALUES)
    for name, text in (("web", WEB), ("db", DATABASE), ("hook", HOOK)):
        (folder / "templates" / f"{name}.yaml").write_text(text)
    return folder


def _make(chart: Path, target: Path, *values: Path) -> dict[str, str]:
    texts = files_from_chart(read_chart(chart, values), target)
    target.parent.mkdir(exist_ok=True)
    init_folder(target, product="acme", vendor="acme-works", issued_at="2026-11-20T09:00:00Z", instead=texts)
    return {path.name: path.read_text() for path in target.iterdir() if path.is_file()}


def test_the_folder(chart: Path, tmp_path: Path) -> None:
    texts = _make(chart, tmp_path / "vendor" / "acme")
    assert set(texts) == {
        ".gitignore",
        "NOTES.md",
        "config.schema.json",
        "contract.yaml",
        "policy.example.yaml",
        "release.yaml",
        "rollback.yaml",
        "site.example.yaml",
        "trust.yaml",
    }
    assert not [text for text in texts.values() if "{{" in text]
    file = read_handwritten(tmp_path / "vendor" / "acme" / "release.yaml")
    release = file.to(ReleaseFile)
    assert list(release_problems(file, release)) == []
    assert [(image.name, image.from_, image.to) for image in release.images] == [
        ("pump", "quay.io/acme/pump:4.5", "acme/pump:4.5"),
        ("postgres", "postgres:15", "library/postgres:15"),
    ]
    assert release.charts[0].from_ == "../../pump"
    assert release.version == "1.2.3"
    assert release.host is not None
    assert release.host.kubernetes == "1.25"
    assert [(step.step, step.driver, step.images) for step in release.install] == [
        ("images", "registry", "all"),
        ("app", "helm", ()),
    ]
    places = re.findall(r"- name: (\S+) +# (\S+)", texts["release.yaml"])
    assert places == [("pump", "values.yaml:5"), ("postgres", "templates/db.yaml:5")]
    assert "{endpoint: web, path: /healthz, status: 200}" in texts["release.yaml"]
    assert "decide: the chart has StatefulSet db" in texts["rollback.yaml"]
    assert "decide: the chart has the hook Job migrate (pre-upgrade)" in texts["rollback.yaml"]


def test_what_no_chart_says_is_listed(chart: Path) -> None:
    listed = "\n".join(decisions(read_chart(chart)))
    texts = ("customers and environments", "image pump", "StatefulSet db", "Job migrate (pre-upgrade)", "auth.password")
    assert [text for text in texts if text not in listed] == []


def test_the_schema_is_made_of_the_values(chart: Path) -> None:
    facts = read_chart(chart)
    schema = json.loads(facts.schema)
    check_config_schema(facts.schema, "schema")
    assert facts.schema_source == "made of the chart's values.yaml; narrow it"
    assert {name: one.get("type") for name, one in schema["properties"].items()} == {
        "replicas": "integer",
        "image": "object",
        "ratio": "number",
        "debug": "boolean",
        "auth": "object",
        "hosts": "array",
        "resources": "object",
        "global": "object",
    }
    assert schema["properties"]["replicas"]["description"] == "How many run at once"
    assert schema["properties"]["image"]["properties"]["repository"]["description"] == "where it is"
    assert schema["properties"]["auth"]["properties"]["existingSecret"] == {}


def test_the_schema_of_the_chart_is_taken(chart: Path) -> None:
    own = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["replicas"]}
    (chart / "values.schema.json").write_text(json.dumps(own))
    facts = read_chart(chart)
    assert facts.schema_source == "the chart's values.schema.json"
    assert json.loads(facts.schema)["required"] == ["replicas"]
    own["$ref"] = "https://example.com/other.json"
    (chart / "values.schema.json").write_text(json.dumps({"properties": {"a": own}}))
    with pytest.raises(MalformedError, match="helm does not render it"):
        read_chart(chart)
    (chart / "values.schema.json").write_text(json.dumps({"$anchor": "x"}))
    assert "values.schema.json cannot be carried" in read_chart(chart).schema_source


def test_dependencies_may_be_set(chart: Path) -> None:
    about = {"dependencies": [{"name": "redis", "alias": "cache"}]}
    schema = json.loads(schema_of_values(b"a: 1\n", about, "chart"))
    assert set(schema["properties"]) == {"a", "cache", "global"}


def test_a_chart_that_needs_values(chart: Path, tmp_path: Path) -> None:
    (chart / "templates" / "need.yaml").write_text('{{ $_ := required "say the site" .Values.site }}')
    with pytest.raises(MalformedError, match="say the site") as error:
        read_chart(chart)
    assert "--values FILE" in error.value.remedy
    (tmp_path / "site.yaml").write_text("site: a\n")
    texts = _make(chart, tmp_path / "acme", tmp_path / "site.yaml")
    assert 'values: ["../site.yaml"]' in texts["release.yaml"]


@pytest.mark.parametrize("name", ["file.yaml", "folder"])
def test_what_is_no_chart(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.yaml").write_text("a: 1\n")
    with pytest.raises(UsageError, match="neither a chart's folder"):
        read_chart(tmp_path / name)


def test_without_helm(chart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(chart))
    with pytest.raises(HostError, match="no program helm"):
        read_chart(chart)
