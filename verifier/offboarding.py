"""The end of a vendor's access as far as the journal tells it: what people agree to, and what the report says. Pure."""

from manifests import report as r
from manifests.canonical import encode
from manifests.digest import digest_of
from manifests.errors import RefusedError
from manifests.plan import Plan
from verifier.state import SiteState

MAX_PROBES = 16


def offboard_plan(state: SiteState) -> Plan:
    """What people agree to: that this site ends its vendor's access, for the reason that was given.

    Raises:
        RefusedError: Nobody has asked for it, or it has ended.
    """
    now = state.offboarding
    if now is None:
        raise RefusedError(
            "nobody has asked that the vendor's access ends",
            where="offboard",
            remedy="waybill offboard --reason TEXT",
            finding="offboard-not-asked",
        )
    check_served(state)
    return Plan(
        site=state.site,
        site_key=state.site_key.keyid,
        action="offboard",
        last_change=state.last_change,
        policy=state.policy,
        contract=state.contract,
        subject=digest_of(encode(now.asked)),
        kinds=("offboard",),
    )


def check_served(state: SiteState) -> None:
    """Raise RefusedError once this site has no vendor any more."""
    if state.offboarded and state.offboarding is not None:
        raise RefusedError(
            f"the access of {state.vendor} was ended at {state.offboarding.done_at}",
            where="site",
            remedy="status, history and rollback still work; for a vendor again, waybill enroll a new folder",
            finding="offboarded",
        )


def told_offboarding(state: SiteState, remains: r.Remains | None) -> r.Offboarding | None:
    """What the next report says of it; once the access has ended, that report is the last one."""
    now = state.offboarding
    if now is None:
        return None
    if now.done is None:
        return r.Offboarding(reason=now.asked.reason, plan=offboard_plan(state).digest)
    probes = tuple(
        r.NegativeProbe(kind=one.kind, artefact=one.artefact, outcome=one.outcome, finding=one.finding)
        for one in sorted(now.tried, key=lambda one: one.kind)
    )
    return r.Offboarding(
        reason=now.done.reason,
        plan=now.done.plan,
        removed=True,
        probes=probes[:MAX_PROBES],
        remains=remains,
        final=True,
        key="destroyed" if now.done.reason == "retired" else "kept",
    )
