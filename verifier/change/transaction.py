"""The last transaction of a site: its documents, the time left in its trial, and how it ended. Reads only."""

from manifests.words.errors import InconsistentError, RefusedError, RolledBackError, TrialError, WaybillError
from manifests.words.units import show_duration
from verifier.site.folder import Site
from verifier.site.generations import target_of
from verifier.site.journal.events import Planned
from verifier.site.journal.installs import State
from verifier.site.journal.transitions import BEFORE_CHANGE
from verifier.site.releases import revoked_release
from verifier.site.unread import attempt


def trial_left(site: Site) -> int | None:
    """Return the seconds of running time left in the trial, negative when it is over; None when nothing is on trial."""
    state, host = site.state, site.host
    transaction = state.installs.transaction
    if transaction is None or transaction.state != State.PROBING:
        return None
    spent: int = transaction.running + state.elapsed(host.boot, host.monotonic())
    return target_of(site, transaction.planned).release.trial.at_most_seconds - spent


def describe_trial(site: Site) -> str:
    """Return how long the trial still lasts and what follows; empty when nothing is on trial or it cannot be read."""
    from verifier.change.recovery import rollback_obstacle  # both loaded only in a trial
    from verifier.change.transaction_script import script_of

    try:
        left = trial_left(site)
        stays = left is not None and rollback_obstacle(script_of(site)) is not None
    except WaybillError:
        return ""
    if left is None:
        return ""
    if stays:
        return "a rollback is not possible, so the trial lasts until a person confirms it"
    if left <= 0:
        return "the time of the trial is over; waybill recover --due rolls it back"
    return f"{show_duration(left)} of running time are left, then it is rolled back automatically"


def trial_commands(site: Site, planned: Planned) -> str:
    """Return the commands that end a trial; a release that was revoked meanwhile is only left."""
    revoked = attempt(lambda: revoked_release(site, planned.release), [])
    if revoked is not None:
        return f"`waybill rollback`; release {planned.version} is revoked: {revoked}"
    return f"`{_confirm_command(site)}` or `waybill rollback`"


def _confirm_command(site: Site) -> str:
    """Return the command that confirms a trial at this site."""
    try:
        asks_key = site.policy.confirm.or_person is not None
    except WaybillError:
        asks_key = True
    return "waybill confirm --key KEY" if asks_key else "waybill confirm"


def transaction_error(site: Site) -> WaybillError | None:
    """Return the error that tells how the last transaction ended; None when it ended well or changed nothing."""
    state = site.state
    transaction = state.installs.transaction
    if transaction is None or transaction.state in (State.SETTLED, State.CONFIRMED):
        return None
    planned = transaction.planned
    target, reason = f"generation {planned.target} ({planned.version})", transaction.detail or transaction.code
    if transaction.state == State.ROLLED_BACK:
        running = state.installs.running
        back = f"generation {running.number} ({running.version}) runs again" if running else "nothing is installed"
        if missed := [one.probe for one in state.installs.running_health if one.state != "passing"]:
            back += f", but its own probes do not pass: {', '.join(missed)}"
        return RolledBackError(
            f"{target} failed and was rolled back: {reason}; {back}",
            where=planned.item,
            remedy="send the report to the vendor; `waybill review` says whether a new attempt needs new approvals",
            finding=transaction.code or "rolled-back",
        )
    if transaction.state == State.INCONSISTENT:
        return InconsistentError(
            f"neither generation {planned.source} nor generation {planned.target} runs correctly: {reason}",
            where=planned.item,
            remedy="follow the part `inconsistent` of the rollback document, then run waybill recover",
            finding=transaction.code or "inconsistent",
        )
    if transaction.state == State.PROBING and transaction.passed:
        left = describe_trial(site)
        return TrialError(
            f"{target} runs on trial and passed its probes" + (f"; {left}" if left else ""),
            where=planned.item,
            remedy=f"run {trial_commands(site, planned)}",
            finding="trial",
        )
    if transaction.state in BEFORE_CHANGE:
        return None
    return InconsistentError(
        f"{target} is in state {transaction.state}",
        where=planned.item,
        remedy="run waybill recover",
        finding="unfinished",
    )


def check_idle(site: Site) -> None:
    """Raise unless a new transaction may begin.

    Raises:
        InconsistentError: The last one ended between two generations, or was interrupted.
        RefusedError: One is on trial.
    """
    transaction = site.state.installs.transaction
    error = transaction_error(site)
    if site.state.installs.inconsistent and error is not None:
        raise error
    if transaction is None or transaction.state in (*BEFORE_CHANGE, State.SETTLED, State.ROLLED_BACK):
        return
    if is_on_trial(site):
        raise RefusedError(
            f"generation {transaction.planned.target} is on trial",
            where="site",
            remedy=f"run {trial_commands(site, transaction.planned)}",
            finding="trial",
        )
    if transaction.state != State.CONFIRMED:
        raise InconsistentError(
            f"{transaction.action} of {transaction.planned.item} was interrupted in state {transaction.state}",
            where="site",
            remedy="run `waybill recover`",
            finding="unfinished",
        )


def is_on_trial(site: Site) -> bool:
    """Return whether the probes have passed and a person has to confirm; nothing is unfinished then."""
    last = site.state.installs.transaction
    return last is not None and last.state == State.PROBING and last.passed and last.act is None
