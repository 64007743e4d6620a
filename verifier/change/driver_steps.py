"""The install steps of a generation, each with its driver and what that driver may know."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from manifests.authored.site_yaml import SiteFile
from manifests.documents.release import InstallStep
from manifests.words.errors import RefusedError, WaybillError
from verifier.runtime.drivers.driver import Component, Driver, DriverContext, DriverPlan
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_installed

LoadDriver = Callable[[str, str], Driver]


@dataclass(frozen=True)
class DriverStep:
    driver: Driver
    plan: DriverPlan
    context: DriverContext

    @property
    def step(self) -> str:
        return self.plan.step.step


@dataclass
class UnavailableDriver:
    """Stands in a plan that is only shown for a driver that this site lacks; whatever else is asked of it fails."""

    name: str
    error: WaybillError

    def plan(self, step: InstallStep, context: DriverContext) -> NoReturn:
        raise self.error

    def _fail(self, plan: DriverPlan, context: DriverContext) -> NoReturn:
        raise self.error

    check = stage = activate = deactivate = observe = discard = _fail


def settings_for(settings: SiteFile, step: InstallStep) -> dict[str, object]:
    """Return the settings of the step's driver in ``site.yaml``. Raises RefusedError when there are none."""
    known = {name: getattr(settings.drivers, name) for name in settings.drivers.__struct_fields__}
    driver_settings = known.get(step.driver)
    if driver_settings is None:
        have = ", ".join(sorted(name for name, value in known.items() if value is not None)) or "none"
        raise RefusedError(
            f"step {step.step!r} needs the driver {step.driver!r}; site.yaml has settings for {have}",
            where="site.yaml $.drivers",
            remedy=f"add `{step.driver}:` with its settings under `drivers:` in site.yaml",
            finding="driver-missing",
        )
    converted: dict[str, object] = msgspec.to_builtins(driver_settings)
    return converted


def driver_steps(
    site: Site, installed: Installed, load: LoadDriver, *, thorough: bool = False
) -> tuple[DriverStep, ...]:
    """Return the release's install steps in order. Raises RefusedError when a driver is missing here."""
    return tuple(_driver_step(site, installed, i, load, thorough) for i in range(len(installed.release.install)))


def plan_steps(site: Site, installed: Installed, load: LoadDriver) -> tuple[DriverStep, ...]:
    """Return the steps to show; one that cannot be planned here has an `UnavailableDriver`, which holds the reason."""
    steps = []
    for i, step in enumerate(installed.release.install):
        try:
            steps.append(_driver_step(site, installed, i, load, thorough=False))
        except WaybillError as error:
            line = f"cannot be planned: {error.problem}"
            plan = DriverPlan(step=step, staging=(line,), activation=(line,))
            steps.append(DriverStep(UnavailableDriver(step.driver, error), plan, driver_context(site, installed, {})))
    return tuple(steps)


def _driver_step(site: Site, installed: Installed, i: int, load: LoadDriver, thorough: bool) -> DriverStep:
    step = installed.release.install[i]
    driver = load(step.driver, f"install[{i}]")
    context = driver_context(site, installed, settings_for(installed.settings, step), thorough=thorough)
    return DriverStep(driver=driver, plan=driver.plan(step, context), context=context)


def driver_context(
    site: Site, installed: Installed, settings: dict[str, object], *, thorough: bool = False
) -> DriverContext:
    """Return what a driver with these settings of ``site.yaml`` may know of a generation."""
    return DriverContext(
        site=site.path,
        release=installed.release,
        generation=installed.number,
        blobs=site.blobs,
        settings=settings,
        config=installed.config,
        disk=site.disk,
        images_at=_images_at(installed.settings),
        thorough=thorough,
    )


def _images_at(settings: SiteFile) -> str | None:
    registry = settings.drivers.registry
    return None if registry is None else "/".join(filter(None, (registry.endpoint, registry.prefix)))


def observe(site: Site, load: LoadDriver, *, thorough: bool = False) -> tuple[Component, ...]:
    """Return the components of the running generation as the drivers find them."""
    running = site.state.installs.running
    if running is None:
        return ()
    steps = driver_steps(site, read_installed(site, running), load, thorough=thorough)
    return tuple(component for step in steps for component in step.driver.observe(step.plan, step.context))
