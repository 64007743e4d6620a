"""Look commands up in a table, and import each only when it is called."""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click


class CommandTable(click.Group):
    """A group whose commands are ``name: (module:command, one line of help)``.

    A command whose package is absent (the kit has no bundler and no fleet) is not listed.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **settings: Any) -> None:  # click's arguments
        super().__init__(*args, **settings)
        self.table = table

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            # Somebody who typed the name alone wants to read; a script that lost its command still sees wrong usage.
            click.echo(ctx.get_help())
            sys.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (target, _) in self.table.items() if find_spec(target.partition(".")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.table[name][1]) for name in self.list_commands(ctx)])
