"""The last transaction of a site: what it works on, how much of its trial is left, and how it ended. Writes nothing."""

from collections.abc import Callable

from manifests.documents.rollback import MAX_ROLLBACK, Rollback, parse_rollback
from manifests.words.errors import InconsistentError, RolledBackError, TrialError, WaybillError
from manifests.words.units import show_duration
from verifier.change.recovery import RollbackScript, rollback_obstacle
from verifier.site.folder import Site
from verifier.site.generations import Installed, read_generation, read_installed
from verifier.site.journal.events import Planned
from verifier.site.journal.transitions import BEFORE_CHANGE, State
from verifier.site.store import get_blob

# While the rollback document has a say: before staging its folder is not there, afterwards nothing is left to decide.
SCRIPTED = (
    State.STAGED,
    State.BACKED_UP,
    State.MIGRATING,
    State.SWITCHED,
    State.PROBING,
    State.ROLLING_BACK,
    State.INCONSISTENT,
)


def target_of(site: Site, planned: Planned) -> Installed:
    """The generation that is to run. A rollback goes to one as it was made, under the plan of that time.

    Raises:
        DamagedError: Its folder is not what was planned.
    """
    made = site.state.installs.generation(planned.target)
    if planned.action == "rollback" and made is not None:
        return read_installed(site, made)
    return read_generation(
        site.generation_folder(planned.target),
        planned.target,
        release=planned.release,
        settings=planned.settings,
        config=planned.config,
        # A generation keeps the plan that made it; going back to it is another plan.
        plan=made.plan if made else planned.plan,
    )


def document_owner(site: Site, planned: Planned) -> Installed:
    """The generation by whose rollback document the data are changed or taken back."""
    known = site.state.installs.generation(planned.document)
    if planned.document == planned.target or known is None:
        return target_of(site, planned)
    return read_installed(site, known)


def read_document(site: Site, owner: Installed) -> Rollback:
    return parse_rollback(get_blob(site.blobs, owner.release.rollback, MAX_ROLLBACK))


def script_of(site: Site, document: Callable[[], Rollback] | None = None) -> RollbackScript | None:
    """What the rollback document says of where things are; None while it has no say.

    Args:
        document: Reads it, where that is not to be done each time.
    """
    now = site.state.installs.transaction
    if now is None or not now.planned.document or now.state not in SCRIPTED:
        return None
    return RollbackScript(
        document=document() if document else read_document(site, document_owner(site, now.planned)),
        deeds=site.state.installs.deeds_of(now.planned.document),
        back=now.action == "rollback",
        fresh=now.planned.source == 0,
    )


def trial_left(site: Site) -> int | None:
    """Seconds of running time that the trial still has, negative when its time is up; None when nothing is on trial."""
    state, host = site.state, site.host
    now = state.installs.transaction
    if now is None or now.state != State.PROBING:
        return None
    spent: int = now.running + state.elapsed(host.boot, host.monotonic())
    return target_of(site, now.planned).release.trial.at_most_seconds - spent


def describe_trial(site: Site) -> str:
    """How long the trial still lasts and what comes then; empty when it cannot be told."""
    try:
        left = trial_left(site)
        stays = left is not None and rollback_obstacle(script_of(site)) is not None
    except WaybillError:
        return ""
    if left is None:
        return ""
    if stays:
        return "nothing leads back, so it waits for a person's word however long"
    if left <= 0:
        return "its time is up: it goes back by itself, with waybill recover --due"
    return f"{show_duration(left)} of its running time are left, then it goes back by itself"


def confirm_command(site: Site) -> str:
    """The command that ends a trial well, as it has to be typed here."""
    try:
        asks_key = site.policy.confirm.or_person is not None
    except WaybillError:
        asks_key = True
    return "waybill confirm --key KEY" if asks_key else "waybill confirm"


def transaction_error(site: Site) -> WaybillError | None:
    """How the last transaction ended, as the failure that the command ends with; None when all is well."""
    state = site.state
    now = state.installs.transaction
    if now is None or now.state in (State.SETTLED, State.CONFIRMED):
        return None
    target = now.planned.target
    if now.state == State.ROLLED_BACK:
        running = state.installs.running
        back = f"generation {running.number} ({running.version}) runs again" if running else "nothing is installed"
        return RolledBackError(
            f"generation {target} ({now.planned.version}) failed and was taken back: {now.detail or now.code}; {back}",
            where=now.planned.item,
            remedy="the report tells the vendor; a new attempt needs a new approval",
            finding=now.code or "rolled-back",
        )
    if now.state == State.INCONSISTENT:
        return InconsistentError(
            f"neither generation {now.planned.source} nor {target} runs as it should: {now.detail or now.code}",
            where=now.planned.item,
            remedy="do what the rollback document says under `inconsistent`, then waybill recover",
            finding=now.code or "inconsistent",
        )
    if now.state == State.PROBING and now.passed:
        left = describe_trial(site)
        return TrialError(
            f"generation {target} ({now.planned.version}) runs on trial and passed its probes"
            + (f"; {left}" if left else ""),
            where=now.planned.item,
            remedy=f"{confirm_command(site)}, or waybill rollback",
            finding="trial",
        )
    if now.state in BEFORE_CHANGE:
        return None
    return InconsistentError(
        f"generation {target} is in state {now.state}",
        where=now.planned.item,
        remedy="waybill recover",
        finding="unfinished",
    )
