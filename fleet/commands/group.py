"""The group of commands `waybill fleet`."""

import click

from fleet.commands.consign import consign_command
from fleet.commands.enroll import enroll_command
from fleet.commands.import_reports import import_command
from fleet.commands.list import list_command
from fleet.commands.offboard import offboard_command
from fleet.commands.resolve import resolve_command
from fleet.commands.show import show_command
from fleet.commands.sites import sites_command


@click.group("fleet", help="Support's ledger: which site runs what.")
def fleet_group() -> None:
    pass


fleet_group.add_command(enroll_command)
fleet_group.add_command(import_command)
fleet_group.add_command(sites_command)
fleet_group.add_command(show_command)
fleet_group.add_command(consign_command)
fleet_group.add_command(resolve_command)
fleet_group.add_command(list_command)
fleet_group.add_command(offboard_command)
