"""The end of a vendor's access: the plan that people approve, its consequences, and the report of it. Pure."""

from manifests.documents import report as r
from manifests.documents.plan import Plan
from manifests.words.canonical import encode
from manifests.words.digest import digest_of
from manifests.words.errors import RefusedError, WaybillError
from manifests.words.time import rfc3339
from verifier.site.journal.state import SiteState

MAX_PROBES = 16
WORKS_ON = "still works: status, history, recover, the last report, receive of approvals, a new policy"
REFUSED_FROM_THEN = "refused from then on: receive of anything else, install, a new report, a change of key"


def offboard_plan(state: SiteState) -> Plan:
    """Return the plan that people approve: this site ends its vendor's access, for the reason given.

    Raises:
        RefusedError: It was not requested, or the access has ended.
    """
    offboarding = state.offboarding
    if offboarding is None:
        raise RefusedError(
            "the end of the vendor's access was not requested",
            where="offboard",
            remedy="request it: waybill offboard --reason TEXT",
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
        subject=digest_of(encode(offboarding.asked)),
        kinds=("offboard",),
    )


def check_served(state: SiteState) -> None:
    """Raise RefusedError if the vendor's access has ended."""
    if state.offboarding is not None and state.offboarding.done_at is not None:
        raise RefusedError(
            f"the access of {state.trust.vendor} ended at {rfc3339(state.offboarding.done_at)}",
            where="site",
            remedy=f"make a site in another folder: `waybill enroll MEDIUM --site NEW`; here {WORKS_ON}, "
            "each rollback that `waybill status` names",
            finding="offboarded",
        )


def without_vendor(state: SiteState, error: WaybillError) -> WaybillError:
    """Return the error; after the end of the vendor's access, with what still helps where it advises to receive."""
    if not state.offboarded or "waybill receive" not in error.remedy:
        return error
    file = error.where if error.where.startswith("/") else "what is damaged"
    remedy = f"nothing of {state.trust.vendor} can be received here any more: restore {file} from a backup of the site"
    return error.with_(remedy=f"{remedy}; {WORKS_ON}")


def without_root(state: SiteState, error: WaybillError) -> WaybillError:
    """Return the error about a root that is not trusted; after the end of the vendor's access, that none is."""
    if error.finding != "root-unknown" or state.offboarding is None or state.offboarding.done_at is None:
        return error
    ended = f"the access of {state.trust.vendor} ended at {rfc3339(state.offboarding.done_at)}"
    remedy = "name a root that you trust instead of the site: --root ROOT"
    return error.with_(problem=f"this site trusts no root any more: {ended}", where="site", remedy=remedy)


def offboarding_consequences(state: SiteState) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what will be done, and what cannot be undone, for the people who approve the end."""
    offboarding = state.offboarding
    if offboarding is None:
        raise ValueError("it was not requested")
    running, retires = state.installs.running, offboarding.asked.reason == "retired"
    runs = f"the software that runs ({running.product} {running.version}), " if running else ""
    done = (
        f"requested at {rfc3339(offboarding.asked_at)}, reason: {offboarding.asked.detail}",
        f"root {state.trust.root.version} of {state.trust.vendor} is no longer trusted; its documents stay as evidence",
        "every document that was trusted before is tried once more; each must be refused, and the last report says so",
        f"stays: {runs}data, images, backups, journal, the kept generations",
        WORKS_ON,
        REFUSED_FROM_THEN,
        "a last report is written; support closes the site when it arrives",
    )
    forever = [f"it cannot be undone: to work with {state.trust.vendor} again, enroll a new folder under another name"]
    if retires:
        forever.append("the site retires: its key is destroyed, and it can sign nothing any more")
    waiting = [one.version for one in state.installs.releases if running is None or running.before(one)]
    if waiting:
        forever.append(f"{', '.join(waiting)} can no longer be installed")
    return done, tuple(forever)


def reported_offboarding(state: SiteState, remains: r.Remains | None) -> r.ReportedOffboarding | None:
    """Return the part of the next report about it. After the end of the access that report is the last one."""
    offboarding = state.offboarding
    if offboarding is None:
        return None
    if offboarding.done is None:
        return r.ReportedOffboarding(reason=offboarding.asked.reason, plan=offboard_plan(state).digest)
    probes = tuple(
        r.NegativeProbe(kind=probe.kind, artefact=probe.artefact, outcome=probe.outcome, finding=probe.finding)
        for probe in sorted(offboarding.tried, key=lambda probe: probe.kind)
    )
    return r.ReportedOffboarding(
        reason=offboarding.done.reason,
        plan=offboarding.done.plan,
        removed=True,
        probes=probes[:MAX_PROBES],
        remains=remains,
        final=True,
        key="destroyed" if offboarding.done.reason == "retired" else "kept",
    )
