"""The queue of a site: items that wait, who must agree to each and who has. Reads only."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, WaybillError, unreadable
from manifests.words.text import one_line, table
from manifests.words.time import age, rfc3339
from verifier.change.item_ids import CONFIG, OFFBOARD, POLICY, export_item
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import ReceivedRelease, RolledBack, State
from verifier.site.proposals import SiteProposal, config_for, read_policy_yaml, read_site_yaml
from verifier.site.releases import below_floor, proposed_channel, read_schema, revoked_release
from verifier.site.unread import attempt

if TYPE_CHECKING:
    from verifier.rules.agreement import ApprovalStatus, RoleApprovals


_AGAIN = "; the approvals of that install are used up, so it waits for new ones"


@dataclass(frozen=True)
class ItemHead:
    """What identifies an item.

    Attributes:
        kind: ``release``, ``config``, ``policy``, ``rollback``, ``export``, ``offboard``; ``request`` for a use of a
            handler that support asked for, ``command`` for one that people here asked for.
        digest: Digest of the release or of the proposal; empty when there is none or it cannot be read.
        version: Version of the release, number of the policy, or name of the handler; empty for an item without one.
        since: When the item was received or proposed, or when its plan last changed.
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
        items: What to name to ``review``, ``approve`` and ``install``: several releases when the route has several.
        status: None when the item cannot be carried out at this site; ``error`` is the reason.
        then: Command that carries it out after approval, without ``waybill``; empty when it cannot be.
        before: How the release ended when it ran at this site the last time.
        lacks: What ``site.yaml`` lacks for it, one line each; approvals alone do not help then.
        revoked: Why the release of a rollback, or the running one of a changed site.yaml, is revoked. Such a change is
            possible, and never advised.
        sequence: Of a release; 0 for anything else.
    """

    head: ItemHead
    items: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    status: "ApprovalStatus | None" = None
    error: WaybillError | None = None
    then: str = ""
    before: str | None = None
    lacks: tuple[str, ...] = ()
    revoked: str | None = None
    sequence: int = 0

    @property
    def problem(self) -> str | None:
        return str(self.error) if self.error else None

    @property
    def item(self) -> str:
        return self.head.item

    @property
    def roles(self) -> "tuple[RoleApprovals, ...]":
        return self.status.roles if self.status else ()

    @property
    def met(self) -> bool:
        """Whether all required approvals are there."""
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
        "lacks": list(waiting.lacks),
        "revoked": waiting.revoked,
        "problem": waiting.problem or "",
    }


def roles_data(roles: "tuple[RoleApprovals, ...]") -> list[dict[str, object]]:
    return [{"role": role.role, "have": role.have, "need": role.need, "can": role.can} for role in roles]


def emergency_data(rules: "tuple[ApprovalStatus, ...]") -> list[dict[str, object]]:
    """Return the emergency rules that could be used, for programs."""
    return [
        {"rule": rule.rule, "uses_left": rule.uses_left, "agreed": rule.met, "roles": roles_data(rule.roles)}
        for rule in rules
    ]


def queue_text(queue: tuple[Waiting, ...], now: datetime) -> str:
    """Return the queue as a table, notes on its items, and the next command."""
    if not queue:
        return "nothing waits"
    from verifier.rules.agreement import MORE_APPROVERS, repeated_text  # loaded only where something waits

    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for waiting in queue:
        name, head, status = " ".join(waiting.items), waiting.head, waiting.status
        if waiting.before:
            notes.append(f"{name}: {waiting.before}")
        state = "not possible"
        if status is None:
            notes.append(f"{name}: {waiting.problem}")
            notes += [f"{name}: {waiting.error.remedy}"] if waiting.error and waiting.error.remedy else []
        else:
            state = f"{'agreed' if status.met else 'waits'}: {_roles_text(status) or 'no approvals needed'}"
            if waiting.revoked:
                notes.append(f"{name}: release {head.version} is revoked: {waiting.revoked}")
                state = f"revoked; {state}"
            if waiting.lacks:
                state = f"site not ready; {state}"
            notes += [f"{name}: {line}" for line in waiting.lacks]
            notes += [f"{name}: emergency rule {rule.rule}: {_roles_text(rule)}" for rule in status.emergency]
            notes += [] if status.possible else [f"{name}: nobody is left who could agree: {MORE_APPROVERS}"]
            notes += [f"{name}: rejected by {', '.join(status.rejected)}"] if status.rejected else []
            notes += [f"{name}: {person} agreed on condition: {condition}" for person, condition in status.conditions]
            notes += [f"{name}: {repeated_text(status.repeated)}"] if status.repeated is not None else []
        what = f"{head.kind} {head.version}".strip()
        rows.append((name, what, ", ".join(waiting.kinds), state, age(head.since, now)))
    open_items = [waiting for waiting in queue if waiting.status is not None and not waiting.status.vetoed]
    # What failed here before is advised last; what people have agreed to comes first: it can be done now. Of several
    # releases the newest is advised: it replaces the others.
    advised = sorted(
        (waiting for waiting in open_items if not waiting.revoked),
        key=lambda one: (one.before is not None, not (one.met and one.roles), -one.sequence),
    )
    # Before people review an item, the operator adds what the site lacks for it: an edit of site.yaml changes its plan.
    possible = [
        waiting.then if waiting.lacks or (waiting.met and waiting.roles) else f"review {' '.join(waiting.items)}"
        for waiting in advised
    ]
    lines = [table(rows, ("ITEM", "WHAT", "KINDS", "APPROVALS", "SINCE")), *map(one_line, notes)]
    lines += [f"next: waybill {possible[0]}"] if possible else []
    return "\n".join(lines)


def _roles_text(status: "ApprovalStatus") -> str:
    return ", ".join(f"{role.role} {role.counted}" for role in status.roles)


def waiting_items(site: Site) -> tuple[Waiting, ...]:
    """Return everything that could be approved or installed now, oldest first."""
    # Without a vendor nothing more is installed, and a changed site.yaml would be an install as well.
    served = () if site.state.offboarded else (*_releases(site), *_config(site))
    return (*served, *_policy(site), *_offboard(site), *_rollbacks(site), *_uses(site), *_export(site))


def counted_approvals(site: Site) -> dict[str, int]:
    """Return how many approvals count for each item that waits, of the items that have some."""
    if not site.state.trust.verdicts:
        return {}
    queue = attempt(lambda: waiting_items(site), []) or ()
    counts = {waiting.item: sum(role.have for role in waiting.roles) for waiting in queue}
    return {item: count for item, count in counts.items() if count}


def _item(head: ItemHead, look: Callable[[], Waiting | None]) -> list[Waiting]:
    """Return what waits as ``head``, if anything does; when that cannot be read, the item with the reason."""
    failures: list[WaybillError] = []
    waiting = attempt(look, failures)
    failed = [Waiting(head, (head.item,), error=error) for error in failures]
    return failed if waiting is None else [waiting]


def waiting_releases(site: Site) -> list[ReceivedRelease]:
    """Return the received releases of the followed channels that are newer than the running one.

    One below the floor is left out: it can never be installed here. At a site that runs below its floor, such
    releases are newer than the running one.
    """
    followed = {site.state.channel, proposed_channel(site.path)}
    newest = {received.item: received for received in site.state.installs.releases}
    return [received for received in newest.values() if received.channel in followed and _ahead(site, received)]


def _releases(site: Site) -> list[Waiting]:
    installs = site.state.installs
    ahead = waiting_releases(site)
    waiting = []
    for received in ahead:
        left = installs.last_rollback_from(received.release)
        item = _release(site, received, ahead)
        before = None if left is None else left.words + (_AGAIN if _used_up(item, left) else "")
        waiting.append(replace(item, before=before, sequence=received.mark.sequence))
    return waiting


def _used_up(item: Waiting, left: RolledBack) -> bool:
    """Return whether people agreed to the install that was rolled back, and have to agree again."""
    return bool(left.approvals) and item.status is not None and item.status.repeated is None and not item.status.met


def _ahead(site: Site, received: ReceivedRelease) -> bool:
    """Return whether the release is newer than the running one, or of another channel; never below the floor."""
    running = site.state.installs.running
    if below_floor(site, received.item):
        return False
    if running is None or received.channel != running.channel:
        return True
    return received.release != running.release and received.mark > running.mark


def _release(site: Site, received: ReceivedRelease, ahead: list[ReceivedRelease]) -> Waiting:
    from verifier.change.route import items_under_way, upgrade_path  # loaded only where a release waits

    edited = attempt(lambda: _proposal(site), []) is not None
    since = max(received.received_at, _since(site, CONFIG if edited else None))
    head = ItemHead(received.item, "release", received.release, received.version, since)
    begun = attempt(lambda: items_under_way(site), [])
    waiting = _weigh(site, head, begun if begun and begun[-1] == received.item else ())
    if waiting.error is not None and waiting.error.finding == "from" and len(waiting.items) == 1:
        # No direct upgrade; perhaps one over releases in between that were received as well.
        path = upgrade_path(site, received, ahead)
        return _weigh(site, head, path) if len(path) > 1 else waiting
    return waiting


def _since(site: Site, item: str | None) -> datetime:
    """Return when the plans of this site last changed; for a proposal, not before it was first seen."""
    state = site.state
    seen = [proposed.at for proposed in state.trust.proposed if proposed.item == item]
    return max([state.last_change_at, *seen])


def _proposal(site: Site) -> tuple[SiteProposal, str | None] | None:
    """Return a changed ``site.yaml`` and its config's digest; None without a change or before the first install."""
    running = site.state.installs.running
    if running is None:
        return None
    proposal, release = read_site_yaml(site.path), read_installed(site, running).release
    if proposal.unfilled:
        raise proposal.unfilled[0].error
    config = config_for(proposal, read_schema(site, release))
    digest = None if config is None else digest_of(config)
    same = digest == running.config and digest_of(proposal.settings) == running.settings
    return None if same else (proposal, digest)


def _config(site: Site) -> list[Waiting]:
    """Return a changed ``site.yaml``. Before the first install it is part of that."""
    running = site.state.installs.running
    if running is None or site.state.installs.open_transaction is not None:
        return []
    head = ItemHead(CONFIG, "config", "", "", _since(site, CONFIG))

    def look() -> Waiting | None:
        changed = _proposal(site)
        if changed is None:
            return None
        proposal, config = changed
        digest = digest_of(proposal.settings) if config is None or config == running.config else config
        waiting = _weigh(site, replace(head, digest=digest, version=running.version))
        return replace(waiting, revoked=attempt(partial(revoked_release, site, running.release), []))

    return _item(head, look)


def _policy(site: Site) -> list[Waiting]:
    head = ItemHead(POLICY, "policy", "", "", _since(site, POLICY))

    def look() -> Waiting | None:
        proposed = read_policy_yaml(site.path)
        digest = digest_of(encode(proposed))
        if digest == site.state.trust.policy:
            return None
        return _weigh(site, replace(head, digest=digest, version=str(proposed.number)))

    return _item(head, look)


def _offboard(site: Site) -> list[Waiting]:
    """Return the end of the vendor's access, from its request until it is done."""
    offboarding = site.state.offboarding
    if offboarding is None or offboarding.done is not None:
        return []
    return [_weigh(site, ItemHead(OFFBOARD, OFFBOARD, "", "", offboarding.asked_at))]


def _uses(site: Site) -> list[Waiting]:
    """Return the uses of handlers that wait; those of the vendor not after the end of its access."""
    reports = site.state.reports
    requests = () if site.state.offboarded else reports.answered
    waiting = (use for use in (*requests, *reports.local) if use.outcome == "waiting")
    heads = []
    for use in waiting:
        kind, since = "request" if use.consignment else "command", max(use.at, _since(site, None))
        heads.append(ItemHead(use.item, kind, "", use.handler, since))
    return [_weigh(site, head) for head in heads]


def _export(site: Site) -> list[Waiting]:
    """Return the newest report until it is exported, if the policy requires approvals for that."""
    reports = site.state.reports
    if reports.head is None or reports.left == reports.head:
        return []
    since = max(filter(None, (reports.at, _since(site, None))))
    head = ItemHead(export_item(reports.seq), "export", reports.head, "", since)
    return _item(head, lambda: _weigh(site, head) if site.policy.rules["export"] else None)


def _rollbacks(site: Site) -> list[Waiting]:
    """Return the rollbacks that somebody has approved; an approval is what proposes a rollback."""
    state = site.state
    first = {verdict.item: verdict for verdict in reversed(state.trust.verdicts) if verdict.item.startswith("b-")}
    rollbacks = []
    for item, verdict in sorted(first.items()):
        target = state.installs.generation(int(item[2:]))
        if target is None or target.number == state.installs.current or target.state != State.SETTLED:
            continue
        since = max(verdict.at, _since(site, None))
        waiting = _weigh(site, ItemHead(item, "rollback", target.release, target.version, since))
        unread = waiting.error is not None and not isinstance(waiting.error, RefusedError)
        if unread or any(role.have for role in waiting.roles):
            revoked = attempt(partial(revoked_release, site, target.release), [])
            rollbacks.append(replace(waiting, revoked=revoked))
    return rollbacks


def _weigh(site: Site, head: ItemHead, items: tuple[str, ...] = ()) -> Waiting:
    """Return the item with its approvals, or with the reason why it cannot be carried out."""
    # Planning, loaded only where something waits: it is half of all that a status would load.
    from verifier.approval.items import approvable_of
    from verifier.approval.verdicts import approval_status
    from verifier.change.route import Route
    from verifier.change.site_check import check_rollbacks, check_settings, failures
    from verifier.change.values import Change
    from verifier.rules.agreement import then_command

    items = items or (head.item,)
    try:
        approvable = approvable_of(site, items)
        hops = approvable.hops if isinstance(approvable, Route) else (approvable,)
        changes = tuple(hop for hop in hops if isinstance(hop, Change))
        settings = check_settings(tuple(change for change in changes if change.head is not None))
        lacks = failures((*settings, *check_rollbacks(site, changes[:1])))
        return Waiting(
            head,
            items,
            approvable.plan.kinds,
            approval_status(site, approvable),
            then=f"check {' '.join(items)}" if lacks else then_command(approvable),
            lacks=tuple(finding.error.problem for finding in lacks),
        )
    except WaybillError as error:
        return Waiting(head, items, error=error)
    except OSError as error:
        return Waiting(head, items, error=unreadable(error, str(error.filename or "")))
