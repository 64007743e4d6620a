"""The handlers of the verifier that change something, with real parts: a service, a registry, a site that is stuck."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.documents import release as r
from manifests.words.errors import InconsistentError, RefusedError, WaitingError
from tests.handling import allow, handling, handling_place, run
from tests.migrating import FakePrograms, migrating, put_database, step
from tests.place import Place, make_place
from tests.real import docker_registry
from verifier.reporting.report_write import write_report
from verifier.runtime.drivers.processes import is_alive, processes_of
from verifier.site.journal.installs import State

SERVICE = b"""\
import os, pathlib, time
pathlib.Path(os.environ["WAYBILL_DATA"], "pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Place]:
    keep = r.InstallStep(step="app", driver="files", files=("service",), keep_running=("python3", "-B", "serve.py"))
    vendor = handling(service={"serve.py": SERVICE}, handlers=())
    vendor = vendor.but(change={**vendor.change, "install": (keep,)})  # type: ignore[assignment]  # still one with handlers
    place = handling_place(tmp_path / "w", vendor, "", restart_component="{operator: 1}", retry_step="allowed")
    yield place
    for process in processes_of(str(place.path)):
        if is_alive(process):
            os.kill(process.pid, signal.SIGKILL)


def pid_of(place: Place, other_than: int = 0) -> int:
    """The service's process, once it is another than ``other_than``."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path in (place.path / "data").rglob("pid"):
            text = path.read_text()
            if text and int(text) != other_than:
                return int(text)
        time.sleep(0.05)
    raise AssertionError("the service does not run")


def test_a_service_is_restarted_after_its_approval(served: Place) -> None:
    before = pid_of(served)
    with pytest.raises(WaitingError):
        run(served, "restart-component", component="app")
    assert pid_of(served) == before
    # A program of the release is no service: nobody is asked to approve that.
    with pytest.raises(RefusedError) as refused:
        run(served, "restart-component", component="tool")
    expected = "parameter component is tool, expected a service of the running release: app, service"
    assert refused.value.problem == expected
    assert [use.item for use in served.open().state.reports.local] == ["h-1"]
    result = run(served, "h-1", "ops-1")
    assert (result.outcome, result.values) == ("ran", {"running": True})
    assert pid_of(served, before) != before
    # The name of its file set leads to the same service.
    assert run(served, "restart-component", "ops-1", component="service").outcome == "ran"


def test_images_are_pushed_again(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        push = r.InstallStep(step="images", driver="registry", images=("api",))
        vendor = handling(images=True, handlers=())
        app = r.InstallStep(step="app", driver="files", files=("service",))
        vendor = vendor.but(change={**vendor.change, "install": (push, app)})  # type: ignore[assignment]  # as above
        place = make_place(tmp_path / "w", vendor)
        yaml = place.path / "site.yaml"
        settings = f"  registry: {{endpoint: '{registry.host}', plain_http: true}}\n"
        text = re.sub(r"(?m)^  registry: .*\n", "", yaml.read_text())
        yaml.write_text(re.sub(r"(?m)^(drivers:.*\n)", rf"\1{settings}", text))
        place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause, look=place.look)
        assert place.bring(vendor.write(tmp_path / "1.tar")).error is None
        allow(place, push_images_again="allowed", inventory="allowed")
        registry.stop()
        shutil.rmtree(registry.root)
        registry.root.mkdir()
        registry.start()
        assert run(place, "inventory").values["missing"] == 1
        result = run(place, "push-images-again")
        assert (result.outcome, result.values) == ("ran", {"images": 1, "same": 1})
        with Registry(registry.host, RegistryOptions(plain_http=True)) as client:
            assert "1.0.0" in client.tags("small/api")


def test_a_stuck_site_tries_again(tmp_path: Path) -> None:
    first, second = migrating("1.0.0", 1), migrating("1.1.0", 2, step("two", 2))
    place = make_place(tmp_path, first)
    place.tell = lambda site, cause: write_report(site, site.disk, place.clock.at, cause=cause, look=place.look)
    programs = FakePrograms()
    place.programs = programs
    assert place.bring(first.write(tmp_path / "1.tar")).error is None
    allow(place, retry_step="allowed", rotate_site_key="allowed")
    put_database(place.path)
    item = place.receive(second.write(tmp_path / "2.tar")).item
    for person in ("ops-1", "sec-1"):
        place.approve(item, person)
    programs.fails = {"migrate two", "undo two", "restore database"}
    assert isinstance(place.install(item).error, InconsistentError)
    # What has failed is named; what has not is refused, and nothing is tried.
    before = len(programs.did)
    with pytest.raises(RefusedError) as refused:
        run(place, "retry-step", step="app")
    expected = "parameter step is app, expected a failed step of an inconsistent site: database, two"
    assert refused.value.problem == expected
    assert len(programs.did) == before
    stuck = run(place, "retry-step", step="two")
    assert stuck.lines[0].startswith("two was tried again: ")
    assert (stuck.outcome, stuck.reason, stuck.values["state"]) == ("failed", "inconsistent", "inconsistent")
    # Nothing else that changes something begins meanwhile.
    with pytest.raises(InconsistentError):
        run(place, "rotate-site-key")
    programs.fails = set()
    done = run(place, "retry-step", step="database")
    assert (done.outcome, done.values) == ("ran", {"state": "confirmed", "generation": 1})
    transaction = place.open().state.installs.transaction
    assert transaction is not None
    assert transaction.state == State.ROLLED_BACK
