"""Approve or reject an item: one person's signature over the plan, kept and recorded."""

from dataclasses import dataclass
from typing import Literal

from manifests.approval import Approval, sign_approval, verify_approval
from manifests.canonical import encode
from manifests.errors import RefusedError
from manifests.keys import Signer
from verifier.change import Change, change_of, crew_for, standing_of
from verifier.crew import LoadDriver
from verifier.events import Verdict
from verifier.policy import Standing
from verifier.site import Site


@dataclass(frozen=True)
class Said:
    """What was signed, by whom, and who is still asked."""

    change: Change
    person: str
    role: str
    standing: Standing


def say_verdict(
    site: Site,
    item: str,
    signer: Signer,
    verdict: Literal["approve", "reject"],
    *,
    condition: str | None,
    load: LoadDriver,
) -> Said:
    """Sign and record. The person is the one whom the policy in force lists for the key.

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
    change = change_of(site, item)
    crew_for(site, change, load)
    approval = Approval(plan=change.plan.digest, verdict=verdict, keyid=keyid, role=about.role, condition=condition)
    envelope = sign_approval(approval, signer)
    verify_approval(envelope, site.policy)
    site.keep_document(encode(change.plan))
    site.record(
        Verdict(
            item=item,
            plan=change.plan.digest,
            envelope=site.keep_document(envelope),
            keyid=keyid,
            person=person,
            role=about.role,
            verdict=verdict,
            condition=condition,
        )
    )
    return Said(change=change, person=person, role=about.role, standing=standing_of(site, change))
