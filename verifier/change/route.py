"""Find what an item would do: one change, or a route of several releases under one plan."""

from collections import deque
from dataclasses import dataclass, replace

import msgspec

from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import ChangeRule
from manifests.trust.root import Mark
from manifests.words.errors import RefusedError, UsageError, WaybillError
from manifests.words.version import in_any
from verifier.change.install_plan import config_change, release_change
from verifier.change.item_ids import CONFIG
from verifier.change.rollback_plan import rollback_change
from verifier.change.values import Change
from verifier.site.folder import Site
from verifier.site.journal.installs import ReceivedRelease
from verifier.site.releases import read_kept_head, revoked_release


@dataclass(frozen=True)
class Route:
    """Several releases, installed one after the other under one plan. Each is a transaction and a generation.

    Attributes:
        hops: The changes that are still to be made, in order.
        done: Number of the plan's releases that are installed already.
    """

    hops: tuple[Change, ...]
    plan: Plan
    done: int = 0

    @property
    def item(self) -> str:
        return self.hops[-1].item

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(hop.item for hop in self.hops)

    @property
    def proposers(self) -> tuple[str, ...]:
        return tuple(sorted({name for hop in self.hops for name in hop.proposers}))

    @property
    def severities(self) -> tuple[str, ...]:
        return tuple(name for hop in self.hops for name in hop.severities)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name for hop in self.hops for name in hop.classes)

    @property
    def then(self) -> str:
        return f"install {' '.join(self.items)}"

    @property
    def first(self) -> bool:
        return False


def plan_change(site: Site, item: str) -> Change:
    """Plan the item with this id. Changes nothing. Raises WaybillError when it cannot be carried out at this site."""
    now = site.host.now()
    if item == CONFIG:
        return config_change(site, now)
    if item.startswith("r-"):
        return release_change(site, item, now, None)
    if item.startswith("b-") and item[2:].isdigit():
        return rollback_change(site, int(item[2:]))
    raise UsageError(f"{item!r} is not an item", where="item", remedy="run `waybill review` to list the items")


def route_of(site: Site, items: tuple[str, ...]) -> Route:
    """Plan several releases as one; or the rest of such a plan, when a part is installed and nothing else has changed.

    Raises:
        RefusedError: A release cannot follow the one before it, or ``site.yaml`` has changed in between.
        UsageError: The items are not different releases.
    """
    state, now = site.state, site.host.now()
    if state.installs.running is None:
        raise RefusedError(
            "nothing is installed yet; the first install is of a single release",
            where=" ".join(items),
            remedy=f"run waybill install {items[0]}",
            finding="nothing-installed",
        )
    if len(set(items)) != len(items) or not all(item.startswith("r-") for item in items):
        raise UsageError(
            f"{' '.join(items)} are not different releases; only releases can be combined",
            where="item",
            remedy="name releases, each once, in the order of their installation",
        )
    begun = _under_way(site)
    received = [state.installs.received(item) for item in items]
    releases = tuple(release.release for release in received if release is not None)
    if begun is not None and releases not in (begun[0].releases, begun[0].releases[begun[1] :]):
        begun = None
    done, todo = (0, items) if begun is None else (begun[1], items[-(len(begun[0].releases) - begun[1]) :])
    hops: list[Change] = []
    for item in todo:
        last = item == todo[-1]
        hops.append(release_change(site, item, now, hops[-1] if hops else None, last=last))
    plan = begun[0] if begun is not None else _joined(hops)
    # The people agreed to one configuration for the whole route, so an edit in between needs a new plan.
    same = all((hop.plan.settings, hop.plan.policy) == (plan.settings, plan.policy) for hop in hops)
    if not same or (hops[-1].plan.config, hops[-1].plan.contract) != (plan.config, plan.contract):
        raise RefusedError(
            "site.yaml has changed since the first release of the plan was installed",
            where=todo[0],
            remedy=f"review the rest as a new plan: waybill review {' '.join(todo)}",
            finding="plan-changed",
        )
    named = tuple(replace(hop, planned=msgspec.structs.replace(hop.planned, plan=plan.digest)) for hop in hops)
    return Route(hops=named, plan=plan, done=done)


def _joined(hops: list[Change]) -> Plan:
    first, last = hops[0].plan, hops[-1].plan
    kinds: set[ChangeRule] = {kind for hop in hops for kind in hop.plan.kinds}
    return msgspec.structs.replace(
        first,
        releases=tuple(release for hop in hops for release in hop.plan.releases),
        config=last.config,
        contract=last.contract,
        kinds=tuple(sorted(kinds)),
    )


def _under_way(site: Site) -> tuple[Plan, int] | None:
    """Return the unfinished plan of several releases, and how many of them are installed; None when there is none.

    A plan goes on only while the install of the running release is the site's last change: no rollback and no new
    policy, root or revocation list came after it.
    """
    state = site.state
    running, last = state.installs.running, state.installs.transaction
    if running is None or last is None or running.seq != state.last_change_seq:
        return None
    if last.action != "install" or last.planned.plan != running.plan:
        return None
    plan = parse_plan(site.document(running.plan))
    if running.release not in plan.releases:
        return None
    done = plan.releases.index(running.release) + 1
    return (plan, done) if done < len(plan.releases) else None


def items_of_plan(site: Site, plan: Plan) -> tuple[str, ...]:
    """Return the items of the plan's releases, in order; none when a release was never received at this site."""
    items = {received.release: received.item for received in site.state.installs.releases}
    known = [items[release] for release in plan.releases if release in items]
    return tuple(known) if len(known) == len(plan.releases) else ()


def items_under_way(site: Site) -> tuple[str, ...]:
    """Return the items to name to ``install`` to continue an unfinished plan of several releases; none without one."""
    begun = _under_way(site)
    return () if begun is None else items_of_plan(site, begun[0])


@dataclass(frozen=True)
class UpgradeCandidate:
    """A release that could be part of an upgrade path, and the versions from which it may be installed."""

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


def upgrade_path(site: Site, target: ReceivedRelease, received: list[ReceivedRelease]) -> tuple[str, ...]:
    """Return the items of the received releases that lead to ``target`` in several steps; none without such a path."""
    running = site.state.installs.running
    if running is None:
        return ()
    candidates = []
    for release in received:
        try:
            if revoked_release(site, release.release) is not None:
                continue
            ranges = read_kept_head(site, release.release).release.needs.from_
        except WaybillError:
            continue
        candidates.append(UpgradeCandidate(release.item, release.version, release.channel, release.mark, ranges))
    return find_upgrade_path(running.version, target.item, tuple(candidates))
