"""Charts of three shapes through their whole life, by a real Helm in a real control plane."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from manifests.documents.release import InstallStep
from manifests.words.errors import HostError, RolledBackError
from tests.charts import OPERATOR, REGISTRY, STORE, WEB, ChartVendor, cluster_place, configure
from tests.cluster import Cluster, kube_tool
from tests.place import Place
from tests.unit.verifier.runtime.drivers.place import Site
from tests.vendor import Vendor
from tests.waybill import PROGRAM, ROOT
from verifier.approval.review import make_review
from verifier.approval.review_input import read_review_input
from verifier.change.driver_steps import observe
from verifier.change.route import plan_change
from verifier.reporting.offboarding import agree_offboarding, ask_offboarding, end_access, finish_offboarding
from verifier.reporting.report_observe import observe_site
from verifier.runtime.drivers.conformance import DriverTurn, Scenario, check_driver
from verifier.runtime.drivers.driver import Component, load_driver
from verifier.runtime.drivers.processes import ProcessIdentity, is_alive, processes_of

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
    assert "deployment/web: 2 of 2 replicas are ready, 1 updated; container web: ImagePullBackOff" in str(result.error)
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


def test_a_store_with_hooks_and_a_migration(cluster: Cluster, tmp_path: Path) -> None:
    vendor = ChartVendor(tmp_path / "vendor", "store", STORE)
    first = vendor.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    jobs, sets = (f"/apis/{group}/namespaces/{namespace}" for group in ("batch/v1", "apps/v1"))
    place.bring(first.write(tmp_path / "1.tar"))

    def migrated() -> list[str]:
        (job,) = cluster.objects(f"{jobs}/jobs").values()
        assert job["status"]["succeeded"] == 1
        (container,) = job["spec"]["template"]["spec"]["containers"]
        return [container["args"][1], container["image"]]

    def version() -> str:
        (stored,) = cluster.objects(f"{sets}/statefulsets").values()
        labels: dict[str, str] = stored["spec"]["template"]["metadata"]["labels"]
        return labels["chart"]

    assert migrated() == ["1.0.0", image_of(first)]
    assert problems(place) == []
    assert set(seen(place)) == {"store", "statefulset/store"}
    second = vendor.release(2)
    item = place.receive(second.write(tmp_path / "2.tar")).item
    review = make_review(read_review_input(place.open(), plan_change(place.open(), item), load_driver))
    assert "store: run Job store-migrate (pre-install,pre-upgrade)" in review.work
    place.approve(item)
    place.install(item)
    assert (migrated(), version()) == (["1.1.0", image_of(second)], "1.1.0")
    done = cluster.objects(f"/api/v1/namespaces/{namespace}/configmaps")["store-done"]
    assert done["data"] == {"version": "1.1.0"}

    # A migration that fails: Helm changes nothing else, and the former chart is applied again, its migration too.
    third = vendor.release(3)
    cluster.node.failing.add(image_of(third))
    item = place.receive(third.write(tmp_path / "3.tar")).item
    place.approve(item)
    assert isinstance(place.install(item).error, RolledBackError)
    assert (migrated(), version()) == (["1.1.0", image_of(second)], "1.1.0")
    assert problems(place) == []


def test_an_operator_its_crd_and_an_object_of_its_kind(cluster: Cluster, tmp_path: Path) -> None:
    vendor = ChartVendor(tmp_path / "vendor", "operator", OPERATOR)
    first = vendor.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    place.bring(first.write(tmp_path / "1.tar"))

    def widget() -> dict[str, object]:
        spec: dict[str, object] = cluster.objects(f"/apis/vendor.example/v1/namespaces/{namespace}/widgets")["first"][
            "spec"
        ]
        return spec

    def fields() -> set[str]:
        crd = cluster.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.vendor.example")
        return set(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])

    def started_image() -> str:
        (deployed,) = cluster.objects(f"/apis/apps/v1/namespaces/{namespace}/deployments").values()
        value: str = deployed["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"]
        return value

    try:
        # An image that the operator starts itself is one of the site's registry too.
        assert widget() == {"size": 3, "image": image_of(first)}
        assert started_image() == image_of(first)
        assert problems(place) == []

        # Helm would leave a CRD as it is; here it is upgraded before the chart that needs it.
        crd = OPERATOR["crds/widget.yaml"].replace(
            "size: {type: integer}", "size: {type: integer}, colour: {type: string}"
        )
        objects = OPERATOR["templates/operator.yaml"].replace("size: 3", "size: 4, colour: red")
        second = vendor.release(2, crds_widget_yaml=crd, templates_operator_yaml=objects)
        result = place.bring(second.write(tmp_path / "2.tar"))
        assert result.error is None, result.error
        assert widget() == {"size": 4, "colour": "red", "image": image_of(second)}
        assert problems(place) == []

        # A rollback takes the chart back and no CRD: objects may use what it has.
        assert place.rollback(1, "ops-1").error is None
        assert widget() == {"size": 3, "image": image_of(first)}
        assert fields() == {"size", "image", "colour"}
        assert problems(place) == []

        # A release without the CRD removes neither it nor the objects of its kind.
        third = vendor.release(3, crds_widget_yaml="# moved\n")
        place.bring(third.write(tmp_path / "3.tar"))
        assert widget() == {"size": 3, "image": image_of(third)}
    finally:
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.vendor.example"
        cluster.request("DELETE", path)


def test_a_first_install_that_fails_leaves_nothing(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(4)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    cluster.node.failing.add(image_of(first))
    result = place.bring(first.write(tmp_path / "1.tar"))
    assert isinstance(result.error, RolledBackError)
    assert deployments(cluster, namespace) == {}
    secrets = cluster.objects(f"/api/v1/namespaces/{namespace}/secrets")
    assert not [name for name in secrets if name.startswith("sh.helm")]


def test_a_step_that_a_release_drops_is_removed(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    place.bring(first.write(tmp_path / "1.tar"))
    renamed = ChartVendor(tmp_path / "vendor", "web", WEB, step="front").release(2)
    place.bring(renamed.write(tmp_path / "2.tar"))
    assert set(deployments(cluster, namespace)) == {"front"}
    assert place.rollback(1, "ops-1").error is None
    assert set(deployments(cluster, namespace)) == {"web"}


def statuses(cluster: Cluster, namespace: str) -> list[str]:
    """What Helm says of each revision."""
    path = f"/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm"
    return [secret["metadata"]["labels"]["status"] for secret in cluster.objects(path).values()]


def kill_install(cluster: Cluster, place: Place, item: str, when: Callable[[], bool]) -> tuple[ProcessIdentity, ...]:
    """Install in a process that is killed when something is so; return what of Helm is still at work."""
    contract = plan_change(place.open(), item).planned.contract
    words = ["install", item, "--contract", contract, "--site", str(place.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (place.path.parent / "killed.log").open("wb") as log:
        child = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=log, stderr=log, env=environment)
    try:
        cluster.wait(when)
    finally:
        child.kill()
        child.wait()
    return processes_of(str(place.path / "run/helm/web"))


def test_kill_9_in_the_middle_of_an_upgrade(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    place.bring(first.write(tmp_path / "1.tar"))
    more = WEB["templates/config.yaml"] + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: brand-new}\n"
    second = web.release(5, templates_config_yaml=more)
    cluster.node.failing.add(image_of(second))
    item = place.receive(second.write(tmp_path / "2.tar")).item
    place.approve(item)

    def at_work() -> bool:
        return "pending-upgrade" in statuses(cluster, namespace) and "brand-new" in configmaps(cluster, namespace)

    orphans = kill_install(cluster, place, item, at_work)
    assert orphans, "the Helm of the killed command is still at work"
    assert "pending-upgrade" in statuses(cluster, namespace)
    place.recover()
    assert not any(is_alive(orphan) for orphan in orphans)
    assert "pending-upgrade" not in statuses(cluster, namespace)
    assert deployments(cluster, namespace) == {"web": image_of(first)}
    assert "brand-new" not in configmaps(cluster, namespace)
    assert problems(place) == []


def test_kill_9_in_the_middle_of_a_first_install(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    item = place.receive(first.write(tmp_path / "1.tar")).item
    place.approve(item)
    cluster.node.failing.add(image_of(first))
    orphans = kill_install(cluster, place, item, lambda: bool(deployments(cluster, namespace)))
    assert statuses(cluster, namespace) == ["pending-install"]
    place.recover()
    assert not any(is_alive(orphan) for orphan in orphans)
    assert (statuses(cluster, namespace), deployments(cluster, namespace)) == ([], {})
    # The same release, once its image is there.
    cluster.node.forget()
    place.approve(item)
    assert place.install(item).error is None
    assert problems(place) == []


def configmaps(cluster: Cluster, namespace: str) -> set[str]:
    return set(cluster.objects(f"/api/v1/namespaces/{namespace}/configmaps"))


def test_offboarding_leaves_the_chart_as_it_is(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    place.bring(first.write(tmp_path / "1.tar"))
    with place.hold() as site:
        ask_offboarding(site, "contract ended")
        agree_offboarding(site, place.people["ops-1"])
        end_access(site)
        finish_offboarding(site, place.clock.at)
    assert deployments(cluster, namespace) == {"web": image_of(first)}
    assert problems(place) == []


def test_running_images_are_compared_by_digest(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    first = web.release(6)
    place, _ = cluster_place(tmp_path / "place", cluster, first)
    image = image_of(first)
    cluster.node.image_ids[image] = f"{REGISTRY}/plant/small/api@sha256:{'0' * 64}"
    # Nothing but the state of the pods tells that something else runs, so the install does not confirm it.
    result = place.bring(first.write(tmp_path / "1.tar"))
    assert isinstance(result.error, RolledBackError)
    assert f"runs sha256:{'0' * 64}" in str(result.error)


def test_the_rights_of_an_administrator_of_one_namespace_suffice(
    cluster: Cluster, tmp_path: Path, web: ChartVendor
) -> None:
    first = web.release(1)
    place, namespace = cluster_place(tmp_path / "place", cluster, first)
    kubeconfig = place.path / "secrets" / "kubeconfig"
    cluster.write_kubeconfig(kubeconfig, user={"token": "plain-token"})
    item = place.receive(first.write(tmp_path / "1.tar")).item
    place.approve(item)
    with pytest.raises(HostError, match='User "plain" cannot get resource "namespaces"'):
        place.install(item)
    binding = {
        "metadata": {"name": "waybill"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "plain"}],
    }
    cluster.request("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", binding)
    assert place.install(item).error is None
    assert problems(place) == []


def test_the_driver_passes_the_conformance_suite(cluster: Cluster, tmp_path: Path, web: ChartVendor) -> None:
    namespace = cluster.namespace()
    kubeconfig = cluster.write_kubeconfig(tmp_path / "kubeconfig")
    site = Site(tmp_path / "site")
    site.settings = {
        "kubeconfig": {"secret": f"file:{kubeconfig}"},
        "namespace": namespace,
        "program": kube_tool("helm"),
        "timeout": "20s",
    }
    step = InstallStep(step="web", driver="helm", chart="web")
    turns = []
    for number in (1, 2):
        context = site.context(web.release(number), number, step)
        turns.append(DriverTurn(step, replace(context, images_at=f"{REGISTRY}/plant")))

    def visible() -> object:
        maps = cluster.objects(f"/api/v1/namespaces/{namespace}/configmaps")
        services = cluster.objects(f"/api/v1/namespaces/{namespace}/services")
        data = {name: item["data"] for name, item in maps.items() if name != "kube-root-ca.crt"}
        return deployments(cluster, namespace), data, sorted(services)

    def change() -> None:
        cluster.request("DELETE", f"/apis/apps/v1/namespaces/{namespace}/deployments/web")

    (chart,) = turns[1].context.release.charts
    path = site.blobs / chart.digest.removeprefix("sha256:")

    def lose() -> Callable[[], object]:
        return partial(path.rename(path.with_name("away")).rename, path)

    def enter(number: int) -> None:
        link = site.folder / "current"
        link.unlink(missing_ok=True)
        if number:
            link.symlink_to(f"generations/{number}")

    scenario = Scenario(load_driver("helm"), turns[0], turns[1], visible, change, lose, enter)
    assert check_driver(scenario) == ()
