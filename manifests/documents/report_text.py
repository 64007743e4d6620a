"""Show a report as text, with what needs attention first."""

from collections import Counter
from collections.abc import Iterator

from manifests.documents.report import Dropped, Report, ReportedHealth, RequestResult, WaitingItem
from manifests.words.units import show_times

# Ends the kind of an item that waits and cannot be carried out at its site.
REFUSED = "-refused"


def contradictions(report: Report) -> tuple[str, ...]:
    """Return in which way the parts of a report speak against each other, one line each; empty when they agree.

    Only what was measured while the report was made counts.
    """
    installed = report.install.state in ("trial", "confirmed")
    measured = [one for one in report.health if one.measured == "now"]
    failing = [one.probe for one in measured if one.state == "failing"]
    wrong = [f"{one.name} ({one.found})" for one in report.components.listed if one.found in ("differs", "missing")]
    lines = []
    if installed and failing:
        lines.append(f"the release is called {report.install.state}, but a probe fails: {', '.join(failing)}")
    if installed and wrong:
        lines.append(
            f"the release is called {report.install.state}, but not all of it is there: {', '.join(wrong[:3])}"
        )
    if measured and wrong and not failing:
        lines.append(f"every probe passes, but not all of the release is there: {', '.join(wrong[:3])}")
    return tuple(lines)


def waiting_words(item: WaitingItem) -> tuple[str, str]:
    """Return ``waits`` or, for an item that the site cannot carry out, ``refused``; then for which roles or of what."""
    kind = item.kind.removesuffix(REFUSED)
    if kind != item.kind:
        return "refused", f", {kind}"
    asked = ", ".join(f"{role.role} {role.have} of {role.need}" for role in item.roles)
    return "waits", f" for {asked}" if asked else ""


def probe_text(health: ReportedHealth) -> str:
    """Return the result of a probe, and when it was measured."""
    if health.measured is None:
        return "not observed"
    when = "measured for this report" if health.measured == "now" else f"last measured {health.at}"
    row = f", {show_times(health.failures)} in a row" if health.failures > 1 else ""
    return f"{health.state}{row}, {when}"


def heeded(report: Report) -> tuple[str, ...]:
    """Return one line for each thing that a person must look at, the most serious first."""
    return tuple(_heeded(report))


def _heeded(report: Report) -> Iterator[str]:
    """Yield the lines of ``heeded``: contradictions, policy and trust, the install, the clock, alarms, the journal."""
    yield from contradictions(report)
    policy, install, trust = report.policy, report.install, report.trust
    if policy is not None:
        versions = {one.release: one.version for one in install.generations}
        for use in policy.emergency:
            what = versions.get(use.release, use.release)
            yield f"emergency rule {use.rule!r} of policy {use.policy} was used for {what} at {use.at}"
        if policy.refounded is not None:
            yield f"policy {policy.refounded} was put in force without the quorum of the policy before it"
    if trust.roots_replaced:
        yield f"the vendor's root was replaced on paper, {show_times(trust.roots_replaced)}"
    if install.state == "inconsistent":
        yield "the site is inconsistent: neither the old nor the new release is whole"
    elif install.state == "trial":
        yield (
            f"the running release is on trial, attempt {install.trial_attempts}"
            if install.trial_attempts
            else "on trial"
        )
    if install.revoked:
        yield "the running release is revoked by the vendor"
    if install.below_floor:
        yield "the running release is below the floor of its channel"
    if trust.clock != "plausible":
        relation = "behind" if trust.clock == "behind" else "far ahead of"
        yield f"the site's clock is {relation} the latest time that a document of the vendor proved"
    if trust.clock_back:
        yield f"the site's clock went backwards, {show_times(trust.clock_back)}"
    for code, count in Counter(one.code for one in trust.alarms).items():
        yield f"alarm {code.replace('-', ' ')}{f', {show_times(count)}' if count > 1 else ''}"
    if report.chain.journal.torn:
        yield f"an unfinished last journal entry was cut, {show_times(report.chain.journal.torn)}"


def answered(result: RequestResult) -> str:
    """Return the result of one request of a consignment, or of one use by the site's own people, as a line."""
    code = "" if result.exit_code is None else f", exit {result.exit_code}"
    why = "" if result.reason is None else f" ({result.reason.replace('-', ' ')})"
    by = ", by the site's own people" if result.consignment is None else ""
    return f"{result.handler}: {result.outcome.replace('-', ' ')}{why}{code}{by}"


def left_out(dropped: Dropped) -> str:
    """Return what the report leaves out, how much and why, as a line."""
    return f"{dropped.count} of {dropped.what.replace('-', ' ')}: {dropped.reason.replace('-', ' ')}"


def report_lines(report: Report) -> tuple[str, ...]:
    """Return the report as lines under a title, without its digest."""
    release = report.install.release
    runs = "nothing" if release is None else f"{release.product} {release.version}, {report.install.state}"
    lines = [f"! {one}" for one in heeded(report)]
    lines += [f"made at    {report.chain.made_at}, {report.chain.cause.replace('-', ' ')}", f"installed  {runs}"]
    for component in report.components.listed:
        seen = component.level if component.found == "same" else component.found
        lines.append(f"{component.kind:<9}  {component.name}: {seen}, {component.observed or component.expected}")
    lines += [f"probe      {one.probe}: {probe_text(one)}" for one in report.health]
    for item in report.waiting:
        verb, words = waiting_words(item)
        lines.append(f"{verb:<9}  {item.item}{words}, since report {item.since_seq}")
    for result in report.requests:
        title = result.request if result.consignment is None else f"answer {result.consignment}"
        lines.append(f"{title:<10} {answered(result)}")
    lines += [f"left out   {left_out(one)}" for one in report.dropped]
    return tuple(lines)
