"""Record what people decide about a site: the branch, the key, refused files and alarms.

A decision can say what counts; it can never make something signed that is not. Nothing is deleted by it, and it
is kept with who, when and why.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Engine, func, insert, select, update

from fleet.intake.intake import judge_again
from fleet.intake.report_chains import stored_report
from fleet.ledger.tables import enrolments, findings, positions, quarantine, reports, resolutions, sites, standings
from fleet.rules.forks import Chosen, Claims, choose
from fleet.rules.values import claims
from manifests.documents.report_reader import SignedReport
from manifests.words.errors import RefusedError, UsageError
from manifests.words.time import rfc3339

DecisionKind = Literal["branch", "renewal", "release", "close", "alarm"]
FORKS = ("report-forked", "site-forked", "branch-refused")
MIN_PREFIX = 8


@dataclass(frozen=True)
class Decision:
    """Who decides, when and why; goes into the ledger as it is."""

    who: str
    reason: str
    at: datetime

    def __post_init__(self) -> None:
        if not self.reason.strip() or len(self.reason) > 2000:
            raise UsageError(
                "a decision needs a reason", where="--reason", remedy="say why, for whoever asks in two years"
            )


@dataclass(frozen=True)
class Resolved:
    """What a decision did.

    Attributes:
        text: For people, one line each.
    """

    number: int
    kind: DecisionKind
    accepted: str | None
    text: tuple[str, ...]


@dataclass(frozen=True)
class _Site:
    id: int
    site: str


def resolve(engine: Engine, site: str | None, accept: str, decision: Decision) -> Resolved:
    """Accept what ``accept`` names: a branch by any digest on it, a renewed enrolment, or a quarantined file.

    Args:
        site: The whole id; None for a quarantined file that belongs to no site.
        accept: A digest, or at least eight digits of one.

    Raises:
        UsageError: It names nothing here that waits for a decision, or several things.
        RefusedError: The quarantined file is refused still.
    """
    with engine.connect().execution_options(waybill_reading=True) as connection:
        row = _find(connection, site)
        found = _candidates(connection, row, _prefix(accept))
    if len(found) != 1:
        names = ", ".join(f"{kind} {digest[:19]}" for kind, digest in sorted(found)[:5])
        raise UsageError(
            f"{accept} names {'nothing that waits for a decision' if not found else 'several things: ' + names}",
            where="--accept",
            remedy=f"waybill fleet show {site}" if site else "waybill fleet list quarantine",
        )
    kind, digest = found.pop()
    if kind == "quarantine":
        return _release(engine, row, digest, decision)
    assert row is not None  # the other kinds are searched for below a site alone
    with engine.begin() as connection:
        if kind == "enrolment":
            return _renew(connection, row, digest, decision)
        return _branch(connection, row, digest, decision)


def close_quarantine(engine: Engine, site: str | None, which: str, decision: Decision) -> Resolved:
    """Close what was refused, by a digest or by a finding's id: nobody waits for it any more, its bytes are kept.

    Raises:
        UsageError: Nothing of that name waits.
    """
    with engine.begin() as connection:
        row = _find(connection, site)
        open_ones = quarantine.c.settled_at.is_(None)
        wanted = (
            quarantine.c.finding == which
            if not which.startswith("sha256:") and not _is_hex(which)
            else quarantine.c.digest.startswith(_prefix(which))
        )
        digests = connection.execute(select(quarantine.c.digest).where(open_ones & wanted)).scalars().all()
        if not digests:
            raise UsageError(
                f"nothing that waits in quarantine is called {which}",
                where="--close",
                remedy="waybill fleet list quarantine",
            )
        text = (f"closed {len(digests)} quarantined {'file' if len(digests) == 1 else 'files'}; the bytes are kept",)
        said = ", ".join(digests[:20]) + (f" and {len(digests) - 20} more" if len(digests) > 20 else "")
        number = _record(connection, row, "close", None, said, decision)
        settled = {"settled_at": rfc3339(decision.at), "resolution": number}
        connection.execute(update(quarantine).where(open_ones & wanted).values(settled))
        return Resolved(number, "close", None, text)


def settle_alarm(engine: Engine, site: str, number: int, decision: Decision) -> Resolved:
    """Say that an alarm was looked into; it stays in the story and is counted no more.

    Raises:
        UsageError: The site has no such open alarm.
    """
    with engine.begin() as connection:
        row = _find(connection, site)
        assert row is not None
        lines = select(enrolments.c.id).where(enrolments.c.site_id == row.id)
        mine = (findings.c.id == number) & findings.c.enrolment_id.in_(lines) & findings.c.resolution.is_(None)
        found = connection.execute(select(findings.c.enrolment_id, findings.c.text).where(mine)).first()
        if found is None:
            raise UsageError(f"{site} has no open alarm {number}", where="--alarm", remedy="waybill fleet list alarms")
        resolution = _record(connection, row, "alarm", None, found.text, decision)
        connection.execute(update(findings).where(findings.c.id == number).values(resolution=resolution))
        _stand_anew(connection, found.enrolment_id)
        return Resolved(resolution, "alarm", None, (f"settled: {found.text}",))


def _prefix(text: str) -> str:
    digits = text.removeprefix("sha256:")
    if not _is_hex(digits) or not MIN_PREFIX <= len(digits) <= 64:
        raise UsageError(
            f"{text!r} is no digest",
            where="--accept",
            remedy=f"sha256: and its digits, or the first {MIN_PREFIX} digits of it at least",
        )
    return "sha256:" + digits


def _is_hex(text: str) -> bool:
    return bool(text) and set(text) <= set("0123456789abcdef") and len(text) >= MIN_PREFIX


def _find(connection: Connection, site: str | None) -> _Site | None:
    if site is None:
        return None
    row = connection.execute(select(sites.c.id, sites.c.site).where(sites.c.site == site)).one()
    return _Site(row.id, row.site)


def _candidates(connection: Connection, site: _Site | None, prefix: str) -> set[tuple[str, str]]:
    """(what, digest) of everything that the prefix could mean: quarantined files, enrolments, places of a fork."""
    waiting = quarantine.c.settled_at.is_(None) & quarantine.c.digest.startswith(prefix)
    found = {("quarantine", one) for one in connection.execute(select(quarantine.c.digest).where(waiting)).scalars()}
    if site is None:
        return found
    lines = enrolments.c.site_id == site.id
    named = connection.execute(
        select(enrolments.c.digest).where(lines & enrolments.c.digest.startswith(prefix))
    ).scalars()
    found |= {("enrolment", one) for one in named if _lines_of(connection, site) > 1}
    forked = (
        select(positions.c.digest)
        .join(enrolments, enrolments.c.id == positions.c.enrolment_id)
        .join(standings, standings.c.enrolment_id == positions.c.enrolment_id)
        .where(lines & standings.c.forked_at.is_not(None) & (positions.c.seq >= standings.c.forked_at))
        .where(positions.c.digest.startswith(prefix) & positions.c.refused.is_(False))
    )
    branches = {("branch", one) for one in connection.execute(forked).scalars()}
    return found | {one for one in branches if ("enrolment", one[1]) not in found}


def _lines_of(connection: Connection, site: _Site) -> int:
    query = select(func.count()).select_from(enrolments).where(enrolments.c.site_id == site.id)
    return int(connection.execute(query).scalar_one())


def _record(
    connection: Connection, site: _Site | None, kind: DecisionKind, accepted: str | None, aside: str, decision: Decision
) -> int:
    number: int = connection.execute(
        insert(resolutions)
        .values(
            site_id=site.id if site else None,
            kind=kind,
            accepted=accepted,
            set_aside=aside,
            reason=decision.reason,
            who=decision.who,
            resolved_at=rfc3339(decision.at),
        )
        .returning(resolutions.c.id)
    ).scalar_one()
    return number


def _release(engine: Engine, site: _Site | None, digest: str, decision: Decision) -> Resolved:
    """A quarantined file is judged again; a person can ask for that, and cannot overrule the judgement."""
    done = judge_again(engine, digest, decision.at)
    still = [one for one in done.outcomes if one.status != "report"]
    if still or not done.counts.get("report"):
        why = still[0] if still else None
        raise RefusedError(
            f"refused still: {why.text}" if why else "a bundle or another large file; import it from its medium",
            where=digest[:19],
            remedy=(why.hint if why else "") or "close it with a reason: --close",
            finding=why.finding if why else "quarantine-large",
        )
    with engine.begin() as connection:
        number = _record(connection, site, "release", digest, "", decision)
        connection.execute(update(quarantine).where(quarantine.c.digest == digest).values(resolution=number))
    whose = ", ".join(f"{name}: report {news.new[0]}" for name, news in done.sites.items() if news.new)
    return Resolved(number, "release", digest, (f"taken in: {whose or 'known already'}",))


def _renew(connection: Connection, site: _Site, digest: str, decision: Decision) -> Resolved:
    """The line of this enrolment counts from now on; the others stay, and count no more."""
    others = (enrolments.c.site_id == site.id) & (enrolments.c.digest != digest)
    counted = connection.execute(
        select(enrolments.c.digest, enrolments.c.standing).where(enrolments.c.site_id == site.id)
    ).all()
    aside = ", ".join(f"{one.digest} ({one.standing})" for one in counted if one.digest != digest)
    number = _record(connection, site, "renewal", digest, aside, decision)
    was = next(one.standing for one in counted if one.digest == digest)
    # What waited and was not chosen is refused; what spoke before is former. Neither is deleted.
    connection.execute(
        update(enrolments).where(others & (enrolments.c.standing == "pending")).values(standing="refused")
    )
    connection.execute(
        update(enrolments).where(others & (enrolments.c.standing == "current")).values(standing="former")
    )
    connection.execute(update(enrolments).where(enrolments.c.digest == digest).values(standing="current"))
    said = "still speaks" if was == "current" else "speaks from now on"
    return Resolved(number, "renewal", digest, (f"{site.site}: the key of enrolment {digest[:19]} {said}",))


def _branch(connection: Connection, site: _Site, digest: str, decision: Decision) -> Resolved:
    """The branch on which ``digest`` lies counts; the others are set aside with all that goes on from them."""
    at = connection.execute(
        select(positions.c.enrolment_id, positions.c.seq)
        .join(enrolments, enrolments.c.id == positions.c.enrolment_id)
        .where((enrolments.c.site_id == site.id) & (positions.c.digest == digest) & positions.c.refused.is_(False))
        .order_by(positions.c.seq)
    ).first()
    assert at is not None  # `_candidates` has just seen it
    line, seq = at
    forked = connection.execute(select(standings.c.forked_at).where(standings.c.enrolment_id == line)).scalar_one()
    chosen = choose((seq, digest), _places(connection, line, forked), _held(connection, line, forked))
    if not chosen.refused:
        raise UsageError(
            f"{digest[:19]} lies on every branch",
            where="--accept",
            remedy=f"name a report of one branch: waybill fleet show {site.site}",
        )
    aside = ", ".join(f"{place}: {one}" for place, one in sorted(chosen.refused)[:50])
    number = _record(connection, site, "branch", digest, aside, decision)
    _set_aside(connection, line, chosen, number)
    left = _stand_anew(connection, line)
    text = [f"{site.site}: the branch of {digest[:19]} counts; {len(chosen.reports)} reports of others are set aside"]
    if left is not None:
        text.append(f"the line is forked still, from report {left} on: what parts there has no tie to this choice")
    return Resolved(number, "branch", digest, tuple(text))


def _places(connection: Connection, line: int, forked: int) -> dict[int, frozenset[str]]:
    query = select(positions.c.seq, positions.c.digest).where(
        (positions.c.enrolment_id == line) & (positions.c.seq >= forked) & positions.c.refused.is_(False)
    )
    found: dict[int, set[str]] = {}
    for seq, digest in connection.execute(query):
        found.setdefault(seq, set()).add(digest)
    return {seq: frozenset(digests) for seq, digests in found.items()}


def _held(connection: Connection, line: int, forked: int) -> list[tuple[str, Claims]]:
    query = (
        select(reports.c.digest, reports.c.raw)
        .where((reports.c.enrolment_id == line) & (reports.c.seq >= forked) & reports.c.refused.is_(False))
        .order_by(reports.c.seq, reports.c.digest)
    )
    return [
        (digest, tuple(claims(SignedReport(raw=b"", digest=digest, subject="", report=stored_report(raw)))))
        for digest, raw in connection.execute(query.execution_options(yield_per=200))
    ]


def _set_aside(connection: Connection, line: int, chosen: Chosen, number: int) -> None:
    for seq, digest in sorted(chosen.refused):
        here = (positions.c.enrolment_id == line) & (positions.c.seq == seq) & (positions.c.digest == digest)
        connection.execute(update(positions).where(here).values(refused=True))
    for digest in sorted(chosen.reports):
        connection.execute(update(reports).where(reports.c.digest == digest).values(refused=True))
    settled = (findings.c.enrolment_id == line) & findings.c.resolution.is_(None) & findings.c.finding.in_(FORKS)
    connection.execute(update(findings).where(settled).values(resolution=number))
    # What was found on a branch that is set aside says nothing about the site.
    beside = findings.c.report.in_(select(reports.c.digest).where((reports.c.enrolment_id == line) & reports.c.refused))
    connection.execute(
        update(findings)
        .where((findings.c.enrolment_id == line) & findings.c.resolution.is_(None) & beside)
        .values(resolution=number)
    )


def _stand_anew(connection: Connection, line: int) -> int | None:
    """Work out how the line stands, from its rows; returns where it is forked still."""
    mine = (reports.c.enrolment_id == line) & reports.c.refused.is_(False)
    newest = connection.execute(
        select(reports.c.seq, reports.c.digest)
        .where(mine)
        .order_by(reports.c.seq.desc(), reports.c.received_at, reports.c.digest)
        .limit(1)
    ).first()
    held = connection.execute(select(func.count(reports.c.seq.distinct())).where(mine)).scalar_one()
    twice = (
        select(positions.c.seq)
        .where((positions.c.enrolment_id == line) & positions.c.refused.is_(False))
        .group_by(positions.c.seq)
        .having(func.count() > 1)
        .subquery()
    )
    forked: int | None = connection.execute(select(func.min(twice.c.seq))).scalar()
    waiting = (findings.c.enrolment_id == line) & findings.c.resolution.is_(None) & findings.c.alarm
    alarms = connection.execute(select(func.count()).select_from(findings).where(waiting)).scalar_one()
    connection.execute(
        update(standings)
        .where(standings.c.enrolment_id == line)
        .values(
            report=newest.digest if newest else None,
            newest_seq=newest.seq if newest else 0,
            places_held=held,
            forked_at=forked,
            alarms=alarms,
        )
    )
    return forked
