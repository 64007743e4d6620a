"""Record what sites say by telephone, and compare it with the report once it is imported."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Engine, bindparam, insert, select

from fleet.ledger.tables import enrolments, reports, sites, spoken
from fleet.rules.values import ReportFinding
from manifests.transport.telephone import TelephoneLine, parse_line, site_code
from manifests.words.errors import RefusedError
from manifests.words.text import short_digest

ClaimStatus = Literal["claimed", "proven", "contradicted"]


@dataclass(frozen=True)
class TelephoneClaim:
    """A line that was understood.

    Attributes:
        digest: The first 25 hex digits of the report's digest, as read by telephone.
        standing: ``claimed`` until a report with that number is here.
    """

    site: str
    seq: int
    digest: str
    heard_at: datetime
    standing: ClaimStatus


def record_claim(engine: Engine, text: str, now: datetime) -> TelephoneClaim:
    """Record a telephone line; the same line a second time changes nothing.

    Raises UsageError, with the wrong groups, for a mistyped line; RefusedError unless exactly one site has that key.
    """
    line = parse_line(text)
    with engine.begin() as connection:
        enrolment_id, site = _claiming_site(connection, line)
        values = {"enrolment_id": enrolment_id, "seq": line.seq, "digest": line.digest}
        same = select(spoken.c.heard_at).where(*(spoken.c[name] == value for name, value in values.items()))
        before = connection.execute(same).scalar()
        if before is None:
            connection.execute(insert(spoken).values(**values, heard_at=now))
        here = (reports.c.enrolment_id == enrolment_id) & (reports.c.seq == line.seq)
        digests = connection.execute(select(reports.c.digest).where(here)).scalars().all()
    return TelephoneClaim(site, line.seq, line.digest, before or now, _claim_status(line.digest, list(digests)))


def _claiming_site(connection: Connection, line: TelephoneLine) -> tuple[int, str]:
    """The enrolment and site whose key has the first six letters of the line."""
    rows = connection.execute(select(enrolments.c.id, enrolments.c.keyid, sites.c.site).join(sites)).all()
    matches = [row for row in rows if site_code(row.keyid) == line.code]
    if len(matches) == 1:
        return matches[0].id, matches[0].site
    if not matches:
        problem = f"no enrolled site has a key that begins with {line.code}"
        remedy = "list the sites with `waybill fleet sites`, and ask the site for its enrolment"
        raise RefusedError(problem, where="--line", remedy=remedy, finding="site-unknown")
    problem = f"{len(matches)} sites have a key that begins with {line.code}: {', '.join(row.site for row in matches)}"
    raise RefusedError(problem, where="--line", remedy="ask the site for the report itself", finding="line-ambiguous")


def _claim_status(digest: str, held: list[str]) -> ClaimStatus:
    if not held:
        return "claimed"
    return "proven" if any(_telephone_digest(report) == digest for report in held) else "contradicted"


def _telephone_digest(digest: str) -> str:
    """The 25 hex digits of a digest that a telephone line holds."""
    return digest[7:32]


def claims_of_site(connection: Connection, enrolment_id: int, site: str) -> tuple[TelephoneClaim, ...]:
    """Return what a site said by telephone, newest last."""
    of_site = spoken.c.enrolment_id == enrolment_id
    held: dict[int, list[str]] = {}
    query = select(reports.c.seq, reports.c.digest).where(
        (reports.c.enrolment_id == enrolment_id) & reports.c.seq.in_(select(spoken.c.seq).where(of_site))
    )
    for seq, digest in connection.execute(query):
        held.setdefault(seq, []).append(digest)
    rows = connection.execute(select(spoken).where(of_site).order_by(spoken.c.id)).all()
    return tuple(
        TelephoneClaim(site, row.seq, row.digest, row.heard_at, _claim_status(row.digest, held.get(row.seq, [])))
        for row in rows
    )


def load_claims(connection: Connection, ids: list[int]) -> dict[tuple[int, int], set[str]]:
    """Return the claimed digests of these enrolments' reports, by enrolment and number."""
    claims: dict[tuple[int, int], set[str]] = {}
    query = select(spoken).where(spoken.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    for row in connection.execute(query, {"ids": ids}):
        claims.setdefault((row.enrolment_id, row.seq), set()).add(row.digest)
    return claims


def judge_claims(claims: set[str], seq: int, digest: str) -> ReportFinding | None:
    """Compare a report with the telephone lines about its number."""
    if not claims:
        return None
    if _telephone_digest(digest) in claims:
        return ReportFinding("line-proven", False, f"report {seq} is the one that was named by telephone")
    text = (
        f"report {seq} is {short_digest(digest)}; by telephone it was {min(claims)[:12]}: "
        "another person called, or there are two histories"
    )
    return ReportFinding("line-contradicted", True, text)
