"""Make a click command of a function, and the options that commands share."""

import os
import shlex
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar  # click passes options by name, with values of any type

import click

from console.output import QUIET, VERBOSE, MissingPathError, host_error, print_error, print_result, unprinted_error
from console.result import Result
from manifests.words.errors import WaybillError
from manifests.words.text import escape_character, is_hidden

TYPED = "waybill.typed"
GENERAL = ("as_json", "quiet", "verbose", "no_color")


class Command(click.Command):
    """A command whose own options come before those of every command, and whose help ends with examples.

    Attributes:
        examples: One to three command lines that can be typed as they are, but for capital words.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **settings: Any) -> None:  # click's own arguments
        super().__init__(*args, **settings)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        general: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                (general if parameter.name in GENERAL or "--help" in parameter.opts else own).append(record)
        for title, records in (("Options", own), ("Options of every command", general)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    indent = " " * formatter.current_indent
                    formatter.write(indent + example.replace("\n", f"\n{indent}") + "\n")


def command(
    *, examples: tuple[str, ...] = (), **settings: Any
) -> Callable[[Callable[..., Result | None]], click.Command]:
    """Make a click command of a function that returns a ``Result``; adds the options of every command.

    Args:
        examples: Command lines for the end of the help.
        settings: Of ``click.Command``.
    """

    def decorate(function: Callable[..., Result | None]) -> click.Command:
        def run(*args: Any, as_json: bool, quiet: bool, verbose: bool, no_color: bool, **options: Any) -> None:
            context = click.get_current_context()
            context.meta[QUIET] = quiet or as_json
            context.meta[VERBOSE] = verbose
            if no_color or os.environ.get("NO_COLOR"):
                context.color = False
            sys.exit(_run(lambda: function(*args, **options), as_json=as_json))

        update_wrapper(run, function)
        wrapped: Any = click.option("--no-color", is_flag=True, help="Print without colour, as with NO_COLOR.")(run)
        wrapped = click.option("--verbose", is_flag=True, help="Print full lists and digests.")(wrapped)
        wrapped = click.option("--quiet", is_flag=True, help="Print no messages and no progress.")(wrapped)
        wrapped = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(wrapped)
        return click.command(cls=Command, examples=examples, **settings)(wrapped)

    return decorate


def _run(function: Callable[[], Result | None], *, as_json: bool) -> int:
    """Run one command; print its result or its error; return the exit code."""
    try:
        result = function() or Result("")
    except (WaybillError, OSError) as error:
        result = Result("", {}, host_error(error) if isinstance(error, OSError) else error)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    try:
        print_result(result, as_json=as_json)
    except OSError as failure:
        unprinted = unprinted_error(failure)
        print_error(unprinted)
        return result.error.exit_code if result.error else unprinted.exit_code
    return result.error.exit_code if result.error else 0


passphrase_option = click.option(
    "--passphrase-fd", "passphrase_fd", type=int, metavar="N", help="Read the key's passphrase from descriptor N."
)


def typed_command(*more: str) -> str:
    """The command line that runs now, with ``more`` at its end: a hint that can be pasted."""
    context: click.Context | None = click.get_current_context()
    words = [*click.get_current_context().meta[TYPED], *more]
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name or "")
        context = context.parent
    return shlex.join(["waybill", *words])


class ExistingPath(click.Path):
    """A path that must exist; one that does not is a failure of the host, as when it vanishes later."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, exists=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # click's own
        if not os.path.lexists(value):
            raise MissingPathError(str(value))
        return super().convert(value, param, ctx)


MAX_WORDS = 1000
_Command = TypeVar("_Command", bound=Callable[..., object])


def all_of(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Join options into one decorator, in the order in which the help lists them."""

    def decorate(function: _Command) -> _Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def path_option(*names: str, metavar: str = "FILE", **settings: Any) -> Callable[[_Command], _Command]:
    """Make an option for a path; ``settings`` are those of ``click.option``."""
    return click.option(*names, type=click.Path(path_type=Path), metavar=metavar, **settings)


def text_option(*names: str, metavar: str = "TEXT", **settings: Any) -> Callable[[_Command], _Command]:
    """Make an option for a text that is kept as it is; ``settings`` are those of ``click.option``."""
    return click.option(*names, callback=one_line_of_text, metavar=metavar, **settings)


def one_line_of_text(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Return the value of an option.

    Raises:
        click.BadParameter: Longer than 1,000 characters, or with a character that cannot be shown.
    """
    if value is None:
        return None
    if len(value) > MAX_WORDS:
        raise click.BadParameter(f"{len(value)} characters, at most {MAX_WORDS} are kept", context, parameter)
    hidden = next(((i, ord(c)) for i, c in enumerate(value, 1) if is_hidden(ord(c))), None)
    if hidden is not None:
        problem = f"character {hidden[0]} ({escape_character(hidden[1])}) cannot be shown; write one line of text"
        raise click.BadParameter(problem, context, parameter)
    return value
