"""Charts of three shapes through their whole life, by a real Helm in a real control plane."""

from pathlib import Path

import pytest

from manifests.words.errors import RolledBackError
from tests.charts import REGISTRY, WEB, ChartVendor, cluster_place, configure
from tests.cluster import Cluster
from tests.place import Place
from tests.vendor import Vendor
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.change.driver_steps import observe
from verifier.change.route import plan_change
from verifier.reporting.report_observe import observe_site
from verifier.runtime.drivers.driver import Component, load_driver

pytestmark = pytest.mark.slow


def image_of(vendor: Vendor) -> str:
    (image,) = vendor.blobs()[2]
    return f"{REGISTRY}/plant/small/api@{image.manifest.digest}"


def deployments(cluster: Cluster, namespace: str) -> dict[str, str]:
    """The image of the first container of each Deployment."""
    listed = cluster.objects(f"/apis/apps/v1/namespaces/{namespace}/deployments")
    return {name: item["spec"]["template"]["spec"]["containers"][0]["image"] for name, item in listed.items()}


def seen(place: Place) -> dict[str, Component]:
    components = observe(place.open(), load_driver)
    return {one.name: one for one in components if one.step not in ("images",)}


def problems(place: Place) -> list[str]:
    return [one.problem for one in seen(place).values() if one.problem]


def work(place: Place, item: str) -> list[str]:
    site = place.open()
    review = make_review(read_review_input(site, plan_change(site, item), load_driver))
    return [line for line in review.work if line.startswith("web: ")]


@pytest.fixture
def web(tmp_path: Path) -> ChartVendor:
    return ChartVendor(tmp_path / "vendor", "web", WEB)


def test_a_web_service_from_install_to_offboarding(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    place.bring(first.write(tmp_path / "1.tar"))
    assert deployments(cluster, namespace) == {"web": image_of(first)}
    config = cluster.objects(f"/api/v1/namespaces/{namespace}/configmaps")["web-config"]
    assert config["data"] == {"greeting": "hello", "mode": "0640", "braces": "{{ not a template }}"}
    assert {name: (one.problem, one.level) for name, one in seen(place).items()} == {
        "web": ("", "running"),
        "deployment/web": ("", "running"),
    }

    # The review names every object that changes, and a Secret's content never.
    changed = WEB["templates/service.yaml"].replace("port: 80,", "port: 81,")
    second = web.release(2, templates_service_yaml=changed)
    configure(place, greeting="good day", password="canary-pass-9")
    item = place.receive(second.write(tmp_path / "2.tar")).item
    lines = work(place, item)
    assert "web: change Service web: spec.ports[0].port 80 to 81" in lines
    assert "web: create Secret web-login" in lines
    assert any(line.startswith("web: change ConfigMap web-config: data.greeting hello to good day") for line in lines)
    assert any(f"{image_of(first)[:40]}" in line for line in lines)
    assert "canary-pass-9" not in "\n".join(lines)
    place.approve(item)
    place.install(item)
    assert deployments(cluster, namespace) == {"web": image_of(second)}
    assert problems(place) == []

    # An upgrade whose pods never become ready goes back by itself.
    third = web.release(3)
    cluster.node.failing.add(image_of(third))
    item = place.receive(third.write(tmp_path / "3.tar")).item
    place.approve(item)
    result = place.install(item)
    assert isinstance(result.error, RolledBackError), result.error
    assert deployments(cluster, namespace) == {"web": image_of(second)}
    assert problems(place) == []
    assert cluster.objects(f"/api/v1/namespaces/{namespace}/services")["web"]["spec"]["ports"][0]["port"] == 81

    # Back to the first generation, with its config and without what the second brought.
    assert place.rollback(1, "ops-1").error is None
    assert deployments(cluster, namespace) == {"web": image_of(first)}
    assert "web-login" not in cluster.objects(f"/api/v1/namespaces/{namespace}/secrets")
    config = cluster.objects(f"/api/v1/namespaces/{namespace}/configmaps")["web-config"]
    assert config["data"]["greeting"] == "hello"
    assert problems(place) == []

    # Somebody changes the cluster.
    path = f"/api/v1/namespaces/{namespace}/configmaps/web-config"
    cluster.request("PATCH", path, {"data": {"greeting": "bye"}}, kind="application/merge-patch+json")
    assert "changed: ConfigMap web-config (data.greeting)" in problems(place)[0]
    cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/services/web")
    assert "missing: Service web" in problems(place)[0]
    (part,) = (one for one in observe_site(place.open(), place.clock.at).components if one.kind == "chart")
    assert (part.name, part.found, part.level) == ("web", "differs", "running")
