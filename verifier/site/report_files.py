"""Where a site's signed reports lie, and what they prove of its journal: that it is not an older one, put back."""

import re
from pathlib import Path

from manifests.documents import report_reader as r
from manifests.documents.enrolment import Enrolment, verify_enrolment
from manifests.documents.report_reader import SignedReport, verify_report
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.words.digest import digest_of
from manifests.words.errors import DamagedError, UntrustedError, WaybillError
from verifier.site.folder import Site
from verifier.site.generations import read_running
from verifier.site.journal.chain import read_journal
from verifier.site.journal.events import KeyRenewed, Reported
from verifier.site.journal.state import SiteState

_NAME = re.compile(r"(?:([1-9][0-9]{0,14})-)?([1-9][0-9]{0,14})\.report\.json")


def report_name(state: SiteState, seq: int) -> str:
    """Numbers begin anew with a renewed key; those of the site's first line are just numbers."""
    return f"{seq}.report.json" if state.reports.line == 1 else f"{state.reports.line}-{seq}.report.json"


def report_path(site: "Site", seq: int) -> Path:
    return site.outbox / report_name(site.state, seq)


def newest_report(site: "Site") -> SignedReport | None:
    """The report of this line with the highest number that lies here, signed by a key of this site; None for none.

    The journal is not asked: where it is broken, the signature is all that vouches for the report.
    """
    for number in sorted(_numbers(site), reverse=True):
        path = report_path(site, number)
        try:
            return verify_report(read_capped(path, MAX_BUNDLE), site.state.key_of_report(number), str(path))
        except WaybillError:
            continue
    return None


def check_not_behind(site: "Site") -> None:
    """That the journal knows all that the site has signed.

    A crash leaves one report at most that the journal does not name, and that one names an entry which the journal has.
    Whoever goes on with an older journal repeats what is done, and signs a number twice.

    Raises:
        UntrustedError: The journal is older than a report that lies here.
    """
    state = site.state
    last = max((number for number in _numbers(site)), default=0)
    if last > state.reports.seq + 1 or (last == state.reports.seq + 1 and not _follows(site, report_path(site, last))):
        raise UntrustedError(
            f"the journal ends before report {last}, which this site has signed",
            where=str(report_path(site, last)),
            remedy="an older journal was put back: put the newer one back, or waybill enroll --renew backup-restored",
            finding="journal-behind",
        )


def _numbers(site: "Site") -> list[int]:
    """Of the reports of this line that lie here."""
    if not site.outbox.is_dir():
        return []
    found = (_NAME.fullmatch(one.name) for one in site.outbox.iterdir())
    return [int(one[2]) for one in found if one and int(one[1] or 1) == site.state.reports.line]


def _follows(site: "Site", path: Path) -> bool:
    """Whether the journal has the entry after which this report was made; what is no report of this site is judged by
    whoever takes it over."""
    try:
        signed = verify_report(read_capped(path, MAX_BUNDLE), site.state.site_key, str(path))
    except WaybillError:
        return True
    return any(entry.digest == signed.report.chain.journal.head for entry in site.entries)


HISTORY = 12


def enrolment_of(site: Site) -> tuple[str, Enrolment]:
    """The digest of the enrolment file on which the site's reports stand, and what it says."""
    digest = site.state.reports.enrolment
    if digest is None:
        raise DamagedError(
            "the journal does not name the site's enrolment",
            where="journal",
            remedy="keep the folder as it is and tell support",
            finding="no-enrolment",
        )
    return digest, verify_enrolment(site.document(digest)).enrolment


def reports_written(site: Site) -> tuple[Reported, ...]:
    """Every report of the line that home can follow, oldest first. Read anew: also what was recorded just now."""
    told: list[Reported] = []
    for entry in read_journal(site.path / "journal")[0]:
        event = entry.record.event
        if isinstance(event, KeyRenewed):
            told = []
        elif isinstance(event, Reported):
            told.append(event)
    return tuple(told)


def reports_to_carry(site: Site, most: int) -> tuple[Reported, ...]:
    """The newest ``most`` reports that home is not known to hold, oldest first; the newest in any case."""
    told = reports_written(site)
    held = site.state.reports.acknowledged[0] if site.state.reports.acknowledged else 0
    return tuple(one for one in told if one.seq > held)[-most:] or told[-1:]


def read_report(site: Site, seq: int, digest: str) -> r.SignedReport:
    """A report of the outbox, which must be the very file that the journal names.

    Raises:
        DamagedError: It is gone, or another.
    """
    path = report_path(site, seq)
    if not path.is_file():
        raise DamagedError("the report is gone", where=str(path), remedy="waybill report --new", finding="report-gone")
    raw = read_capped(path, MAX_BUNDLE)
    if digest_of(raw) != digest:
        raise DamagedError(
            f"is {digest_of(raw)}, the journal says {digest}",
            where=str(path),
            remedy="waybill report --new writes another one; keep this file and tell support",
            finding="report-changed",
        )
    return r.verify_report(raw, site.state.key_of_report(seq), str(path))


def report_history(site: Site) -> int:
    """How many reports are kept, to be handed out again until they are acknowledged."""
    try:
        installed = read_running(site)
    except WaybillError:
        installed = None
    return HISTORY if installed is None else installed.settings.report.history
