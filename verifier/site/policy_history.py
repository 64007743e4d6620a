"""The policy in force, proved: the people of each policy approved the next one.

The owner of the host can write into the journal, but cannot sign for these people. So every command that asks who must
approve refuses a policy that they did not approve. A policy that was refounded, because its quorum could not be met any
more, is accepted: the status, the journal and every report say so.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from manifests.documents.policy import Policy, parse_policy
from manifests.words.errors import RefusedError, UntrustedError
from verifier.site.journal.events import PolicyInForce
from verifier.site.unread import taken_in_before

if TYPE_CHECKING:
    from manifests.documents.plan import Plan

ReadDocument = Callable[[str], bytes]


def prove_policies(events: tuple[PolicyInForce, ...], site: str, document: ReadDocument) -> Policy:
    """Return the last policy of ``events`` after checking each step to it; ``document`` returns bytes by digest.

    Raises:
        UntrustedError: A policy lacks approvals that the one before it requires.
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
    with taken_in_before():
        policy = parse_policy(document(event.digest), f"policy {event.number}")
    if policy.number != event.number:
        raise _unproved(f"the document is policy {policy.number}", event.number)
    return policy


def _check(before: PolicyInForce, policy: Policy, event: PolicyInForce, site: str, document: ReadDocument) -> None:
    # Approvals, loaded only for a policy after the first.
    from manifests.documents.approval import verify_approval
    from manifests.documents.plan import parse_plan
    from verifier.rules.agreement import count_approvals, roles_needed

    if event.plan is None:
        raise _unproved("it has no plan", event.number)
    with taken_in_before():
        plan = parse_plan(document(event.plan))
    if (plan.site, plan.action, plan.policy, plan.subject) != (site, "policy", before.digest, event.digest):
        raise _unproved("its plan is about something else", event.number)
    verdicts = []
    for digest in event.approvals:
        try:
            with taken_in_before():
                signed = verify_approval(document(digest), policy, f"approval of policy {event.number}")
        except RefusedError as error:
            raise _unproved(error.problem, event.number) from None
        if signed.approval.plan == plan.digest and signed.approval.verdict == "approve":
            verdicts.append(signed)
    needs = needs_without(policy, plan, event.gone) if event.reason else roles_needed(policy, plan.kinds)
    status = count_approvals(policy, needs, verdicts)
    if not status.met:
        raise _unproved(f"approvals are missing: {status.missing}", event.number)


def needs_without(policy: Policy, plan: "Plan", gone: tuple[str, ...]) -> dict[str, int]:
    """Return the approvals needed of the people who are left: all of a role that has fewer than the rule requires."""
    from verifier.rules.agreement import roles_needed  # as above

    left = [person.role for name, person in policy.people.items() if name not in gone]
    asked = {role: min(need, left.count(role)) for role, need in roles_needed(policy, plan.kinds).items()}
    return {role: need for role, need in asked.items() if need}


def _unproved(problem: str, number: int) -> UntrustedError:
    return UntrustedError(
        f"policy {number} in the journal was not approved by the people of the policy before it: {problem}",
        where="policy",
        remedy="keep the folder unchanged and report this to your security team and to support",
        finding="policy-unproved",
    )
