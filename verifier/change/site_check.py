"""Everything that an install needs and that can be looked at before people agree to it. Changes nothing.

All findings are returned at once, each with the keys to add to ``site.yaml``. `review`, `check`, the dry run and the
install itself use the same looks.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from manifests.authored.site_yaml import FILL_IN
from manifests.documents.contract_endpoints import address_forms, contract_endpoints
from manifests.documents.release import Probe
from manifests.documents.rollback import Rollback
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.units import show_count
from verifier.change.data_return import damage_of_former, lost_blobs
from verifier.change.driver_steps import DriverStep, LoadDriver, UnavailableDriver, plan_steps, settings_for
from verifier.change.space import required_space
from verifier.change.values import Change
from verifier.runtime.setup import SetupFinding, look
from verifier.site.folder import Site, check_space
from verifier.site.generations import Installed

# Checks that the programs of a rollback document could be run here; raises what is missing.
CheckPrograms = Callable[[Site, Installed, Rollback], None]
# Settings that a driver cannot do without.
REQUIRED_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "registry": {"endpoint": FILL_IN},
    "program": {"user": FILL_IN},
    "helm": {"kubeconfig": {"secret": FILL_IN}, "namespace": FILL_IN},
}


def check_site(
    site: Site, hops: tuple[Change, ...], load: LoadDriver, check_programs: CheckPrograms | None = None
) -> tuple[SetupFinding, ...]:
    """Return everything that this site lacks for these changes; nothing when all is there.

    Args:
        hops: The changes in order.
        check_programs: Left out where no program of the release would be run.
    """
    findings: list[SetupFinding] = []
    looked_at: set[tuple[object, ...]] = set()
    findings += check_rollbacks(site, hops[:1])
    for i, hop in enumerate(hops):
        steps = plan_steps(site, hop.installed, load)
        findings += _unusable(hop)
        for step in steps:
            if _is_unfilled(hop, f"drivers.{step.plan.step.driver}"):
                continue
            if isinstance(step.driver, UnavailableDriver):
                findings.append(_unavailable(step.plan.step.driver, step.driver.error))
            elif (step.driver.name, step.plan.step) not in looked_at:
                # Several releases of one plan mostly have the same steps; a registry is asked once for them.
                looked_at.add((step.driver.name, step.plan.step))
                findings += _as_this_account(site, step.driver.check(step.plan, step.context))
        findings += _endpoints(hop)
        if hop.action == "install":
            findings += _programs(site, hop, check_programs)
            findings += _payload(site, hop, steps, first=i == 0)
    return tuple(_once(findings))


def check_settings(hops: tuple[Change, ...]) -> tuple[SetupFinding, ...]:
    """Return what ``site.yaml`` lacks for these changes. Looks at the file only, so that a list of items can say it."""
    findings: list[SetupFinding] = []
    for hop in hops:
        findings += _unusable(hop)
        for step in hop.release.install:
            if not _is_unfilled(hop, f"drivers.{step.driver}"):
                lacks = look(partial(settings_for, hop.installed.settings, step))
                findings += [_unavailable(step.driver, finding.error) for finding in lacks]
        findings += _endpoints(hop)
    return tuple(_once(findings))


def check_rollbacks(site: Site, hops: tuple[Change, ...]) -> tuple[SetupFinding, ...]:
    """Return what the store and the running generation lack for a rollback, this one or the one after an install.

    Blobs are looked for by name and length; the change itself hashes them.
    """
    running, findings = site.state.installs.running, []
    for hop in hops:
        if hop.action == "rollback":
            damage = lost_blobs(hop.release, site.store.lacks(hop.release.members), hop.item)
        elif running is not None:
            brought = frozenset(blob.digest for blob in site.store.lacks(hop.release.members))
            damage = damage_of_former(site, running, site.store.lacks, brought)
        else:
            damage = None
        findings += [SetupFinding("failed", damage)] if damage is not None else []
    return tuple(findings)


def failures(findings: Iterable[SetupFinding]) -> tuple[SetupFinding, ...]:
    return tuple(finding for finding in findings if finding.level == "failed")


def _short(error: WaybillError) -> str:
    """The problem; about an image also its name and where it is."""
    return str(error) if error.where.startswith("image ") else error.problem


def require_site(findings: tuple[SetupFinding, ...], item: str) -> None:
    """Raise the error that joins all failures; a single failure is raised as it is."""
    failed = failures(findings)
    if len(failed) == 1:
        raise failed[0].error
    if failed:
        raise RefusedError(
            f"{len(failed)} things are missing here: " + "; ".join(_short(finding.error) for finding in failed),
            where=item,
            remedy=f"run `waybill check {item}`, which prints the lines to add to site.yaml; nothing was changed",
            finding="site-not-ready",
        )


def lines_to_add(findings: Iterable[SetupFinding]) -> tuple[str, ...]:
    """Return the lines of ``site.yaml`` that all findings together ask for; each block stands there once."""
    joined: dict[str, object] = {}
    for finding in findings:
        _join(joined, finding.add)
    return tuple(_yaml(joined))


def _join(into: dict[str, object], more: Mapping[str, object]) -> None:
    for key, value in more.items():
        if isinstance(value, Mapping):
            below = into.setdefault(key, {})
            assert isinstance(below, dict)  # every finding nests the keys of site.yaml in the same way
            _join(below, value)
        else:
            into[key] = value


def _yaml(values: Mapping[str, object], indent: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "{}" if isinstance(value, Mapping) else str(value)


def _unusable(hop: Change) -> Iterator[SetupFinding]:
    """Yield each placeholder of ``site.yaml``, and each value of its config that does not fit."""
    for error in (*(unfilled.error for unfilled in hop.unfilled), *hop.wrong_config):
        yield SetupFinding("failed", error)


def _is_unfilled(hop: Change, key: str) -> bool:
    """Return whether the key, or one below it, is a placeholder, which is a finding of its own."""
    return any(f"{unfilled.path}.".startswith(f"$.{key}.") for unfilled in hop.unfilled)


def _unavailable(driver: str, error: WaybillError) -> SetupFinding:
    # A driver that this verifier does not have cannot be added to site.yaml.
    absent = error.finding == "driver-missing" and isinstance(error, RefusedError)
    add = {"drivers": {driver: REQUIRED_SETTINGS.get(driver, {})}} if absent else {}
    return SetupFinding("failed", error, add)


def _as_this_account(site: Site, findings: tuple[SetupFinding, ...]) -> tuple[SetupFinding, ...]:
    """Return the findings; only warnings where another account than the site's looks, which may have fewer rights."""
    if os.geteuid() in (0, site.path.stat().st_uid):
        return findings
    return tuple(replace(finding, level="warned") for finding in findings)


def _endpoints(hop: Change) -> Iterator[SetupFinding]:
    """Yield each endpoint that a probe asks, or a signal of the contract is read from, and ``site.yaml`` lacks."""
    known = hop.installed.settings.endpoints
    for probe in hop.release.probes:
        endpoint = _endpoint_of(probe)
        if endpoint is None or _is_unfilled(hop, f"endpoints.{endpoint}"):
            continue
        address = known.get(endpoint)
        if address is None:
            yield _endpoint_missing(endpoint, f"the probe {probe.name!r} asks")
        elif probe.http is not None and not address.startswith(("http://", "https://")):
            problem = f"the probe {probe.name!r} asks by HTTP, the endpoint {endpoint!r} is {address}"
            remedy = f"set an address http://HOST:PORT for `{endpoint}:` under `endpoints:` in site.yaml"
            where = f"site.yaml $.endpoints.{endpoint}"
            yield SetupFinding("failed", RefusedError(problem, where=where, remedy=remedy, finding="endpoint-kind"))
    for signal, name in contract_endpoints(hop.contract) if hop.contract else ():
        if signal.name in hop.installed.settings.telemetry.withhold or _is_unfilled(hop, f"endpoints.{name}"):
            continue
        address, forms = known.get(name), address_forms(signal)
        if address is None:
            finding = _endpoint_missing(name, f"the signal {signal.name!r} of the contract is read from")
            yield replace(finding, level="warned")
        elif not address.startswith(tuple(forms)):
            form = " or ".join(forms.values())
            problem = f"the signal {signal.name!r} is read from {form}, the endpoint {name!r} is {address}"
            remedy = f"set an address {form} for `{name}:` under `endpoints:` in site.yaml"
            where = f"site.yaml $.endpoints.{name}"
            yield SetupFinding("warned", RefusedError(problem, where=where, remedy=remedy, finding="endpoint-kind"))


def _endpoint_of(probe: Probe) -> str | None:
    if probe.http is not None:
        return probe.http.endpoint
    return probe.tcp.endpoint if probe.tcp is not None else None


def _endpoint_missing(name: str, why: str) -> SetupFinding:
    error = RefusedError(
        f"site.yaml has no endpoint {name!r}, which {why}",
        where="site.yaml $.endpoints",
        remedy=f"add `{name}:` with its address under `endpoints:` in site.yaml",
        finding="endpoint-missing",
    )
    return SetupFinding("failed", error, {"endpoints": {name: FILL_IN}})


def _programs(site: Site, hop: Change, check_programs: CheckPrograms | None) -> tuple[SetupFinding, ...]:
    document = hop.rollback
    unfilled = _is_unfilled(hop, "drivers.program")
    if check_programs is None or document is None or not hop.planned.document or unfilled:
        return ()
    add = {"drivers": {"program": {"user": FILL_IN}}} if hop.installed.settings.drivers.program is None else {}
    return _as_this_account(site, look(lambda: check_programs(site, hop.installed, document), add))


def _payload(site: Site, hop: Change, steps: tuple[DriverStep, ...], *, first: bool) -> tuple[SetupFinding, ...]:
    """Return whether the bundle is where it was received from, if blobs are missing, and whether they fit.

    Held blobs are not hashed here; the install does that. Releases after the first find other space than there is now.
    """
    missing = site.store.lacks(hop.release.members)
    findings: tuple[SetupFinding, ...] = ()
    if missing and not (hop.source not in ("", "-") and Path(hop.source).is_file()):
        error = DamagedError(
            f"{show_count(len(missing), 'blob')} of release {hop.release.version} must come from its bundle, which is "
            + (f"not at {hop.source}" if hop.source not in ("", "-") else "not at a known path"),
            where=hop.item,
            remedy="insert the medium, or name the bundle with `waybill install --media PATH`",
            finding="medium-missing",
        )
        findings = (SetupFinding("warned", error),)
    if first:
        wanted = required_space(site, hop, steps, *site.store.space_for(missing))
        findings += look(lambda: check_space(site.disk, wanted))
    return findings


def _once(findings: Iterable[SetupFinding]) -> Iterator[SetupFinding]:
    """Yield each finding once: two steps or two releases may lack the same."""
    seen = set()
    for finding in sorted(findings, key=lambda finding: finding.level):
        if (key := (finding.error.problem, finding.error.where)) not in seen:
            seen.add(key)
            yield finding
