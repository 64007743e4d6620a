"""The history of a site, one line for each event, from its verified reports alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manifests.documents.report import Earlier, Install, Report
from manifests.documents.rollback_causes import cause_text
from manifests.words.text import short_digest


@dataclass(frozen=True)
class SiteReport:
    """A report of the ledger, with the text of its alarms."""

    digest: str
    report: Report
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class HistoryEvent:
    """One line of the history.

    Attributes:
        first, last: Numbers of the reports that it covers.
        kind: Such as ``install``, ``rollback``, ``confirmed``, ``summed-up``, ``gap``, ``fork``, ``alarm``.
        at: By the site's clock, as in the report; None where only the number is known.
    """

    first: int
    last: int
    kind: str
    text: str
    at: str | None = None


def site_history(reports: Iterable[SiteReport], known: Mapping[int, frozenset[str]]) -> tuple[HistoryEvent, ...]:
    """Return the events of a chain, oldest first.

    ``reports`` are ordered by number, then by arrival; two digests ``known`` at one number are a fork.
    """
    events: list[HistoryEvent] = []
    by_digest: dict[str, SiteReport] = {}
    summaries: dict[int, Earlier] = {}
    held = list(reports)
    for entry in held:
        for earlier in entry.report.chain.earlier:
            summaries.setdefault(earlier.seq, earlier)
    last: SiteReport | None = None
    for entry in held:
        seq = entry.report.chain.seq
        last_seq = last.report.chain.seq if last else 0
        if seq > last_seq + 1:
            events += _missing(last_seq + 1, seq - 1, summaries)
        digests = known.get(seq, frozenset())
        if len(digests) > 1 and last_seq != seq:
            count = sum(other.report.chain.seq == seq for other in held)
            text = f"{len(digests)} different reports have number {seq}; {count} of them are here"
            events.append(HistoryEvent(seq, seq, "fork", text))
        previous = by_digest.get(entry.report.chain.previous) or last
        branch = f" [{short_digest(entry.digest)}]" if len(digests) > 1 else ""
        events += _changes(previous, entry, branch)
        by_digest[entry.digest] = entry
        last = entry
    return tuple(events)


def _missing(first: int, last: int, summaries: Mapping[int, Earlier]) -> Iterable[HistoryEvent]:
    """Yield the events of a gap: a later report sums up those that were not acknowledged."""
    seq = first
    while seq <= last:
        summary = summaries.get(seq)
        if summary is not None:
            state = "" if summary.state == "none" else f", {summary.state}"
            text = f"summed up by a later report: {summary.cause}{state}"
            yield HistoryEvent(seq, seq, "summed-up", text, summary.made_at)
            seq += 1
            continue
        until = min(min((number for number in summaries if number > seq), default=last + 1) - 1, last)
        text = f"reports {seq} to {until} are not here" if until > seq else f"report {seq} is not here"
        yield HistoryEvent(seq, until, "gap", text)
        seq = until + 1


def _changes(previous: SiteReport | None, entry: SiteReport, branch: str) -> Iterable[HistoryEvent]:
    report = entry.report
    seq, at = report.chain.seq, report.chain.made_at
    changes = list(_rollbacks(previous.report if previous else None, report))
    # A rollback says already which release runs now.
    changes += [
        change
        for change in _release_changes(previous.report.install if previous else Install(state="none"), report.install)
        if change[0] != "release" or not changes
    ]
    different = sum(part.found != "same" for part in report.components.listed) + report.components.more_other
    if different:
        changes.append(("drift", f"{different} components are not as released"))
    if not changes:
        changes.append(("report", report.chain.cause.replace("-", " ")))
    changes += [("alarm", text) for text in entry.alarms]
    return [HistoryEvent(seq, seq, kind, text + branch, at) for kind, text in changes]


def _rollbacks(previous: Report | None, report: Report) -> Iterable[tuple[str, str]]:
    known = set(previous.rollbacks) if previous else set()
    versions = {generation.number: generation.version for generation in report.install.generations}
    versions[0] = "nothing"
    for rollback in report.rollbacks:
        if rollback in known:
            continue
        source = versions.get(rollback.from_generation, f"generation {rollback.from_generation}")
        target = versions.get(rollback.to_generation, f"generation {rollback.to_generation}")
        cause = f"automatically: {cause_text(rollback.cause)}" if rollback.automatic else "by hand"
        if rollback.authorisation is not None and not rollback.automatic:
            cause += f", below its floor by authorisation {short_digest(rollback.authorisation)}"
        yield "rollback", f"rolled back from {source} to {target} {cause}"


def _release_changes(old: Install, new: Install) -> Iterable[tuple[str, str]]:
    before, after = old.release, new.release
    if after is None:
        if before is not None:
            yield "removed", f"{before.version} is no longer installed"
    elif before is None:
        yield "install", f"installed {after.version}, {new.state}"
    elif before.digest != after.digest:
        if (after.epoch, after.sequence) > (before.epoch, before.sequence):
            yield "upgrade", f"upgraded from {before.version} to {after.version}, {new.state}"
        else:
            yield "release", f"runs {after.version} after {before.version}, {new.state}"
    elif before.generation != after.generation:
        yield "config", f"{after.version} in a new generation, {new.state}"
    elif old.state != new.state:
        yield new.state, f"{after.version} is {new.state}"
