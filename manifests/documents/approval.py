"""An approval: a person's signature over the identity of a plan."""

from dataclasses import dataclass
from typing import Literal

from manifests.documents.policy import Policy
from manifests.trust.envelope import parse_envelope, verify_signature
from manifests.trust.envelope_writer import seal
from manifests.trust.private_keys import Signer
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, KeyId, Name, Text, digest_of
from manifests.words.errors import MalformedError, RefusedError

APPROVAL_TYPE = "application/vnd.waybill.approval.v1+json"
MAX_APPROVAL = 64 << 10


class Approval(Document, frozen=True, kw_only=True, tag_field="type", tag=APPROVAL_TYPE):
    """What is signed.

    Attributes:
        plan: Digest of the plan's bytes, which name the site, the releases and the policy.
        role: The role that the policy gives to the key's owner.
        condition: In the approver's words; shown and kept, not judged.
        request: Digest of the request that it answers, when it was signed away from the site: it is accepted once.
    """

    plan: Digest
    verdict: Literal["approve", "reject"]
    keyid: KeyId
    role: Name
    condition: Text | None = None
    request: Digest | None = None


@dataclass(frozen=True)
class SignedApproval:
    """An approval, verified with a key of the policy; ``raw`` is the envelope, ``person`` the owner of the key."""

    raw: bytes
    approval: Approval
    person: str

    @property
    def digest(self) -> str:
        return digest_of(self.raw)


def sign_approval(approval: Approval, signer: Signer) -> bytes:
    """The envelope: one DSSE signature by the key that the approval names."""
    if approval.keyid != signer.public.keyid:
        raise ValueError("an approval is signed by the key that it names")
    return seal(encode(approval), APPROVAL_TYPE, (signer,))


def verify_approval(data: bytes, policy: Policy, what: str = "approval") -> SignedApproval:
    """Read an approval and verify it with the key that ``policy`` lists for one of its people.

    Raises:
        MalformedError: Not an approval with exactly one signature, by the key that it names.
        RefusedError: The policy does not list the key, or under another role.
        UntrustedError: The signature does not match.
    """
    envelope = parse_envelope(data, APPROVAL_TYPE, what, max_bytes=MAX_APPROVAL)
    approval = parse(envelope.payload_bytes, Approval, what, max_bytes=MAX_APPROVAL)
    if [one.keyid for one in envelope.signatures] != [approval.keyid]:
        problem = "the approval does not have exactly one signature, by the key that it names"
        raise MalformedError(problem, where=what, remedy="approve again with waybill approve")
    listed_person, key = policy.person_of(approval.keyid), policy.key_of(approval.keyid)
    if listed_person is None or key is None:
        problem = f"key {approval.keyid[:12]} belongs to no person of policy {policy.number}"
        remedy = "approve with a key that the policy in force lists"
        raise RefusedError(problem, where=what, remedy=remedy, finding="approver-unknown")
    person, listed = listed_person
    verify_signature(envelope, envelope.signatures[0], key, what)
    if approval.role != listed.role:
        problem = f"{person} approves as {approval.role}, policy {policy.number} lists them as {listed.role}"
        raise RefusedError(problem, where=what, remedy="approve again with waybill approve", finding="approver-role")
    return SignedApproval(raw=data, approval=approval, person=person)
