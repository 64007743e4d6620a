"""The releases that an install passes through, in order."""

from dataclasses import dataclass, replace

import msgspec

from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import ChangeRule
from manifests.words.errors import RefusedError, UsageError
from verifier.change.install_plan import config_change, release_change
from verifier.change.rollback_plan import rollback_change
from verifier.change.values import CONFIG, Change
from verifier.site.folder import Site


@dataclass(frozen=True)
class Route:
    """Several releases on the way to a newer one: one plan, each hop a transaction and a generation of its own.

    Attributes:
        hops: Those that are still to be installed, in order; each names the plan of them all.
        done: How many of the plan's releases are installed already.
    """

    hops: tuple[Change, ...]
    plan: Plan
    done: int = 0

    @property
    def item(self) -> str:
        return self.hops[-1].item

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(one.item for one in self.hops)

    @property
    def proposers(self) -> tuple[str, ...]:
        return tuple(sorted({name for one in self.hops for name in one.proposers}))

    @property
    def severities(self) -> tuple[str, ...]:
        return tuple(name for one in self.hops for name in one.severities)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(name for one in self.hops for name in one.classes)

    @property
    def then(self) -> str:
        return f"install {' '.join(self.items)}"


def plan_change(site: Site, item: str) -> Change:
    """Work out the item with this id.

    Raises:
        UsageError: No such item.
        WaybillError: It cannot be done here; the message says why, and nothing was changed.
    """
    now = site.host.now()
    if item == CONFIG:
        return config_change(site, now)
    if item.startswith("r-"):
        return release_change(site, item, now, None)
    if item.startswith("b-") and item[2:].isdigit():
        return rollback_change(site, int(item[2:]))
    raise UsageError(f"{item!r} is not an item", where="item", remedy="waybill review lists what waits")


def route_of(site: Site, items: tuple[str, ...]) -> Route:
    """Several releases as one plan; or what is left of it, when a part was installed and nothing else has changed.

    Raises:
        RefusedError: One of them cannot follow the one before.
    """
    state, now = site.state, site.host.now()
    if state.installs.running is None:
        raise RefusedError(
            "the first install is of one release; it brings the telemetry contract",
            where=" ".join(items),
            remedy=f"waybill install {items[0]}",
            finding="nothing-installed",
        )
    if len(set(items)) != len(items) or not all(one.startswith("r-") for one in items):
        raise UsageError(
            "several items are several releases, each once, in the order in which they are installed", where="item"
        )
    begun = _begun(site, items)
    done, todo = (0, items) if begun is None else (begun[1], items[-(len(begun[0].releases) - begun[1]) :])
    hops: list[Change] = []
    for item in todo:
        last = item == todo[-1]
        hops.append(release_change(site, item, now, hops[-1] if hops else None, last=last))
    plan = begun[0] if begun is not None else _joined(hops)
    same = all((one.plan.settings, one.plan.policy) == (plan.settings, plan.policy) for one in hops)
    if not same or (hops[-1].plan.config, hops[-1].plan.contract) != (plan.config, plan.contract):
        raise RefusedError(
            "site.yaml has changed since the first of them was installed",
            where=todo[0],
            remedy="what is left is a new plan: waybill review " + " ".join(todo),
            finding="plan-changed",
        )
    named = tuple(replace(one, planned=msgspec.structs.replace(one.planned, plan=plan.digest)) for one in hops)
    return Route(hops=named, plan=plan, done=done)


def _joined(hops: list[Change]) -> Plan:
    first, last = hops[0].plan, hops[-1].plan
    kinds: set[ChangeRule] = {kind for one in hops for kind in one.plan.kinds}
    return msgspec.structs.replace(
        first,
        releases=tuple(release for one in hops for release in one.plan.releases),
        config=last.config,
        contract=last.contract,
        kinds=tuple(sorted(kinds)),
    )


def _begun(site: Site, items: tuple[str, ...]) -> tuple[Plan, int] | None:
    """The plan under which a part of ``items`` was installed, and how many; None when they are a plan of their own."""
    found = _under_way(site)
    if found is None:
        return None
    plan, done = found
    received = [site.state.installs.received(item) for item in items]
    named = tuple(one.release for one in received if one is not None)
    return found if named in (plan.releases, plan.releases[done:]) else None


def _under_way(site: Site) -> tuple[Plan, int] | None:
    """The plan by which what runs was installed and by which more is to follow, and how many of it are installed.

    Only while the install of what runs is the last thing that happened to the site: neither a way back nor another
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
    """The items by which people know the plan's releases, in order; empty when one was never received here."""
    items = {one.release: one.item for one in site.state.installs.releases}
    found = tuple(items.get(one, "") for one in plan.releases)
    return found if all(found) else ()


def items_under_way(site: Site) -> tuple[str, ...]:
    """What to name to `install` to go on with a plan of several releases that was stopped; empty where none was."""
    found = _under_way(site)
    return () if found is None else items_of_plan(site, found[0])
