"""The result of an import, by file and by site, as values, as text and as JSON values."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from fleet.intake.telephone import TelephoneClaim
from fleet.rules.values import ReportFinding
from manifests.words.errors import (
    OTHER_MEDIUM,
    REPLACE_MEDIUM,
    AttentionError,
    DamagedError,
    MalformedError,
    UntrustedError,
    WaybillError,
)
from manifests.words.packers import Packer
from manifests.words.text import for_files
from manifests.words.units import show_count

# Rows of each status that a result lists; the rest is counted.
MAX_LISTED = 1000
MAX_FOREIGN = 20
# So many of each the text shows.
# Named once for all sites: the same bundle is missing for each of them.
UNKNOWN = "release-unknown"
SHOWN_SITES = 200
SHOWN_FINDINGS = 20
SHOWN_NUMBERS = 12

# What to do next, by the kind of file. A reader of a document does not know how it came here.
REPORT_AGAIN = "ask the site for the report again, as a file: waybill report --new --out DIR"
PICTURE_AGAIN = "take the picture again, from nearer and in better light; or ask the site for: waybill report --text"
SYMBOL_AGAIN = "scan the symbol again; or ask the site for: waybill report --text"
BUNDLE_AGAIN = "import a fresh copy of the bundle from where it was built; `waybill verify` there checks a copy"
FILE_AGAIN = "try another drive or reader; if it stays unreadable, ask the sender for the file again"
COPY_AGAIN = "copy it again from its source"
_GENERAL = ("", MalformedError.usual, UntrustedError.usual, DamagedError.usual, OTHER_MEDIUM, REPLACE_MEDIUM)

FileStatus = Literal[
    "release",
    "report",
    "telemetry",
    "waiting",
    "known",
    "quarantined",
    "unkept",
    "unreadable",
    "unused",
    "packed",
    "skipped",
]
# How each status is counted in the last line.
COUNTED: dict[FileStatus, str] = {
    "release": "release",
    "report": "new report",
    "telemetry": "new telemetry file",
    "waiting": "waiting",
    "known": "known already",
    "quarantined": "quarantined",
    "unkept": "refused and not kept",
    "unreadable": "unreadable",
    "unused": "named and not imported",
    "packed": "packed and not read",
    "skipped": "not imported",
}

_NOUNS = ("release", "report", "telemetry")


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


def with_next_step(error: WaybillError, step: str) -> WaybillError:
    """Return the error with ``step`` as its remedy where its own is a general one."""
    return error.with_(remedy=step) if error.remedy in _GENERAL else error


def packed_result(path: str, packer: Packer) -> FileResult:
    hint = f"{packer.step}, then import the folder with the content"
    return FileResult(path, "packed", f"{packer.what}, which is not opened", "packed", hint)


def unreadable_result(path: str, error: OSError) -> FileResult:
    return FileResult(path, "unreadable", (error.strerror or str(error)).lower(), "file-unreadable", FILE_AGAIN)


@dataclass
class SiteResult:
    """What an import changed for one site: numbers of new reports, how many were known, findings by number."""

    new: list[int] = field(default_factory=list)
    known: int = 0
    findings: list[tuple[int, ReportFinding]] = field(default_factory=list)


@dataclass
class ImportResult:
    """The result of one import; lists are capped, counts are not.

    Attributes:
        named: Files that a person named; one that gives nothing needs attention.
        quarantined: Digests of the refused files; ``quarantined_before`` are those that were in quarantine already.
        stopped: What this machine failed at; what ``counts`` says is in the ledger.
    """

    counts: dict[FileStatus, int] = field(default_factory=dict)
    files: list[FileResult] = field(default_factory=list)
    sites: dict[str, SiteResult] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    quarantined: set[str] = field(default_factory=set)
    quarantined_before: set[str] = field(default_factory=set)
    stopped: WaybillError | None = None

    def add_quarantined(self, digest: str, *, known: bool) -> None:
        if known and digest not in self.quarantined:
            self.quarantined_before.add(digest)
        self.quarantined.add(digest)

    def add(self, result: FileResult) -> None:
        if result.status in ("skipped", "packed") and result.name in self.named:
            hint = result.hint or "name the report, the mail or the picture that the site sent"
            result = replace(result, status="unused", finding=result.finding or "not-ours", hint=hint)
        self.counts[result.status] = self.counts.get(result.status, 0) + 1
        # Photographs and kits must not push the one refused report off the list.
        foreign = result.status == "packed" or (result.status == "skipped" and not result.finding)
        limit = MAX_FOREIGN if foreign else MAX_LISTED
        if self.counts[result.status] <= limit:
            self.files.append(result)

    def add_committed(self, batch: "ImportResult") -> None:
        """Add the result of one transaction of the ledger, after its commit."""
        listed = Counter(file.status for file in batch.files)
        for file in batch.files:
            self.add(file)
        for status, count in batch.counts.items():
            self.counts[status] = self.counts.get(status, 0) + count - listed[status]
        for site, news in batch.sites.items():
            known = self.sites.setdefault(site, SiteResult())
            known.new += news.new
            known.known += news.known
            known.findings += news.findings

    def stop(self, error: WaybillError) -> None:
        """Keep the error that ended the import, with the number of releases and reports that the ledger took in."""
        counted: tuple[FileStatus, ...] = ("release", "report")
        taken_in = [show_count(self.counts[status], COUNTED[status]) for status in counted if status in self.counts]
        self.stopped = error.with_(
            problem=f"{error.problem}; taken in before that: {' and '.join(taken_in) or 'nothing'}"
        )

    @property
    def alarms(self) -> tuple[str, ...]:
        """Sites with at least one alarm."""
        results = self.sites.items()
        return tuple(sorted(site for site, result in results if any(one.alarm for _, one in result.findings)))


def claim_text(claim: TelephoneClaim) -> str:
    text = f"{claim.site}: report {claim.seq} is {claim.digest[:12]}, by telephone"
    return {
        "claimed": f"{text}; recorded, not proven until that report is imported",
        "proven": f"{text}; that report is here",
        "contradicted": f"alarm: {text}; the report {claim.seq} that is here is another one",
    }[claim.standing]


def contradiction(claims: list[TelephoneClaim]) -> AttentionError | None:
    claim = next((claim for claim in claims if claim.standing == "contradicted"), None)
    if claim is None:
        return None
    problem = f"report {claim.seq} of {claim.site} has another digest than was named by telephone"
    remedy = "ask the customer who called; import the site's newest reports to see whether there are two histories"
    return AttentionError(problem, remedy=remedy, finding="line-contradicted")


def import_attention(result: ImportResult) -> AttentionError | None:
    """The error of an import that is complete and needs a person."""
    statuses: tuple[FileStatus, ...] = ("quarantined", "unkept", "unreadable", "unused")
    parts = [
        f"{show_count(result.counts[status], 'file')} {COUNTED[status]}"
        for status in statuses
        if status in result.counts
    ]
    if result.alarms:
        parts.append(f"{show_count(len(result.alarms), 'site')} with an alarm")
    if not parts:
        return None
    remedy = f"waybill fleet show {result.alarms[0]}" if result.alarms else None
    if remedy is None and "quarantined" in result.counts:
        remedy = "waybill fleet list quarantine"
    if remedy is None:
        files = [file for file in result.files if file.status in statuses]
        hints = list(dict.fromkeys(file.hint for file in files))
        names = [file.name.rpartition("/")[2] for file in files]
        remedy = (
            for_files(hints[0], names)
            if len(hints) == 1 and hints[0]
            else "see the line of each file above, with what to do"
        )
    return AttentionError(", ".join(parts), remedy=remedy, finding="import-attention")


def import_text(result: ImportResult) -> str:
    """The counts first, then what needs a person, then what is new for each site."""
    counts = [
        f"{result.counts[status]} {noun}{'s' * (status in _NOUNS and result.counts[status] != 1)}"
        for status, noun in COUNTED.items()
        if status in result.counts
    ]
    counts = [count + _different(result) if count.endswith(" quarantined") else count for count in counts]
    lines = [", ".join(counts) or ("nothing was taken in" if result.stopped else "no file was found")]
    for file in result.files:
        if file.status in ("release", "waiting", "quarantined", "unkept", "unreadable", "unused", "packed") or (
            file.status == "skipped" and file.finding
        ):
            lines.append(f"{file.status}: {file.name}: {file.text}")
            if file.hint:
                lines.append(f"  {file.hint}")
    lines += _unknown_releases(result)
    by_alarm = sorted(result.sites.items(), key=lambda item: (item[0] not in result.alarms, item[0]))
    for site, news in by_alarm[:SHOWN_SITES]:
        if news.new:
            lines.append(f"{site}: {_numbers(sorted(news.new))}")
        alike: dict[ReportFinding, list[int]] = {}
        for seq, finding in news.findings:
            if finding.finding == UNKNOWN:
                continue
            alike.setdefault(finding, []).append(seq)
        for finding, seqs in list(alike.items())[:SHOWN_FINDINGS]:
            kind = "alarm" if finding.alarm else "note"
            lines.append(f"  {kind} {finding.finding}, {_numbers(sorted(seqs))}: {finding.text}")
    if len(by_alarm) > SHOWN_SITES:
        lines.append(f"{len(by_alarm) - SHOWN_SITES} more sites: waybill fleet sites")
    return "\n".join(lines)


def _unknown_releases(result: ImportResult) -> list[str]:
    """Name each release whose bundle is missing once, with how many reports of how many sites say that it runs."""
    counts: dict[str, list[str]] = {}
    for site, news in result.sites.items():
        for _, finding in news.findings:
            if finding.finding == UNKNOWN:
                counts.setdefault(finding.text, []).append(site)
    return [
        f"note {UNKNOWN}: {text} ({show_count(len(named), 'report')} of {show_count(len(set(named)), 'site')})"
        for text, named in sorted(counts.items())
    ]


def _different(result: ImportResult) -> str:
    """Say how many different files were refused, where that is another number than that of the files."""
    before, different = len(result.quarantined_before), len(result.quarantined)
    parts = [f"{different} different"] if different < result.counts["quarantined"] else []
    parts += [f"{before} in quarantine before"] if before else []
    return f" ({', '.join(parts)})" if parts else ""


def _numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"report {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"reports {numbers[0]} to {numbers[-1]}"
    more = f" and {len(numbers) - SHOWN_NUMBERS} more" if len(numbers) > SHOWN_NUMBERS else ""
    return f"reports {', '.join(map(str, numbers[:SHOWN_NUMBERS]))}{more}"


def import_data(result: ImportResult) -> dict[str, object]:
    """The same for programs; a missing finding or hint is an empty string there."""
    return {
        "counts": dict(result.counts),
        "quarantined": {"different": len(result.quarantined), "before": len(result.quarantined_before)},
        "files": [
            {**msgspec.to_builtins(file), "finding": file.finding or "", "hint": file.hint or ""}
            for file in result.files
        ],
        "sites": {
            site: {
                "new": sorted(news.new),
                "known": news.known,
                "findings": [{"report": seq, **msgspec.to_builtins(finding)} for seq, finding in news.findings],
            }
            for site, news in sorted(result.sites.items())
        },
    }
