"""Which reports belong to the branch of a fork that a person chose, and which are set aside."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Positions = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class BranchChoice:
    """Positions (number, digest) that leave the chain with the choice of a branch, and reports that are set aside."""

    refused: frozenset[tuple[int, str]]
    reports: frozenset[str]


def choose_branch(
    accepted: tuple[int, str], known: Mapping[int, frozenset[str]], held: Iterable[tuple[str, Positions]]
) -> BranchChoice:
    """Return what the choice of one report means for all others; pure.

    Steps: 1 the positions below the accepted one that the accepted branch names are accepted too; 2 at each position
    of the accepted branch, every other digest is refused; 3 a report that continues a refused one is set aside,
    with everything that it names from that position on; 4 a branch with no link to this choice stays open and shows
    as a fork of its own.

    Args:
        accepted: Number and digest; the report itself need not be in the ledger.
        known: Digests known at each number.
        held: Digest and named positions (its own included) of each report in the ledger, ordered by number.
    """
    reports = dict(held)
    numbers = {digest: seq for own, named in reports.items() for seq, digest in named if digest == own}
    on_branch = {accepted}
    waiting = [accepted[1]]
    while waiting:  # 1
        for seq, digest in reports.get(waiting.pop(), ()):
            if (seq, digest) not in on_branch and seq <= accepted[0]:
                on_branch.add((seq, digest))
                waiting.append(digest)
    branch = dict(on_branch)
    refused = {  # 2
        (seq, digest) for seq, digests in known.items() if seq in branch for digest in digests - {branch[seq]}
    }
    set_aside = {digest for digest in numbers if (numbers[digest], digest) in refused}
    for digest, named in sorted(reports.items(), key=lambda item: (numbers.get(item[0], 0), item[0])):  # 3
        refused_here = [position for position in named if position in refused]
        if not refused_here and digest not in set_aside:
            continue
        set_aside.add(digest)
        base = min(seq for seq, _ in refused_here) if refused_here else numbers[digest]
        refused |= {position for position in named if position[0] >= base and position not in on_branch}
    return BranchChoice(refused=frozenset(refused), reports=frozenset(set_aside))
