"""What waits at a site: items with their ids, who is needed and who has agreed. Reads, writes nothing."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from manifests.words.time import rfc3339
from verifier.approval.export import export_item
from verifier.approval.items import OFFBOARD, approvable_of
from verifier.approval.policy_change import ITEM as POLICY
from verifier.approval.verdicts import approval_status
from verifier.change.route import items_under_way
from verifier.change.values import CONFIG
from verifier.rules.agreement import ApprovalStatus, RoleApprovals
from verifier.rules.upgrade_path import UpgradeCandidate, find_upgrade_path
from verifier.site.facts import proposed_channel
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import ReceivedRelease
from verifier.site.journal.state import SiteState
from verifier.site.journal.transitions import State
from verifier.site.proposals import SiteProposal, read_policy_yaml, read_site_yaml, validate_config
from verifier.site.release_heads import read_kept_head
from verifier.site.store import get_blob

MAX_SCHEMA_BYTES = 1 << 20


@dataclass(frozen=True)
class Waiting:
    """One item.

    Attributes:
        kind: ``release``, ``config``, ``policy``, ``rollback``, ``export`` or ``offboard``.
        digest: Of the release, or of the proposal.
        since: When it came, or when the plan that people are asked about came to be what it is.
        kinds, roles: Empty when it cannot be done here; ``problem`` then says why.
        items: What to name to `review`, `approve` and `install`: the releases on the way, where there are several.
        emergency: Where it would stand by each emergency rule that somebody could ask for instead.
        rejected: People who said no.
        conditions: (person, words) of those who agreed under one.
        before: What became of it the last time that it ran here; empty when it never did.
    """

    item: str
    kind: str
    digest: str
    version: str
    since: datetime
    kinds: tuple[str, ...] = ()
    roles: tuple[RoleApprovals, ...] = ()
    met: bool = False
    problem: str = ""
    items: tuple[str, ...] = ()
    emergency: tuple[ApprovalStatus, ...] = ()
    rejected: tuple[str, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()
    before: str = ""


def waiting_data(one: Waiting) -> dict[str, Any]:
    return {
        "item": one.item,
        "kind": one.kind,
        "version": one.version,
        "digest": one.digest,
        "since": rfc3339(one.since),
        "kinds": list(one.kinds),
        "items": list(one.items or (one.item,)),
        "agreed": one.met,
        "roles": roles_data(one.roles),
        "emergency": emergency_data(one.emergency),
        "conditions": [{"person": person, "condition": words} for person, words in one.conditions],
        "rejected": list(one.rejected),
        "before": one.before or None,
        "problem": one.problem,
    }


def roles_data(roles: tuple[RoleApprovals, ...]) -> list[dict[str, Any]]:
    return [{"role": one.role, "have": one.have, "need": one.need, "can": one.can} for one in roles]


def emergency_data(found: tuple[ApprovalStatus, ...]) -> list[dict[str, Any]]:
    return [
        {"rule": one.rule, "uses_left": one.uses_left, "agreed": one.met, "roles": roles_data(one.roles)}
        for one in found
    ]


def waiting_items(site: Site) -> tuple[Waiting, ...]:
    """Everything that could be approved or installed now, oldest first."""
    # Without a vendor nothing is installed any more, and a changed site.yaml would be an install too.
    served = () if site.state.offboarded else (*_releases(site), *_config(site))
    return (*served, *_policy(site), *_offboard(site), *_ways_back(site), *_export(site))


def _releases(site: Site) -> list[Waiting]:
    state = site.state
    followed = {state.channel, proposed_channel(site.path)}
    newest = {one.item: one for one in state.installs.releases}
    here = [one for one in newest.values() if one.channel in followed and _ahead(site, one)]
    return [replace(_release(site, one, here), before=_before(state, one)) for one in here]


def _before(state: SiteState, one: ReceivedRelease) -> str:
    left = state.installs.last_rollback_from(one.release)
    return left.words if left else ""


def _ahead(site: Site, one: ReceivedRelease) -> bool:
    running = site.state.installs.running
    if running is None or one.channel != running.channel:
        return True
    return one.release != running.release and one.mark > running.mark


def _release(site: Site, one: ReceivedRelease, others: list[ReceivedRelease]) -> Waiting:
    since = max(one.received_at, _since(site, CONFIG if _edited(site) else None))
    begun = items_under_way(site)
    if begun and begun[-1] == one.item:
        return _weighed(site, begun, one.item, "release", one.release, one.version, since)
    try:
        standing, kinds = _weigh(site, (one.item,))
    except WaybillError as error:
        way = _way(site, one, others) if error.finding == "from" else ()
        if len(way) > 1:
            return _weighed(site, way, one.item, "release", one.release, one.version, since)
        return Waiting(one.item, "release", one.release, one.version, since, problem=str(error))
    return _agreed(one.item, "release", one.release, one.version, since, standing, kinds, (one.item,))


def _way(site: Site, one: ReceivedRelease, others: list[ReceivedRelease]) -> tuple[str, ...]:
    """The releases on the way, when what was received here leads to it in more than one step."""
    running = site.state.installs.running
    if running is None:
        return ()
    stops = []
    for other in others:
        try:
            ranges = read_kept_head(site, other.release).release.needs.from_
        except WaybillError:
            continue
        stops.append(UpgradeCandidate(other.item, other.version, other.channel, other.mark, ranges))
    return find_upgrade_path(running.version, one.item, tuple(stops))


def _since(site: Site, item: str | None) -> datetime:
    """When the last thing happened that makes a plan another one; for a proposal, also when it was first seen."""
    state = site.state
    seen = [one.at for one in state.trust.proposed if one.item == item]
    return max([state.last_change_at, *seen])


def _edited(site: Site) -> bool:
    """Whether ``site.yaml`` proposes something; while it cannot be read it proposes nothing."""
    try:
        return _proposal(site) is not None
    except WaybillError:
        return False


def _proposal(site: Site) -> tuple[SiteProposal, str | None] | None:
    """What ``site.yaml`` proposes, with the digest of its config; None for nothing, and before the first install."""
    running = site.state.installs.running
    if running is None:
        return None
    proposal = read_site_yaml(site.path)
    config = validate_config(proposal, _schema(site))
    digest = None if config is None else digest_of(config)
    same = digest == running.config and digest_of(proposal.settings) == running.settings
    return None if same else (proposal, digest)


def _config(site: Site) -> list[Waiting]:
    """A changed ``site.yaml``, once something is installed; before that it is part of the first install."""
    running = site.state.installs.running
    if running is None or site.state.installs.open_transaction is not None:
        return []
    since = _since(site, CONFIG)
    try:
        found = _proposal(site)
    except WaybillError as error:
        return [_broken(CONFIG, "config", since, error)]
    if found is None:
        return []
    proposal, digest = found
    shown = digest_of(proposal.settings) if digest is None or digest == running.config else digest
    return [_weighed(site, (CONFIG,), CONFIG, "config", shown, running.version, since)]


def _schema(site: Site) -> bytes | None:
    running = site.state.installs.running
    release = read_installed(site, running).release if running is not None else None
    if release is None or release.config is None:
        return None
    return get_blob(site.blobs, release.config.schema, MAX_SCHEMA_BYTES)


def _policy(site: Site) -> list[Waiting]:
    since = _since(site, POLICY)
    try:
        proposed = read_policy_yaml(site.path)
    except WaybillError as error:
        return [_broken(POLICY, "policy", since, error)]
    digest = digest_of(encode(proposed))
    if digest == site.state.trust.policy:
        return []
    return [_weighed(site, (POLICY,), POLICY, "policy", digest, str(proposed.number), since)]


def _offboard(site: Site) -> list[Waiting]:
    """The end of the vendor's access, from the moment that somebody asked for it until it is done."""
    now = site.state.offboarding
    if now is None or now.done is not None:
        return []
    return [_weighed(site, (OFFBOARD,), OFFBOARD, OFFBOARD, "", "", now.asked_at)]


def _export(site: Site) -> list[Waiting]:
    """The newest report, where the policy asks somebody before one leaves, until it has left."""
    state = site.state
    if state.reports.head is None or state.reports.left == state.reports.head or not site.policy.rules["export"]:
        return []
    item = export_item(state.reports.seq)
    return [
        _weighed(
            site,
            (item,),
            item,
            "export",
            state.reports.head,
            "",
            max(filter(None, (state.reports.at, _since(site, None)))),
        )
    ]


def _ways_back(site: Site) -> list[Waiting]:
    """Those on which somebody has spoken: nobody proposes one to anybody before."""
    state = site.state
    found = []
    for item in sorted({said.item for said in state.trust.verdicts if said.item.startswith("b-")}):
        said = next(one for one in state.trust.verdicts if one.item == item)
        to = state.installs.generation(int(item[2:]))
        if to is None or to.number == state.installs.current or to.state != State.SETTLED:
            continue
        since = max(said.at, _since(site, None))
        weighed = _weighed(site, (item,), item, "rollback", to.release, to.version, since)
        if any(one.have for one in weighed.roles):
            found.append(weighed)
    return found


def _weigh(site: Site, items: tuple[str, ...]) -> tuple[ApprovalStatus, tuple[str, ...]]:
    asked = approvable_of(site, items)
    return approval_status(site, asked), asked.plan.kinds


def _weighed(
    site: Site, items: tuple[str, ...], item: str, kind: str, digest: str, version: str, since: datetime
) -> Waiting:
    try:
        standing, kinds = _weigh(site, items)
    except WaybillError as error:
        return Waiting(item, kind, digest, version, since, problem=str(error))
    return _agreed(item, kind, digest, version, since, standing, kinds, items)


def _agreed(
    item: str,
    kind: str,
    digest: str,
    version: str,
    since: datetime,
    standing: ApprovalStatus,
    kinds: tuple[str, ...],
    items: tuple[str, ...],
) -> Waiting:
    return Waiting(
        item,
        kind,
        digest,
        version,
        since,
        kinds,
        standing.roles,
        standing.met,
        items=items,
        emergency=standing.emergency,
        rejected=standing.rejected,
        conditions=standing.conditions,
    )


def _broken(item: str, kind: str, since: datetime, error: WaybillError) -> Waiting:
    return Waiting(item, kind, "", "", since, problem=str(error))
