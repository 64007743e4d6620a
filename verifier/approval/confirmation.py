"""What one person confirms with their key: that a trial has gone well, or that a time which a release claims is right.

One mis-dated build must not move a site, and no probe knows what people know.
"""

from manifests.documents.approval import SignedApproval
from manifests.documents.plan import Plan
from manifests.trust.private_keys import Signer
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, UsageError
from manifests.words.time import optional_time
from verifier.approval.verdicts import keep_verdict, person_of_key, sign_verdict
from verifier.site.folder import Site
from verifier.site.journal.events import TimeAcknowledged
from verifier.site.journal.installs import Transaction


def trial_plan(site: Site, transaction: Transaction) -> Plan:
    """What is signed at the end of a trial: this switch to this generation, under the plan that was agreed to."""
    state, planned = site.state, transaction.planned
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="confirm",
        generation=planned.target,
        last_change=state.last_change,
        releases=(planned.release,),
        policy=state.trust.policy,
        contract=planned.contract,
        subject=planned.plan,
    )


def time_plan(site: Site, time: str) -> Plan:
    state = site.state
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="time",
        last_change=state.last_change,
        policy=state.trust.policy,
        subject=digest_of(time.encode()),
    )


def sign_confirmation(site: Site, plan: Plan, signer: Signer | None) -> SignedApproval | None:
    """Who says so, with their signature over ``plan``, kept at a held site; None where no key is needed or named.

    Raises:
        RefusedError: The key's owner is not among those who may.
        UsageError: Somebody has to, and no key was named.
    """
    role = site.policy.confirm.or_person
    if signer is None:
        if role is not None:
            raise UsageError(
                f"a trial is confirmed by {role}", where="--key", remedy="waybill confirm --key KEY, or WAYBILL_KEY"
            )
        return None
    person, about = person_of_key(site.policy, signer)
    if role not in (None, about.role):
        raise RefusedError(
            f"{person} is {about.role}; a trial is confirmed by {role}",
            where="--key",
            remedy=f"ask somebody who is {role}",
            finding="confirm-role",
        )
    signed = sign_verdict(site, plan, signer)
    keep_verdict(site, plan, signed)
    return signed


def acknowledge_time(site: Site, time: str, signer: Signer | None) -> None:
    """Let a claimed time become the floor.

    Raises:
        RefusedError: It is not the time that is claimed, or the key's owner may not say so.
        UsageError: No key is named, and the journal is to hold who said it.
    """
    claimed = optional_time(site.state.trust.time_claimed)
    if claimed is None or time != claimed:
        raise RefusedError(
            f"{time} is not claimed by anything here, {claimed or 'nothing'} is",
            where="--time",
            remedy="waybill status shows it",
            finding="time-not-claimed",
        )
    signed = sign_confirmation(site, time_plan(site, time), signer)
    if signed is None:
        raise UsageError("who says so has to sign", where="--key", remedy=f"waybill confirm --time {time} --key KEY")
    approval = signed.approval
    site.record(
        TimeAcknowledged(
            time=time, person=signed.person, role=approval.role, keyid=approval.keyid, envelope=signed.digest
        )
    )
