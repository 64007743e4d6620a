"""Record what sites say by telephone, and compare it with the report once that has come."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, Engine, bindparam, insert, select

from fleet.ledger.tables import enrolments, reports, sites, spoken
from fleet.rules.values import ReportFinding
from manifests.transport.telephone import SpokenLine, parse_line, site_code
from manifests.words.errors import RefusedError
from manifests.words.time import rfc3339

ClaimStatus = Literal["claimed", "proven", "contradicted"]


@dataclass(frozen=True)
class TelephoneClaim:
    """A line that was understood.

    Attributes:
        standing: ``claimed`` until a report with that number is here.
        digest: The first 25 hex digits of the report's digest, as said.
    """

    site: str
    seq: int
    digest: str
    heard_at: str
    standing: ClaimStatus


def record_claim(engine: Engine, text: str, now: datetime) -> TelephoneClaim:
    """Note a telephone line. Saying the same again changes nothing.

    Raises:
        UsageError: It was misheard or mistyped; names the groups.
        RefusedError: No enrolled site has that key, or several have.
    """
    said = parse_line(text)
    at = rfc3339(now)
    with engine.begin() as connection:
        enrolment_id, site = _speaker(connection, said)
        line = {"enrolment_id": enrolment_id, "seq": said.seq, "digest": said.digest}
        same = select(spoken.c.heard_at).where(*(spoken.c[name] == value for name, value in line.items()))
        before = connection.execute(same).scalar()
        if before is None:
            connection.execute(insert(spoken).values(**line, heard_at=at))
        here = (reports.c.enrolment_id == enrolment_id) & (reports.c.seq == said.seq)
        digests = connection.execute(select(reports.c.digest).where(here)).scalars().all()
    return TelephoneClaim(site, said.seq, said.digest, before or at, _standing(said.digest, list(digests)))


def _speaker(connection: Connection, said: SpokenLine) -> tuple[int, str]:
    """The enrolled key that the line's first six letters stand for."""
    rows = connection.execute(select(enrolments.c.id, enrolments.c.keyid, sites.c.site).join(sites)).all()
    found = [row for row in rows if site_code(row.keyid) == said.code]
    if len(found) == 1:
        return found[0].id, found[0].site
    if not found:
        raise RefusedError(
            f"no enrolled site has a key that begins with {said.code}",
            where="--line",
            remedy="`waybill fleet sites` lists them; ask the site for its enrolment",
            finding="site-unknown",
        )
    raise RefusedError(
        f"{len(found)} sites have a key that begins with {said.code}: {', '.join(row.site for row in found)}",
        where="--line",
        remedy="ask for the report itself",
        finding="line-ambiguous",
    )


def _standing(digest: str, held: list[str]) -> ClaimStatus:
    if not held:
        return "claimed"
    return "proven" if any(one[7:32] == digest for one in held) else "contradicted"


def lines_of(connection: Connection, enrolment_id: int, site: str) -> tuple[TelephoneClaim, ...]:
    """What a site said, newest last."""
    mine = spoken.c.enrolment_id == enrolment_id
    held: dict[int, list[str]] = {}
    query = select(reports.c.seq, reports.c.digest).where(
        (reports.c.enrolment_id == enrolment_id) & reports.c.seq.in_(select(spoken.c.seq).where(mine))
    )
    for seq, digest in connection.execute(query):
        held.setdefault(seq, []).append(digest)
    rows = connection.execute(select(spoken).where(mine).order_by(spoken.c.id)).all()
    return tuple(
        TelephoneClaim(site, row.seq, row.digest, row.heard_at, _standing(row.digest, held.get(row.seq, [])))
        for row in rows
    )


def load_spoken(connection: Connection, ids: list[int]) -> dict[tuple[int, int], set[str]]:
    """What was said of these sites' reports: by enrolment and number the beginnings of digests."""
    found: dict[tuple[int, int], set[str]] = {}
    query = select(spoken).where(spoken.c.enrolment_id.in_(bindparam("ids", expanding=True)))
    for row in connection.execute(query, {"ids": ids}):
        found.setdefault((row.enrolment_id, row.seq), set()).add(row.digest)
    return found


def judge_spoken(said: set[str], seq: int, digest: str) -> ReportFinding | None:
    """What a report that has come makes of the lines about its number."""
    if not said:
        return None
    if digest[7:32] in said:
        return ReportFinding("line-proven", False, f"report {seq} is the one that was told by telephone")
    return ReportFinding(
        "line-contradicted",
        True,
        f"report {seq} is {digest[:19]}, by telephone it was told to be sha256:{min(said)[:12]}: "
        "somebody else spoke, or there are two",
    )
