"""Where a site's signed reports lie, and what they prove of its journal: that it is not an older one, put back."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.envelope import MAX_BUNDLE
from manifests.errors import UntrustedError, WaybillError
from manifests.keys import read_capped
from manifests.report import SignedReport, verify_report
from verifier.state import SiteState

if TYPE_CHECKING:
    from verifier.site import Site

_NAME = re.compile(r"(?:([1-9][0-9]{0,14})-)?([1-9][0-9]{0,14})\.report\.json")


def report_name(state: SiteState, seq: int) -> str:
    """Numbers begin anew with a renewed key; those of the site's first line are just numbers."""
    return f"{seq}.report.json" if state.line == 1 else f"{state.line}-{seq}.report.json"


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
    if last > state.report_seq + 1 or (last == state.report_seq + 1 and not _follows(site, report_path(site, last))):
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
    return [int(one[2]) for one in found if one and int(one[1] or 1) == site.state.line]


def _follows(site: "Site", path: Path) -> bool:
    """Whether the journal has the entry after which this report was made; what is no report of this site is judged by
    whoever takes it over."""
    try:
        signed = verify_report(read_capped(path, MAX_BUNDLE), site.state.site_key, str(path))
    except WaybillError:
        return True
    return any(entry.digest == signed.report.chain.journal.head for entry in site.entries)
