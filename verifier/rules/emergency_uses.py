"""Uses of emergency rules, and how many are left. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from manifests.documents.policy import Emergency


@dataclass(frozen=True)
class Use:
    """One use of an emergency rule instead of the ordinary rules, for ``plan``, under the policy with that digest."""

    policy: str
    rule: str
    plan: str
    release: str
    at: datetime


def uses_left(rule: Emergency, uses: Iterable[Use], *, policy: str, plan: str, installs: int) -> int:
    """Return how often the rule may still be used, this time included; 0 when it is used up.

    Args:
        policy: Digest of the policy in force; uses under another one do not count.
        plan: Digest of the plan; a second attempt under the same plan is not a second use.
        installs: Number of installs since that policy came into force.
    """
    if installs >= rule.until_installs:
        return 0
    used = {one.plan for one in uses if one.policy == policy and one.rule == rule.name}
    return max(0, rule.uses - len(used - {plan}))
