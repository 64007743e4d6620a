"""Approve or reject an item: sign its plan with a person's key, and record that."""

from dataclasses import dataclass

from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError
from verifier.approval.items import approvable_of, check_feasible, record_proposals
from verifier.approval.verdicts import VerdictKind, approval_status, person_of_key, record_verdict, sign_verdict
from verifier.change.driver_steps import LoadDriver
from verifier.rules.agreement import Approvable, ApprovalStatus, item_names
from verifier.site.folder import Site


@dataclass(frozen=True)
class VerdictRequest:
    """What a person wants to say.

    Attributes:
        items: One item, or several releases as one plan.
        condition: The condition of an approval or the reason of a rejection, kept with it.
        plan: Digest of the plan that the person has reviewed; None signs what the item is now.
    """

    items: tuple[str, ...]
    verdict: VerdictKind
    condition: str | None = None
    plan: str | None = None


@dataclass(frozen=True)
class VerdictResult:
    """What was signed, by whom, and who must still agree."""

    asked: Approvable
    person: str
    role: str
    status: ApprovalStatus


def give_verdict(site: Site, signer: Signer, request: VerdictRequest, load: LoadDriver) -> VerdictResult:
    """Sign a verdict with a person's key and record it. The policy in force says whose key it is.

    Raises:
        RefusedError: The key is nobody's, the item cannot be done here, or its plan is not the reviewed one any more.
    """
    person_of_key(site.policy, signer)
    record_proposals(site)
    asked = approvable_of(site, request.items)
    check_reviewed(asked, request.plan)
    check_feasible(site, asked, load)
    approval = sign_verdict(site, asked.plan, signer, request.verdict, request.condition)
    record_verdict(site, asked.item, asked.plan, approval)
    return VerdictResult(asked, approval.person, approval.approval.role, approval_status(site, asked))


def check_reviewed(asked: Approvable, plan: str | None) -> None:
    """Raise RefusedError when the plan of ``asked`` is another than the reviewed one; None checks nothing."""
    if plan is not None and asked.plan.digest != plan:
        raise RefusedError(
            f"the plan is {asked.plan.digest} now, not the reviewed {plan}; nothing was signed",
            where=asked.item,
            remedy=f"review the item again: waybill review {item_names(asked)}",
            finding="plan-changed",
        )
