"""A review as a paper: what an approver reads, in the order in which it matters. Pure."""

from manifests.words.units import show_duration, show_size, show_uses
from verifier.approval.differences.compare_values import Difference, join_facts
from verifier.approval.page import Page, Row, Section, Table, section_text
from verifier.approval.review import Review, ReviewedHandler, ReviewedSignal
from verifier.change.space import SpaceNeed
from verifier.rules.agreement import OTHERS, Approvable, ApprovalStatus, named

# So many new things are listed by name; a first install may bring thousands, and nobody reads them.
MANY = 20


def make_review_page(review: Review, agreement: Section, lead: tuple[str, ...] = (), about: str = "") -> Page:
    """``agreement``: who must agree; ``lead``: more lines under the title, such as where a request comes from."""
    sections = (
        _warnings(review),
        *_way(review),
        _advisories(review),
        _images(review),
        _table("software inside the images", review, ("sbom",), ("component", "before", "after"), count=True),
        _table(
            "charts, files and programs",
            review,
            ("charts", "files", "programs"),
            ("what", "before", "after"),
            count=True,
        ),
        _contract(review),
        _named("handlers: commands that may be asked for", review.handlers),
        _table("config schema", review, ("schema",), ("path", "before", "after")),
        _config(review),
        _table("steps and probes", review, ("steps", "probes"), ("name", "before", "after")),
        _done(review),
        rollback_section(review),
        _needs(review),
        _table("policy", review, ("policy",), ("what", "before", "after")),
        _findings(review),
        agreement,
    )
    title = f"{review.item}: {review.title}"
    first = (f"{review.site}, {review.action}; kinds of change: {', '.join(review.kinds)}", f"plan {review.plan}")
    return Page(title=title, sections=sections, lead=(*first, *lead), about=about)


def _warnings(review: Review) -> Section:
    """What must not be overlooked, said first."""
    lines = [text for level, _, text in review.findings if level == "warning"]
    lines += [f"re-opens {name}" for name in review.advisories.reopened]
    lines += [f"more leaves: {words}" for words in review.more_leaves]
    lines += [f"not compared: {one}" for one in review.unread]
    back = review.back
    if back and review.action != "rollback":
        if back.class_ == "irreversible":
            lines.append("there is no way back from this release")
        if back.no_return != "none":
            lines.append(f"no return after step {back.no_return}: {back.beyond}")
    lines += [f"image {one.name}: signed by nobody" for one in review.part("images") if "signed by nobody" in one.after]
    return Section("to be weighed", tuple(lines), alarm=True)


def _way(review: Review) -> list[Section]:
    several = len(review.way) > 1
    return [
        Section(
            f"release {hop.version}" + (f", {i} of {len(review.way)} on the way" if several else ""),
            facts=(*hop.facts.items(), *((("way back", f"{hop.class_}; loses {hop.loses}"),) if several else ())),
        )
        for i, hop in enumerate(review.way, 1)
    ]


def _advisories(review: Review) -> Section:
    rows = [Row((name, f"fixed ({severity})"), "added") for name, severity in review.advisories.fixed]
    rows += [Row((name, "open again"), "warning") for name in review.advisories.reopened]
    seen = {row.cells[0] for row in rows}
    for one in review.part("advisories"):
        if one.name not in seen:
            rows.append(Row((one.name, f"{one.before or 'not mentioned'} to {one.after}"), one.how))
    after: tuple[str, ...] = ()
    if review.back and review.back.reopens and review.action != "rollback":
        after = (f"going back would open again: {', '.join(review.back.reopens)}",)
    return Section("advisories", table=Table(("advisory", "what becomes of it"), tuple(rows)), after=after)


def _images(review: Review) -> Section:
    changed = review.part("images")
    lines = (f"{review.unchanged_images} are the same as before",) if review.unchanged_images else ()
    return Section("images", table=Table(("image", "before", "after"), _rows(changed)), after=lines)


def _rows(differences: tuple[Difference, ...], *, part: bool = False) -> tuple[Row, ...]:
    return tuple(
        Row((f"{one.part} {one.name}" if part else one.name, one.before, one.after), one.how) for one in differences
    )


def _table(
    title: str, review: Review, parts: tuple[str, ...], head: tuple[str, ...], *, count: bool = False
) -> Section:
    """``count``: say first how many; where nothing was before, only that."""
    found = review.part(*parts)
    lines: tuple[str, ...] = ()
    if count and found:
        counts = {how: sum(one.how == how for one in found) for how in ("added", "removed", "changed")}
        lines = (", ".join(f"{number} {how}" for how, number in counts.items() if number),)
        if counts["added"] == len(found) > MANY:
            names = "; ".join(one.name for one in found[:MANY])
            return Section(title, (*lines, f"all of them new here: {names}; and {len(found) - MANY} more (--json)"))
    return Section(title, lines, table=Table(head, _rows(found, part=len(parts) > 1)))


def _contract(review: Review) -> Section:
    if not review.contract_about:
        return Section("telemetry contract")
    lines = [review.contract_about]
    marks = {one.how for one in review.signals}
    if marks <= {"same"}:
        lines.append("as in force: nothing leaves that did not leave before")
    changed = [one for one in review.part("contract") if not one.name.startswith("signal ")]
    facts = [("digest", review.contract), ("", review.contract_words)]
    facts += [(one.name, f"{one.before} to {one.after}") for one in changed if one.how == "changed"]
    return Section(
        "telemetry contract: every signal that may leave",
        tuple(lines),
        tuple(facts),
        Table(("signal", "what may leave", "kept", "why"), tuple(_signal(one) for one in review.signals)),
    )


def _signal(one: ReviewedSignal) -> Row:
    facts = dict(one.facts)
    kept, why = facts.pop("kept", ""), facts.pop("why", "")
    return Row((one.name, join_facts(facts), kept, why), one.how)


def _named(title: str, handlers: tuple[ReviewedHandler, ...]) -> Section:
    rows = []
    for one in handlers:
        facts = dict(one.facts)
        does, risk, may, runs = (facts.pop(name, "") for name in ("does", "risk", "may", "runs"))
        rows.append(Row((one.name, does, f"{risk}; may {may}", runs, join_facts(facts)), one.how))
    return Section(
        title, table=Table(("handler", "what it does", "risk, and what it may", "runs", "bounds"), tuple(rows))
    )


def _config(review: Review) -> Section:
    found = review.part("config", "settings")
    # Before the first install everything in them is new, and the whole of it is what is agreed to.
    lines = (review.config,) if review.config else ()
    after = () if found or not review.config else ("unchanged",)
    return Section(
        "config and site.yaml", lines, table=Table(("path", "before", "after"), _rows(found, part=True)), after=after
    )


def _done(review: Review) -> Section:
    return Section("what will be done", (*review.work, *(f"probe {one}" for one in review.probes)))


def rollback_section(review: Review) -> Section:
    """How a release is left, or what going back means."""
    back = review.back
    if back is None:
        return Section("way back")
    if review.action == "rollback":
        facts = [
            *back.authorised,
            ("loses", back.loses),
            ("opens again", ", ".join(back.reopens) or "no advisory that is known"),
        ]
        facts += [("steps", one) for one in back.steps]
        facts.append(("config", review.config))
        return Section("what going back means", facts=tuple(facts))
    facts = [
        ("class", back.class_),
        ("back to", " or ".join(back.back_to) or "nothing"),
        ("going back later loses", back.loses),
        ("going back opens again", ", ".join(back.reopens) or "no advisory that is known"),
        ("no return", "at no step" if back.no_return == "none" else f"after step {back.no_return}: {back.beyond}"),
        ("rehearsed", back.rehearsal or "not rehearsed"),
        ("offered for", show_duration(back.offered_for_seconds)),
        ("trial", f"at most {show_duration(back.trial_seconds)}, ended by {back.confirm}; goes back by itself"),
    ]
    facts += [("backup", one) for one in back.backups]
    facts += [("migration", one) for one in back.steps]
    return Section("way back", facts=tuple(facts))


def _needs(review: Review) -> Section:
    if not review.way:
        return Section("downtime and space")
    facts = [
        ("downtime", f"about {show_duration(review.downtime_seconds)}" if review.downtime_seconds else "none stated")
    ]
    if review.back and review.back.takes_seconds and review.action != "rollback":
        facts.append(("backups and migrations", f"about {show_duration(review.back.takes_seconds)}"))
    for one in review.rooms or ():
        facts.append((f"space for {', '.join(one.places)}", _room(one)))
    if review.rooms is None:
        facts.append(("space", "not counted here"))
    return Section("downtime and space", facts=tuple(facts))


def _room(one: SpaceNeed) -> str:
    enough = one.bytes <= one.free_bytes and one.inodes <= one.free_inodes
    return (
        f"{show_size(one.bytes)} ({one.bytes} bytes) and {one.inodes} files; "
        f"free: {show_size(one.free_bytes)} and {one.free_inodes} files" + ("" if enough else "; does not fit")
    )


def _findings(review: Review) -> Section:
    return Section(
        "what was checked", facts=tuple((name, text) for level, name, text in review.findings if level == "ok")
    )


def agreement_section(asked: Approvable, standing: ApprovalStatus, folder: str = "") -> Section:
    """Ends with what to do next. Args: folder: The request folder, which `approve` is given instead."""
    lines = [f"policy rules: {', '.join(asked.plan.kinds)}"]
    rows = tuple(Row((one.role, one.counted, ", ".join(one.people))) for one in standing.roles)
    after = [f"{person}, on condition: {words}" for person, words in standing.conditions]
    if standing.not_counted:
        after.append(f"not counted, because they brought it: {', '.join(standing.not_counted)}")
    if standing.rejected:
        after.append(f"rejected by: {', '.join(standing.rejected)}")
    for void in standing.void:
        word = "approval" if void.verdict == "approve" else "rejection"
        after.append(f"void: {word} of {void.person}, {void.why} ({void.finding})")
    after.append(f"plan {asked.plan.digest}")
    if standing.vetoed:
        after.append("rejected; nothing will be done")
    elif standing.met:
        after.append(f"agreed: waybill {asked.then}")
    elif not standing.possible:
        after.append(f"waits for {standing.missing}, and nobody is left who could: {OTHERS}")
    else:
        # At the site the item may become another plan before somebody signs; a request folder stays what it is.
        what = folder or f"{named(asked)} --plan {asked.plan.digest}"
        after.append(f"waits for {standing.missing}: waybill approve {what} --key KEY")
    for one in standing.emergency:
        roles = ", ".join(f"{role.role} {role.counted}" for role in one.roles)
        how = f": waybill {asked.then} --emergency {one.rule}" if one.met else ""
        after.append(f"or by the emergency rule {one.rule} ({show_uses(one.uses_left)} left): {roles}{how}")
    return Section("who must agree", tuple(lines), table=Table(("role", "agreed", "who"), rows), after=tuple(after))


def agreement_text(asked: Approvable, standing: ApprovalStatus) -> str:
    return "\n".join(section_text(agreement_section(asked, standing)))
