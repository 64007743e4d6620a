"""Which received releases lead from the running release to a newer one, where the vendor allows no direct upgrade."""

from collections import deque
from dataclasses import dataclass

from manifests.trust.root import Mark
from manifests.words.version import in_any


@dataclass(frozen=True)
class UpgradeCandidate:
    """A release that could be part of an upgrade path.

    Attributes:
        ranges: Versions from which it may be installed, as the vendor signed.
    """

    item: str
    version: str
    channel: str
    mark: Mark
    ranges: tuple[str, ...]


def find_upgrade_path(running: str, target: str, stops: tuple[UpgradeCandidate, ...]) -> tuple[str, ...]:
    """Return the fewest items that lead from version ``running`` to the item ``target``, in order; empty when none do.

    Along the path the sequences of one channel only grow.
    """
    queue: deque[tuple[UpgradeCandidate, ...]] = deque([()])
    seen: set[str] = set()
    while queue:
        path = queue.popleft()
        version = path[-1].version if path else running
        for stop in sorted(stops, key=lambda one: one.mark, reverse=True):
            behind = bool(path) and path[-1].channel == stop.channel and stop.mark <= path[-1].mark
            if stop.item in seen or behind or not in_any(version, stop.ranges):
                continue
            if stop.item == target:
                return tuple(one.item for one in (*path, stop))
            seen.add(stop.item)
            queue.append((*path, stop))
    return ()
