"""The result of an import, by file and by site."""

from dataclasses import dataclass, field
from typing import Literal

from fleet.rules.values import ReportFinding

# Rows of each sort that a result lists; the rest is counted.
MAX_LISTED = 1000
MAX_FOREIGN = 20


FileStatus = Literal["release", "report", "known", "quarantined", "unreadable", "skipped"]


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    name: str
    status: FileStatus
    text: str
    finding: str = ""
    hint: str = ""


@dataclass
class SiteNews:
    """What an import brought of one site."""

    new: list[int] = field(default_factory=list)
    known: int = 0
    findings: list[tuple[int, ReportFinding]] = field(default_factory=list)


@dataclass
class Imported:
    """The result of one import; lists are capped, counts are not."""

    counts: dict[FileStatus, int] = field(default_factory=dict)
    outcomes: list[FileResult] = field(default_factory=list)
    sites: dict[str, SiteNews] = field(default_factory=dict)

    def add(self, outcome: FileResult) -> None:
        self.counts[outcome.status] = self.counts.get(outcome.status, 0) + 1
        # Photographs and kits must not push the one refused report out of sight.
        most = MAX_FOREIGN if outcome.status == "skipped" and not outcome.finding else MAX_LISTED
        if self.counts[outcome.status] <= most:
            self.outcomes.append(outcome)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Sites with at least one alarm."""
        return tuple(sorted(site for site, news in self.sites.items() if any(one.alarm for _, one in news.findings)))
