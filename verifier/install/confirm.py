"""Confirm a trial that waits for a person."""

from manifests.trust.private_keys import Signer
from manifests.words.errors import RefusedError
from verifier.approval.confirmation import sign_confirmation, trial_plan
from verifier.install.machine import DriveRequest, drive
from verifier.install.result import InstallResult, WriteReport, result_of
from verifier.install.wiring import Runtime
from verifier.site.folder import Site
from verifier.site.journal.installs import State


def confirm(site: Site, runtime: Runtime, signer: Signer | None, write_report: WriteReport) -> InstallResult:
    """End a trial whose probes have passed and that waits for a person.

    Raises:
        RefusedError: No trial waits, or the key's owner is not one of the people who may confirm.
    """
    transaction = site.state.installs.transaction
    if transaction is None or transaction.state != State.PROBING or not transaction.passed:
        raise RefusedError(
            "no trial waits to be confirmed", where="confirm", remedy="run `waybill status`", finding="idle"
        )
    site.make_room()
    approval = sign_confirmation(site, trial_plan(site, transaction), signer)
    drive(site, runtime, DriveRequest(confirm=True, approval=approval))
    return result_of(site, write_report, "confirm")
