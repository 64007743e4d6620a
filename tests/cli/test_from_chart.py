"""From a chart to a bundle that verifies: the commands that `init` prints, and nothing is typed that the chart says."""

import json
import re
from pathlib import Path

import pytest

from content.registry.client import Registry
from content.registry.session import RegistryOptions
from tests.images import LayoutWriter, app_files
from tests.real import docker_registry, put_helm_on_path
from tests.waybill import waybill

MOST_COMMANDS = 6
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: {name}, image: "{{{{ .Values.registry }}}}/{name}:1.0"}}]}}
"""


def _push(folder: Path, host: str, name: str) -> None:
    writer = LayoutWriter(folder / name)
    image = writer.image([app_files(name)])
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (folder / name / "blobs" / "sha256").iterdir()}
    with Registry(host, RegistryOptions(plain_http=True)) as client:
        for digest, data in blobs.items():
            if digest != image.digest:
                client.push_blob(name, digest, len(data), lambda data=data: iter([data]))  # type: ignore[misc]
        client.push_manifest(name, "1.0", blobs[image.digest], image.media_type)


def test_from_a_chart_to_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_helm_on_path(monkeypatch)
    with docker_registry(tmp_path / "registry") as registry:
        chart = tmp_path / "pump"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: pump\nversion: 1.2.3\n")
        (chart / "values.yaml").write_text(f"# where the images are\nregistry: {registry.host}\n")
        for name in ("api", "worker"):
            (chart / "templates" / f"{name}.yaml").write_text(DEPLOYMENT.format(name=name))
            _push(tmp_path / "images", registry.host, name)

        made = waybill("init", "acme", "--from", "pump", cwd=tmp_path)
        assert made.code == 0, made
        printed = re.findall(r"^  (waybill .*)$", made.out, re.MULTILINE)
        assert 1 + len(printed) <= MOST_COMMANDS
        for command in printed:
            more = ["--plain-http", registry.host] if " build " in command else []
            done = waybill(*command.split()[1:], *more, cwd=tmp_path)
            assert done.code == 0, done
    assert "complete" in done.out
    shown = json.loads(waybill("show", "acme/out/acme-1.2.3.tar", "--json", cwd=tmp_path).out)
    text = json.dumps(shown)
    for name in ("api", "worker"):
        assert f"{name}:1.0" in text
    assert "decide:\n  release.yaml audience" in made.out
