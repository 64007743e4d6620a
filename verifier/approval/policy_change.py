"""A changed ``policy.yaml``: its plan, the approvals that it needs, and the journal entry that puts it in force.

People of the policy in force approve it by the rule `policy`. If too few of them are left, the others replace the
policy with a reason and with the fingerprint on the customer's paper. Status and reports then show an alarm.
"""

from dataclasses import dataclass

from manifests.documents.policy import Policy
from manifests.trust.keys import read_capped
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError, WaitingError
from verifier.approval.verdicts import approval_status, rule_plan, verdicts_on
from verifier.change.install_plan import proposer_of
from verifier.change.item_ids import POLICY
from verifier.rules.agreement import ApprovalRequest, ApprovalStatus, count_approvals, require_approvals, roles_needed
from verifier.site.folder import EVIDENCE, POLICY_YAML, Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Alarm, PolicyInForce
from verifier.site.policy_history import needs_without
from verifier.site.proposals import read_policy_yaml
from verifier.site.vendor_trust import own_chain


@dataclass(frozen=True, kw_only=True)
class PolicyChange(ApprovalRequest):
    """The proposed policy and its plan, which names the digest of ``data``, the compiled policy."""

    proposed: Policy
    in_force: Policy
    data: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.data)


def policy_change(site: Site) -> PolicyChange:
    """Return the change that ``policy.yaml`` proposes. Reads only.

    Raises:
        MalformedError: The file cannot be read; the message has ``file:line``.
        RefusedError: It equals the policy in force, its number is not the next one, or it lists a key of the vendor.
    """
    in_force = site.policy
    proposed = read_policy_yaml(site.path)
    data = encode(proposed)
    digest = digest_of(data)
    if digest == site.state.trust.policy:
        raise RefusedError(
            f"no change; it equals policy {in_force.number}, which is in force",
            where=POLICY_YAML,
            remedy="edit policy.yaml first",
            finding="nothing-to-do",
        )
    _check_proposed(proposed, in_force, _vendor_keys(site))
    return PolicyChange(
        item=POLICY,
        plan=rule_plan(site, "policy", digest),
        then="install policy",
        proposers=(proposer_of(site, POLICY, digest, POLICY_YAML),),
        proposed=proposed,
        in_force=in_force,
        data=data,
    )


def _check_proposed(proposed: Policy, in_force: Policy, of_vendor: frozenset[str]) -> None:
    """Raise RefusedError unless it is the next policy and lists no key of the vendor."""
    if proposed.number != in_force.number + 1:
        raise RefusedError(
            f"policy.yaml has number {proposed.number}; the next number is {in_force.number + 1}",
            where=POLICY_YAML,
            remedy=f"set `policy: {in_force.number + 1}` in policy.yaml",
            finding="policy-number",
        )
    for name, person in proposed.people.items():
        for key in person.keys:
            if key.keyid in of_vendor:
                raise RefusedError(
                    f"key {key.keyid[:12]} of {name} is one of the vendor's",
                    where=POLICY_YAML,
                    remedy="list only people of the customer",
                    finding="vendor-approves",
                )


def _vendor_keys(site: Site) -> frozenset[str]:
    """Return the key ids in every root document at this site, of all roles and of earlier roots too."""
    # A vendor whose access has ended must not approve changes either.
    ended = site.state.offboarded
    pinned = () if ended else own_chain(site).roots
    folder = site.path / (EVIDENCE if ended else "trust")
    others = [parse_root(read_capped(path, MAX_ROOT), str(path)) for path in folder.rglob("*.root.json")]
    return frozenset(keyid for root in (*pinned, *others) for keyid in root.root.keys)


def install_policy(site: Site) -> PolicyChange:
    """Put the proposed policy in force. Raises WaitingError or RefusedError when it is not approved."""
    change = policy_change(site)
    status = approval_status(site, change)
    require_approvals(status, POLICY)
    _record(site, change, status)
    return change


@dataclass(frozen=True)
class PolicyReplacement:
    """A request to replace a policy whose rule `policy` can no longer be met.

    Attributes:
        gone: People of the policy in force who can no longer approve, such as those who lost their keys.
        fingerprint: Digest of the new policy on the customer's paper.
    """

    gone: tuple[str, ...]
    reason: str
    fingerprint: str


def replace_policy(site: Site, request: PolicyReplacement) -> PolicyChange:
    """Put the proposed policy in force with the approvals of the people who are left.

    Raises:
        RefusedError: The rule can still be met, or the paper names another policy.
        WaitingError: Somebody who is left has not approved.
        UsageError: A named person is not in the policy, or no reason is given.
    """
    change = policy_change(site)
    policy, gone = change.in_force, tuple(sorted(set(request.gone)))
    unknown = [name for name in gone if name not in policy.people]
    if unknown:
        raise UsageError(
            f"policy {policy.number} does not list {', '.join(unknown)}",
            where="--gone",
            remedy=f"it lists {', '.join(sorted(policy.people))}",
        )
    if not request.reason.strip():
        raise UsageError("no reason is given", where="--reason", remedy="state why they can no longer approve")
    if request.fingerprint != change.digest:
        raise RefusedError(
            f"the paper names {request.fingerprint}, policy.yaml compiles to {change.digest}",
            where="--fingerprint",
            remedy="run `waybill review policy`; the customer signs the fingerprint that it shows on paper",
            finding="policy-other",
        )
    needs = needs_without(policy, change.plan, gone)
    if needs == roles_needed(policy, change.plan.kinds):
        shown = ", ".join(f"{count} {role}" for role, count in sorted(needs.items())) or "nobody"
        raise RefusedError(
            f"the people who are left can still meet the rule `policy`: {shown}",
            where="--gone",
            remedy="let each of them run waybill approve policy --key KEY",
            finding="quorum-possible",
        )
    verdicts = tuple(verdict for verdict in verdicts_on(site, policy, change.plan) if verdict.person not in gone)
    status = count_approvals(policy, needs, verdicts)
    if status.vetoed or not status.met:
        try:
            require_approvals(status, POLICY)
        except WaitingError as error:
            remedy = "let each person who is left run waybill approve policy --key KEY"
            raise error.with_(remedy=remedy) from None
    _record(site, change, status, gone=gone, reason=one_line(request.reason))
    return change


def _record(
    site: Site, change: PolicyChange, status: ApprovalStatus, *, gone: tuple[str, ...] = (), reason: str | None = None
) -> None:
    """Store the documents, then record the policy; with ``reason``, record an alarm before it."""
    site.keep_document(change.data)
    site.keep_document(encode(change.plan))
    if reason is not None:
        # The alarm comes first: after a crash in between there is an alarm too many, never one too few.
        site.record(Alarm(code="policy-refounded", digest=change.digest, detail=f"without {', '.join(gone)}: {reason}"))
    site.record(
        PolicyInForce(
            number=change.proposed.number,
            digest=change.digest,
            plan=change.plan.digest,
            approvals=tuple(approval.digest for approval in status.approvals),
            gone=gone,
            reason=reason,
        )
    )
