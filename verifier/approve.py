"""Approve or reject an item: one person's signature over the plan, kept and recorded."""

from dataclasses import dataclass
from typing import Literal

from manifests.approval import Approval, sign_approval, verify_approval
from manifests.canonical import encode
from manifests.errors import RefusedError
from manifests.keys import Signer
from verifier.crew import LoadDriver
from verifier.events import Verdict
from verifier.items import asked_about, check_feasible, note_proposals
from verifier.policy import Asked, Standing
from verifier.site import Site
from verifier.standing import standing_of


@dataclass(frozen=True)
class Said:
    """What was signed, by whom, and who is still asked."""

    asked: Asked
    person: str
    role: str
    standing: Standing


def say_verdict(
    site: Site,
    items: tuple[str, ...],
    signer: Signer,
    verdict: Literal["approve", "reject"],
    *,
    condition: str | None,
    load: LoadDriver,
) -> Said:
    """Sign and record. The person is the one whom the policy in force lists for the key.

    Args:
        items: One item, or several releases as one plan.

    Raises:
        RefusedError: The key is nobody's, or the item cannot be installed here anyway.
    """
    keyid = signer.public.keyid
    found = site.policy.person_of(keyid)
    if found is None:
        raise RefusedError(
            f"key {keyid[:12]} belongs to nobody in policy {site.policy.number}",
            where="--key",
            remedy=f"the policy lists {', '.join(sorted(site.policy.people))}",
            finding="approver-unknown",
        )
    person, about = found
    note_proposals(site)
    asked = asked_about(site, items)
    check_feasible(site, asked, load)
    approval = Approval(plan=asked.plan.digest, verdict=verdict, keyid=keyid, role=about.role, condition=condition)
    envelope = sign_approval(approval, signer)
    verify_approval(envelope, site.policy)
    site.keep_document(encode(asked.plan))
    site.record(
        Verdict(
            item=asked.item,
            plan=asked.plan.digest,
            envelope=site.keep_document(envelope),
            keyid=keyid,
            person=person,
            role=about.role,
            verdict=verdict,
            condition=condition,
        )
    )
    return Said(asked=asked, person=person, role=about.role, standing=standing_of(site, asked))
