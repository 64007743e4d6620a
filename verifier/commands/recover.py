"""waybill recover"""

from pathlib import Path

import click

from console.options import verb
from console.result import Result
from verifier.commands.install import install_output
from verifier.commands.site_options import hold_here, runtime_here, site_option, write_report_after
from verifier.install.recover import recover


@verb(short_help="Finish what a crash interrupted.")
@click.option("--due", is_flag=True, help="For timers and the boot: also end a trial whose time is up.")
@site_option
def recover_command(due: bool, place: Path | None) -> Result:
    """Finish or undo what was cut off; the site is old or new afterwards. Safe to run at any time.

    Out of INCONSISTENT it tries once more, on your word; with --due it leaves that alone, because nobody is there.
    """
    with hold_here(place, "recover") as site:
        what, ended = recover(site, runtime_here(), write_report_after, due=due)
    result = install_output(ended, "runs")
    return Result(f"{what}\n{result.text}", {"action": what, **result.data}, result.error)
