"""The statement of a site whose vendor's access has ended: what ended, how it was tested, and what stays where.

It is made from the journal and the site's folder, for the customer's files. It is not signed; the final report is.
"""

import os
from collections import Counter
from pathlib import Path

from manifests.words.time import rfc3339
from manifests.words.units import show_count, show_size
from verifier.approval.page import Page, Row, Section, Table
from verifier.change.reachable import rollbacks_text
from verifier.reporting.history import history_lines
from verifier.reporting.offboarding import MAX_EACH
from verifier.site.folder import EVIDENCE, SITE_KEY, Site
from verifier.site.journal.state import Offboarding
from verifier.site.outbox import report_path
from verifier.site.releases import revoked_for_ever
from verifier.site.vendor_access import REFUSED_FROM_THEN, WORKS_ON

# At most so many files of a folder are counted, so that the statement takes minutes at most.
MOST = 1_000_000
# Entries of the site's folder that are listed if they exist: what it is, name.
_PLACES = (
    ("files of the service", "srv"),
    ("data of the service", "data"),
    ("image layouts", "oci"),
    ("blobs of releases", "store"),
    ("backups", "backups"),
    ("secrets", "secrets"),
    ("certificates", "tls"),
    ("public keys of people", "people"),
    ("configuration", "site.yaml"),
    ("policy", "policy.yaml"),
    ("journal and approvals", "journal"),
    ("heads of all accepted releases", "heads"),
    ("root documents, as evidence", EVIDENCE),
    ("reports", "outbox"),
    ("logs", "logs"),
)


def kept_places(site: Site) -> list[tuple[str, str, Path]]:
    """Return (what it is, version or state, path) of what stays below the site's folder."""
    running, key = site.state.installs.running, site.path / "keys" / SITE_KEY
    places = []
    if running is not None:
        places.append(("the software that runs", f"{running.product} {running.version}", site.path / "current"))
    for generation in site.state.installs.generations:
        folder = site.generation_folder(generation.number)
        if folder.is_dir():
            places.append((f"generation {generation.number}", generation.version, folder))
    places += [(what, "", site.path / name) for what, name in _PLACES if (site.path / name).exists()]
    return [*places, ("the site's key", "kept; signs nothing more" if key.exists() else "destroyed", key)]


def _kept_size(path: Path) -> str:
    """Return the number of files below ``path`` and their size, without those that cannot be read; empty for a link."""
    if path.is_symlink():
        return ""
    count = size = 0
    folders = os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]
    for file in (Path(root) / name for root, _, names in folders for name in names):
        try:
            size += file.lstat().st_size
        except OSError:
            continue
        count += 1
        if count >= MOST:
            return f"more than {count} files, {show_size(size)}"
    return f"{show_count(count, 'file')}, {show_size(size)}" if count else "nothing"


def offboarding_text(site: Site) -> str:
    """Return the result of `offboard` in a few lines: probes that failed, counts, the final report."""
    state, offboarding = site.state, _ended(site)
    count = Counter(probe.outcome for probe in offboarding.tried)
    places = kept_places(site)
    generations = sum(what.startswith("generation ") for what, _, _ in places)
    lines = [f"{state.trust.vendor} has no access to {state.site} any more"]
    lines += [
        f"! still accepted here: {probe.kind} {probe.artefact}: {probe.detail}"
        for probe in offboarding.tried
        if probe.outcome == "accepted"
    ]
    if revoked := revoked_for_ever(site):
        lines.append(f"! {revoked}")
    lines += [
        f"  ended         {rfc3339(offboarding.done_at)} ({offboarding.asked.reason})" if offboarding.done_at else "",
        f"  agreed to by  {_approvers(site, offboarding)}",
        f"  tried again   {', '.join(f'{number} {outcome}' for outcome, number in sorted(count.items()))}",
        f"  stays         {show_count(generations, 'generation')}, data, images, backups and journal in {site.path}",
        f"  site key      {places[-1][1]}",
    ]
    if offboarding.final is not None:
        lines.append(f"  final report  {report_path(site, offboarding.final)}")
    lines += ["carry the final report to support; next: waybill report --out MEDIUM"]
    return "\n".join([*lines, "--verbose lists what was tried again and what stays; --page FILE writes the statement"])


def offboarding_page(site: Site, about: str = "") -> Page:
    """Return the statement in full."""
    state, offboarding = site.state, _ended(site)
    done = offboarding.done
    facts = [
        ("reason", f"{offboarding.asked.reason}: {offboarding.asked.detail}"),
        ("requested", rfc3339(offboarding.asked_at)),
        ("agreed to by", _approvers(site, offboarding)),
        ("plan", done.plan if done else ""),
    ]
    if offboarding.root is not None:
        facts.append(("trusted until then", f"root {offboarding.root.version}, {offboarding.root.digest}"))
    if revoked := revoked_for_ever(site):
        facts.append(("revoked", revoked))
    retired = "the site's key is destroyed: no report can be signed for this site any more"
    ended = f"{state.site} has no vendor any more; to use one again, enrol a new folder"
    works = (
        WORKS_ON,
        rollbacks_text(site),
        REFUSED_FROM_THEN,
        retired if offboarding.asked.reason == "retired" else ended,
    )
    return Page(
        title=f"{state.trust.vendor} has no access to {state.site} any more",
        sections=(
            Section("what was ended", facts=tuple(facts)),
            _tried(offboarding),
            _stays(site),
            Section("what still works", works),
            _elsewhere(site, offboarding),
        ),
        lead=(f"since {rfc3339(offboarding.done_at)}; the head of the journal is {state.head}",)
        if offboarding.done_at
        else (),
        about=about,
    )


def _ended(site: Site) -> Offboarding:
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.done_at is None:
        raise ValueError("the vendor's access was not ended")
    return offboarding


def _approvers(site: Site, offboarding: Offboarding) -> str:
    lines = history_lines(entry.record for entry in site.entries)
    people = next((line.person for line in lines if line.record.event == offboarding.done), "")
    return people or "nobody: the policy in force requires no approval"


def _tried(offboarding: Offboarding) -> Section:
    rows = tuple(
        Row(
            (probe.kind, probe.artefact or "none was held", probe.outcome, probe.finding or ""),
            "warning" if probe.outcome == "accepted" else None,
        )
        for probe in offboarding.tried
    )
    lines = (
        f"the newest {MAX_EACH} documents of each kind that this site accepted from the vendor before; "
        "each must be refused",
    )
    return Section("what was tried once more", lines, table=Table(("kind", "artefact", "outcome", "finding"), rows))


def _stays(site: Site) -> Section:
    rows = tuple(
        Row((what, detail, str(path.relative_to(site.path)), _kept_size(path)))
        for what, detail, path in kept_places(site)
    )
    lines = (
        f"paths are relative to {site.path}",
        "What drivers placed outside of this folder, such as images in a registry, stays there too.",
    )
    return Section("what stays, and where", lines, table=Table(("what", "", "where", "how much"), rows))


def _elsewhere(site: Site, offboarding: Offboarding) -> Section:
    reports = site.state.reports
    final = (
        f"report {offboarding.final}, in {site.outbox}" if offboarding.final else "not written: run waybill offboard"
    )
    left = "all up to the last" if reports.left == reports.head else "some; the last report was not exported yet"
    lines = (
        "Exported reports hold what the telemetry contract allowed; the contract is in the store.",
        "Ask the vendor's support for its signed receipt: it states what the vendor keeps, and until when.",
    )
    facts = (
        ("the last report", final),
        ("exported reports", left if reports.left else "none, according to the journal"),
    )
    return Section("what is not here", lines, facts)
