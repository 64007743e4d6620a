"""Show a report as text, with what needs attention first."""

from collections import Counter
from collections.abc import Iterator

from manifests.documents.report import Dropped, Report, RequestResult
from manifests.words.units import show_times


def heeded(report: Report) -> tuple[str, ...]:
    """One line for each thing that needs a person's eye, the gravest kind of way in first; empty when there is none."""
    return tuple(_heeded(report))


def _heeded(report: Report) -> Iterator[str]:
    policy, install, trust = report.policy, report.install, report.trust
    if policy is not None:
        versions = {one.release: one.version for one in install.generations}
        for use in policy.emergency:
            what = versions.get(use.release, use.release)
            yield f"emergency rule {use.rule!r} of policy {use.policy} was used for {what} at {use.at}"
        if policy.refounded is not None:
            yield f"policy {policy.refounded} was founded anew, without the quorum of the one before"
    if trust.roots_replaced:
        yield f"the vendor's root was replaced on paper, {show_times(trust.roots_replaced)}"
    if install.state == "inconsistent":
        yield "neither the old nor the new release is whole here: the site is inconsistent"
    elif install.state == "trial":
        yield f"what runs is on trial, attempt {install.trial_attempts}" if install.trial_attempts else "on trial"
    if install.revoked:
        yield "what runs was revoked by the vendor"
    if install.below_floor:
        yield "what runs lies below the floor of its channel"
    if trust.clock != "plausible":
        way = "behind" if trust.clock == "behind" else "far ahead of"
        yield f"the site's clock is {way} the latest time that a document of the vendor proved"
    if trust.clock_back:
        yield f"the site's clock went backwards, {show_times(trust.clock_back)}"
    for code, count in Counter(one.code for one in trust.alarms).items():
        yield f"alarm {code.replace('-', ' ')}{f', {show_times(count)}' if count > 1 else ''}"
    if report.chain.journal.torn:
        yield f"the end of the journal was torn off, {show_times(report.chain.journal.torn)}"


def answered(one: RequestResult) -> str:
    """What became of one request of a consignment, in a line."""
    code = "" if one.exit_code is None else f", exit {one.exit_code}"
    return f"{one.handler}: {one.outcome.replace('-', ' ')}{code}"


def left_out(one: Dropped) -> str:
    """What the report does not hold, how much of it and why, in a line."""
    return f"{one.count} of {one.what.replace('-', ' ')}: {one.reason.replace('-', ' ')}"


def report_lines(report: Report) -> tuple[str, ...]:
    """The report as lines under a title, without its digest."""
    release = report.install.release
    runs = "nothing" if release is None else f"{release.product} {release.version}, {report.install.state}"
    lines = [f"! {one}" for one in heeded(report)]
    lines += [
        f"made at    {report.chain.made_at}, {report.chain.cause.replace('-', ' ')}",
        f"installed  {runs}",
    ]
    for one in report.components.listed:
        seen = one.level if one.found == "same" else one.found
        lines.append(f"{one.kind:<9}  {one.name}: {seen}, {one.observed or one.expected}")
    lines += [f"probe      {one.probe}: {one.state}" for one in report.health]
    for item in report.waiting:
        asked = ", ".join(f"{one.role} {one.have} of {one.need}" for one in item.roles)
        lines.append(f"waits      {item.item}{f' for {asked}' if asked else ''}, since report {item.since_seq}")
    lines += [f"answer {one.consignment:<3} {answered(one)}" for one in report.requests]
    lines += [f"left out   {left_out(one)}" for one in report.dropped]
    return tuple(lines)
