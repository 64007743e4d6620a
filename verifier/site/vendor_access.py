"""The end of a vendor's access as far as the journal tells it: what people agree to, and what the report says. Pure."""

from manifests.documents import report as r
from manifests.documents.plan import Plan
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError
from manifests.words.time import rfc3339
from verifier.site.journal.state import SiteState

MAX_PROBES = 16
WORKS_ON = "works on: status, history, rollback to what is here, with answers from elsewhere; recover, the last report"
REFUSED_FROM_THEN = "refused from then on: receive of all else, install, a new report, a change of key"


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
        policy=state.trust.policy,
        contract=state.installs.contract,
        subject=digest_of(encode(now.asked)),
        kinds=("offboard",),
    )


def check_served(state: SiteState) -> None:
    """Raise RefusedError once this site has no vendor any more."""
    if state.offboarding is not None and state.offboarding.done_at is not None:
        raise RefusedError(
            f"the access of {state.trust.vendor} was ended at {rfc3339(state.offboarding.done_at)}",
            where="site",
            remedy="status, history and rollback still work; for a vendor again, waybill enroll a new folder",
            finding="offboarded",
        )


def beforehand(state: SiteState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What people must know before they agree to the end: what will be done, and what nothing takes back."""
    now = state.offboarding
    if now is None:
        raise ValueError("nobody has asked")
    running, retires = state.installs.running, now.asked.reason == "retired"
    runs = f"the software that runs ({running.product} {running.version}), " if running else ""
    done = (
        f"asked at {rfc3339(now.asked_at)}, because: {now.asked.detail}",
        f"root {state.trust.root.version} of {state.trust.vendor} is believed no more; its documents stay as evidence",
        "what was believed before is tried once more; each has to be refused, and the last report says so",
        f"stays: {runs}data, images, backups, journal, the generations that are kept here",
        WORKS_ON,
        REFUSED_FROM_THEN,
        "a last report is written; support closes the site when it comes",
    )
    forever = [f"nothing takes it back: for {state.trust.vendor} again, a new folder is enrolled under another name"]
    if retires:
        forever.append("the site retires: its key is destroyed, and nothing can speak for it any more")
    waiting = [one.version for one in state.installs.releases if running is None or running.before(one)]
    if waiting:
        forever.append(f"{', '.join(waiting)} can be installed no more")
    return done, tuple(forever)


def told_offboarding(state: SiteState, remains: r.Remains | None) -> r.ReportedOffboarding | None:
    """What the next report says of it; once the access has ended, that report is the last one."""
    now = state.offboarding
    if now is None:
        return None
    if now.done is None:
        return r.ReportedOffboarding(reason=now.asked.reason, plan=offboard_plan(state).digest)
    probes = tuple(
        r.NegativeProbe(kind=one.kind, artefact=one.artefact, outcome=one.outcome, finding=one.finding)
        for one in sorted(now.tried, key=lambda one: one.kind)
    )
    return r.ReportedOffboarding(
        reason=now.done.reason,
        plan=now.done.plan,
        removed=True,
        probes=probes[:MAX_PROBES],
        remains=remains,
        final=True,
        key="destroyed" if now.done.reason == "retired" else "kept",
    )
