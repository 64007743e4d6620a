"""The values that the rules for reports compare: findings, known releases and one site's chain of reports."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from manifests.documents.report import Report
from manifests.documents.report_components import Expected
from manifests.documents.report_reader import SignedReport


@dataclass(frozen=True)
class ReportFinding:
    """Something that a rule noticed.

    Attributes:
        finding: Stable id.
        alarm: A person has to look; otherwise it is only worth knowing.
        text: For people, found then expected.
    """

    finding: str
    alarm: bool
    text: str


@dataclass(frozen=True)
class KnownRelease:
    """A release that the ledger holds."""

    digest: str
    product: str
    version: str
    channel: str
    epoch: int
    sequence: int
    contract: str
    components: Mapping[tuple[str, str, str], Expected]


@dataclass(frozen=True)
class Library:
    """What the vendor made, as far as the ledger knows it.

    Attributes:
        roots: From a root's version to the digests known under it.
        optional: From a contract's digest to the words of the core that it lets leave though a site may withhold them.
        sequences: From (product, channel, epoch, sequence) to the release that has it.
    """

    releases: Mapping[str, KnownRelease] = field(default_factory=dict)
    roots: Mapping[int, frozenset[str]] = field(default_factory=dict)
    optional: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def sequences(self) -> dict[tuple[str, str, int, int], str]:
        return {(one.product, one.channel, one.epoch, one.sequence): one.digest for one in self.releases.values()}

    @cached_property
    def contracts(self) -> frozenset[str]:
        return frozenset(one.contract for one in self.releases.values())


@dataclass
class ReportChain:
    """One site's line of reports while an import runs: what is held, and what others say stands where.

    Attributes:
        enrolment: Digest of the enrolment, which is place 0.
        places: From a place to the digests known there.
        held: Places whose report is here, sorted, each once.
        bodies: The reports that a rule may need, by place; a forked place keeps the first.
        challenges: When each challenge for the site was made, by the digest that a report echoes.
        refused: Digests at places of a branch that a person set aside.
        spans: By key epoch the numbers that the key may sign: above the first, up to the second.
        standing: ``current``, or why the line does not count: ``pending``, ``refused``, ``former``.
        closed_at: When the site was closed.
        acknowledged: Digests of the reports that consignments acknowledged.
        asked: Handler of each request, by the consignment's number and the request's name.
        authorised: Ways below the floor that consignments carried: number of the consignment by fingerprint.
        sealing: Releases that carry such ways themselves.
    """

    site: str
    key_epoch: int
    enrolment: str
    places: dict[int, set[str]]
    held: list[int]
    bodies: dict[int, Report]
    held_digests: set[str]
    challenges: dict[str, str] = field(default_factory=dict)
    refused: dict[int, set[str]] = field(default_factory=dict)
    spans: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    standing: str = "current"
    closed_at: str | None = None
    acknowledged: set[str] = field(default_factory=set)
    asked: dict[tuple[int, str], str] = field(default_factory=dict)
    authorised: dict[str, int] = field(default_factory=dict)
    sealing: set[str] = field(default_factory=set)

    def before(self, seq: int) -> Report | None:
        at = bisect_left(self.held, seq)
        return self.bodies[self.held[at - 1]] if at else None

    def after(self, seq: int) -> Report | None:
        at = bisect_right(self.held, seq)
        return self.bodies[self.held[at]] if at < len(self.held) else None

    @property
    def newest(self) -> int:
        return self.held[-1] if self.held else 0

    @property
    def forked_at(self) -> int | None:
        return min((seq for seq, digests in self.places.items() if len(digests) > 1), default=None)

    def set_aside_from(self, signed: SignedReport) -> int | None:
        """The lowest place at which the report stands on a branch that was set aside, or by a key past its time."""
        places = [seq for seq, digest in claims(signed) if digest in self.refused.get(seq, ())]
        if not self.may_sign(signed.report):
            places.append(signed.report.chain.seq)
        return min(places, default=None)

    def may_sign(self, report: Report) -> bool:
        """Whether the number is one that its key may sign: a key that passed its place on speaks no more."""
        after, until = self.spans.get(report.identity.key_epoch, (0, None))
        return after < report.chain.seq and (until is None or report.chain.seq <= until)

    def add(self, signed: SignedReport) -> list[tuple[int, str, bool]]:
        """Take the report in; returns place, digest and whether it was set aside for what was not known."""
        base = self.set_aside_from(signed)
        new = []
        for seq, digest in claims(signed):
            aside = base is not None and seq >= base
            if digest in self.places.get(seq, ()) or digest in self.refused.get(seq, ()):
                continue
            (self.refused if aside else self.places).setdefault(seq, set()).add(digest)
            new.append((seq, digest, aside))
        self.held_digests.add(signed.digest)
        if base is not None:
            return new
        seq = signed.report.chain.seq
        at = bisect_left(self.held, seq)
        if at == len(self.held) or self.held[at] != seq:
            self.held.insert(at, seq)
        self.bodies.setdefault(seq, signed.report)
        return new


def claims(signed: SignedReport) -> Iterator[tuple[int, str]]:
    """What a report says stands where: itself, the one before, the summary of earlier ones, where its key began."""
    chain = signed.report.chain
    yield chain.seq, signed.digest
    for link in signed.report.identity.succession:
        yield link.rotation.after_seq, link.rotation.after
    for one in chain.earlier:
        yield one.seq, one.digest
    if not chain.earlier:
        yield chain.seq - 1, chain.previous
    if chain.omitted is not None:
        yield chain.omitted.last, chain.omitted.digest
