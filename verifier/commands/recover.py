"""waybill recover"""

from pathlib import Path

import click

from console.options import command
from console.result import Result
from verifier.commands.change_options import runtime_here, write_report_after
from verifier.commands.install import install_output
from verifier.commands.site_options import hold_here, site_option
from verifier.install.recover import recover


@command(examples=("waybill recover", "waybill recover --due"))
@click.option("--due", is_flag=True, help="End a trial whose time is up as well; for timers and the boot.")
@site_option
def recover_command(due: bool, place: Path | None) -> Result:
    """Finish or undo an interrupted change; afterwards the site is old or new. Safe to run at any time.

    If the site is INCONSISTENT, retry once. With --due (for timers) never retry.
    """
    with hold_here(place, "recover") as site:
        what, ended = recover(site, runtime_here(), write_report_after, due=due)
    result = install_output(ended, "runs")
    return Result(f"{what}\n{result.text}", {"action": what, **result.data}, result.error)
