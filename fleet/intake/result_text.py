"""The result of an import, and of telephone claims, as text and as JSON values."""

from typing import TYPE_CHECKING, Any

from manifests.words.errors import AttentionError

if TYPE_CHECKING:
    from fleet.intake.result import Imported
    from fleet.intake.telephone import TelephoneClaim


def claim_text(one: "TelephoneClaim") -> str:
    said = f"{one.site}: report {one.seq} is sha256:{one.digest[:12]}…, by telephone"
    return {
        "claimed": f"{said}; noted, and proven by nothing until that report has come",
        "proven": f"{said}; that report is here",
        "contradicted": f"alarm {said}; the report {one.seq} that is here is another one",
    }[one.standing]


def contradiction(heard: "list[TelephoneClaim]") -> AttentionError | None:
    wrong = [one.site for one in heard if one.standing == "contradicted"]
    if not wrong:
        return None
    return AttentionError(
        f"{wrong[0]} says another digest than its report has",
        remedy="ask who spoke; two histories under one key show as a fork once both reports are here",
        finding="line-contradicted",
    )


def import_attention(done: "Imported") -> AttentionError | None:
    """Done, but something needs a person."""
    parts = []
    for word, count in (
        ("quarantined", done.counts.get("quarantined", 0)),
        ("unreadable", done.counts.get("unreadable", 0)),
    ):
        if count:
            parts.append(f"{count} {'file' if count == 1 else 'files'} {word}")
    if done.alarms:
        parts.append(f"{len(done.alarms)} {'site' if len(done.alarms) == 1 else 'sites'} with an alarm")
    if not parts:
        return None
    remedy = f"waybill fleet show {done.alarms[0]}" if done.alarms else "the reasons are above; the bytes are kept"
    return AttentionError(", ".join(parts), remedy=remedy, finding="import-attention")


def import_text(done: "Imported") -> str:
    lines = []
    for outcome in done.outcomes:
        if outcome.status in ("release", "quarantined", "unreadable") or (
            outcome.status == "skipped" and outcome.finding
        ):
            lines.append(f"{outcome.status}: {outcome.name}: {outcome.text}")
            if outcome.hint:
                lines.append(f"  {outcome.hint}")
    for site, news in sorted(done.sites.items())[:200]:
        if news.new:
            lines.append(f"{site}: {_reports(news.new)}")
        for seq, finding in news.findings[:20]:
            lines.append(f"  {'alarm' if finding.alarm else 'note'} {finding.finding}, report {seq}: {finding.text}")
    if len(done.sites) > 200:
        lines.append(f"… and {len(done.sites) - 200} more sites")
    words = {
        "release": "releases",
        "report": "new reports",
        "known": "known already",
        "quarantined": "quarantined",
        "unreadable": "unreadable",
        "skipped": "not ours",
    }
    counted = [f"{done.counts[status]} {word}" for status, word in words.items() if status in done.counts]
    lines.append(", ".join(counted) or "nothing found")
    return "\n".join(lines)


def _reports(numbers: list[int]) -> str:
    numbers = sorted(numbers)
    if len(numbers) == 1:
        return f"report {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"reports {numbers[0]} to {numbers[-1]}"
    shown = ", ".join(str(one) for one in numbers[:12])
    return f"reports {shown}{' …' if len(numbers) > 12 else ''}"


def import_data(done: "Imported") -> dict[str, Any]:
    return {
        "counts": dict(done.counts),
        "files": [
            {"name": one.name, "status": one.status, "text": one.text, "finding": one.finding, "hint": one.hint}
            for one in done.outcomes
        ],
        "sites": {
            site: {
                "new": sorted(news.new),
                "known": news.known,
                "findings": [
                    {"report": seq, "finding": one.finding, "alarm": one.alarm, "text": one.text}
                    for seq, one in news.findings
                ],
            }
            for site, news in sorted(done.sites.items())
        },
    }
