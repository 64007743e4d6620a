"""Find two sites that report different releases under one sequence.

`report_rules` compares a site's release with the ledger; this is for releases that the ledger does not hold,
where only reports can contradict each other.
"""

from collections.abc import Callable

from sqlalchemy import Connection, func, select

from fleet.ledger.tables import releases, reports
from fleet.rules.values import Library, ReportFinding
from manifests.documents.report import Report, ReportedInstalled
from manifests.words.text import short_digest

SequenceKey = tuple[str, str, int, int]


class ReleaseClaims:
    """What sites reported of releases that are not in the ledger: read once for an import, then kept up with it."""

    def __init__(self, read: Callable[[bytes], Report]) -> None:
        self._read = read
        self._claims: dict[SequenceKey, dict[str, str]] | None = None

    def judge(self, connection: Connection, report: Report, library: Library) -> ReportFinding | None:
        """Return an alarm when another site reported another digest for this sequence; remember this site's claim."""
        installed = report.install.release
        if installed is None or installed.digest in library.releases:
            return None
        if self._claims is None:
            self._claims = self._load(connection)
        here = self._claims.setdefault(_sequence(installed), {})
        other = next((digest for digest in here if digest != installed.digest), None)
        here.setdefault(installed.digest, report.identity.site)
        if other is None:
            return None
        text = (
            f"the site runs {short_digest(installed.digest)} as {installed.channel} {installed.sequence}; "
            f"{here[other]} runs {short_digest(other)} under the same sequence"
        )
        return ReportFinding("equivocation", True, text)

    def _load(self, connection: Connection) -> dict[SequenceKey, dict[str, str]]:
        first = (
            select(func.min(reports.c.digest))
            .where(reports.c.release.is_not(None) & reports.c.release.not_in(select(releases.c.digest)))
            .group_by(reports.c.release)
        )
        claims: dict[SequenceKey, dict[str, str]] = {}
        for (raw,) in connection.execute(select(reports.c.raw).where(reports.c.digest.in_(first))):
            report = self._read(raw)
            installed = report.install.release
            if installed is not None:
                claims.setdefault(_sequence(installed), {})[installed.digest] = report.identity.site
        return claims


def _sequence(installed: ReportedInstalled) -> SequenceKey:
    return installed.product, installed.channel, installed.epoch, installed.sequence
