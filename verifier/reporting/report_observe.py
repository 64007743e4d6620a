"""Observe the site for a report; reads only."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from manifests.documents import report as r
from manifests.documents import signed_report
from manifests.documents.release import Release
from manifests.words.digest import is_digest
from manifests.words.errors import DamagedError, RefusedError, WaybillError
from manifests.words.time import rfc3339
from manifests.words.units import parse_duration
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import observe
from verifier.reporting.field_sources import contract_in_force
from verifier.reporting.report_plan import PreviousReport, SiteObservation, config_seal
from verifier.runtime.drivers.driver import ABSENT, Component, load_driver
from verifier.site.blobs import blob_path
from verifier.site.folder import EVIDENCE, Site
from verifier.site.generations import Installed, read_installed, read_running
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import Outcome
from verifier.site.journal.installs import Generation
from verifier.site.keys import succession_of
from verifier.site.release_heads import running_revoked
from verifier.site.report_files import enrolment_of, read_report

T = TypeVar("T")


MAX_STORED = 16


def read_previous_report(site: Site) -> PreviousReport | None:
    """The last report, None before the first. Its digest is the journal's; a changed file says nothing."""
    state = site.state
    if state.reports.head is None:
        return None
    try:
        signed = read_report(site, state.reports.seq, state.reports.head)
    except WaybillError:
        return PreviousReport(seq=state.reports.seq, digest=state.reports.head, report=None)
    return PreviousReport(seq=state.reports.seq, digest=signed.digest, report=signed.report)


def observe_site(site: Site) -> SiteObservation:
    """Observe everything that a report contains; name in ``unseen`` what could not be read."""
    digest, enrolment = enrolment_of(site)
    unseen: list[str] = []
    installed = _try(lambda: read_running(site), unseen, "install")
    components = _components(site, installed, unseen) if installed else ()
    optional = _try(lambda: _optional(site), unseen, "contract") or ()
    withheld = tuple(one for one in optional if installed and one in installed.settings.telemetry.withhold)
    store = "store" in optional and "store" not in withheld
    return SiteObservation(
        enrolment=digest,
        succession=succession_of(site),
        report_every_seconds=_cadence(installed.settings.report.every) if installed else enrolment.report_every_seconds,
        target=installed.settings.target if installed else None,
        labels=installed.settings.labels if installed else (),
        components=components,
        seal=config_seal(site, installed.config) if installed and installed.config is not None else None,
        waiting=tuple(_try(lambda: tuple(waiting_of(site)), unseen, "waiting") or ()),
        health=tuple(probe_results(site)),
        held=_try(lambda: held_releases(site), unseen, "store") if store else None,
        kit=_try(lambda: _digest_of_kit(site), unseen, "verifier"),
        revoked=bool(_try(lambda: running_revoked(site), unseen, "revoked")),
        remains=_remains(site) if site.state.offboarded else None,
        withheld=withheld,
        unseen=tuple(unseen),
    )


def _optional(site: Site) -> tuple[str, ...]:
    """Words of the core that may leave only where the contract says so; none without a contract."""
    contract, _ = contract_in_force(site)
    if contract is None:
        return ()
    return next(one.optional for one in contract.signals if one.kind == "deployment-state")


def _remains(site: Site) -> r.Remains:
    """How many of each; where they are, the site's own statement says."""
    return r.Remains(
        generations=len(site.state.installs.generations),
        releases=len({one.release for one in site.state.installs.generations}),
        backups=_count_in(site.path / "backups"),
        evidence=_count_in(site.path / EVIDENCE) + _count_in(site.path / "heads"),
    )


def _count_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0


def _try(look: Callable[[], T], unseen: list[str], name: str) -> T | None:
    try:
        return look()
    except (WaybillError, OSError):
        unseen.append(name)
        return None


def _digest_of_kit(site: Site) -> str | None:
    if site.host.kit is None:
        return None
    with site.host.kit.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _cadence(every: str) -> int:
    return 0 if every == "never" else parse_duration(every, "report.every")


def _components(site: Site, installed: Installed, unseen: list[str]) -> tuple[r.ReportedComponent, ...]:
    """Every component that the release brings, with what its driver saw; unseen ones are said to be so."""
    seen = _try(lambda: observe(site, load_driver), unseen, "components") or ()
    observed: dict[tuple[str, str], list[Component]] = {}
    for component in seen:
        observed.setdefault((component.step, component.name), []).append(component)
    listed: list[r.ReportedComponent] = []
    for want in signed_report.expected_components(installed.release):
        # A step may place an image and a file set of one name; what tells them apart is what was expected.
        candidates = observed.get((want.step, want.name), [])
        listed.append(
            _component(want, next((component for component in candidates if component.expected == want.digest), None))
        )
    return tuple(listed)


def _component(want: signed_report.Expected, seen: Component | None) -> r.ReportedComponent:
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
    )


def waiting_of(site: Site) -> Iterable[r.WaitingItem]:
    """What waits, with the roles that are asked. A proposal's digest stays here: it could be that of the config."""
    for waiting in waiting_items(site):
        head = waiting.head
        if head.kind == "export":
            continue  # that the report before has not left says this one, by its number
        yield r.WaitingItem(
            item=head.item,
            kind=f"{head.kind}-refused" if waiting.problem else head.kind,
            digest=head.digest if head.kind in ("release", "rollback") else None,
            roles=tuple(
                r.RoleCount(role=role.role, have=role.have, need=role.need) for role in waiting.roles if role.need
            ),
            since=rfc3339(head.since),
            since_seq=1,
        )


def probe_results(site: Site) -> Iterable[r.ReportedHealth]:
    """The last result of each probe since the running generation was switched to."""
    running = site.state.installs.running
    if running is None:
        return
    entries, _ = read_journal(site.path / "journal")
    last: dict[str, bool] = {}
    failures: dict[str, int] = {}
    for entry in entries:
        event = entry.record.event
        if entry.record.seq > running.seq and isinstance(event, Outcome) and event.act == "probe" and event.step:
            last[event.step] = event.result == "done"
            failures[event.step] = failures.get(event.step, 0) + (event.result == "failed")
    for name in sorted(last):
        yield r.ReportedHealth(probe=name, state="passing" if last[name] else "failing", failures=failures[name])


def held_releases(site: Site) -> tuple[r.HeldRelease, ...]:
    """The releases whose blobs the store holds, by name and size; up to 64 missing ones are named."""
    releases: dict[str, r.HeldRelease] = {}
    for generation in reversed(site.state.installs.generations):
        if generation.release in releases or len(releases) >= MAX_STORED:
            continue
        held = _held(site, generation)
        if held is not None:
            releases[generation.release] = held
    return tuple(releases[digest] for digest in sorted(releases))


def _held(site: Site, generation: Generation) -> r.HeldRelease | None:
    try:
        release: Release = read_installed(site, generation).release
    except (DamagedError, RefusedError):
        return None
    missing = [
        blob.digest
        for blob in dict.fromkeys(release.members[2:])
        if not _has(blob_path(site.blobs, blob.digest), blob.size)
    ]
    return r.HeldRelease(release=generation.release, missing=tuple(missing)) if len(missing) <= 64 else None


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
