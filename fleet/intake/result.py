"""The result of an import, by file and by site."""

from dataclasses import dataclass, field
from typing import Literal

from fleet.rules.values import ReportFinding
from manifests.words.errors import WaybillError

# Rows of each status that a result lists; the rest is counted.
MAX_LISTED = 1000
MAX_FOREIGN = 20

FileStatus = Literal["release", "report", "known", "quarantined", "unreadable", "skipped"]


@dataclass(frozen=True)
class FileResult:
    """What became of one file."""

    name: str
    status: FileStatus
    text: str
    finding: str | None = None
    hint: str | None = None


def refused_result(name: str, status: FileStatus, error: WaybillError) -> FileResult:
    return FileResult(name, status, error.problem, error.finding, error.remedy or None)


def unreadable_result(path: str, error: OSError) -> FileResult:
    return FileResult(path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable")


@dataclass
class SiteResult:
    """What an import changed for one site: numbers of new reports, how many were known, findings by number."""

    new: list[int] = field(default_factory=list)
    known: int = 0
    findings: list[tuple[int, ReportFinding]] = field(default_factory=list)


@dataclass
class ImportResult:
    """The result of one import; lists are capped, counts are not."""

    counts: dict[FileStatus, int] = field(default_factory=dict)
    files: list[FileResult] = field(default_factory=list)
    sites: dict[str, SiteResult] = field(default_factory=dict)

    def add(self, result: FileResult) -> None:
        self.counts[result.status] = self.counts.get(result.status, 0) + 1
        # Photographs and kits must not push the one refused report off the list.
        limit = MAX_FOREIGN if result.status == "skipped" and not result.finding else MAX_LISTED
        if self.counts[result.status] <= limit:
            self.files.append(result)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Sites with at least one alarm."""
        results = self.sites.items()
        return tuple(sorted(site for site, result in results if any(one.alarm for _, one in result.findings)))
