"""The statement of a site whose vendor's access has ended: what was ended, how that was tried, and what stays where.

For the customer's files. It is made from the journal and from what lies in the folder right now; nobody signs it, the
site's last report is what is signed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from manifests.words.time import rfc3339
from manifests.words.units import show_size
from verifier.approval.page import Page, Row, Section, Table
from verifier.reporting.access_probes import MAX_EACH
from verifier.reporting.history import history_lines
from verifier.site.folder import EVIDENCE, SITE_KEY, Site
from verifier.site.journal.state import Offboarding
from verifier.site.vendor_access import REFUSED_FROM_THEN, WORKS_ON

# So many entries of a folder are counted; a statement must not take an hour.
MOST = 1_000_000


@dataclass(frozen=True)
class KeptData:
    """What lies below a folder. Attributes: more: there is more than was counted."""

    files: int
    size: int
    more: bool = False

    @property
    def text(self) -> str:
        if not self.files:
            return "nothing"
        return f"{'more than ' * self.more}{self.files} files, {show_size(self.size)}"


def read_kept_data(path: Path) -> KeptData:
    """Files and their bytes, links not followed; a folder that may not be read holds nothing that can be told."""
    files = size = 0
    if path.is_file():
        return KeptData(1, path.stat().st_size)
    for root, _, names in os.walk(path, followlinks=False):
        for name in names:
            try:
                size += (Path(root) / name).lstat().st_size
            except OSError:
                continue
            files += 1
            if files >= MOST:
                return KeptData(files, size, more=True)
    return KeptData(files, size)


def offboarding_page(site: Site, about: str = "") -> Page:
    """Of a site whose vendor's access was ended."""
    state = site.state
    offboarding = state.offboarding
    if offboarding is None or offboarding.done_at is None:
        raise ValueError("nothing was ended here")
    sections = (
        _ended(site, offboarding),
        _tried(offboarding),
        _stays(site),
        _works(site, offboarding),
        _elsewhere(site, offboarding),
    )
    return Page(
        title=f"{state.trust.vendor} has no access to {state.site} any more",
        sections=sections,
        lead=(f"since {rfc3339(offboarding.done_at)}, entry by entry in the journal, whose head is {state.head}",),
        about=about,
    )


def _ended(site: Site, offboarding: Offboarding) -> Section:
    done = offboarding.done
    people = next(
        (one.person for one in history_lines(entry.record for entry in site.entries) if one.record.event == done), ""
    )
    facts = [
        ("reason", f"{offboarding.asked.reason}: {offboarding.asked.detail}"),
        ("asked", rfc3339(offboarding.asked_at)),
        ("agreed to by", people or "nobody: the policy in force requires no approval"),
        ("plan", done.plan if done else ""),
    ]
    if offboarding.root is not None:
        facts.append(("believed until then", f"root {offboarding.root.version}, {offboarding.root.digest}"))
    return Section("what was ended", facts=tuple(facts))


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
    """List what is left at the site, with paths and sizes. Reads the folder."""
    state, path = site.state, site.path
    running = state.installs.running
    rows = []
    if running is not None:
        rows.append(("the software that runs", f"{running.product} {running.version}", str(path / "current"), ""))
    for generation in state.installs.generations:
        folder = site.generation_folder(generation.number)
        if folder.is_dir():
            rows.append(
                (f"generation {generation.number}", generation.version, str(folder), read_kept_data(folder).text)
            )
    for what, name in (
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
        ("the journal and what people signed", "journal"),
        ("heads of all accepted releases", "heads"),
        ("root documents, as evidence", EVIDENCE),
        ("reports", "outbox"),
        ("logs", "logs"),
    ):
        if (path / name).exists():
            rows.append((what, "", str(path / name), read_kept_data(path / name).text))
    key = path / "keys" / SITE_KEY
    rows.append(("the site's key", "kept; signs nothing more" if key.exists() else "destroyed", str(key), ""))
    table = Table(("what", "", "where", "how much"), tuple(Row(row) for row in rows))
    outside = "What drivers placed outside of this folder, such as images in a registry, stays there too."
    return Section("what stays, and where", (outside,), table=table)


def _works(site: Site, offboarding: Offboarding) -> Section:
    gone = offboarding.asked.reason == "retired"
    return Section(
        "what still works",
        (
            WORKS_ON,
            REFUSED_FROM_THEN,
            "the site's key is destroyed: no report can be signed for this site any more"
            if gone
            else f"{site.state.site} has no vendor any more; to use one again, enrol a new folder",
        ),
    )


def _elsewhere(site: Site, offboarding: Offboarding) -> Section:
    final = (
        f"report {offboarding.final}, in {site.outbox}" if offboarding.final else "not written yet: waybill offboard"
    )
    lines = (
        "Reports that left hold what the telemetry contract allowed, which is in the store.",
        "Ask the vendor's support for its signed receipt: it states what the vendor keeps, and until when.",
    )
    return Section("what is not here", lines, (("the last report", final), ("reports that left", _left(site))))


def _left(site: Site) -> str:
    state = site.state
    if state.reports.left is None:
        return "none, according to the journal"
    return (
        "all up to the last" if state.reports.left == state.reports.head else "some; the last report did not leave yet"
    )
