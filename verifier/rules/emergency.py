"""Emergency rules of the policy in force: for which change one applies, and whether it is spent. Pure.

Such a rule was agreed beforehand, because the policy was. Uses and installs are counted in the journal since that
policy came into force; with the next policy the count begins anew.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from manifests.documents.approval import SignedApproval
from manifests.documents.policy import ChangeRule, Emergency, Policy
from manifests.words.errors import RefusedError
from verifier.rules.agreement import Approvable, ApprovalStatus, count_approvals, named, roles_needed

_SIZE = {"patch": 0, "minor": 1, "major": 2}


@dataclass(frozen=True)
class Use:
    """An emergency rule was asked instead of the ordinary ones, for ``plan``; ``policy`` is the digest it stood in."""

    policy: str
    rule: str
    plan: str
    release: str
    at: datetime


def why_not(rule: Emergency, kinds: Collection[ChangeRule], severities: Iterable[str], classes: tuple[str, ...]) -> str:
    """Why ``rule`` is not about such a change, in words; empty when it is: all that it names holds, for every release
    on the way.

    A release of a smaller kind than ``when.change`` is covered too; a rule never covers what is no release.
    """
    when = rule.when
    sizes = sorted((kind for kind in kinds if kind in _SIZE), key=lambda kind: _SIZE[kind])
    if not classes or not sizes:
        return "it is about releases alone"
    if _SIZE[sizes[-1]] > _SIZE[when.change]:
        return f"the change is {sizes[-1]}, the rule covers {when.change} at most"
    if others := sorted(set(classes) - set(when.rollback)):
        return f"it goes back {', '.join(others)}, the rule covers {', '.join(when.rollback)}"
    if set(severities).isdisjoint(when.severity):
        return f"no fix of these releases is {' or '.join(when.severity)}"
    if never := sorted(set(rule.never) & set(kinds)):
        return f"the change is {', '.join(never)} too, which the rule never covers"
    return ""


def uses_left(rule: Emergency, uses: Iterable[Use], *, policy: str, plan: str, installs: int) -> int:
    """How often the rule may still be used, this time included; 0 when it is spent.

    Args:
        policy: Digest of the one in force; uses under another do not count.
        plan: An attempt that is made again under the same plan is no second use.
        installs: How many there were since that policy came into force.
    """
    if installs >= rule.until_installs:
        return 0
    used = {one.plan for one in uses if one.policy == policy and one.rule == rule.name}
    return max(0, rule.uses - len(used - {plan}))


def weigh_emergency(
    policy: Policy,
    asked: Approvable,
    said: tuple[SignedApproval, ...],
    uses: tuple[Use, ...],
    installs: int,
    rule: str = "",
) -> ApprovalStatus:
    """Where the item stands by the ordinary rules, and by each emergency rule that could be asked for instead.

    Nothing is a use of such a rule but asking for it by name; where the ordinary rules are met even that is none.

    Args:
        rule: The emergency rule that somebody asks for; the item then stands by it alone.

    Raises:
        RefusedError: The policy has no such rule, it is about other changes, or it is spent.
    """
    kinds = asked.plan.kinds
    ordinary = count_approvals(policy, roles_needed(policy, kinds), said, asked.proposers)
    if ordinary.met or ordinary.vetoed:
        return ordinary
    found = {}
    for one in policy.emergency:
        left = uses_left(one, uses, policy=asked.plan.policy, plan=asked.plan.digest, installs=installs)
        if left and not why_not(one, kinds, asked.severities, asked.classes):
            found[one.name] = count_approvals(policy, one.needs, said, asked.proposers, rule=one.name, uses_left=left)
    if not rule:
        return replace(ordinary, emergency=tuple(found.values()))
    if rule not in found:
        raise _not_this_rule(policy, asked, ordinary, rule)
    return found[rule]


def _not_this_rule(policy: Policy, asked: Approvable, ordinary: ApprovalStatus, name: str) -> RefusedError:
    rule = next((one for one in policy.emergency if one.name == name), None)
    remedy = f"the ordinary rules ask for {ordinary.missing}: waybill review {named(asked)}"
    if rule is None:
        names = ", ".join(one.name for one in policy.emergency) or "none"
        problem, finding = f"policy {policy.number} has no emergency rule {name}; it has {names}", "emergency-unknown"
    elif why := why_not(rule, asked.plan.kinds, asked.severities, asked.classes):
        problem, finding = f"the emergency rule {name} is not about this: {why}", "emergency-other"
    else:
        problem, finding = f"the emergency rule {name} of policy {policy.number} is spent", "emergency-spent"
    return RefusedError(problem, where="--emergency", remedy=remedy, finding=finding)
