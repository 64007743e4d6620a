"""Find two sites that report different releases under one sequence.

`report_rules` compares a site's release with the ledger; this is for releases that the ledger does not hold,
where only reports can contradict each other.
"""

from collections.abc import Callable

from sqlalchemy import Connection, func, select

from fleet.ledger.tables import releases, reports
from fleet.rules.values import Library, ReportFinding
from manifests.documents.report import Report, ReportedInstalled

SequencePlace = tuple[str, str, int, int]


class ReleaseClaims:
    """What sites told of releases that are not in the ledger: read once for an import, then kept up with it."""

    def __init__(self, read: Callable[[bytes], Report]) -> None:
        self._read = read
        self._places: dict[SequencePlace, dict[str, str]] | None = None

    def judge(self, connection: Connection, report: Report, library: Library) -> ReportFinding | None:
        """An alarm when another site told of another digest in this place; remembers what this one tells."""
        installed = report.install.release
        if installed is None or installed.digest in library.releases:
            return None
        if self._places is None:
            self._places = self._load(connection)
        here = self._places.setdefault(_place(installed), {})
        other = next((digest for digest in here if digest != installed.digest), None)
        here.setdefault(installed.digest, report.identity.site)
        if other is None:
            return None
        return ReportFinding(
            "equivocation",
            True,
            f"the site runs {installed.digest[:19]} as {installed.channel} {installed.sequence}, "
            f"{here[other]} runs {other[:19]} under the same sequence",
        )

    def _load(self, connection: Connection) -> dict[SequencePlace, dict[str, str]]:
        first = (
            select(func.min(reports.c.digest))
            .where(reports.c.release.is_not(None) & reports.c.release.not_in(select(releases.c.digest)))
            .group_by(reports.c.release)
        )
        found: dict[SequencePlace, dict[str, str]] = {}
        for (raw,) in connection.execute(select(reports.c.raw).where(reports.c.digest.in_(first))):
            report = self._read(raw)
            if report.install.release is not None:
                place = _place(report.install.release)
                found.setdefault(place, {})[report.install.release.digest] = report.identity.site
        return found


def _place(installed: ReportedInstalled) -> SequencePlace:
    return installed.product, installed.channel, installed.epoch, installed.sequence
