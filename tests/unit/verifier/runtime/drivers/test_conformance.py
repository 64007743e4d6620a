"""The conformance suite: the drivers of this verifier pass it, and drivers that only pretend do not."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from content.registry.client import Registry
from content.registry.session import RegistryOptions
from manifests.documents.release import InstallStep
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, WaybillError
from tests.real import ROOT, docker_registry
from tests.unit.verifier.runtime.drivers.place import Site
from tests.unit.verifier.runtime.drivers.test_registry import STEP, context_of
from tests.vendor import Vendor
from verifier.runtime.drivers.conformance import DriverTurn, Scenario, check_driver
from verifier.runtime.drivers.driver import Component, Driver, DriverContext, DriverPlan, load_driver
from verifier.runtime.setup import SetupFinding


def _generation(site: Site, number: int, version: str, step: InstallStep, **vendor: object) -> DriverTurn:
    return DriverTurn(step, site.context(Vendor(version=version, **vendor), number, step))  # type: ignore[arg-type]


def _tree(folder: Path) -> object:
    """Every file below a folder with its digest, and where links lead."""
    return sorted(
        (str(path.relative_to(folder)), str(path.readlink()) if path.is_symlink() else digest_of(path.read_bytes()))
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    )


def _losing(site: Site, digest: str) -> Callable[[], Callable[[], object]]:
    path = site.blobs / digest.removeprefix("sha256:")

    def lose() -> Callable[[], object]:
        away = path.with_name("away")
        path.rename(away)
        return lambda: away.rename(path)

    return lose


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "site")


def files_scenario(site: Site, driver: Driver) -> Scenario:
    step = InstallStep(step="app", driver="files", files=("service",))
    first, second = (
        _generation(site, number, version, step, images=False, service={"a": b"a", "version": version.encode()})
        for number, version in ((1, "1.0.0"), (2, "1.1.0"))
    )
    current = site.folder / "srv" / "app" / "current"

    def change() -> None:
        (current / "version").chmod(0o644)
        current.resolve().chmod(0o755)
        (current / "version").write_text("another")

    newer = next(one for files in second.context.release.files for one in files.entries if one.path == "version")
    return Scenario(
        driver=driver,
        first=first,
        second=second,
        visible=lambda: _tree(current) if current.exists() else None,
        change=change,
        lose=_losing(site, newer.digest),
    )


def store_scenario(site: Site, driver: Driver) -> Scenario:
    step = InstallStep(step="images", driver="store", images=("api",))
    first, second = (_generation(site, number, version, step) for number, version in ((1, "1.0.0"), (2, "1.1.0")))
    index = site.folder / "oci" / "index.json"

    def visible() -> object:
        return json.loads(index.read_bytes())["manifests"] if index.exists() else []

    def change() -> None:
        index.write_text(json.dumps({**json.loads(index.read_bytes()), "manifests": []}))

    return Scenario(
        driver=driver,
        first=first,
        second=second,
        visible=visible,
        change=change,
        lose=_losing(site, second.context.release.images[0].manifest.digest),
    )


def _tags(client: Registry, repository: str) -> list[str]:
    """Version tags; none where the registry does not know the repository."""
    with suppress(HostError):
        return [tag for tag in client.tags(repository) if not tag.startswith("sha256-")]
    return []


def registry_scenario(site: Site, host: str, work: Path) -> Scenario:
    site.settings = {"endpoint": host, "plain_http": True}
    first, second = (
        DriverTurn(STEP, context_of(site, work / version, number, version, sparse=False, big=0))
        for number, version in ((1, "1.0.0"), (2, "1.1.0"))
    )

    def visible() -> object:
        with Registry(host, RegistryOptions(plain_http=True)) as client:
            return {
                (repository, tag): digest_of(client.manifest(repository, tag)[0])
                for repository in ("small/api", "small/worker")
                for tag in _tags(client, repository)
            }

    def change() -> None:
        worker = first.context.release.images[1].manifest
        data = (site.blobs / worker.digest.removeprefix("sha256:")).read_bytes()
        other = json.dumps({**json.loads(data), "annotations": {"org.example.note": "another"}}).encode()
        with Registry(host, RegistryOptions(plain_http=True)) as client:
            client.push_manifest("small/worker", "1.0.0", other, worker.media_type)

    return Scenario(
        driver=load_driver("registry"),
        first=first,
        second=second,
        visible=visible,
        change=change,
        lose=_losing(site, second.context.release.images[1].manifest.digest),
    )


SCENARIOS = {"files": files_scenario, "store": store_scenario}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_drivers_of_this_verifier(site: Site, name: str) -> None:
    assert check_driver(SCENARIOS[name](site, load_driver(name))) == ()


def test_the_registry_driver(site: Site, tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry") as registry:
        assert check_driver(registry_scenario(site, registry.host, tmp_path / "work")) == ()


class Wrapped:
    """The store driver; each subclass is wrong in one way."""

    name = "store"

    def __init__(self) -> None:
        self.real = load_driver("store")

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        return self.real.plan(step, context)

    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        return self.real.check(plan, context)

    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        self.real.stage(plan, context)

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        self.real.activate(plan, context)

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        self.real.deactivate(plan, context)

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        return self.real.observe(plan, context)

    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        self.real.discard(plan, context)


def _as_told(context: DriverContext) -> tuple[Component, ...]:
    digest = context.release.images[0].manifest.digest
    return (Component("api", digest, digest, "images"),)


class DoesNothing(Wrapped):
    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        """Nothing."""

    activate = deactivate = discard = stage

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        return ()


class RepeatsTheRelease(Wrapped):
    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        return _as_told(context)


class RepeatsWhatActivateWasTold(Wrapped):
    told: int = 0

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        super().activate(plan, context)
        self.told = context.generation

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        super().deactivate(plan, context)
        self.told = 0

    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        same = self.told == context.generation
        return _as_told(context) if same else (replace(_as_told(context)[0], observed="absent"),)


class PlanActs(Wrapped):
    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        made = super().plan(step, context)
        self.real.stage(made, context)
        self.real.activate(made, context)
        return made


class PlansDiffer(Wrapped):
    count: int = 0

    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        self.count += 1
        return replace(super().plan(step, context), staging=(f"plan {self.count}",))


class CheckActs(Wrapped):
    def check(self, plan: DriverPlan, context: DriverContext) -> tuple[SetupFinding, ...]:
        self.real.stage(plan, context)
        self.real.activate(plan, context)
        return ()


class TakesAnySetting(Wrapped):
    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        return super().plan(step, replace(context, settings={}))


class StageShows(Wrapped):
    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        super().stage(plan, context)
        self.activate(plan, context)


class ActivateAdds(Wrapped):
    count: int = 0

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        super().activate(plan, context)
        self.count += 1
        index = context.site / "oci" / "index.json"
        fields = json.loads(index.read_bytes())
        fields["manifests"] += fields["manifests"] * self.count
        index.write_text(json.dumps(fields))


class ObserveRemoves(Wrapped):
    def observe(self, plan: DriverPlan, context: DriverContext) -> tuple[Component, ...]:
        components = super().observe(plan, context)
        index = context.site / "oci" / "index.json"
        if index.exists():
            index.write_text(json.dumps({**json.loads(index.read_bytes()), "manifests": []}))
        return components


class SaysNothing(Wrapped):
    def plan(self, step: InstallStep, context: DriverContext) -> DriverPlan:
        return replace(super().plan(step, context), activation=())


class MendsNothing(Wrapped):
    done: int = 0

    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        if self.done != context.generation:
            super().activate(plan, context)
        self.done = context.generation


class PassesOverWhatIsMissing(Wrapped):
    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        with suppress(WaybillError):
            super().stage(plan, context)


class KeepsTheFormer(Wrapped):
    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        if context.generation == 1:
            super().activate(plan, context)


class KeepsTheNewer(Wrapped):
    def activate(self, plan: DriverPlan, context: DriverContext) -> None:
        if context.generation != 1 or not (context.site / "gone-on").exists():
            super().activate(plan, context)
        if context.generation == 2:
            (context.site / "gone-on").touch()

    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        """Nothing."""


class DiscardsTooMuch(Wrapped):
    def discard(self, plan: DriverPlan, context: DriverContext) -> None:
        (context.site / "oci" / "index.json").unlink(missing_ok=True)


class StaysForEver(Wrapped):
    def deactivate(self, plan: DriverPlan, context: DriverContext) -> None:
        if context.generation == 2:
            super().deactivate(plan, context)


class Breaks(Wrapped):
    def stage(self, plan: DriverPlan, context: DriverContext) -> None:
        raise KeyError("images")


@pytest.mark.parametrize(
    ("driver", "rule"),
    [
        (PlansDiffer, "P-1"),
        (PlanActs, "P-1"),
        (CheckActs, "P-2"),
        (TakesAnySetting, "P-3"),
        (StageShows, "P-4"),
        (Breaks, "P-4"),
        (RepeatsTheRelease, "P-5"),
        (DoesNothing, "P-6"),
        (ActivateAdds, "P-7"),
        (DoesNothing, "P-8"),
        (ObserveRemoves, "P-9"),
        (SaysNothing, "P-10"),
        (RepeatsWhatActivateWasTold, "P-11"),
        (RepeatsTheRelease, "P-11"),
        (MendsNothing, "P-12"),
        (PassesOverWhatIsMissing, "P-13"),
        (KeepsTheFormer, "P-14"),
        (KeepsTheNewer, "P-15"),
        (DiscardsTooMuch, "P-16"),
        (StaysForEver, "P-17"),
    ],
)
def test_a_driver_that_pretends_fails(site: Site, driver: type[Wrapped], rule: str) -> None:
    assert rule in {failure.rule for failure in check_driver(store_scenario(site, driver()))}


def test_each_rule_is_explained_and_has_a_driver_that_breaks_it() -> None:
    text = (ROOT / "docs" / "drivers.md").read_text()
    explained = re.findall(r"^\| (P-[0-9]+) \|", text, re.MULTILINE)
    mutants = {rule for _, rule in test_a_driver_that_pretends_fails.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert set(explained) == mutants
    assert explained == [f"P-{i + 1}" for i in range(len(explained))]
