"""The policy in force, proved: each policy of the journal was carried by the people whom the one before it names.

Whoever owns the host can write into the journal, but cannot sign as these people; so a policy to which they did not
agree is found here, by every verb that asks who must agree. One that was founded anew, because a quorum could no
longer be met, is accepted as what it is: it is told in the status, in the journal and in every report.
"""

from collections.abc import Callable
from itertools import pairwise

from manifests.documents.approval import verify_approval
from manifests.documents.plan import Plan, parse_plan
from manifests.documents.policy import Policy, parse_policy
from manifests.words.errors import RefusedError, UntrustedError
from verifier.rules.agreement import count_approvals, roles_needed
from verifier.site.journal.events import PolicyInForce

ReadDocument = Callable[[str], bytes]


def prove_policies(events: tuple[PolicyInForce, ...], site: str, document: ReadDocument) -> Policy:
    """The last of ``events``, every step to it checked.

    Args:
        site: The four names; a plan of another site carries nothing here.
        document: The bytes with a digest, checked against it.

    Raises:
        UntrustedError: One of them was not agreed to as its predecessor asks.
    """
    if not events:
        raise _unproved("no policy is in force", 0)
    policy = _read(events[0], document)
    for before, event in pairwise(events):
        proposed = _read(event, document)
        if proposed.number != policy.number + 1:
            raise _unproved(f"policy {proposed.number} follows policy {policy.number}", event.number)
        _check(before, policy, event, site, document)
        policy = proposed
    return policy


def _read(event: PolicyInForce, document: ReadDocument) -> Policy:
    policy = parse_policy(document(event.digest), f"policy {event.number}")
    if policy.number != event.number:
        raise _unproved(f"it calls itself {policy.number}", event.number)
    return policy


def _check(before: PolicyInForce, policy: Policy, event: PolicyInForce, site: str, document: ReadDocument) -> None:
    if event.plan is None:
        raise _unproved("nobody was asked", event.number)
    plan = parse_plan(document(event.plan))
    if (plan.site, plan.action, plan.policy, plan.subject) != (site, "policy", before.digest, event.digest):
        raise _unproved("what was agreed to is something else", event.number)
    said = []
    for digest in event.approvals:
        try:
            one = verify_approval(document(digest), policy, f"approval of policy {event.number}")
        except RefusedError as error:
            raise _unproved(error.problem, event.number) from None
        if one.approval.plan == plan.digest and one.approval.verdict == "approve":
            said.append(one)
    needs = needs_without(policy, plan, event.gone) if event.reason else roles_needed(policy, plan.kinds)
    standing = count_approvals(policy, needs, said)
    if not standing.met:
        raise _unproved(f"{standing.missing} never agreed", event.number)


def needs_without(policy: Policy, plan: Plan, gone: tuple[str, ...]) -> dict[str, int]:
    """What the rules ask of those who are left: as many as they say, or all of the role when it has fewer."""
    left = [person.role for name, person in policy.people.items() if name not in gone]
    asked = {role: min(need, left.count(role)) for role, need in roles_needed(policy, plan.kinds).items()}
    return {role: need for role, need in asked.items() if need}


def _unproved(problem: str, number: int) -> UntrustedError:
    return UntrustedError(
        f"policy {number} is in the journal, and the people of the policy before did not put it there: {problem}",
        where="policy",
        remedy="the journal was edited; keep the folder as it is and tell the customer's security and support",
        finding="policy-unproved",
    )
