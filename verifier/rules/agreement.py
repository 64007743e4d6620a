"""Who must agree to a change, who has, and who is missing. Pure: the policy in force and the verdicts decide.

People are counted, not keys; the last word of a person on a plan is the one that counts.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from manifests.documents.approval import SignedApproval
from manifests.documents.plan import Plan
from manifests.documents.policy import KINDS, ChangeRule, Person, Policy
from manifests.words.errors import RefusedError, WaitingError

# What helps where those who brought a change are the ones who would have to agree.
OTHERS = "another account brings it with waybill receive, or a new policy lists more people"


class Approvable(Protocol):
    """What people are asked to agree to.

    Attributes:
        proposers: Accounts that brought it; empty where nobody is held to be the proposer.
        severities: Of the advisories that it fixes, as the vendor signed; ``classes``: how it can be left. An emergency
            rule looks at both; without classes none applies.
        then: The verb that does it once they agree.
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


def named(asked: Approvable) -> str:
    """What people type to name it: the item, or several releases in order."""
    return asked.then.removeprefix("install ") if asked.then.startswith("install ") else asked.item


@dataclass(frozen=True)
class ApprovalRequest:
    """Something that is asked and that is about no release: an export, an offboarding."""

    item: str
    plan: Plan
    then: str
    proposers: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoleApprovals:
    """One role: how many are needed, and the people who agreed.

    Attributes:
        can: How many people of the role could agree to this; those who brought it may not count.
    """

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
        stuck = "" if self.can >= self.need else f", and only {self.can} could: who brought it does not count"
        return f"{self.have} of {self.need}{stuck}"


@dataclass(frozen=True)
class Void:
    """A verdict on this item that counts no more.

    Attributes:
        finding: ``approval-person-left``, ``approval-older-policy`` or ``approval-other-plan``.
    """

    person: str
    verdict: str
    finding: str
    why: str


@dataclass(frozen=True)
class ApprovalStatus:
    """Where an item stands.

    Attributes:
        approvals: The envelopes that are counted.
        rejected: People who said no; ``vetoed``: those of them whose role ends it.
        not_counted: People who agreed and do not count, because they proposed it.
        conditions: (person, words) of those who agreed under one.
        rule: Name of the emergency rule that is asked instead of the ordinary ones; empty for those.
        uses_left: Of that rule, this one included.
        emergency: Where it would stand by each emergency rule that somebody could ask for instead.
        void: What was said about another plan of this item.
    """

    roles: tuple[RoleApprovals, ...]
    approvals: tuple[SignedApproval, ...]
    rejected: tuple[str, ...]
    vetoed: tuple[str, ...]
    not_counted: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    rule: str = ""
    uses_left: int = 0
    emergency: tuple["ApprovalStatus", ...] = ()
    void: tuple[Void, ...] = ()

    @property
    def met(self) -> bool:
        return not self.vetoed and all(one.missing == 0 for one in self.roles)

    @property
    def possible(self) -> bool:
        """Whether there are people enough who could agree."""
        return all(one.can >= one.need for one in self.roles)

    @property
    def missing(self) -> str:
        """Who is still to be asked, in words."""
        return ", ".join(f"{one.missing} {one.role}" for one in self.roles if one.missing)


def roles_needed(policy: Policy, kinds: Iterable[ChangeRule]) -> dict[str, int]:
    """The most that any of the kinds asks, role by role."""
    needs: dict[str, int] = {}
    for kind in kinds:
        for role, count in policy.rules[kind].items():
            needs[role] = max(needs.get(role, 0), count)
    return needs


def tight_roles(policy: Policy) -> tuple[tuple[str, int, tuple[ChangeRule, ...]], ...]:
    """Roles of which some rule needs every person: (role, people, kinds of those rules)."""
    listed = [one.role for one in policy.people.values()]
    found = []
    for role in sorted(set(listed)):
        kinds = tuple(kind for kind in KINDS if policy.rules[kind].get(role, 0) >= listed.count(role))
        if kinds:
            found.append((role, listed.count(role), kinds))
    return tuple(found)


def count_approvals(
    policy: Policy,
    needs: Mapping[str, int],
    said: Iterable[SignedApproval],
    proposers: Collection[str] = (),
    *,
    rule: str = "",
    uses_left: int = 0,
) -> ApprovalStatus:
    """Count the verdicts on one plan, oldest first, each verified against ``policy``.

    Args:
        needs: How many people of which roles; see ``roles_needed``.
        proposers: Accounts that brought the change; empty when nobody is held to be the proposer.
    """
    last = {one.person: one for one in said}
    agreed: dict[str, list[str]] = {}
    counted: list[SignedApproval] = []
    rejected, vetoed, not_counted, conditions = [], [], [], []
    for name, one in sorted(last.items()):
        person = policy.people[name]
        if one.approval.verdict == "reject":
            rejected.append(name)
            if person.role in policy.veto:
                vetoed.append(name)
        elif _brought(policy, person, proposers):
            not_counted.append(name)
        else:
            agreed.setdefault(person.role, []).append(name)
            counted.append(one)
            if one.approval.condition:
                conditions.append((name, one.approval.condition))
    able = [one.role for one in policy.people.values() if not _brought(policy, one, proposers)]
    roles = tuple(
        RoleApprovals(role=role, need=need, people=tuple(agreed.get(role, ())), can=able.count(role))
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


def _brought(policy: Policy, person: Person, proposers: Collection[str]) -> bool:
    """Whether the person proposed the change, under a policy by which that counts against them."""
    return not policy.proposer_counts and not set(person.accounts).isdisjoint(proposers)


def require(standing: ApprovalStatus, item: str) -> None:
    """Raise unless the people who are asked have agreed.

    Raises:
        RefusedError: Somebody whose role may do so has rejected it.
        WaitingError: Names the roles that are missing.
    """
    if standing.vetoed:
        raise RefusedError(
            f"{item} was rejected by {', '.join(standing.vetoed)}",
            where="policy",
            remedy="it stays rejected until they approve it themselves",
            finding="vetoed",
        )
    if not standing.met:
        have = "; ".join(f"{one.role}: {one.counted}" for one in standing.roles)
        aside = f"; not counted, because they brought it: {', '.join(standing.not_counted)}"
        rule = f", by the emergency rule {standing.rule}" if standing.rule else ""
        remedy = f"waybill review {item}, then waybill approve {item} --key KEY"
        if not standing.possible:
            remedy = f"nobody is left who could: {OTHERS}"
        for one in standing.emergency:
            remedy += f"; or by the emergency rule {one.rule}, "
            remedy += f"waybill install {item} --emergency {one.rule}" if one.met else f"which waits for {one.missing}"
        raise WaitingError(
            f"{item} waits for {standing.missing}{rule} ({have}{aside if standing.not_counted else ''})",
            where="policy",
            remedy=remedy,
            finding="approvals-missing",
        )
