"""A changed ``policy.yaml``: what it would change, who must agree, and the entry that puts it in force.

The people whom the policy in force names decide, by its rule `policy`. When they can no longer be had, those who are
left found the policy anew, with a reason and with the fingerprint from the customer's paper; that is told everywhere.
"""

from dataclasses import dataclass

from manifests.documents.plan import Plan
from manifests.documents.policy import Policy
from manifests.trust.keys import read_capped
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError, WaitingError
from verifier.approval.verdicts import approval_status, verdicts_on
from verifier.rules.agreement import ApprovalStatus, count_approvals, require_approvals, roles_needed
from verifier.site.folder import EVIDENCE, POLICY_YAML, Site
from verifier.site.host import owner_of
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Alarm, PolicyInForce
from verifier.site.policy_history import needs_without
from verifier.site.proposals import read_policy_yaml
from verifier.site.vendor_trust import own_chain

ITEM = "policy"
FOUNDED = "policy-refounded"


@dataclass(frozen=True)
class PolicyChange:
    """The proposal, worked out.

    Attributes:
        data: The compiled policy, whose digest the plan names.
        proposers: The account that owned the file when it was first seen so.
    """

    plan: Plan
    proposed: Policy
    in_force: Policy
    data: bytes
    proposers: tuple[str, ...]
    item: str = ITEM
    severities: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    then: str = "install policy"

    @property
    def digest(self) -> str:
        return digest_of(self.data)


def policy_change(site: Site) -> PolicyChange:
    """What ``policy.yaml`` proposes.

    Raises:
        MalformedError: It cannot be read, with ``file:line``.
        RefusedError: It says what is in force, its number is not the next one, or a key in it is the vendor's.
    """
    state, in_force = site.state, site.policy
    proposed = read_policy_yaml(site.path)
    data = encode(proposed)
    if digest_of(data) == state.trust.policy:
        raise RefusedError(
            f"policy.yaml says what is in force already, policy {in_force.number}",
            where=POLICY_YAML,
            remedy="edit policy.yaml first",
            finding="nothing-to-do",
        )
    check_proposed(proposed, in_force, vendor_keys(site))
    known = next((one for one in state.trust.proposed if (one.item, one.subject) == (ITEM, digest_of(data))), None)
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="policy",
        last_change=state.last_change,
        policy=state.trust.policy,
        contract=state.installs.contract,
        subject=digest_of(data),
        kinds=("policy",),
    )
    owner = known.account if known else owner_of(site.path / POLICY_YAML)
    return PolicyChange(plan=plan, proposed=proposed, in_force=in_force, data=data, proposers=(owner,))


def check_proposed(proposed: Policy, in_force: Policy, of_vendor: frozenset[str]) -> None:
    """Raises RefusedError when it is not the next policy, or names somebody who is the vendor."""
    if proposed.number != in_force.number + 1:
        raise RefusedError(
            f"policy.yaml has number {proposed.number}, policy {in_force.number} is in force",
            where=POLICY_YAML,
            remedy=f"write policy: {in_force.number + 1}",
            finding="policy-number",
        )
    for name, person in proposed.people.items():
        for key in person.keys:
            if key.keyid in of_vendor:
                raise RefusedError(
                    f"key {key.keyid[:12]} of {name} is one of the vendor's",
                    where=POLICY_YAML,
                    remedy="name people of the customer; a vendor does not approve its own releases",
                    finding="vendor-approves",
                )


def vendor_keys(site: Site) -> frozenset[str]:
    """Key ids that any root document here records, in whatever role; of former lines of the root too.

    Raises:
        UntrustedError: The documents are not those that the journal pins.
    """
    # Also a vendor whose access was ended does not decide here.
    ended = site.state.offboarded
    pinned = () if ended else own_chain(site).roots
    folder = site.path / (EVIDENCE if ended else "trust")
    others = [parse_root(read_capped(path, MAX_ROOT), str(path)) for path in folder.rglob("*.root.json")]
    return frozenset(keyid for one in (*pinned, *others) for keyid in one.root.keys)


def show_needs(needs: dict[str, int]) -> str:
    return ", ".join(f"{count} {role}" for role, count in sorted(needs.items())) or "nobody"


def install_policy(site: Site) -> PolicyChange:
    """Put the proposal in force when the people of the policy in force have agreed.

    Raises:
        WaitingError, RefusedError: They have not; nothing was changed.
    """
    change = policy_change(site)
    standing = approval_status(site, change)
    require_approvals(standing, ITEM)
    _record(site, change, standing)
    return change


@dataclass(frozen=True)
class PolicyRefounding:
    """The way out of a quorum that can no longer be met.

    Attributes:
        gone: People of the policy in force whose word cannot be had: who left, whose keys are lost.
        reason: In words, for the journal.
        paper: Digest of the new policy as the customer's paper says it.
    """

    gone: tuple[str, ...]
    reason: str
    paper: str


def refound_policy(site: Site, founding: PolicyRefounding) -> PolicyChange:
    """Put the proposal in force with the agreement of those who are left, because the others are gone.

    Raises:
        RefusedError: The rule can still be met, or the paper names another policy.
        WaitingError: Somebody who is left has not agreed.
        UsageError: Somebody is named who is not in the policy, or no reason is given.
    """
    change = policy_change(site)
    policy, gone = change.in_force, tuple(sorted(set(founding.gone)))
    unknown = [name for name in gone if name not in policy.people]
    if unknown:
        raise UsageError(
            f"{', '.join(unknown)} is nobody of policy {policy.number}",
            where="--gone",
            remedy=f"it lists {', '.join(sorted(policy.people))}",
        )
    if not founding.reason.strip():
        raise UsageError("no reason is given", where="--reason", remedy="say why their word cannot be had")
    if founding.paper != change.digest:
        raise RefusedError(
            f"the paper names {founding.paper[:19]}, policy.yaml compiles to another policy",
            where="--fingerprint",
            remedy="the customer signs the fingerprint that `waybill review policy` shows at a desk of their own",
            finding="policy-other",
        )
    needs = needs_without(policy, change.plan, gone)
    if needs == roles_needed(policy, change.plan.kinds):
        raise RefusedError(
            f"those who are left can still meet the rule `policy`: {show_needs(needs)}",
            where="--gone",
            remedy="waybill approve policy --key KEY, each of them",
            finding="quorum-possible",
        )
    verdicts = tuple(one for one in verdicts_on(site, policy, change.plan) if one.person not in gone)
    standing = count_approvals(policy, needs, verdicts)
    if standing.vetoed or not standing.met:
        try:
            require_approvals(standing, ITEM)
        except WaitingError as error:
            remedy = "each person who is left approves first: waybill approve policy --key KEY"
            raise error.with_(remedy=remedy) from None
    _record(site, change, standing, gone=gone, reason=one_line(founding.reason))
    return change


def _record(
    site: Site, change: PolicyChange, standing: ApprovalStatus, *, gone: tuple[str, ...] = (), reason: str | None = None
) -> None:
    """The documents first, then the one entry; an alarm beside it when fewer agreed than the rule asks."""
    site.keep_document(change.data)
    site.keep_document(encode(change.plan))
    if reason is not None:
        # Before it binds: a crash in between leaves a warning too many, never one too few.
        site.record(Alarm(code=FOUNDED, digest=change.digest, detail=f"without {', '.join(gone)}: {reason}"))
    site.record(
        PolicyInForce(
            number=change.proposed.number,
            digest=change.digest,
            plan=change.plan.digest,
            approvals=tuple(one.digest for one in standing.approvals),
            gone=gone,
            reason=reason,
        )
    )
