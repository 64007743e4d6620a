"""One site's page as text, and its row as JSON values."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from manifests.words.text import table

if TYPE_CHECKING:
    from fleet.outgoing.views import Sent, SitePage, SiteRow
    from manifests.documents.report import Report


def row_data(row: "SiteRow") -> dict[str, Any]:
    return {
        "customer": row.customer,
        "product": row.product,
        "environment": row.environment,
        "site": row.site,
        "name": row.name,
        "enrolled_at": row.enrolled_at,
        "key_compared": row.compared,
        "practice": row.practice,
        "report_every_seconds": row.report_every_seconds,
        "report": row.seq or None,
        "as_of": row.as_of,
        "not_before": row.not_before,
        "received_at": row.received_at,
        "release": None
        if row.version is None
        else {"version": row.version, "digest": row.release, "state": row.state, "known": row.known},
        "channel": row.channel,
        "level": row.level,
        "components": {"running": row.running, "all": row.parts},
        "images": row.images,
        "config_schema": row.config_version,
        "verifier": row.verifier,
        "root": row.root_version,
        "missing_reports": row.missing,
        "forked_at": row.forked_at,
        "alarms": row.alarms,
        "notes": list(row.notes),
    }


def page_text(page: "SitePage", now: datetime) -> str:
    from fleet.outgoing.views import images_of, shown_age
    from manifests.documents.report_text import answered, heeded, left_out

    row = page.row
    lines = [f"{row.site}{' (practice)' if row.practice else ''}"]
    if page.report is not None:
        lines += [f"! {one}" for one in heeded(page.report)]
    lines.append("")
    fields = [
        ("key", page.enrolment.groups + ("" if row.compared else "  (nobody compared it)")),
        ("enrolled", row.enrolled_at),
        ("runs", row.shown_release + (f", {row.level}" if row.level else "")),
        ("as of", f"{row.as_of or '-'} ({shown_age(row, now)}), report {row.seq}" if row.as_of else "-"),
        *([("proven", _interval(row, page))] if row.received_at else []),
    ]
    report = page.report
    if report is not None:
        fields += [
            ("release", row.release or "-"),
            ("channel", row.channel + _floor(report)),
            ("config", f"schema {row.config_version}" if row.config_version is not None else "-"),
            ("root", f"{report.trust.root.version}  {report.trust.root.digest}"),
            ("verifier", report.verifier.version),
            *((f"image {name}", digest) for name, digest in images_of(report).items()),
            *((f"probe {one.probe}", one.state) for one in report.health),
            *(
                (f"waits {one.item}", ", ".join(f"{r.role} {r.have} of {r.need}" for r in one.roles) or one.kind)
                for one in report.waiting
            ),
            *((f"answer {one.consignment}", answered(one)) for one in report.requests),
            *(("left out", left_out(one)) for one in report.dropped),
        ]
    fields += [
        (
            "telephone",
            f"report {one.seq} is sha256:{one.digest[:12]}…, said {one.heard_at}: "
            f"{'proves nothing yet' if one.standing == 'claimed' else one.standing}",
        )
        for one in page.spoken[-3:]
    ]
    fields += [(f"consigned {one.number}", _sent(one)) for one in page.sent[-3:]]
    if row.notes:
        fields.append(("notes", ", ".join(row.notes)))
    width = max(len(name) for name, _ in fields)
    lines += [f"{name.ljust(width)}  {value}" for name, value in fields]
    lines += ["", "by its reports:"]
    shown: list[tuple[str, ...]] = [
        (str(one.first) if one.first == one.last else f"{one.first}-{one.last}", one.at or "-", one.kind, one.text)
        for one in page.history
    ]
    lines.append(table(shown, ("report", "site's clock", "what", "")) if shown else "nothing was reported yet")
    return "\n".join(lines)


def _floor(report: "Report") -> str:
    floor = report.trust.floor
    below = "; what runs lies below it" if report.install.below_floor else ""
    return f", floor {floor.sequence}{below}" if floor else ""


def _interval(row: "SiteRow", page: "SitePage") -> str:
    """Between which two moments of home's own clock the newest report was signed."""
    if row.not_before is None:
        return f"signed before {row.received_at}, when it came in; since when, no challenge says"
    asked = page.report.chain.challenge if page.report else None
    number = next((one.number for one in page.sent if one.challenge == asked), None)
    of = "the challenge that it echoes" if number is None else f"the challenge of consignment {number}"
    return f"signed between {row.not_before} ({of}) and {row.received_at} (when it came in)"


def _sent(one: "Sent") -> str:
    where = f"on {one.medium} since {one.written_at}" if one.written_at else "signed, and on no medium that is known of"
    answer = f"report {one.answered} answers it" if one.answered else "no report answers it yet"
    return f"{where}; {answer}"
