"""Emergency rules of the policy in force: for which change one applies, and whether it is spent. Pure.

Such a rule was agreed beforehand, because the policy was. Uses and installs are counted in the journal since that
policy came into force; with the next policy the count begins anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.approval import SignedApproval
from manifests.policy import Emergency, Kind, Policy
from verifier.policy import Asked, Standing, needs_of, stand

_SIZE = {"patch": 0, "minor": 1, "major": 2}


@dataclass(frozen=True)
class Use:
    """An emergency rule was asked instead of the ordinary ones, for ``plan``; ``policy`` is the digest it stood in."""

    policy: str
    rule: str
    plan: str
    release: str
    at: str


def applies(rule: Emergency, kinds: Iterable[Kind], severities: Iterable[str], classes: tuple[str, ...]) -> bool:
    """Whether ``rule`` is about such a change: all that it names must hold, for every release on the way.

    A release of a smaller kind than ``when.change`` is covered too; a rule never covers what is no release.
    """
    sizes = [_SIZE[kind] for kind in kinds if kind in _SIZE]
    return (
        bool(classes)
        and bool(sizes)
        and max(sizes) <= _SIZE[rule.when.change]
        and set(classes) <= set(rule.when.rollback)
        and not set(severities).isdisjoint(rule.when.severity)
        and set(rule.never).isdisjoint(kinds)
    )


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


def weigh(
    policy: Policy, asked: Asked, said: tuple[SignedApproval, ...], uses: tuple[Use, ...], installs: int
) -> Standing:
    """Where the item stands: by the ordinary rules, or by an emergency rule that asks for less and is not spent.

    When the ordinary rules are met no use is spent.
    """
    kinds = asked.plan.kinds
    ordinary = stand(policy, needs_of(policy, kinds), said, asked.proposers)
    if ordinary.met or ordinary.vetoed:
        return ordinary
    found = ordinary
    for rule in policy.emergency:
        left = uses_left(rule, uses, policy=asked.plan.policy, plan=asked.plan.digest, installs=installs)
        if not left or not applies(rule, kinds, asked.severities, asked.classes):
            continue
        standing = stand(policy, rule.needs, said, asked.proposers, rule=rule.name, uses_left=left)
        if standing.met:
            return standing
        found = standing if found is ordinary else found
    return found
