"""Confirmations signed by one person: that a trial succeeded, or that the date of a release may be the time floor."""

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
    """Return the plan that is signed at the end of a trial; it names the generation and the approved plan."""
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


def sign_confirmation(site: Site, plan: Plan, signer: Signer | None) -> SignedApproval | None:
    """Sign ``plan`` and store the signature at a locked site; return None if no key is needed and none was named.

    Raises:
        RefusedError: The person of the key does not have the role that the policy requires.
        UsageError: The policy requires a signature, and no key was named.
    """
    role = site.policy.confirm.or_person
    if signer is None:
        if role is not None:
            raise UsageError(
                f"a trial is confirmed by {role}",
                where="--key",
                remedy="run waybill confirm --key KEY, or set WAYBILL_KEY",
            )
        return None
    person, about = person_of_key(site.policy, signer)
    if role not in (None, about.role):
        raise RefusedError(
            f"{person} is {about.role}; a trial is confirmed by {role}",
            where="--key",
            remedy=f"ask a person with the role {role} to run this command",
            finding="confirm-role",
        )
    signed = sign_verdict(site.policy, plan, signer)
    keep_verdict(site, plan, signed)
    return signed


def acknowledge_time(site: Site, time: str, signer: Signer | None) -> None:
    """Make the claimed time the time floor. A date far ahead in one release does not raise the floor by itself.

    Raises:
        RefusedError: It is not the claimed time, or the person of the key may not accept it.
        UsageError: No key was named.
    """
    claimed = optional_time(site.state.trust.time_claimed)
    if claimed is None or time != claimed:
        raise RefusedError(
            f"{time} is not claimed; {f'the claimed time is {claimed}' if claimed else 'no time is claimed'}",
            where="--time",
            remedy="run waybill status to see the claimed time",
            finding="time-not-claimed",
        )
    state = site.state
    plan = Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="time",
        last_change=state.last_change,
        policy=state.trust.policy,
        subject=digest_of(time.encode()),
    )
    signed = sign_confirmation(site, plan, signer)
    if signed is None:
        raise UsageError(
            "accepting a time needs a signature", where="--key", remedy=f"run waybill confirm --time {time} --key KEY"
        )
    approval = signed.approval
    site.record(
        TimeAcknowledged(
            time=time, person=signed.person, role=approval.role, keyid=approval.keyid, envelope=signed.digest
        )
    )
