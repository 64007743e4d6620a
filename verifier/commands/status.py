"""waybill status"""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import command
from console.result import Result
from manifests.words.errors import WaybillError
from verifier.approval.queue import waiting_items
from verifier.change.driver_steps import observe
from verifier.commands.site_options import look_here, site_option
from verifier.handlers.sandbox_lines import sandbox_lines
from verifier.reporting.health import measure_health
from verifier.reporting.status import broken_status, read_status
from verifier.runtime.drivers.driver import load_driver


@command(examples=("waybill status", "waybill status --fast --json"))
@click.option("--fast", is_flag=True, help="Skip the check of what the drivers placed, and the probes.")
@site_option
def status_command(fast: bool, place: Path | None) -> Result:
    """Show what is unfinished, what runs and what waits. Changes nothing."""
    site = look_here(place, checkpoint=True)
    if site.broken is not None:
        status = broken_status(site, site.broken)
        return Result(status.text, status.data, status.error)
    components, health, unseen, now = None, None, "", utc_now()
    if not fast:
        try:
            components = observe(site, load_driver)
            health = measure_health(site, load_driver, now)
        except WaybillError as error:
            unseen = str(error)
    waiting = waiting_items(site)
    status = read_status(site, waiting, components, now, health=health, unseen=unseen)
    handlers = () if fast else sandbox_lines(site)
    text = "\n".join((status.text, *(("", *handlers) if handlers else ())))
    return Result(text, {**status.data, "handlers": list(handlers)}, status.error)
