"""Which received releases lead from what runs to a newer one, when the vendor allows no straight way. Pure."""

from collections import deque
from dataclasses import dataclass

from manifests.trust.root import Mark
from manifests.words.version import in_any


@dataclass(frozen=True)
class UpgradeCandidate:
    """A release that could be on the way.

    Attributes:
        ranges: Versions from which it may be installed, as the vendor signed.
    """

    item: str
    version: str
    channel: str
    mark: Mark
    ranges: tuple[str, ...]


def find_upgrade_path(running: str, target: str, stops: tuple[UpgradeCandidate, ...]) -> tuple[str, ...]:
    """The fewest items that lead from version ``running`` to the item ``target``, in order; empty when none do.

    Sequences of one channel only grow on the way.
    """
    queue: deque[tuple[UpgradeCandidate, ...]] = deque([()])
    seen: set[str] = set()
    while queue:
        way = queue.popleft()
        here = way[-1].version if way else running
        for stop in sorted(stops, key=lambda one: one.mark, reverse=True):
            behind = bool(way) and way[-1].channel == stop.channel and stop.mark <= way[-1].mark
            if stop.item in seen or behind or not in_any(here, stop.ranges):
                continue
            if stop.item == target:
                return tuple(one.item for one in (*way, stop))
            seen.add(stop.item)
            queue.append((*way, stop))
    return ()
