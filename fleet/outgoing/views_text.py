"""Sites, one site's page and its offboarding, as text and as JSON values."""

from collections import Counter
from datetime import datetime

import msgspec

from fleet.outgoing.offboard import OffboardingState
from fleet.outgoing.telemetry_view import telemetry_lines
from fleet.outgoing.views import SentConsignment, SitePage, SiteRow, images_of
from fleet.rules.diagnosis import diagnose
from fleet.rules.history import HistoryEvent
from manifests.documents.report import Report, RequestResult
from manifests.documents.report_text import answered, heeded, left_out, probe_text, waiting_words
from manifests.words.errors import AttentionError
from manifests.words.text import table
from manifests.words.time import age, optional_time, rfc3339
from manifests.words.units import show_count

Rows = list[tuple[str, ...]]
# Events, consignments and telephone claims that a page shows without --verbose.
SHOWN_EVENTS = 12
SHOWN_LAST = 3
SHOWN_UNANSWERED = 12


def row_data(row: SiteRow) -> dict[str, object]:
    """The row for programs; the keys are a public promise."""
    newest = row.newest
    release = None
    if newest is not None and newest.version is not None:
        release = {"version": newest.version, "digest": newest.release, "state": newest.state, "known": newest.known}
    return {
        "customer": row.customer,
        "product": row.product,
        "environment": row.environment,
        "site": row.site,
        "name": row.name,
        "enrolled_at": rfc3339(row.enrolled_at),
        "key_compared": row.compared,
        "practice": row.practice,
        "report_every_seconds": row.report_every_seconds,
        "report": row.seq or None,
        "as_of": optional_time(newest.as_of if newest else None),
        "not_before": optional_time(newest.not_before if newest else None),
        "received_at": optional_time(newest.received_at if newest else None),
        "release": release,
        "channel": row.channel,
        "level": row.level,
        "failing": list(row.failing),
        "components": {"running": newest.running if newest else None, "all": newest.parts if newest else None},
        "images": newest.images if newest else {},
        "config_schema": newest.config_version if newest else None,
        "verifier": newest.verifier if newest else None,
        "root": newest.root_version if newest else None,
        "missing_reports": row.missing,
        "forked_at": row.forked_at,
        "alarms": row.alarms,
        "notes": list(row.notes),
    }


def sites_text(rows: list[SiteRow], quarantined: int, now: datetime) -> str:
    """Every site in a line; what is the same for all of them stands once above the table.

    Sites whose first policy differs stand first: whoever approves there may be a stranger.
    """
    if not rows:
        return "no site is enrolled: waybill fleet enroll ENROLMENT"
    rows = sorted(rows, key=lambda row: not row.other_policy)
    notes = Counter(note for row in rows for note in row.notes)
    lines = [show_count(len(rows), "site") + "".join(f", {count} {note}" for note, count in notes.items())]
    if quarantined:
        lines.append(f"{show_count(quarantined, 'file')} in quarantine: waybill fleet list quarantine")
    parts = {"customer", "product", "environment"}
    identity = [{"customer": row.customer, "product": row.product, "environment": row.environment} for row in rows]
    shared = [(name, identity[0][name]) for name in identity[0] if len({one[name] for one in identity}) == 1]
    # The label is an end of the id that `fleet show` takes: it begins with the first part that differs.
    first = next((i for i, name in enumerate(identity[0]) if name not in dict(shared)), len(parts))
    columns = {
        "site": ["/".join(row.site.split("/")[first:]) for row in rows],
        "release": [row.shown_release for row in rows],
        "level": [row.shown_level or "-" for row in rows],
        "age": [age(row.newest.as_of, now) if row.newest else "-" for row in rows],
        # By the challenge that the newest report echoes, and not by the site's clock.
        "at most": [age(row.newest.not_before, now) if row.newest and row.newest.not_before else "-" for row in rows],
        "notes": [", ".join(row.notes) for row in rows],
    }
    if not any(columns["notes"]):
        del columns["notes"]
    for name, values in _details(rows).items():
        if len(set(values)) > 1:
            columns[name] = values
        elif values[0] != "-":
            shared.append((name, values[0]))
    if shared:
        lines.append("all: " + ", ".join(f"{name} {value}" for name, value in shared))
    return "\n".join([*lines, "", table(list(zip(*columns.values(), strict=True)), tuple(columns))])


def _details(rows: list[SiteRow]) -> dict[str, list[str]]:
    newest = [row.newest for row in rows]
    return {
        "channel": [row.channel for row in rows],
        "config": ["-" if one is None or one.config_version is None else str(one.config_version) for one in newest],
        "verifier": [one.verifier if one else "-" for one in newest],
        "root": [str(one.root_version) if one else "-" for one in newest],
    }


def page_text(page: SitePage, ending: OffboardingState | None, now: datetime, *, verbose: bool) -> str:
    """One site: first what needs attention and what it runs, then its offboarding, details and history."""
    row, report = page.row, page.report
    lines = [f"{row.site}{' (practice)' if row.practice else ''}"]
    if row.other_policy:
        lines.append(
            f"! its reports name another first policy than its enrolment: waybill fleet list alarms --site {row.site}"
        )
    if report is not None:
        lines += [f"! {diagnosis.text}" for diagnosis in diagnose(report, page.before)]
        lines += [f"! {line}" for line in heeded(report)]
    fields: Rows = [
        ("runs", row.shown_release + (f", {row.shown_level}" if row.shown_level else "")),
        *([("notes", ", ".join(row.notes))] if row.notes else []),
        *_times(page, now),
    ]
    if report is not None:
        fields += _waiting(report)
    lines += ["", table(fields)]
    if ending is not None:
        lines += ["", offboarding_text(ending)]
    lines += telemetry_lines(page.telemetry, verbose=verbose)
    lines += ["", table(_page_details(page, last=None if verbose else SHOWN_LAST))]
    events = page.history if verbose else page.history[-SHOWN_EVENTS:]
    hidden = len(page.history) - len(events)
    more = f" (the newest {len(events)} of {len(page.history)}; all with --verbose)" if hidden else ""
    lines += ["", f"history{more}:" if events else "history: it has not reported yet"]
    if events:
        rows: Rows = [(_numbers(event), event.at or "-", event.kind, event.text) for event in events]
        lines.append(table(rows, ("report", "site's clock", "what", "")))
    return "\n".join(lines)


def _numbers(event: HistoryEvent) -> str:
    return str(event.first) if event.first == event.last else f"{event.first}-{event.last}"


def _times(page: SitePage, now: datetime) -> Rows:
    newest = page.row.newest
    if newest is None:
        return []
    as_of = f"{rfc3339(newest.as_of)} ({age(newest.as_of, now)} ago), report {page.row.seq}"
    until = f"{rfc3339(newest.received_at)} (imported)"
    if newest.not_before is None:
        return [("as of", as_of), ("signed", f"before {until}; no challenge proves after which time")]
    echoed = page.report.chain.challenge if page.report else None
    number = next((sent.number for sent in page.sent if sent.challenge == echoed), None)
    challenge = "the echoed challenge" if number is None else f"the challenge of consignment {number}"
    return [("as of", as_of), ("signed", f"between {rfc3339(newest.not_before)} ({challenge}) and {until}")]


def _waiting(report: Report) -> Rows:
    rows: Rows = []
    for item in report.waiting:
        verb, words = waiting_words(item)
        rows.append((f"{verb} {item.item}", words.removeprefix(" ").removeprefix(", ") or item.kind))
    return rows


def _page_details(page: SitePage, last: int | None) -> Rows:
    """Key, release, root and the rest; of claims and consignments only the ``last`` ones."""
    row, report, newest = page.row, page.report, page.row.newest
    fields: Rows = [
        ("key", page.enrolment.groups + ("" if row.compared else "  (not compared with the customer)")),
        ("enrolled", rfc3339(row.enrolled_at)),
    ]
    if report is not None and newest is not None:
        below = "; the release that runs is below it" if report.install.below_floor else ""
        floor = f", floor {report.trust.floor.sequence}{below}" if report.trust.floor else ""
        fields += [
            ("release", newest.release or "-"),
            ("channel", row.channel + floor),
            ("config", f"schema {newest.config_version}" if newest.config_version is not None else "-"),
            ("root", f"{report.trust.root.version}  {report.trust.root.digest}"),
            ("verifier", report.verifier.version),
            *((f"image {name}", digest) for name, digest in images_of(report).items()),
            *((f"probe {probe.probe}", probe_text(probe)) for probe in report.health),
            *((_answer_title(answer), answered(answer)) for answer in report.requests),
            *(("left out", left_out(dropped)) for dropped in report.dropped),
        ]
    for claim in page.claims[-last:] if last else page.claims:
        standing = "not proven yet" if claim.standing == "claimed" else claim.standing
        text = f"report {claim.seq} is {claim.digest[:12]}, said {rfc3339(claim.heard_at)}: {standing}"
        fields.append(("telephone", text))
    sent = page.sent[-last:] if last else page.sent
    return fields + [(f"consignment {one.number}", _sent_text(one)) for one in sent]


def _answer_title(result: RequestResult) -> str:
    return f"run {result.request}" if result.consignment is None else f"answer {result.consignment}"


def _sent_text(sent: SentConsignment) -> str:
    if sent.written_at is None:
        place = "signed, written to no known medium"
    else:
        place = f"on {sent.medium} since {rfc3339(sent.written_at)}"
    return f"{place}; {f'answered by report {sent.answered}' if sent.answered else 'not answered yet'}"


def unproven_attention(state: OffboardingState) -> AttentionError | None:
    missing = [step.step for step in state.steps if step.standing == "unproven"]
    if not missing:
        return None
    problem = f"the site is closed, and not proven: {', '.join(missing)}"
    remedy = "ask the customer for the site's final report, and import it"
    return AttentionError(problem, remedy=remedy, finding="offboarding-unproven")


def offboarding_text(state: OffboardingState) -> str:
    """The steps, what is kept, and until when."""
    lines = [f"offboarding of {state.site} ({state.reason}): {'closed' if state.closed_at else 'in progress'}"]
    rows: list[tuple[str, ...]] = []
    for step in state.steps:
        consignment = f", consignment {step.consignment}" if step.consignment else ""
        source = f", report {step.report}" if step.report else consignment
        at = f", {rfc3339(step.at)}" if step.at else ""
        rows.append((f"  {step.step}", step.standing, step.text + source + at))
    counts: Rows = [
        (f"  {kept.count}", kept.what + (f", until {kept.until}" if kept.until else ""))
        for kept in state.kept
        if kept.count
    ]
    lines += [table(rows), "kept in the ledger:", table(counts)]
    if state.unanswered:
        last = ", ".join(map(str, state.unanswered[-SHOWN_UNANSWERED:]))
        lines.append(f"{show_count(len(state.unanswered), 'consignment')} not answered by any report: {last}")
    if state.purged_at:
        lines.append(f"reports deleted: {rfc3339(state.purged_at)}")
    elif state.keep_until is None:
        lines.append("keep time of reports unknown: import a bundle whose release has the site's contract")
    return "\n".join(lines)


def offboarding_data(state: OffboardingState) -> dict[str, object]:
    """The same for programs."""
    return {
        "site": state.site,
        "reason": state.reason,
        "requested_at": optional_time(state.requested_at),
        "requested_by": state.requested_by,
        "closed_at": optional_time(state.closed_at),
        "steps": msgspec.to_builtins(state.steps),
        "kept": msgspec.to_builtins(state.kept),
        "keep_until": optional_time(state.keep_until),
        "contract": state.contract,
        "unanswered": list(state.unanswered),
        "purged_at": optional_time(state.purged_at),
    }


def page_data(page: SitePage, ending: OffboardingState | None) -> dict[str, object]:
    """What `fleet show` prints, for programs."""
    return {
        "site": {**row_data(page.row), "images": images_of(page.report) if page.report else {}},
        "key": page.enrolment.enrolment.key.keyid,
        "fingerprint": {"groups": page.enrolment.groups, "words": page.enrolment.words},
        "diagnoses": msgspec.to_builtins(diagnose(page.report, page.before)) if page.report else [],
        "report": msgspec.to_builtins(page.report) if page.report else None,
        "lines": msgspec.to_builtins(page.claims),
        "consignments": msgspec.to_builtins(page.sent),
        "ending": offboarding_data(ending) if ending else None,
        "telemetry": msgspec.to_builtins(page.telemetry),
        "gaps": [list(gap) for gap in page.gaps],
        "history": [{**msgspec.to_builtins(event), "at": event.at or ""} for event in page.history],
    }
