"""The history of a site, one line for each event, from its verified reports alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manifests.documents.report import Earlier, Install, Report


@dataclass(frozen=True)
class SiteReport:
    """One report of the ledger."""

    digest: str
    received_at: str
    report: Report
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Happening:
    """One line of the story.

    Attributes:
        first, last: Places in the site's line that it covers.
        kind: Stable word, such as ``install``, ``upgrade``, ``rollback``, ``confirmed``, ``gap``, ``fork``, ``alarm``.
        at: By the site's clock; empty where only the place is known.
    """

    first: int
    last: int
    kind: str
    text: str
    at: str = ""


def site_history(reports: Iterable[SiteReport], places: Mapping[int, frozenset[str]]) -> tuple[Happening, ...]:
    """The whole line, oldest first.

    Args:
        reports: In order of their place, then of their arrival.
        places: Digests known at each place; two at one place are a fork.
    """
    story: list[Happening] = []
    by_digest: dict[str, SiteReport] = {}
    summed: dict[int, Earlier] = {}
    held = list(reports)
    for one in held:
        for earlier in one.report.chain.earlier:
            summed.setdefault(earlier.seq, earlier)
    last: SiteReport | None = None
    for one in held:
        seq = one.report.chain.seq
        if last is None or seq > last.report.chain.seq + 1:
            story += _missing((last.report.chain.seq if last else 0) + 1, seq - 1, summed)
        digests = places.get(seq, frozenset())
        if len(digests) > 1 and (last is None or last.report.chain.seq != seq):
            here = len([two for two in held if two.report.chain.seq == seq])
            story.append(
                Happening(
                    seq, seq, "fork", f"{len(digests)} different reports have number {seq}; {here} of them are here"
                )
            )
        before = by_digest.get(one.report.chain.previous) or last
        branch = f" [{one.digest[7:19]}]" if len(digests) > 1 else ""
        story += _changes(before, one, branch)
        by_digest[one.digest] = one
        last = one
    return tuple(story)


def _missing(first: int, last: int, summed: Mapping[int, Earlier]) -> Iterable[Happening]:
    """What a gap is known to have held: a later report sums up those that were not acknowledged."""
    at = first
    while at <= last:
        one = summed.get(at)
        if one is not None:
            state = "" if one.state == "none" else f", {one.state}"
            yield Happening(at, at, "gap", f"not here; a later report says: {one.cause}{state}", one.made_at)
            at += 1
            continue
        until = min((seq for seq in summed if seq > at), default=last + 1) - 1
        until = min(until, last)
        text = f"reports {at} to {until} are not here" if until > at else f"report {at} is not here"
        yield Happening(at, until, "gap", text)
        at = until + 1


def _changes(before: SiteReport | None, one: SiteReport, branch: str) -> Iterable[Happening]:
    report = one.report
    seq, at = report.chain.seq, report.chain.made_at
    old = before.report.install if before else Install(state="none")
    now = report.install
    found = list(_rollbacks(before.report if before else None, report))
    # What a way back changed is said by it.
    found += [one for one in _release(old, now) if one[0] != "release" or not found]
    off = [one for one in report.components.listed if one.found != "same"]
    if off or report.components.more_other:
        found.append(("drift", f"{len(off) + report.components.more_other} components are not as released"))
    if not found:
        found.append(("report", report.chain.cause.replace("-", " ")))
    found += [("alarm", text) for text in one.alarms]
    return [Happening(seq, seq, kind, text + branch, at) for kind, text in found]


def _rollbacks(before: Report | None, report: Report) -> Iterable[tuple[str, str]]:
    known = set(before.rollbacks) if before else set()
    versions = {one.number: one.version for one in report.install.generations}
    for one in report.rollbacks:
        if one not in known:
            source = versions.get(one.from_generation, f"generation {one.from_generation}")
            target = versions.get(
                one.to_generation, "nothing" if one.to_generation == 0 else f"generation {one.to_generation}"
            )
            how = f"by itself: {one.cause.replace('-', ' ')}" if one.automatic else "by hand"
            if one.authorisation is not None and not one.automatic:
                how += f", below its floor by authorisation {one.authorisation[:19]}"
            yield "rollback", f"went back from {source} to {target} {how}"


def _release(old: Install, now: Install) -> Iterable[tuple[str, str]]:
    a, b = old.release, now.release
    if b is None:
        if a is not None:
            yield "removed", f"{a.version} is not installed any more"
    elif a is None:
        yield "install", f"installed {b.version}, {now.state}"
    elif a.digest != b.digest:
        if (b.epoch, b.sequence) > (a.epoch, a.sequence):
            yield "upgrade", f"upgraded from {a.version} to {b.version}, {now.state}"
        else:
            yield "release", f"runs {b.version} after {a.version}, {now.state}"
    elif a.generation != b.generation:
        yield "config", f"{b.version} in a new generation, {now.state}"
    elif old.state != now.state:
        yield now.state, f"{b.version} is {now.state}"
