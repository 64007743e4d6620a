"""Approve or reject an item: one person's signature over the plan, kept and recorded."""

from dataclasses import dataclass
from typing import Literal

from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError
from verifier.approval.items import approvable_of, check_feasible, record_proposals
from verifier.approval.verdicts import approval_status, person_of_key, record_verdict, sign_verdict
from verifier.change.driver_steps import LoadDriver
from verifier.rules.agreement import Approvable, ApprovalStatus, named
from verifier.site.folder import Site


@dataclass(frozen=True)
class VerdictResult:
    """What was signed, by whom, and who is still asked."""

    asked: Approvable
    person: str
    role: str
    standing: ApprovalStatus


def give_verdict(
    site: Site,
    items: tuple[str, ...],
    signer: Signer,
    verdict: Literal["approve", "reject"],
    *,
    condition: str | None,
    load: LoadDriver,
    plan: str | None = None,
) -> VerdictResult:
    """Sign and record. The person is the one whom the policy in force lists for the key.

    Args:
        items: One item, or several releases as one plan.
        plan: Digest of the plan that the person has reviewed; None signs what the item is now.

    Raises:
        RefusedError: The key is nobody's, the item cannot be installed here anyway, or it is another plan by now.
    """
    person_of_key(site.policy, signer)
    record_proposals(site)
    asked = approvable_of(site, items)
    check_reviewed(asked, plan)
    check_feasible(site, asked, load)
    word = sign_verdict(site, asked.plan, signer, verdict, condition)
    record_verdict(site, asked.item, asked.plan, word)
    return VerdictResult(
        asked=asked, person=word.person, role=word.approval.role, standing=approval_status(site, asked)
    )


def check_reviewed(asked: Approvable, plan: str | None) -> None:
    """Raise RefusedError when ``asked`` is not the plan that was reviewed; None was not said."""
    if plan is not None and asked.plan.digest != plan:
        raise RefusedError(
            f"is plan {asked.plan.digest[:19]} now, not the {plan[:19]} that was reviewed; nothing was signed",
            where=asked.item,
            remedy=f"something has changed since: waybill review {named(asked)}",
            finding="plan-changed",
        )
