"""The values that the rules for reports compare: findings, known releases and one site's chain of reports."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from manifests.documents.report import Report
from manifests.documents.signed_report import Expected, SignedReport

# The finding that makes every approval at a site doubtful; `fleet sites` and `fleet show` begin with it.
FIRST_POLICY = "first-policy-differs"


@dataclass(frozen=True)
class ReportFinding:
    """What a rule found in a report.

    Attributes:
        finding: Stable id.
        alarm: A person has to look into it; otherwise it is a note.
        text: For people: what was found, then what was expected.
    """

    finding: str
    alarm: bool
    text: str


@dataclass(frozen=True)
class KnownRelease:
    """A release of the ledger, with its components by kind, name and step."""

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
    """The vendor's releases, roots and contracts, as far as they are in the ledger.

    Attributes:
        releases: By digest.
        roots: Digests by the root's version.
        optional: By the contract's digest, the fields that a report may hold and a site may withhold.
    """

    releases: Mapping[str, KnownRelease] = field(default_factory=dict)
    roots: Mapping[int, set[str]] = field(default_factory=dict)
    optional: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def sequences(self) -> dict[tuple[str, str, int, int], str]:
        """Digest of each release by (product, channel, epoch, sequence)."""
        releases = self.releases.values()
        return {(one.product, one.channel, one.epoch, one.sequence): one.digest for one in releases}

    @cached_property
    def contracts(self) -> frozenset[str]:
        return frozenset(one.contract for one in self.releases.values())


@dataclass
class ReportChain:
    """The reports of one enrolment while an import runs: which are held, and which digests are known at each number.

    Attributes:
        enrolment: Digest of the enrolment, which is number 0.
        first_policy: The site's first policy by its enrolment; None if that does not state it.
        known: Digests known at each number.
        held: Numbers whose report is in the ledger, sorted, each once.
        bodies: The reports that a rule may need, by number; at a fork the first one.
        challenges: When each challenge for the site was made, by the digest that a report echoes.
        refused: Digests on a branch that a person set aside, by number.
        spans: By key epoch the numbers that the key may sign: above the first, up to the second.
        standing: ``current``, or why the chain does not count: ``pending``, ``refused``, ``former``.
        acknowledged: Digests of the reports that consignments acknowledged.
        requested: Handler of each request, by the consignment's number and the request's name.
        authorised: By fingerprint of an authorisation, the number of the consignment that carried it.
        authorising: Releases that carry authorisations themselves.
    """

    site: str
    key_epoch: int
    enrolment: str
    first_policy: str | None
    known: dict[int, set[str]]
    held: list[int]
    bodies: dict[int, Report]
    held_digests: set[str]
    challenges: dict[str, datetime] = field(default_factory=dict)
    refused: dict[int, set[str]] = field(default_factory=dict)
    spans: dict[int, tuple[int, int | None]] = field(default_factory=dict)
    standing: str = "current"
    closed_at: datetime | None = None
    acknowledged: set[str] = field(default_factory=set)
    requested: dict[tuple[int, str], str] = field(default_factory=dict)
    authorised: dict[str, int] = field(default_factory=dict)
    authorising: set[str] = field(default_factory=set)

    def before(self, seq: int) -> Report | None:
        """The nearest held report below ``seq``."""
        at = bisect_left(self.held, seq)
        return self.bodies[self.held[at - 1]] if at else None

    def after(self, seq: int) -> Report | None:
        """The nearest held report above ``seq``."""
        at = bisect_right(self.held, seq)
        return self.bodies[self.held[at]] if at < len(self.held) else None

    @property
    def newest(self) -> int:
        return self.held[-1] if self.held else 0

    @property
    def forked_at(self) -> int | None:
        return min((seq for seq, digests in self.known.items() if len(digests) > 1), default=None)

    def set_aside_from(self, signed: SignedReport) -> int | None:
        """The lowest number from which the report is set aside: on a refused branch, or by a key out of its span."""
        numbers = [seq for seq, digest in named_positions(signed) if digest in self.refused.get(seq, ())]
        if not self.may_sign(signed.report):
            numbers.append(signed.report.chain.seq)
        return min(numbers, default=None)

    def may_sign(self, report: Report) -> bool:
        """Whether the report's key may sign its number; a rotation ends the former key's span."""
        after, until = self.spans.get(report.identity.key_epoch, (0, None))
        return after < report.chain.seq and (until is None or report.chain.seq <= until)

    def add(self, signed: SignedReport) -> list[tuple[int, str, bool]]:
        """Add the report; return number, digest and set-aside mark of each position that was not known before."""
        base = self.set_aside_from(signed)
        new = []
        for seq, digest in named_positions(signed):
            set_aside = base is not None and seq >= base
            if digest in self.known.get(seq, ()) or digest in self.refused.get(seq, ()):
                continue
            (self.refused if set_aside else self.known).setdefault(seq, set()).add(digest)
            new.append((seq, digest, set_aside))
        self.held_digests.add(signed.digest)
        if base is not None:
            return new
        seq = signed.report.chain.seq
        at = bisect_left(self.held, seq)
        if at == len(self.held) or self.held[at] != seq:
            self.held.insert(at, seq)
        self.bodies.setdefault(seq, signed.report)
        return new


def named_positions(signed: SignedReport) -> Iterator[tuple[int, str]]:
    """Yield the (number, digest) pairs that a report names: its own, its predecessors, and where its key began."""
    link = signed.report.chain
    yield link.seq, signed.digest
    for rotation in signed.report.identity.succession:
        yield rotation.rotation.after_seq, rotation.rotation.after
    for earlier in link.earlier:
        yield earlier.seq, earlier.digest
    if not link.earlier:
        yield link.seq - 1, link.previous
    if link.omitted is not None:
        yield link.omitted.last, link.omitted.digest
