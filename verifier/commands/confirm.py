"""waybill confirm"""

import os
from pathlib import Path

import click

from console.options import command, passphrase_option
from console.result import Result
from manifests.words.time import optional_time
from verifier.approval.confirmation import acknowledge_time
from verifier.commands.change_options import key_option, runtime_here, signer_of, write_report_after
from verifier.commands.install import install_output
from verifier.commands.site_options import hold_here, site_option
from verifier.install.recover import confirm


@command(examples=("waybill confirm --key ops-1.key", "waybill confirm --time 2026-05-02T10:00:00Z --key ops-1.key"))
@key_option
@passphrase_option
@click.option(
    "--time", "claimed", metavar="TIME", help="Time to confirm, as `waybill status` shows it after `claimed`."
)
@site_option
def confirm_command(key: str | None, passphrase_fd: int | None, claimed: str | None, place: Path | None) -> Result:
    """Confirm that the trial which waits for a person went well. The floor rises with it.

    With --time, confirm instead that the time which a release claims is right, although it is far ahead of this
    site's clock.
    """
    signer = signer_of(key, passphrase_fd) if key or os.environ.get("WAYBILL_KEY") else None
    if claimed is not None:
        with hold_here(place, "confirm") as site:
            acknowledge_time(site, claimed, signer)
            return Result(
                f"time has passed until {claimed}", {"time_floor": optional_time(site.state.trust.time_floor)}
            )
    with hold_here(place, "confirm") as site:
        return install_output(confirm(site, runtime_here(), signer, write_report_after), "confirmed")
