"""Read the vendor's releases from the ledger, and what sites report of releases that it does not hold."""

from collections import defaultdict

from sqlalchemy import Connection, func, select

from fleet.intake.import_trust import ImportTrust
from fleet.ledger.tables import components, contracts, releases, reports, roots
from fleet.rules.values import KnownRelease, Library, ReportFinding
from manifests.documents.contract import parse_contract
from manifests.documents.report import Report, ReportedInstalled, ReportStatement
from manifests.documents.signed_report import Expected
from manifests.trust.envelope import SigstoreBundle
from manifests.trust.keys import decode_base64
from manifests.words.canonical import decode
from manifests.words.text import short_digest

SequenceKey = tuple[str, str, int, int]
ComponentKey = tuple[str, str, str]


def stored_report(raw: bytes) -> Report:
    """Read a report of the ledger; its signature was verified when it was imported."""
    payload = decode_base64(decode(raw, SigstoreBundle, "report").envelope.payload, "report")
    return decode(payload, ReportStatement, "report").predicate


class ReleaseLibrary:
    """The vendor's releases, read from the ledger once for an import; components only of those that are named."""

    def __init__(self, trust: ImportTrust | None = None) -> None:
        self._trust = trust or ImportTrust()
        self._library: Library | None = None
        self._components: dict[str, dict[ComponentKey, Expected]] = {}
        self._claims: dict[SequenceKey, dict[str, str]] | None = None

    def read(self, connection: Connection, named: set[str]) -> Library:
        missing = sorted(named - set(self._components))
        if self._library is not None and not missing:
            return self._library
        self._components |= {digest: {} for digest in missing}
        for row in connection.execute(select(components).where(components.c.release.in_(missing))):
            expected = Expected(row.kind, row.name, row.step, row.digest, row.wanted)
            self._components[row.release][(row.kind, row.name, row.step)] = expected
        names = ("digest", "product", "version", "channel", "epoch", "sequence", "contract")
        known_roots: dict[int, set[str]] = defaultdict(set)
        for version, digest in connection.execute(select(roots.c.version, roots.c.digest)):
            known_roots[version].add(digest)
        for version, digest in self._trust.known():
            known_roots[version].add(digest)
        self._library = Library(
            releases={
                row.digest: KnownRelease(**row._mapping, components=self._components.get(row.digest, {}))
                for row in connection.execute(select(*(releases.c[name] for name in names)))
            },
            roots=dict(known_roots),
            optional={
                digest: frozenset(field for signal in parse_contract(raw).signals for field in signal.optional)
                for digest, raw in connection.execute(select(contracts.c.digest, contracts.c.raw))
            },
        )
        return self._library

    def equivocation(self, connection: Connection, report: Report, library: Library) -> ReportFinding | None:
        """Return an alarm when another site reported another digest for this sequence; remember this site's claim.

        Only for releases that the ledger does not hold; `report_rules` compares the others with it.
        """
        installed = report.install.release
        if installed is None or installed.digest in library.releases:
            return None
        if self._claims is None:
            self._claims = _read_claims(connection)
        here = self._claims.setdefault(_sequence(installed), {})
        other = next((digest for digest in here if digest != installed.digest), None)
        here.setdefault(installed.digest, report.identity.site)
        if other is None:
            return None
        text = (
            f"the site runs {short_digest(installed.digest)} as {installed.channel} {installed.sequence}; "
            f"{here[other]} runs {short_digest(other)} under the same sequence"
        )
        return ReportFinding("equivocation", True, text)


def _read_claims(connection: Connection) -> dict[SequenceKey, dict[str, str]]:
    """One site for each digest that is not in the ledger, by the sequence that the site reported."""
    first = (
        select(func.min(reports.c.digest))
        .where(reports.c.release.is_not(None) & reports.c.release.not_in(select(releases.c.digest)))
        .group_by(reports.c.release)
    )
    claims: dict[SequenceKey, dict[str, str]] = {}
    for raw in connection.execute(select(reports.c.raw).where(reports.c.digest.in_(first))).scalars():
        report = stored_report(raw)
        if report.install.release is not None:
            claims.setdefault(_sequence(report.install.release), {})[report.install.release.digest] = (
                report.identity.site
            )
    return claims


def _sequence(installed: ReportedInstalled) -> SequenceKey:
    return installed.product, installed.channel, installed.epoch, installed.sequence
