"""Where an item stands: the verdicts of the journal on its plan, verified again, counted by the policy in force."""

from dataclasses import replace

from manifests.approval import SignedApproval, verify_approval
from manifests.errors import RefusedError, UntrustedError, WaybillError
from manifests.plan import Plan, parse_plan
from manifests.policy import Policy
from verifier.emergency import weigh
from verifier.policy import Asked, Standing, Void
from verifier.site import Site
from verifier.state import Said


def verdicts_on(site: Site, policy: Policy, plan: Plan) -> tuple[SignedApproval, ...]:
    """What people of the policy in force said about this very plan, oldest first, each signature verified again.

    Raises:
        UntrustedError: What the journal records was not signed so: it was edited.
        DamagedError: An envelope is gone, or is another.
    """
    found = []
    for said in site.state.verdicts:
        if said.plan != plan.digest:
            continue
        try:
            one = verify_approval(site.document(said.envelope), policy, f"approval of {said.person}")
        except RefusedError:
            continue
        recorded = (said.plan, said.verdict, said.person, said.keyid)
        if (one.approval.plan, one.approval.verdict, one.person, one.approval.keyid) != recorded:
            raise UntrustedError(
                f"what {said.person} signed is not what the journal says of it",
                where="journal",
                remedy="the journal was edited; keep the folder as it is and tell support",
                finding="approval-not-as-recorded",
            )
        found.append(one)
    return tuple(found)


def standing_of(site: Site, asked: Asked, rule: str = "") -> Standing:
    """Who must agree to it, who has, and what was said that counts no more.

    Args:
        rule: An emergency rule that is asked for by name, instead of the ordinary ones.

    Raises:
        RefusedError: That rule is none of the policy in force, about other changes, or spent.
    """
    state, policy = site.state, site.policy
    said = verdicts_on(site, policy, asked.plan)
    standing = weigh(policy, asked, said, state.uses, state.installs, rule)
    return replace(standing, void=voids_of(site, policy, asked))


def voids_of(site: Site, policy: Policy, asked: Asked) -> tuple[Void, ...]:
    """Each person's last word on this item under another plan, and why it is void; none of who has spoken since."""
    now = {one.person for one in site.state.verdicts if one.plan == asked.plan.digest}
    last: dict[str, Said] = {}
    for said in site.state.verdicts:
        if said.item == asked.item and said.person not in now:
            last[said.person] = said
    return tuple(_void(site, policy, said) for _, said in sorted(last.items()))


def _void(site: Site, policy: Policy, said: Said) -> Void:
    if policy.person_of(said.keyid) is None:
        return Void(said.person, said.verdict, "approval-person-left", f"policy {policy.number} does not list that key")
    try:
        under = parse_plan(site.document(said.plan)).policy
    except WaybillError:
        under = ""
    if under and under != site.state.policy:
        return Void(
            said.person, said.verdict, "approval-older-policy", "given under a policy that is no longer in force"
        )
    return Void(said.person, said.verdict, "approval-other-plan", "given for another plan: something has changed since")
