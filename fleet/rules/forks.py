"""Which reports belong to the branch of a fork that a person chose, and which are set aside."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Claims = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Chosen:
    """What a choice means.

    Attributes:
        refused: (place, digest) pairs that are part of the line no more.
        reports: Digests of reports that are set aside.
    """

    refused: frozenset[tuple[int, str]]
    reports: frozenset[str]


def choose(
    accepted: tuple[int, str], places: Mapping[int, frozenset[str]], held: Iterable[tuple[str, Claims]]
) -> Chosen:
    """Follow the accepted digest back and forth along what reports claim.

    Steps: 1 what the accepted report says stands before it is accepted with it; 2 at each place that the accepted
    branch names, every other digest is set aside; 3 a report that goes on from one that was set aside is set aside,
    with what it says stands from that place on; 4 what only a branch beyond the fork could tell stays open: it shows
    as a fork of its own.

    Args:
        accepted: Place and digest; the report itself need not be here.
        places: What is known to stand where.
        held: Digest and claims (itself among them) of each report that is here, in order of their places.
    """
    reports = dict(held)
    own = {digest: seq for digest, claims in reports.items() for seq, one in claims if one == digest}
    good = {accepted}
    waiting = [accepted[1]]
    while waiting:  # 1
        claims = reports.get(waiting.pop(), ())
        for seq, digest in claims:
            if (seq, digest) not in good and seq <= accepted[0]:
                good.add((seq, digest))
                waiting.append(digest)
    named = dict(good)
    refused = {  # 2
        (seq, digest) for seq, digests in places.items() if seq in named for digest in digests - {named[seq]}
    }
    aside = {digest for digest in own if (own[digest], digest) in refused}
    for digest, claims in sorted(reports.items(), key=lambda one: (own.get(one[0], 0), one[0])):  # 3
        wrong = [pair for pair in claims if pair in refused]
        if not wrong and digest not in aside:
            continue
        aside.add(digest)
        base = min(seq for seq, _ in wrong) if wrong else own[digest]
        refused |= {pair for pair in claims if pair[0] >= base and pair not in good}
    return Chosen(refused=frozenset(refused), reports=frozenset(aside))
