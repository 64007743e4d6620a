"""End a trial."""

from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError
from verifier.approval.confirmation import sign_confirmation, trial_plan
from verifier.install.machine import Machine, ManualConfirmation
from verifier.install.result import InstallResult, WriteReport, result_of
from verifier.install.wiring import Runtime
from verifier.site.folder import Site
from verifier.site.journal.transitions import State


def confirm(site: Site, tools: Runtime, *, signer: Signer | None, tell: WriteReport) -> InstallResult:
    """End a trial that waits for a person.

    Raises:
        RefusedError: Nothing is on trial, or the key's owner is not among those who may say so.
    """
    now = site.state.installs.transaction
    if now is None or now.state != State.PROBING or not now.passed:
        raise RefusedError("nothing waits to be confirmed", where="confirm", remedy="waybill status", finding="idle")
    site.make_room()
    word = sign_confirmation(site, trial_plan(site, now), signer)
    Machine(site, tools).drive(forward=False, confirmed=ManualConfirmation(word))
    return result_of(site, tell, "confirm", None)
