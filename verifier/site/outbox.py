"""The site's outbox: its signed reports, the enrolment that they refer to, and the key that signs them."""

import re
from contextlib import suppress
from pathlib import Path

from manifests.documents.enrolment import Enrolment, verify_enrolment
from manifests.documents.signed_report import SignedReport, verify_report
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import read_signer
from manifests.trust.rotation import SignedRotation
from manifests.words.canonical import parse
from manifests.words.errors import DamagedError, UntrustedError, WaybillError
from verifier.site.blobs import read_checked
from verifier.site.folder import NEXT_KEY, SITE_KEY, Site
from verifier.site.generations import read_running
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import KeyRenewed, Reported
from verifier.site.journal.state import SiteState
from verifier.site.unread import taken_in_before

HISTORY = 12
MAX_ROTATION = 4096
_NAME = re.compile(r"(?:([1-9][0-9]{0,14})-)?([1-9][0-9]{0,14})\.report\.json")


def report_name(state: SiteState, seq: int) -> str:
    """Return the file name of a report. A renewed key starts the numbers again, then its epoch leads the name."""
    return f"{seq}.report.json" if state.reports.line == 1 else f"{state.reports.line}-{seq}.report.json"


def report_path(site: Site, seq: int) -> Path:
    return site.outbox / report_name(site.state, seq)


def newest_report(site: Site) -> SignedReport | None:
    """Return the newest report in the outbox that a key of this site signed; None for none.

    Does not use the journal: where that is broken, the signature is the only proof of a report.
    """
    for number in reversed(report_numbers(site)):
        path = report_path(site, number)
        try:
            return verify_report(read_capped(path, MAX_BUNDLE), site.state.key_of_report(number), str(path))
        except WaybillError:
            continue
    return None


def check_not_behind(site: Site) -> None:
    """Check that the journal has every report that the site has signed.

    A crash leaves at most one report that the journal does not name, and that report names an entry of the journal.
    A site that continued with an older journal would repeat what was done and sign a report number twice.

    Raises:
        UntrustedError: The journal is older than a report in the outbox.
    """
    state = site.state
    last = max(report_numbers(site), default=0)
    if last > state.reports.seq + 1 or (last == state.reports.seq + 1 and not _follows(site, report_path(site, last))):
        raise UntrustedError(
            f"the journal ends before report {last}, which this site has signed",
            where=str(report_path(site, last)),
            remedy="restore the newer journal, or run `waybill enroll --renew backup-restored`",
            finding="journal-behind",
        )


def check_not_rewritten(site: Site) -> None:
    """Check that the journal is the one that every report in the outbox names.

    A report names the last entry of the journal by number and digest, under the site's signature. The owner of the
    host can compute another chain of entries; the reports that were made before still name the first one.

    Raises:
        UntrustedError: A report names another entry than the journal has at that place.
    """
    for number in report_numbers(site):
        path = report_path(site, number)
        try:
            signed = verify_report(read_capped(path, MAX_BUNDLE), site.state.key_of_report(number), str(path))
        except WaybillError:
            continue
        named = signed.report.chain.journal
        if named.entries <= len(site.entries) and site.entries[named.entries - 1].digest != named.head:
            raise UntrustedError(
                f"entry {named.entries} of the journal is not the one that report {number} names",
                where=str(path),
                remedy="the journal was written anew after that report; keep the folder unchanged, tell support, and "
                "restore the journal from a backup",
                finding="journal-rewritten",
            )


def check_first_policy(site: Site) -> None:
    """Check that the journal begins with the policy that the site's enrolment names.

    An enrolment that is missing or does not state a policy proves nothing here. Support holds a copy, and compares it
    with every report.

    Raises:
        UntrustedError: The first policy is another one.
    """
    try:
        named = enrolment_of(site)[1].policy
    except WaybillError:
        return
    first = site.state.trust.first_policy
    if named is not None and named != first:
        raise UntrustedError(
            f"the journal begins with policy {first}, the site's enrolment with {named}",
            where="journal",
            remedy="the journal was written anew from its beginning; keep the folder unchanged, tell support, and "
            "restore the journal from a backup",
            finding="journal-rewritten",
        )


def report_numbers(site: Site) -> list[int]:
    """Return the numbers of the reports in the outbox since the last enrolment, ascending."""
    if not site.outbox.is_dir():
        return []
    names = (_NAME.fullmatch(path.name) for path in site.outbox.iterdir())
    return sorted(int(name[2]) for name in names if name and int(name[1] or 1) == site.state.reports.line)


def _follows(site: Site, path: Path) -> bool:
    """Whether the journal has the entry after which this report was made.

    True for a file that is no report of this site: the next report replaces it.
    """
    try:
        signed = verify_report(read_capped(path, MAX_BUNDLE), site.state.site_key, str(path))
    except WaybillError:
        return True
    return any(entry.digest == signed.report.chain.journal.head for entry in site.entries)


def enrolment_of(site: Site) -> tuple[str, Enrolment]:
    """Return the digest and the content of the enrolment that the site's reports refer to."""
    digest = enrolment_digest(site)
    return digest, verify_enrolment(site.document(digest)).enrolment


def enrolment_digest(site: Site) -> str:
    """Return the digest of the enrolment that the site's reports refer to."""
    digest = site.state.reports.enrolment
    if digest is None:
        raise DamagedError(
            "the journal names no enrolment of the site",
            where="journal",
            remedy="keep the folder unchanged and report this to support",
            finding="no-enrolment",
        )
    return digest


def enrolment_path(site: Site) -> Path:
    """Return the path of the enrolment file that people carry to support."""
    line = site.state.reports.line
    return site.outbox / ("enrolment.json" if line == 1 else f"enrolment-{line}.json")


def finish_key(site: Site) -> None:
    """Finish a change of the key that a crash interrupted, if there is one. The site must be held."""
    following = site.path / "keys" / NEXT_KEY
    if following.exists() and _is_ours(site, following):
        site.disk.rename(following, site.path / "keys" / SITE_KEY)
        site.disk.sync_folder(following.parent)
    digest = site.state.reports.enrolment
    if site.state.reports.line > 1 and digest is not None:
        enrolment = site.document(digest)
        _write_enrolment(site, enrolment)


def restore_enrolment(site: Site) -> None:
    """Write a damaged enrolment of the outbox again, from the journal's copy. The site must be held.

    Leaves the file as it is when the copy is damaged too: whoever reads the enrolment then says so.
    """
    path, digest = enrolment_path(site), site.state.reports.enrolment
    if digest is None or not path.is_file():
        return
    with suppress(WaybillError):
        _write_enrolment(site, site.document(digest))


def _write_enrolment(site: Site, enrolment: bytes) -> None:
    path = enrolment_path(site)
    try:
        intact = path.is_file() and path.read_bytes() == enrolment
    except OSError:  # a block that the disk does not return
        intact = False
    if not intact:
        site.disk.make_folder(site.outbox)
        site.disk.write(path, enrolment)


def _is_ours(site: Site, path: Path) -> bool:
    try:
        return read_signer(path, lambda: b"").public == site.state.site_key
    except WaybillError:
        return False


def succession_of(site: Site) -> tuple[SignedRotation, ...]:
    """Return the rotations since the enrolment that the reports refer to, oldest first."""
    documents = (site.document(former.rotation) for former in site.state.reports.former_keys)
    return tuple(parse(document, SignedRotation, "rotation", max_bytes=MAX_ROTATION) for document in documents)


def reports_written(site: Site) -> tuple[Reported, ...]:
    """Return the reports since the last enrolment, oldest first. Reads the journal again, newest entries included."""
    reports: list[Reported] = []
    for entry in read_journal(site.path / "journal")[0]:
        event = entry.record.event
        if isinstance(event, KeyRenewed):
            reports = []
        elif isinstance(event, Reported):
            reports.append(event)
    return tuple(reports)


def reports_to_carry(site: Site, most: int) -> tuple[Reported, ...]:
    """Return the newest ``most`` reports without an acknowledgement, oldest first; the newest in any case."""
    reports = reports_written(site)
    acknowledged = site.state.reports.acknowledged or (0, "")
    return tuple(report for report in reports if report.seq > acknowledged[0])[-most:] or reports[-1:]


def read_report(site: Site, seq: int, digest: str) -> SignedReport:
    """Return a report of the outbox. Raises DamagedError when it is missing or has not the journal's digest."""
    path = report_path(site, seq)
    missing = ("run `waybill report --new`", "report-gone")
    changed = ("keep this file for support, and run `waybill report --new`", "report-changed")
    raw = read_checked(path, digest, MAX_BUNDLE, "the report", missing=missing, changed=changed)
    with taken_in_before():
        return verify_report(raw, site.state.key_of_report(seq), str(path))


def report_history(site: Site) -> int:
    """Return how many reports the site keeps to hand out again until they are acknowledged."""
    try:
        installed = read_running(site)
    except WaybillError:
        installed = None
    return HISTORY if installed is None else installed.settings.report.history
