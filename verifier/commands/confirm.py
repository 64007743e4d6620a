"""waybill confirm"""

import os
from pathlib import Path

import click

from console.options import passphrase_option, verb
from console.result import Result
from manifests.words.time import optional_time
from verifier.approval.confirmation import acknowledge_time
from verifier.commands.install import install_output
from verifier.commands.site_options import (
    hold_here,
    key_option,
    runtime_here,
    signer_of,
    site_option,
    write_report_after,
)
from verifier.install.confirm import confirm


@verb(short_help="End a trial.")
@key_option
@passphrase_option
@click.option("--time", "claimed", metavar="TIME", help="The time that `waybill status` calls claimed.")
@site_option
def confirm_command(key: str | None, passphrase_fd: int | None, claimed: str | None, place: Path | None) -> Result:
    """Say that a trial which waits for a person has gone well. The floor rises here.

    With --time say instead that a time is right which a release claims and which is too far ahead to be believed.
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
