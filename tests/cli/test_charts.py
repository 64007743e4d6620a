"""A chart from the vendor's folder to a real cluster and home again, by the commands that people type."""

import json
import os
from pathlib import Path

import pytest

from tests.charts import WEB
from tests.cli.test_loop import SITE_ID, enrolled, install, ok
from tests.cluster import KUBE, TOKEN, Cluster, kube_tool
from tests.images import tiny_layout
from tests.interop.test_helm import deployments
from tests.real import docker_registry
from tests.waybill import waybill

pytestmark = pytest.mark.slow

RELEASE = """\
waybill: 1
product: shop
version: "{version}"
channel: stable
sequence: {sequence}
issued_at: "2026-0{sequence}-01T00:00:00Z"
audience: {{customers: [northern-grid], environments: [production]}}
needs: {{verifier: "0.1", trust_root: 1, from: [{back}], fresh: true}}
floor: 1
images:
  - name: api
    from: oci:dist/{version}
    known_as: ["registry.vendor.example/small/api:1.0"]
    to: shop/api
    signed_by: none
    reason: a test
    sbom: none
    sbom_reason: the base has no package database
charts:
  - {{name: web, from: chart}}
contract: contract.yaml
rollback: rollback.yaml
install:
  - {{step: images, driver: registry, images: all}}
  - {{step: web, driver: helm, chart: web, after: [images]}}
probes:
  - {{name: answers, step: web}}
trial: {{at_most: 20s, confirm: probes}}
"""


def release(vendor: Path, version: str, sequence: int) -> None:
    back = '">=1.0.0, <1.1.0"' if sequence > 1 else ""
    (vendor / "release.yaml").write_text(RELEASE.format(version=version, sequence=sequence, back=back))
    rollback = (vendor / "rollback.yaml").read_text()
    lines = [line for line in rollback.splitlines() if not line.startswith("back_to:")]
    (vendor / "rollback.yaml").write_text("\n".join([*lines, f"back_to: [{back}]"]) + "\n")
    tiny_layout(vendor / "dist" / version, version)
    replicas = f"replicas: {sequence}\n"
    chart = {**WEB, "Chart.yaml": f"apiVersion: v2\nname: web\nversion: {version}\n"}
    for path, text in chart.items():
        (vendor / "chart" / path).parent.mkdir(parents=True, exist_ok=True)
        (vendor / "chart" / path).write_text(text.replace("replicas: 2\n", replicas))


def test_a_chart_from_a_folder_to_a_cluster_and_home(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helm = kube_tool("helm")
    monkeypatch.setenv("PATH", f"{KUBE}{os.pathsep}{os.environ['PATH']}")
    namespace = cluster.namespace()
    vendor, media = tmp_path / "vendor", [tmp_path / "m1", tmp_path / "m2"]
    ok(waybill("init", vendor, "--product", "shop"))
    for sequence, version in enumerate(("1.0.0", "1.1.0"), 1):
        release(vendor, version, sequence)
        after = ["--after", media[0] / "shop-1.0.0.tar"] if sequence > 1 else []
        ok(waybill("build", vendor / "release.yaml", "-o", media[sequence - 1], *after))
    with docker_registry(tmp_path / "there") as there:
        drivers = (
            f"drivers:\n  registry: {{endpoint: '{there.host}', prefix: vendor, plain_http: true}}\n"
            f'  helm: {{kubeconfig: {{secret: "file:secrets/kubeconfig"}}, namespace: {namespace}, program: {helm}}}\n'
        )
        site = enrolled(tmp_path, vendor, media[0], drivers)
        cluster.write_kubeconfig(site / "secrets" / "kubeconfig")
        ok(install(site, tmp_path, media[0], "1.0.0"))
        (image,) = deployments(cluster, namespace).values()
        assert image.startswith(f"{there.host}/vendor/shop/api@sha256:")
        # The registry has what the cluster will pull.
        assert there.blob_path(image.rpartition("@")[2]).is_file()

        ok(waybill("receive", media[1], "--site", site))
        review = ok(waybill("review", "r-1.1.0", "--site", site)).out
        assert "web: change Deployment web: spec.replicas 1 to 2" in " ".join(review.split())
        ok(waybill("approve", "r-1.1.0", "--key", tmp_path / "ops-1.key", "--site", site))
        ok(waybill("install", "r-1.1.0", "--site", site))
        (newer,) = deployments(cluster, namespace).values()
        assert newer != image

        # A person scales it by hand: `check` names it, the report says that it differs, and the fleet sees it.
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
        cluster.request("PATCH", path, {"spec": {"replicas": 3}}, kind="application/merge-patch+json")
        cluster.wait(lambda: cluster.request("GET", path)["status"].get("readyReplicas") == 3)
        checked = waybill("check", "--site", site)
        assert "changed: Deployment web (spec.replicas)" in " ".join(f"{checked.out} {checked.err}".split())
        assert "web (differs)" in ok(waybill("report", "--new", "--site", site)).out
        # `recover` applies the chart again.
        ok(waybill("recover", "--site", site))
        assert cluster.request("GET", path)["spec"]["replicas"] == 2
        ok(waybill("rollback", "--reason", "a test", "--key", tmp_path / "ops-1.key", "--site", site))
        assert list(deployments(cluster, namespace).values()) == [image]
        ledger = tmp_path / "ledger"
        ok(waybill("fleet", "enroll", site / "outbox/enrolment.json", "--fleet", ledger))
        imported = ok(waybill("fleet", "import", *media, site / "outbox", "--fleet", ledger), 14).out
        assert "different from the release: chart web (differs)" in " ".join(imported.split())
        shown = ok(waybill("fleet", "show", SITE_ID, "--fleet", ledger)).out
        assert "rolled back from 1.1.0 to 1.0.0" in shown
        kept = [path for path in site.rglob("*") if path.is_file() and path.parent.name != "secrets"]
        assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
        assert "web" in json.dumps(ok(waybill("status", "--site", site, "--json")).json)
