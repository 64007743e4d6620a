"""One person's word: signed with their key over a plan, judged by the policy in force, and kept.

The key is used each time: naming it proves nothing.
"""

from typing import Literal

from manifests.approval import Approval, SignedApproval, sign_approval, verify_approval
from manifests.canonical import encode
from manifests.errors import RefusedError
from manifests.keys import Signer
from manifests.plan import Plan
from manifests.policy import Person, Policy
from verifier.events import Verdict
from verifier.site import Site

Said = Literal["approve", "reject"]


def person_of(policy: Policy, signer: Signer) -> tuple[str, Person]:
    """Whose key it is.

    Raises:
        RefusedError: Nobody's.
    """
    keyid = signer.public.keyid
    found = policy.person_of(keyid)
    if found is None:
        raise RefusedError(
            f"key {keyid[:12]} belongs to nobody in policy {policy.number}",
            where="--key",
            remedy=f"the policy lists {', '.join(sorted(policy.people))}",
            finding="approver-unknown",
        )
    return found


def sign_word(
    site: Site, plan: Plan, signer: Signer, verdict: Said = "approve", condition: str | None = None
) -> SignedApproval:
    """Sign the plan and verify what was signed. Writes nothing.

    Raises:
        RefusedError: The key is nobody's in the policy in force.
        UntrustedError: What the signer gave is no signature by that key.
    """
    _, about = person_of(site.policy, signer)
    keyid = signer.public.keyid
    said = Approval(plan=plan.digest, verdict=verdict, keyid=keyid, role=about.role, condition=condition)
    return verify_approval(sign_approval(said, signer), site.policy)


def keep_word(site: Site, plan: Plan, word: SignedApproval) -> str:
    """Keep what was signed beside what it is about, durably; the digest by which the journal names it."""
    site.keep_document(encode(plan))
    return site.keep_document(word.raw)


def record_verdict(site: Site, item: str, plan: Plan, word: SignedApproval) -> None:
    """Keep it, and enter it into the journal of a held site."""
    said = word.approval
    site.record(
        Verdict(
            item=item,
            plan=plan.digest,
            envelope=keep_word(site, plan, word),
            keyid=said.keyid,
            person=word.person,
            role=said.role,
            verdict=said.verdict,
            condition=said.condition,
        )
    )
