"""Emergency rules of the policy in force: for which change one applies, and whether it is spent. Pure.

Uses and installs are counted from the time when the policy came into force; the next policy starts the count again.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from manifests.documents.approval import SignedApproval
from manifests.documents.policy import ChangeRule, Emergency, Policy
from manifests.words.errors import RefusedError
from verifier.rules.agreement import Approvable, ApprovalStatus, count_approvals, item_names, needed_for_plan
from verifier.rules.emergency_uses import Use, uses_left

_SIZE = {"patch": 0, "minor": 1, "major": 2}


def why_not_covered(
    rule: Emergency, kinds: Collection[ChangeRule], severities: Iterable[str], classes: tuple[str, ...]
) -> str | None:
    """Return why ``rule`` does not cover such a change; None when it covers every release of the route.

    It also covers a smaller kind of release than ``when.change``, and never a change that is no release.
    """
    when = rule.when
    sizes = sorted((kind for kind in kinds if kind in _SIZE), key=lambda kind: _SIZE[kind])
    if not classes or not sizes:
        return "the rule covers only releases"
    if _SIZE[sizes[-1]] > _SIZE[when.change]:
        return f"the change is {sizes[-1]}, the rule covers {when.change} at most"
    if others := sorted(set(classes) - set(when.rollback)):
        return f"the rollback class is {', '.join(others)}, the rule covers {', '.join(when.rollback)}"
    if set(severities).isdisjoint(when.severity):
        return f"no advisory that these releases fix is {' or '.join(when.severity)}"
    if never := sorted(set(rule.never) & set(kinds)):
        return f"the change is also {', '.join(never)}, which the rule never covers"
    return None


def weigh_emergency(
    policy: Policy,
    asked: Approvable,
    verdicts: tuple[SignedApproval, ...],
    uses: tuple[Use, ...],
    installs: int,
    rule: str | None = None,
) -> ApprovalStatus:
    """Return the approval status under the ordinary rules, and under each emergency rule that could be used instead.

    A rule is used only when a person names it, and not even then where the ordinary rules are met. An unknown one is
    refused in any case.

    Args:
        rule: The emergency rule that a person names; then only this rule counts.

    Raises:
        RefusedError: The policy has no such rule, the rule is for other changes, or it is used up.
    """
    if rule is not None and all(rule != each.name for each in policy.emergency):
        names = ", ".join(each.name for each in policy.emergency)
        raise RefusedError(
            f"policy {policy.number} has no emergency rule {rule}" + (f"; its rules: {names}" if names else ""),
            where="--emergency",
            remedy="name one of its rules, or leave out --emergency",
            finding="emergency-unknown",
        )
    kinds = asked.plan.kinds
    ordinary = count_approvals(policy, needed_for_plan(policy, asked.plan), verdicts, asked.proposers)
    if ordinary.met or ordinary.vetoed:
        return ordinary
    usable = {}
    for each in policy.emergency:
        left = uses_left(each, uses, policy=asked.plan.policy, plan=asked.plan.digest, installs=installs)
        if left and why_not_covered(each, kinds, asked.severities, asked.classes) is None:
            usable[each.name] = count_approvals(
                policy, each.needs, verdicts, asked.proposers, rule=each.name, uses_left=left
            )
    if rule is None:
        return replace(ordinary, emergency=tuple(usable.values()))
    if rule not in usable:
        raise _not_this_rule(policy, asked, ordinary, rule)
    return usable[rule]


def _not_this_rule(policy: Policy, asked: Approvable, ordinary: ApprovalStatus, name: str) -> RefusedError:
    rule = next(one for one in policy.emergency if one.name == name)
    remedy = f"use the ordinary rules, which need {ordinary.missing}: run `waybill review {item_names(asked)}`"
    if why := why_not_covered(rule, asked.plan.kinds, asked.severities, asked.classes):
        problem, finding = f"the emergency rule {name} does not cover this change: {why}", "emergency-other"
    else:
        problem, finding = f"the emergency rule {name} of policy {policy.number} is used up", "emergency-spent"
    return RefusedError(problem, where="--emergency", remedy=remedy, finding=finding)
