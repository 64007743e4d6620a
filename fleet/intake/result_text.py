"""The result of an import, and of telephone claims, as text and as JSON values."""

import msgspec

from fleet.intake.result import FileStatus, ImportResult
from fleet.intake.telephone import TelephoneClaim
from manifests.words.errors import AttentionError
from manifests.words.units import show_count

SHOWN_SITES = 200
SHOWN_FINDINGS = 20
SHOWN_NUMBERS = 12
# How each status is counted in the last line.
COUNTED: dict[FileStatus, str] = {
    "release": "releases",
    "report": "new reports",
    "known": "known already",
    "quarantined": "quarantined",
    "unreadable": "unreadable",
    "skipped": "not ours",
}


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
    return AttentionError(
        f"report {claim.seq} of {claim.site} has another digest than was named by telephone",
        remedy="ask the customer who called; import the site's newest reports to see whether there are two histories",
        finding="line-contradicted",
    )


def import_attention(result: ImportResult) -> AttentionError | None:
    """The error of an import that is complete and needs a person."""
    statuses: tuple[FileStatus, ...] = ("quarantined", "unreadable")
    parts = [f"{show_count(result.counts[status], 'file')} {status}" for status in statuses if status in result.counts]
    if result.alarms:
        parts.append(f"{show_count(len(result.alarms), 'site')} with an alarm")
    if not parts:
        return None
    remedy = f"waybill fleet show {result.alarms[0]}" if result.alarms else None
    if remedy is None:
        remedy = "waybill fleet list quarantine" if "quarantined" in result.counts else "import the named files again"
    return AttentionError(", ".join(parts), remedy=remedy, finding="import-attention")


def import_text(result: ImportResult) -> str:
    """The counts first, then what needs a person, then what is new for each site."""
    counts = [f"{result.counts[status]} {noun}" for status, noun in COUNTED.items() if status in result.counts]
    lines = [", ".join(counts) or "no file was found"]
    for file in result.files:
        if file.status in ("release", "quarantined", "unreadable") or (file.status == "skipped" and file.finding):
            lines.append(f"{file.status}: {file.name}: {file.text}")
            if file.hint:
                lines.append(f"  {file.hint}")
    by_alarm = sorted(result.sites.items(), key=lambda item: (item[0] not in result.alarms, item[0]))
    for site, news in by_alarm[:SHOWN_SITES]:
        if news.new:
            lines.append(f"{site}: {_numbers(sorted(news.new))}")
        for seq, finding in news.findings[:SHOWN_FINDINGS]:
            kind = "alarm" if finding.alarm else "note"
            lines.append(f"  {kind} {finding.finding}, report {seq}: {finding.text}")
    if len(by_alarm) > SHOWN_SITES:
        lines.append(f"{len(by_alarm) - SHOWN_SITES} more sites: waybill fleet sites")
    return "\n".join(lines)


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
        "files": [
            {
                "name": file.name,
                "status": file.status,
                "text": file.text,
                "finding": file.finding or "",
                "hint": file.hint or "",
            }
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
