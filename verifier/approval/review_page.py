"""A review as a page: the decision first, then the changes, then the details. Pure."""

import shlex
from dataclasses import replace

from content.differences.compare_values import join_facts
from manifests.words.units import show_count, show_duration, show_size
from verifier.approval.page import FIRST_ROWS, CommandLine, Page, Quoted, Row, RowMark, Section, Table, section_text
from verifier.approval.review import Review, Reviewed
from verifier.change.consequences import RESTARTS
from verifier.rules.agreement import (
    MORE_APPROVERS,
    Approvable,
    ApprovalStatus,
    item_names,
    repeated_text,
    then_command,
)


def make_review_page(
    review: Review,
    agreement: Section,
    lead: tuple[str, ...] = (),
    about: str | None = None,
    first: tuple[Section, ...] = (),
) -> Page:
    """Return the page of a review, with the section ``agreement`` from ``agreement_section``.

    ``lead`` are more lines under the title, such as where a request comes from; ``first`` the sections before all.
    """
    sections = (
        *first,
        Section(agreement.title, agreement.lines, (*agreement.facts, *_outlook(review)), after=agreement.after),
        _host(review),
        _warnings(review),
        *_releases(review),
        *_release_notes(review),
        _advisories(review),
        _images(review),
        _software(review),
        _differences("charts, files and programs", review, "what", "charts", "files", "programs"),
        _contract(review),
        _handlers(review.handlers),
        _differences("config schema", review, "path", "schema"),
        _config(review),
        _differences("steps and probes", review, "name", "steps", "probes"),
        *_host_needs(review),
        _work(review),
        rollback_section(review),
        Section("space", facts=tuple(_space(review))),
        _differences("policy", review, "what", "policy"),
        Section("checks passed", facts=tuple((name, text) for level, name, text in review.findings if level == "ok")),
    )
    # The use of a handler is of no kind; its risk says as much.
    kinds = review.kinds or tuple(handler.facts["risk"] for handler in review.handlers)
    what = (f"{review.action} at {review.site}: {', '.join(kinds)}", f"plan {review.plan}")
    return Page(title=f"{review.item}: {review.title}", sections=sections, lead=(*what, *lead), about=about)


def not_evidence_section(folder: str, fingerprints: tuple[tuple[str, str], ...]) -> Section:
    """Return what stands first on the page in a request folder: how an approver checks what the page only claims.

    Args:
        folder: Name of the request folder.
        fingerprints: Of the vendor's root, the site's key and the request, to compare over another channel.
    """
    name = shlex.quote(folder)
    lines = (
        "This page is not the evidence: no signature covers it, and it may have been changed on its way.",
        "Check the folder on your own computer; compare the fingerprint of the root with the vendor's paper:",
        CommandLine(f'waybill review {name} --fingerprint "WORDS OF THE PAPER"'),
    )
    verdicts = (CommandLine(f"waybill {verdict} {name} --key KEY") for verdict in ("approve", "reject"))
    after = ("Then, on your own computer, one of:", *verdicts)
    return Section("before you agree", lines, fingerprints, after=after, alarm=True)


def _outlook(review: Review) -> list[tuple[str, str]]:
    """Return the rollback and the downtime in one line each; nothing for an item without a release."""
    back = review.back
    facts: list[tuple[str, str]] = []
    if back is not None and review.action != "rollback":
        rollback = back.class_
        if back.class_ == "irreversible":
            rollback = "not possible: the release is irreversible"
        elif not back.back_to or any(name in ("no-way-back", "no-rollback") for _, name, _ in review.findings):
            rollback = "not possible"
        if back.no_return != "none":
            rollback += f"; no return after step {back.no_return}: {back.beyond}"
        facts.append(("rollback", rollback))
    if review.way:
        restarts = [
            text.partition(f" {RESTARTS} ")[0] for _, name, text in review.findings if name == "service-restarts"
        ]
        downtime = f"about {show_duration(review.downtime_seconds)}" if review.downtime_seconds else "none stated"
        if restarts:
            downtime += f"; {', '.join(dict.fromkeys(restarts))} {RESTARTS}"
        if back and back.takes_seconds:
            what = "the data are taken back in" if review.action == "rollback" else "backups and migrations"
            downtime += f"; {what} about {show_duration(back.takes_seconds)}"
        facts.append(("downtime", downtime))
    return facts


def _host(review: Review) -> Section:
    """Return each need of the host with what was observed there when the review was made; what failed is marked."""
    rows = (
        Row(
            (result.check, result.status, result.needs, result.observed),
            None if result.status == "passed" else "warning",
        )
        for result in review.host.checks
    )
    return Section("the host", table=Table(("check", "result", "needed", "observed"), tuple(rows), whole=True))


def _warnings(review: Review) -> Section:
    lines = [text for level, _, text in review.findings if level == "warning"]
    lines += [f"opens again: {name}" for name in review.advisories.reopened]
    lines += [f"more leaves: {text}" for text in review.telemetry.more_leaves]
    lines += [f"not compared: {text}" for text in review.unread]
    images = review.part("images")
    lines += [f"image {image.name}: signed by nobody" for image in images if "signed by nobody" in (image.after or "")]
    return Section("warnings", tuple(lines), alarm=True)


def _releases(review: Review) -> list[Section]:
    """Return a section for each release of the plan. The fixes of a single release are in the section `advisories`."""
    several = len(review.way) > 1
    sections = []
    for i, release in enumerate(review.way, 1):
        facts = [(name, value) for name, value in release.facts.items() if several or name != "fixes"]
        if several:
            facts.append(("rollback", f"{release.class_}; loses {release.loses}"))
        title = f"release {release.version}" + (f", {i} of {len(review.way)}" if several else "")
        sections.append(Section(title, facts=tuple(facts)))
    return sections


def _release_notes(review: Review) -> list[Section]:
    """Return the vendor's notes on each release of the plan, as text; no line of them can look like one of ours."""
    lost = _not_comparable(review, "notes")
    unread = [Section("release notes", lost)] if lost else []
    return unread + [
        Section(
            f"release notes of {release.version}, in the vendor's words",
            tuple(Quoted(f"| {line}") for line in release.notes),
        )
        for release in review.way
        if release.notes
    ]


def _advisories(review: Review) -> Section:
    rows = [Row((name, f"fixed ({severity})"), "added") for name, severity in review.advisories.fixed]
    # The reopened advisories are among the warnings.
    named_above = {row.cells[0] for row in rows} | set(review.advisories.reopened)
    for difference in review.part("advisories"):
        if difference.name not in named_above:
            change = f"{difference.before or 'not mentioned'} to {difference.after}"
            rows.append(Row((difference.name, change), difference.how))
    return Section(
        "advisories", _not_comparable(review, "advisories"), table=Table(("advisory", "change"), tuple(rows))
    )


def _images(review: Review) -> Section:
    lines = (f"{review.unchanged_images} unchanged",) if review.unchanged_images else ()
    return Section("images", lines, table=_table("image", review, "images"))


def _table(what: str, review: Review, *parts: str) -> Table:
    """Return the differences of ``parts``; with several parts, each row names its part."""
    rows = (
        Row(
            (
                f"{change.part} {change.name}" if len(parts) > 1 else change.name,
                change.before or "",
                change.after or "",
            ),
            change.how,
        )
        for change in review.part(*parts)
    )
    return Table((what, "before", "after"), tuple(rows))


def _not_comparable(review: Review, *parts: str) -> tuple[str, ...]:
    """Return why ``parts`` are not comparable, or not entirely; a section says so before everything else."""
    return tuple(note.sentence for note in review.notes if note.part in parts and note.kind != "read")


def _software(review: Review) -> Section:
    section = _differences("software inside the images", review, "component", "sbom")
    used = [f"used: {note.line}" for note in review.notes if note.kind == "read"]
    more = len(used) - FIRST_ROWS
    return replace(section, after=(*used[:FIRST_ROWS], *([f"and {more} more; --json lists them"] if more > 0 else [])))


def _differences(title: str, review: Review, what: str, *parts: str) -> Section:
    """Return a section that counts the differences of ``parts`` and lists them."""
    table = _table(what, review, *parts)
    counts = {mark: sum(row.mark == mark for row in table.rows) for mark in ("added", "removed", "changed")}
    line = ", ".join(f"{number} {mark}" for mark, number in counts.items() if number)
    return Section(title, (*_not_comparable(review, *parts), *([line] if line else [])), table=table)


def _host_needs(review: Review) -> list[Section]:
    """Return how the needs of the host change; new ones alone are all in the section about the host."""
    section = _differences("needs of the host", review, "what", "host")
    new_alone = {row.mark for row in section.table.rows} <= {"added"} if section.table else True
    return [] if new_alone and review.host.checks else [section]


def _contract(review: Review) -> Section:
    telemetry = review.telemetry
    lines = [*_not_comparable(review, "contract")]
    if not telemetry.contract_about:
        return Section("telemetry contract", tuple(lines))
    lines.append(telemetry.contract_about)
    if {signal.how for signal in telemetry.signals} <= {"same"}:
        lines.append("unchanged: the same signals leave as before")
    facts = [("digest", telemetry.contract), ("", telemetry.contract_words)]
    facts += [
        (change.name, f"{change.before} to {change.after}")
        for change in review.part("contract")
        if change.how == "changed" and not change.name.startswith("signal ")
    ]
    rows = []
    for signal in telemetry.signals:
        limits = {name: value for name, value in signal.facts.items() if name not in ("kept", "why")}
        cells = (signal.name, join_facts(limits), signal.facts.get("kept", ""), signal.facts.get("why", ""))
        rows.append(Row(cells, _mark(signal)))
    # Nobody agrees to a signal or a handler that the page does not show.
    table = Table(("signal", "what may leave", "kept", "why"), tuple(rows), every_change=True)
    return Section("telemetry contract: every signal that may leave", tuple(lines), tuple(facts), table)


def _mark(reviewed: Reviewed) -> RowMark | None:
    return None if reviewed.how == "not compared" else reviewed.how


def _handlers(handlers: tuple[Reviewed, ...]) -> Section:
    rows = []
    for handler in handlers:
        facts = dict(handler.facts)
        does, risk, may, runs = (facts.pop(name, "") for name in ("does", "risk", "may", "runs"))
        rows.append(Row((handler.name, does, f"{risk}; may {may}", runs, join_facts(facts)), _mark(handler)))
    head = ("handler", "what it does", "risk, and what it may", "runs", "limits")
    title = "handler" if any(handler.how == "not compared" for handler in handlers) else "handlers"
    return Section(f"{title}: commands that support may request", table=Table(head, tuple(rows), every_change=True))


def _config(review: Review) -> Section:
    table = _table("path", review, "config", "settings")
    unknown = _not_comparable(review, "config", "settings", "schema")
    lines = (*unknown, *([review.config] if review.config else []))
    after = ("unchanged",) if review.config and not table.rows and not unknown else ()
    return Section("config and site.yaml", lines, table=table, after=after)


def work_lines(review: Review) -> tuple[str, ...]:
    """Return what will be done, in order: the acts of the plan, and the probes of its trial."""
    return (*review.work, *(f"probe {probe}" for probe in review.probes))


def _work(review: Review) -> Section:
    rows = tuple(Row((action,)) for action in work_lines(review))
    return Section("what will be done", table=Table(("action",), rows, whole=True))


def rollback_section(review: Review) -> Section:
    """Return how the release is rolled back; for a rollback, what it means."""
    back, lost = review.back, _not_comparable(review, "rollback")
    if back is None:
        return Section("rollback", lost)
    opens = ", ".join(back.reopens) or "no known advisory"
    if review.action == "rollback":
        # An authorisation says itself what is lost.
        facts = [*back.authorised, *(() if back.authorised else (("loses", back.loses),)), ("opens again", opens)]
        facts += [("step", step) for step in back.steps]
        facts += [("backup", backup) for backup in back.backups]
        return Section("what the rollback means", facts=(*facts, ("config", review.config)))
    trial = f"at most {show_duration(back.trial_seconds)}, ended by {back.confirm}; then rolled back automatically"
    facts = [
        ("to", " or ".join(back.back_to) or "nothing"),
        ("loses", back.loses),
        ("opens again", opens),
    ]
    if back.offered_for_seconds:
        facts.append(("rehearsed", back.rehearsal or "not rehearsed"))
        facts.append(("offered for", show_duration(back.offered_for_seconds)))
    facts.append(("trial", trial))
    facts += [("backup", backup) for backup in back.backups]
    facts += [("migration", step) for step in back.steps]
    return Section("rollback", lost, tuple(facts))


def _space(review: Review) -> list[tuple[str, str]]:
    if review.host.rooms is None:
        return [("space", "not measured")] if review.way else []
    facts = []
    for need in review.host.rooms:
        fits = need.bytes <= need.free_bytes and need.inodes <= need.free_inodes
        text = (
            f"needs {show_size(need.bytes)} and {need.inodes} files; "
            f"free: {show_size(need.free_bytes)} and {need.free_inodes} files"
        )
        facts.append((", ".join(need.places), text if fits else f"{text}; does not fit"))
    return facts


def agreement_section(
    asked: Approvable, status: ApprovalStatus, folder: str | None = None, *, lacks: int = 0
) -> Section:
    """Return the result, who must agree, and the next command.

    Args:
        folder: The request folder to name in the command; None at the site.
        lacks: How many things the site lacks; as long as it lacks one, approvals are not what comes next.
    """
    command: str | None = None
    if status.vetoed:
        result = "rejected; it will not be done"
    elif status.met:
        result, command = "agreed", then_command(asked)
    elif not status.possible:
        result = f"waits for {status.missing}, but nobody is left who could agree: {MORE_APPROVERS}"
    else:
        result = f"waits for {status.missing}"
        # At the site the plan can change before somebody signs; the plan in a request folder cannot.
        what = f"{item_names(asked)} --plan {asked.plan.digest}" if folder is None else shlex.quote(folder)
        command = f"approve {what} --key KEY"
    if lacks and not status.vetoed:
        result += f"; not ready: the site lacks {show_count(lacks, 'thing')}, see the warnings"
        command = f"check {item_names(asked)}"
    facts = [("result", result)]
    for role in status.roles:
        people = f" ({', '.join(role.people)})" if role.people else ""
        facts.append((f"must agree: {role.role}", role.counted + people))
    facts += [(f"condition of {person}", condition) for person, condition in status.conditions]
    if status.repeated is not None:
        facts.append(("counted again", repeated_text(status.repeated)))
    if status.not_counted:
        facts.append(("not counted", f"{', '.join(status.not_counted)}, who proposed the change"))
    if status.rejected:
        facts.append(("rejected by", ", ".join(status.rejected)))
    for void in status.void:
        kind = "approval" if void.verdict == "approve" else "rejection"
        facts.append((f"void {kind}", f"{void.person}: {void.why} ({void.finding})"))
    where = ", at the site" if lacks and folder is not None else ""
    after = [f"next{where}: waybill {command}"] if command else []
    for rule in status.emergency:
        roles = ", ".join(f"{role.role} {role.counted}" for role in rule.roles)
        facts.append((f"emergency rule {rule.rule}", f"{roles}; {show_count(rule.uses_left, 'use')} left"))
        if rule.met and not lacks:
            after.append(f"or by the emergency rule: waybill {asked.then} --emergency {rule.rule}")
    return Section("decision", facts=tuple(facts), after=tuple(after))


def agreement_text(asked: Approvable, status: ApprovalStatus, *, advise: bool = True, lacks: int = 0) -> str:
    """Return ``agreement_section`` as lines; with ``advise`` also the next command."""
    section = agreement_section(asked, status, lacks=lacks)
    return "\n".join(section_text(section if advise else replace(section, after=())))
