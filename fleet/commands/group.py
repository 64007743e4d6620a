"""The group of commands `waybill fleet`; a command's module is imported when it is called."""

import click

from console.table import CommandTable

COMMANDS = {
    "enroll": ("fleet.commands.enroll:enroll_command", "Record a site from its enrolment file."),
    "import": ("fleet.commands.import_reports:import_command", "Import reports and bundles from a medium."),
    "sites": ("fleet.commands.views:sites_command", "List every site: what it runs, and how old that report is."),
    "show": ("fleet.commands.views:show_command", "Show one site with its history."),
    "list": ("fleet.commands.views:list_command", "List alarms, reports, releases and more, newest first."),
    "consign": ("fleet.commands.consign:consign_command", "Sign a consignment for each SITE and write a medium."),
    "resolve": ("fleet.commands.resolve:resolve_command", "Decide about a fork, a key, a file or an alarm."),
    "offboard": ("fleet.commands.offboard:offboard_command", "Request or close the offboarding of a site."),
}


@click.group("fleet", cls=CommandTable, table=COMMANDS)
def fleet_group() -> None:
    """What support knows, and what it writes to sites."""
