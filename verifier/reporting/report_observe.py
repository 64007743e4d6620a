"""Observe the site for a report; reads only."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from manifests.documents import report as r
from manifests.documents.report_text import REFUSED
from manifests.documents.signed_report import Expected, expected_components
from manifests.words.digest import is_digest
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.quantities import parse_duration
from manifests.words.time import optional_time, rfc3339
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import observe
from verifier.change.release_papers import contract_in_force
from verifier.reporting.health import LookAtProbe, last_health, measure_health
from verifier.reporting.report_condition import certificate_states, host_state
from verifier.reporting.report_plan import PreviousReport, SiteObservation, config_seal
from verifier.runtime.drivers.driver import ABSENT, Component, load_driver
from verifier.runtime.probes.probe import run_probe
from verifier.site.blobs import blob_path
from verifier.site.folder import EVIDENCE, Site
from verifier.site.generations import Installed, read_installed
from verifier.site.journal.installs import Generation
from verifier.site.outbox import enrolment_digest, enrolment_of, read_report, succession_of
from verifier.site.releases import revoked_release, running_revoked
from verifier.site.unread import attempt

T = TypeVar("T")
# So many releases are reported as held, and of each so many missing blobs.
MAX_STORED = 16
MAX_MISSING = 64


def read_previous_report(site: Site) -> PreviousReport | None:
    """Return the last report, None before the first; its content is None if the file is not what the journal names."""
    reports = site.state.reports
    if reports.head is None:
        return None
    try:
        report = read_report(site, reports.seq, reports.head).report
    except WaybillError:
        report = None
    return PreviousReport(seq=reports.seq, digest=reports.head, report=report)


def observe_site(site: Site, now: datetime, look: LookAtProbe = run_probe) -> SiteObservation:
    """Observe everything that a report contains; name in ``unseen`` what could not be read.

    Args:
        look: Runs one probe once.
    """
    unseen: list[str] = []
    digest = enrolment_digest(site)
    enrolment = _try(lambda: enrolment_of(site)[1], unseen, "enrolment")
    current, agrees = _current(site)
    if not agrees:
        unseen.append("current")
    installed = None if current is None else _try(lambda: read_installed(site, current), unseen, "install")
    components = _components(site, installed, unseen) if installed else ()
    optional = _try(lambda: _optional(site), unseen, "contract") or ()
    signals = _try(lambda: _signals(site), unseen, "contract") or ()
    held_back = installed.settings.telemetry.withhold if installed else ()
    withheld = tuple(name for name in (*optional, *signals) if name in held_back)
    store = "store" in optional and "store" not in withheld
    every = enrolment.report_every_seconds if enrolment else 0
    if installed:
        promised = installed.settings.report.every
        every = 0 if promised == "never" else parse_duration(promised, "report.every")
    return SiteObservation(
        enrolment=digest,
        succession=succession_of(site),
        report_every_seconds=every,
        target=installed.settings.target if installed else None,
        labels=installed.settings.labels if installed else (),
        components=components,
        seal=config_seal(site, installed.config) if installed and installed.config is not None else None,
        waiting=_try(lambda: tuple(_waiting(site)), unseen, "waiting") or (),
        health=_health(site, now, look, unseen) if current is not None and agrees else (),
        held=_try(lambda: _held_releases(site), unseen, "store") if store else None,
        kit=_try(lambda: _digest_of_kit(site), unseen, "verifier"),
        revoked=bool(_try(lambda: running_revoked(site), unseen, "revoked")),
        remains=_count_remains(site) if site.state.offboarded else None,
        withheld=withheld,
        unseen=tuple(unseen),
        current=current,
        current_agrees=agrees,
        host=host_state(site, installed.settings if installed else None, now),
        certificates=certificate_states(site.path, installed.settings.endpoints, now) if installed else (),
    )


def _current(site: Site) -> tuple[Generation | None, bool]:
    """Return the generation that ``current`` points at, and whether the journal names the same.

    A link that names no generation of this site tells nothing about what is installed: then the journal's is returned.
    """
    running, pointed = site.state.installs.running, site.pointed()
    if pointed == site.state.installs.current:
        return running, True
    return (site.state.installs.generation(pointed) if pointed else None) or running, False


def _health(site: Site, now: datetime, look: LookAtProbe, unseen: list[str]) -> tuple[r.ReportedHealth, ...]:
    """Return the result of each probe of the running generation, measured now where that is possible."""
    measured = _try(lambda: measure_health(site, load_driver, now, look), unseen, "health")
    return tuple(
        r.ReportedHealth(
            probe=health.probe,
            generation=health.generation,
            state=health.state,
            measured=health.measured,
            at=optional_time(health.at),
            failures=health.failures,
        )
        for health in (last_health(site) if measured is None else measured)
    )


def _optional(site: Site) -> tuple[str, ...]:
    """Return the optional fields of the core that the contract allows."""
    contract, _ = contract_in_force(site)
    return next(one.optional for one in contract.signals if one.kind == "deployment-state") if contract else ()


def _signals(site: Site) -> tuple[str, ...]:
    """Return the names of the contract's other signals."""
    contract, _ = contract_in_force(site)
    return tuple(signal.name for signal in contract.signals if signal.kind != "deployment-state") if contract else ()


def _count_remains(site: Site) -> r.Remains:
    backups, evidence, heads = (
        len(list(folder.iterdir())) if folder.is_dir() else 0
        for folder in (site.path / "backups", site.path / EVIDENCE, site.path / "heads")
    )
    generations = site.state.installs.generations
    releases = {one.release for one in generations}
    return r.Remains(generations=len(generations), releases=len(releases), backups=backups, evidence=evidence + heads)


def _try(look: Callable[[], T], unseen: list[str], name: str) -> T | None:
    """Return what ``look`` returns; None, with ``name`` added to ``unseen``, if it fails."""
    failures: list[WaybillError] = []
    seen = attempt(look, failures)
    unseen += [name] * bool(failures)
    return seen


def _digest_of_kit(site: Site) -> str | None:
    if site.host.kit is None:
        return None
    with site.host.kit.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _components(site: Site, installed: Installed, unseen: list[str]) -> tuple[r.ReportedComponent, ...]:
    """Return every component of the release, with what its driver observed."""
    observed: dict[tuple[str, str, str], Component] = {}
    for seen in _try(lambda: observe(site, load_driver), unseen, "components") or ():
        # A step may place an image and a file set of one name, so the expected digest is part of the key.
        observed.setdefault((seen.step, seen.name, seen.expected), seen)
    return tuple(
        _component(want, observed.get((want.step, want.name, want.digest)))
        for want in expected_components(installed.release)
    )


def _component(want: Expected, seen: Component | None) -> r.ReportedComponent:
    comparison: r.Found = "unreadable"
    observed = None
    if seen is not None and seen.observed == want.digest:
        comparison = "same"
    elif seen is not None and is_digest(seen.observed):
        comparison, observed = "differs", seen.observed
    elif seen is not None and seen.observed == ABSENT:
        comparison = "missing"
    return r.ReportedComponent(
        kind=want.kind,
        name=want.name,
        step=want.step,
        expected=want.digest,
        found=comparison,
        observed=observed,
        level=seen.level if seen else "placed",
        reason=seen.reason if seen and seen.problem else None,
        restarts=seen.restarts if seen else 0,
    )


def _waiting(site: Site) -> Iterable[r.WaitingItem]:
    """Return the items that wait. The digest of a proposal is left out: it could be that of the configuration.

    A revoked release is left out too: nobody can approve or install it, and no approval would change that.
    """
    for waiting in waiting_items(site):
        head = waiting.head
        if head.kind == "release" and revoked_release(site, head.digest) is not None:
            continue
        if head.kind in ("export", "command"):
            # The number of this report says that the one before was not exported; what people here ask for stays here.
            continue
        yield r.WaitingItem(
            item=head.item,
            kind=f"{head.kind}{REFUSED}" if waiting.problem else head.kind,
            digest=head.digest if head.kind in ("release", "rollback") else None,
            roles=tuple(
                r.RoleCount(role=role.role, have=role.have, need=role.need) for role in waiting.roles if role.need
            ),
            since=rfc3339(head.since),
            since_seq=1,
        )


def _held_releases(site: Site) -> tuple[r.HeldRelease, ...]:
    """Return the releases whose blobs the store holds, by digest; one that misses too many blobs is left out."""
    held: dict[str, r.HeldRelease] = {}
    for generation in reversed(site.state.installs.generations):
        if generation.release in held or len(held) >= MAX_STORED:
            continue
        try:
            release = read_installed(site, generation).release
        except (DamagedError, RefusedError):
            continue
        missing = []
        for blob in dict.fromkeys(release.members[2:]):
            path = blob_path(site.blobs, blob.digest)
            if not path.is_file() or path.stat().st_size != blob.size:
                missing.append(blob.digest)
        if len(missing) <= MAX_MISSING:
            held[generation.release] = r.HeldRelease(release=generation.release, missing=tuple(missing))
    return tuple(held[digest] for digest in sorted(held))
