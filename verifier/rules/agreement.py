"""Who must agree to a change, who has, and who is missing. Pure: the policy in force and the verdicts decide.

People are counted, not keys. Of several verdicts of one person on a plan the last one counts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from manifests.documents.approval import SignedApproval
from manifests.documents.plan import Plan
from manifests.documents.policy import KINDS, ChangeRule, Person, Policy
from manifests.words.errors import RefusedError, WaitingError

# The remedy where the people who proposed a change are the only ones who could approve it.
MORE_APPROVERS = "bring it with `waybill receive` under another account, or list more people in a new policy"


class Approvable(Protocol):
    """What people are asked to approve.

    Attributes:
        proposers: Accounts that proposed it; empty when proposers do not matter.
        severities: Severities of the advisories that it fixes, for emergency rules.
        classes: Rollback classes of its releases, for emergency rules; without classes no such rule applies.
        then: The command that carries it out after approval, without ``waybill``.
        first: Whether nothing runs before it; such an install puts a telemetry contract in force.
    """

    @property
    def item(self) -> str: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def proposers(self) -> tuple[str, ...]: ...
    @property
    def severities(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def then(self) -> str: ...
    @property
    def first(self) -> bool: ...


def item_names(asked: Approvable) -> str:
    """Return the names for the command line: the item, or several releases in order."""
    return asked.then.removeprefix("install ") if asked.then.startswith("install ") else asked.item


def then_command(asked: Approvable) -> str:
    """Return ``then``; the command of a first install names the telemetry contract."""
    return f"{asked.then} --contract {asked.plan.contract}" if asked.first else asked.then


def repeated_text(generation: int) -> str:
    """Return why verdicts on another plan are counted; see ``ApprovalStatus.repeated``."""
    return (
        f"the trial of generation {generation} failed and changed no data; nothing that people judged has changed, so "
        "their verdicts count for one more attempt"
    )


@dataclass(frozen=True)
class ApprovalRequest:
    """A request for approval that is about no release: an export, an offboarding."""

    item: str
    plan: Plan
    then: str
    proposers: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    first: bool = False


@dataclass(frozen=True)
class RoleApprovals:
    """One role: how many approvals are needed, who gave one, and how many people of the role can give one."""

    role: str
    need: int
    people: tuple[str, ...]
    can: int

    @property
    def have(self) -> int:
        return len(self.people)

    @property
    def missing(self) -> int:
        return max(0, self.need - self.have)

    @property
    def counted(self) -> str:
        limit = "" if self.can >= self.need else f"; only {self.can} can approve, proposers do not count"
        return f"{self.have} of {self.need}{limit}"


@dataclass(frozen=True)
class Void:
    """A verdict on this item that no longer counts."""

    person: str
    verdict: str
    finding: str
    why: str


@dataclass(frozen=True)
class ApprovalStatus:
    """Which approvals an item has, and which it lacks.

    Attributes:
        approvals: The approvals that are counted.
        vetoed: People who rejected it and whose role has a veto.
        not_counted: People who approved and do not count, because they proposed it.
        conditions: (person, condition) of each conditional approval.
        rule: Name of the emergency rule that is used instead of the ordinary rules.
        uses_left: Remaining uses of that rule, this one included.
        emergency: The status under each emergency rule that could be used instead.
        void: Verdicts on other plans of this item.
        repeated: Number of a generation whose trial failed; the verdicts on its plan are counted once more.
    """

    roles: tuple[RoleApprovals, ...]
    approvals: tuple[SignedApproval, ...]
    rejected: tuple[str, ...]
    vetoed: tuple[str, ...]
    not_counted: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    rule: str | None = None
    uses_left: int = 0
    emergency: tuple["ApprovalStatus", ...] = ()
    void: tuple[Void, ...] = ()
    repeated: int | None = None

    @property
    def met(self) -> bool:
        return not self.vetoed and all(one.missing == 0 for one in self.roles)

    @property
    def possible(self) -> bool:
        """Whether enough people exist who may approve."""
        return all(one.can >= one.need for one in self.roles)

    @property
    def missing(self) -> str:
        """The missing approvals in words, for example ``1 operator, 1 security``."""
        return ", ".join(f"{one.missing} {one.role}" for one in self.roles if one.missing)


def roles_needed(policy: Policy, kinds: Iterable[ChangeRule]) -> dict[str, int]:
    """Return for each role the highest number of approvals that any of the kinds requires."""
    needs: dict[str, int] = {}
    for kind in kinds:
        for role, count in policy.rules[kind].items():
            needs[role] = max(needs.get(role, 0), count)
    return needs


def needed_for_plan(policy: Policy, plan: Plan) -> dict[str, int]:
    """Return for each role how many approvals the plan needs: by its kinds, or by the handler that it would run.

    Raises RefusedError for a handler that the policy does not list.
    """
    if plan.handler is None:
        return roles_needed(policy, plan.kinds)
    if plan.handler not in policy.commands:
        raise RefusedError(
            f"policy {policy.number} does not list the handler {plan.handler}",
            where="policy",
            remedy=f"to allow it, add `{plan.handler}: allowed`, or roles, under `commands:` in policy.yaml",
            finding="not-in-policy",
        )
    return dict(policy.commands[plan.handler])


def tight_roles(policy: Policy) -> tuple[tuple[str, int, tuple[ChangeRule, ...]], ...]:
    """Return the roles of which some rule needs every person: (role, people, kinds of those rules)."""
    listed = [one.role for one in policy.people.values()]
    tight = []
    for role in sorted(set(listed)):
        kinds = tuple(kind for kind in KINDS if policy.rules[kind].get(role, 0) >= listed.count(role))
        if kinds:
            tight.append((role, listed.count(role), kinds))
    return tuple(tight)


def count_approvals(
    policy: Policy,
    needs: Mapping[str, int],
    verdicts: Iterable[SignedApproval],
    proposers: Collection[str] = (),
    *,
    rule: str | None = None,
    uses_left: int = 0,
) -> ApprovalStatus:
    """Count the verdicts on one plan, oldest first, each verified against ``policy``; ``needs`` is by role."""
    last = {verdict.person: verdict for verdict in verdicts}
    agreed: dict[str, list[str]] = {}
    counted: list[SignedApproval] = []
    rejected, vetoed, not_counted, conditions = [], [], [], []
    for name, verdict in sorted(last.items()):
        person = policy.people[name]
        if verdict.approval.verdict == "reject":
            rejected.append(name)
            if person.role in policy.veto:
                vetoed.append(name)
        elif _is_proposer(policy, person, proposers):
            not_counted.append(name)
        else:
            agreed.setdefault(person.role, []).append(name)
            counted.append(verdict)
            if verdict.approval.condition:
                conditions.append((name, verdict.approval.condition))
    eligible_roles = [one.role for one in policy.people.values() if not _is_proposer(policy, one, proposers)]
    roles = tuple(
        RoleApprovals(role=role, need=need, people=tuple(agreed.get(role, ())), can=eligible_roles.count(role))
        for role, need in sorted(needs.items())
    )
    return ApprovalStatus(
        roles=roles,
        approvals=tuple(counted),
        rejected=tuple(rejected),
        vetoed=tuple(vetoed),
        not_counted=tuple(not_counted),
        conditions=tuple(conditions),
        rule=rule,
        uses_left=uses_left,
    )


def _is_proposer(policy: Policy, person: Person, proposers: Collection[str]) -> bool:
    """Return whether the person proposed the change, and the policy does not let proposers approve."""
    return not policy.proposer_counts and not set(person.accounts).isdisjoint(proposers)


def require_approvals(standing: ApprovalStatus, item: str) -> None:
    """Raise unless all required approvals are there.

    Raises:
        RefusedError: A person whose role has a veto rejected it.
        WaitingError: Approvals are missing.
    """
    if standing.vetoed:
        raise RefusedError(
            f"{item} was rejected by {', '.join(standing.vetoed)}",
            where="policy",
            remedy="ask them to approve it; nobody else can lift a veto",
            finding="vetoed",
        )
    if not standing.met:
        have = "; ".join(f"{one.role}: {one.counted}" for one in standing.roles)
        if standing.not_counted:
            have += f"; not counted, because they proposed it: {', '.join(standing.not_counted)}"
        for void in standing.void:
            have += f"; void: {void.person}, {void.why}"
        rule = f", by the emergency rule {standing.rule}" if standing.rule else ""
        remedy = f"run `waybill review {item}`, then `waybill approve {item} --key KEY`"
        if not standing.possible:
            remedy = f"nobody else can approve it: {MORE_APPROVERS}"
        for status in standing.emergency:
            remedy += f"; or use the emergency rule {status.rule}"
            then = f"run `waybill install {item} --emergency {status.rule}`"
            remedy += f": {then}" if status.met else f", which waits for {status.missing}"
        raise WaitingError(
            f"{item} waits for {standing.missing}{rule} ({have})",
            where="policy",
            remedy=remedy,
            finding="approvals-missing",
        )
