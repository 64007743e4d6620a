"""The queue of a site: items that wait, with who must agree and who has. Reads only."""

from dataclasses import dataclass, replace
from datetime import datetime

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from manifests.words.text import one_line, table
from manifests.words.time import age, rfc3339
from verifier.approval.items import OFFBOARD, approvable_of, export_item
from verifier.approval.policy_change import ITEM as POLICY
from verifier.approval.verdicts import approval_status
from verifier.change.route import items_under_way, upgrade_path
from verifier.change.values import CONFIG
from verifier.rules.agreement import ApprovalStatus, RoleApprovals
from verifier.site.facts import proposed_channel
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import ReceivedRelease, State
from verifier.site.journal.state import SiteState
from verifier.site.proposals import SiteProposal, read_policy_yaml, read_site_yaml, validate_config

MAX_SCHEMA_BYTES = 1 << 20


@dataclass(frozen=True)
class ItemHead:
    """What identifies an item.

    Attributes:
        kind: ``release``, ``config``, ``policy``, ``rollback``, ``export`` or ``offboard``.
        digest: Of the release or of the proposal; empty when there is none or it cannot be read.
        version: Of the release, or number of the policy; empty for an item without one.
        since: When the item came, or when the plan to agree to became what it is.
    """

    item: str
    kind: str
    digest: str
    version: str
    since: datetime


@dataclass(frozen=True)
class Waiting:
    """One item of the queue.

    Attributes:
        kinds, status: Kinds of change and approvals; None when it cannot be done at this site; see ``problem``.
        items: What to name to ``review``, ``approve`` and ``install``: several releases when the route has several.
        before: How the release ended when it ran at this site the last time; None if it never did.
    """

    head: ItemHead
    items: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    status: ApprovalStatus | None = None
    problem: str | None = None
    before: str | None = None

    @property
    def item(self) -> str:
        return self.head.item

    @property
    def roles(self) -> tuple[RoleApprovals, ...]:
        return self.status.roles if self.status else ()

    @property
    def met(self) -> bool:
        """Whether everybody who must agree has."""
        return self.status is not None and self.status.met


def waiting_data(waiting: Waiting) -> dict[str, object]:
    """Return the item for programs."""
    head, status = waiting.head, waiting.status
    return {
        "item": head.item,
        "kind": head.kind,
        "version": head.version,
        "digest": head.digest,
        "since": rfc3339(head.since),
        "kinds": list(waiting.kinds),
        "items": list(waiting.items),
        "agreed": waiting.met,
        "roles": roles_data(waiting.roles),
        "emergency": emergency_data(status.emergency) if status else [],
        "conditions": [{"person": person, "condition": text} for person, text in status.conditions] if status else [],
        "rejected": list(status.rejected) if status else [],
        "before": waiting.before,
        "problem": waiting.problem or "",
    }


def roles_data(roles: tuple[RoleApprovals, ...]) -> list[dict[str, object]]:
    """Return the roles for programs."""
    return [{"role": role.role, "have": role.have, "need": role.need, "can": role.can} for role in roles]


def emergency_data(rules: tuple[ApprovalStatus, ...]) -> list[dict[str, object]]:
    """Return the emergency rules that could be asked for, for programs."""
    return [
        {"rule": rule.rule, "uses_left": rule.uses_left, "agreed": rule.met, "roles": roles_data(rule.roles)}
        for rule in rules
    ]


def queue_text(queue: tuple[Waiting, ...], now: datetime) -> str:
    """Return the queue as a table, notes on its items, and the next command."""
    if not queue:
        return "nothing waits"
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for waiting in queue:
        name, head, status = " ".join(waiting.items), waiting.head, waiting.status
        if waiting.before:
            notes.append(f"{name}: {waiting.before}")
        if status is None:
            rows.append((name, f"{head.kind} {head.version}".strip(), "", "not possible", age(head.since, now)))
            notes.append(f"{name}: {waiting.problem}")
            continue
        roles = _roles_text(status) or "nobody is asked"
        state = f"{'agreed' if status.met else 'waits'}: {roles}"
        kinds = ", ".join(waiting.kinds)
        rows.append((name, f"{head.kind} {head.version}".strip(), kinds, state, age(head.since, now)))
        notes += [f"{name}: emergency rule {rule.rule}: {_roles_text(rule)}" for rule in status.emergency]
        notes += [f"{name}: rejected by {', '.join(status.rejected)}"] if status.rejected else []
        notes += [f"{name}: {person} agreed on condition: {condition}" for person, condition in status.conditions]
    possible = [" ".join(waiting.items) for waiting in queue if waiting.status is not None]
    lines = [table(rows, ("ITEM", "WHAT", "KINDS", "APPROVALS", "SINCE")), *map(one_line, notes)]
    return "\n".join([*lines, *([f"next: waybill review {possible[0]}"] if possible else [])])


def _roles_text(status: ApprovalStatus) -> str:
    return ", ".join(f"{role.role} {role.counted}" for role in status.roles)


def waiting_items(site: Site) -> tuple[Waiting, ...]:
    """Return everything that could be approved or installed now, oldest first."""
    # Without a vendor nothing more is installed, and a changed site.yaml would be an install as well.
    served = () if site.state.offboarded else (*_releases(site), *_config(site))
    return (*served, *_policy(site), *_offboard(site), *_rollbacks(site), *_export(site))


def _releases(site: Site) -> list[Waiting]:
    state = site.state
    followed = {state.channel, proposed_channel(site.path)}
    newest = {received.item: received for received in state.installs.releases}
    ahead = [received for received in newest.values() if received.channel in followed and _ahead(site, received)]
    return [replace(_release(site, received, ahead), before=_ended_before(state, received)) for received in ahead]


def _ended_before(state: SiteState, received: ReceivedRelease) -> str | None:
    left = state.installs.last_rollback_from(received.release)
    return left.words if left else None


def _ahead(site: Site, received: ReceivedRelease) -> bool:
    """Return whether the release is newer than the running one, or of another channel."""
    running = site.state.installs.running
    if running is None or received.channel != running.channel:
        return True
    return received.release != running.release and received.mark > running.mark


def _release(site: Site, received: ReceivedRelease, ahead: list[ReceivedRelease]) -> Waiting:
    since = max(received.received_at, _since(site, CONFIG if _edited(site) else None))
    head = ItemHead(received.item, "release", received.release, received.version, since)
    begun = items_under_way(site)
    if begun and begun[-1] == received.item:
        return _weigh(site, head, begun)
    try:
        return _approvals(site, head, (received.item,))
    except WaybillError as error:
        # Not from what runs: perhaps over releases in between that were received as well.
        path = upgrade_path(site, received, ahead) if error.finding == "from" else ()
        if len(path) > 1:
            return _weigh(site, head, path)
        return Waiting(head, (received.item,), problem=str(error))


def _since(site: Site, item: str | None) -> datetime:
    """Return when the plans of this site last changed; for a proposal, not before it was first seen."""
    state = site.state
    seen = [proposed.at for proposed in state.trust.proposed if proposed.item == item]
    return max([state.last_change_at, *seen])


def _edited(site: Site) -> bool:
    """Return whether ``site.yaml`` holds a change; a file that cannot be read holds none."""
    try:
        return _proposal(site) is not None
    except WaybillError:
        return False


def _proposal(site: Site) -> tuple[SiteProposal, str | None] | None:
    """Return a changed ``site.yaml`` and its config's digest; None without a change or before the first install."""
    running = site.state.installs.running
    if running is None:
        return None
    proposal = read_site_yaml(site.path)
    config = validate_config(proposal, _schema(site))
    digest = None if config is None else digest_of(config)
    same = digest == running.config and digest_of(proposal.settings) == running.settings
    return None if same else (proposal, digest)


def _config(site: Site) -> list[Waiting]:
    """Return a changed ``site.yaml``. Before the first install it is part of that."""
    running = site.state.installs.running
    if running is None or site.state.installs.open_transaction is not None:
        return []
    head = ItemHead(CONFIG, "config", "", "", _since(site, CONFIG))
    try:
        changed = _proposal(site)
    except WaybillError as error:
        return [Waiting(head, (CONFIG,), problem=str(error))]
    if changed is None:
        return []
    proposal, config = changed
    digest = digest_of(proposal.settings) if config is None or config == running.config else config
    return [_weigh(site, replace(head, digest=digest, version=running.version))]


def _schema(site: Site) -> bytes | None:
    running = site.state.installs.running
    release = read_installed(site, running).release if running is not None else None
    if release is None or release.config is None:
        return None
    return site.store.get(release.config.schema, MAX_SCHEMA_BYTES)


def _policy(site: Site) -> list[Waiting]:
    head = ItemHead(POLICY, "policy", "", "", _since(site, POLICY))
    try:
        proposed = read_policy_yaml(site.path)
    except WaybillError as error:
        return [Waiting(head, (POLICY,), problem=str(error))]
    digest = digest_of(encode(proposed))
    if digest == site.state.trust.policy:
        return []
    return [_weigh(site, replace(head, digest=digest, version=str(proposed.number)))]


def _offboard(site: Site) -> list[Waiting]:
    """Return the end of the vendor's access, from its request until it is done."""
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.done is not None:
        return []
    return [_weigh(site, ItemHead(OFFBOARD, OFFBOARD, "", "", offboarding.asked_at))]


def _export(site: Site) -> list[Waiting]:
    """Return the newest report while it has not left, if the policy asks somebody about that."""
    reports = site.state.reports
    if reports.head is None or reports.left == reports.head or not site.policy.rules["export"]:
        return []
    since = max(filter(None, (reports.at, _since(site, None))))
    return [_weigh(site, ItemHead(export_item(reports.seq), "export", reports.head, "", since))]


def _rollbacks(site: Site) -> list[Waiting]:
    """Return the rollbacks that somebody has agreed to; nobody proposes one before."""
    state = site.state
    first = {verdict.item: verdict for verdict in reversed(state.trust.verdicts) if verdict.item.startswith("b-")}
    rollbacks = []
    for item, verdict in sorted(first.items()):
        target = state.installs.generation(int(item[2:]))
        if target is None or target.number == state.installs.current or target.state != State.SETTLED:
            continue
        since = max(verdict.at, _since(site, None))
        waiting = _weigh(site, ItemHead(item, "rollback", target.release, target.version, since))
        if waiting.status is not None and any(role.have for role in waiting.status.roles):
            rollbacks.append(waiting)
    return rollbacks


def _weigh(site: Site, head: ItemHead, items: tuple[str, ...] = ()) -> Waiting:
    """Return the item with its approvals, or with the reason why it cannot be done."""
    try:
        return _approvals(site, head, items or (head.item,))
    except WaybillError as error:
        return Waiting(head, items or (head.item,), problem=str(error))


def _approvals(site: Site, head: ItemHead, items: tuple[str, ...]) -> Waiting:
    approvable = approvable_of(site, items)
    return Waiting(head, items, approvable.plan.kinds, approval_status(site, approvable))
