"""Make a click command of a function, and the options that commands share."""

import os
import sys
import traceback
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import click

from console.output import host_error, print_result
from console.result import Result
from manifests.words.errors import WaybillError
from manifests.words.text import escape_character, is_hidden, visible


def verb(**settings: Any) -> Callable[[Callable[..., Result | None]], click.Command]:
    """Make a click command of a function that returns a ``Result``; adds the options that every verb has."""

    def decorate(function: Callable[..., Result | None]) -> click.Command:
        def run(*args: Any, as_json: bool, quiet: bool, verbose: bool, no_color: bool, **options: Any) -> None:
            context = click.get_current_context()
            context.meta["waybill.quiet"] = quiet or as_json
            if no_color or os.environ.get("NO_COLOR"):
                context.color = False
            sys.exit(_run(lambda: function(*args, **options), as_json=as_json, verbose=verbose))

        update_wrapper(run, function)
        command: Any = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(run)
        command = click.option("--quiet", is_flag=True, help="No messages and no progress.")(command)
        command = click.option("--verbose", is_flag=True, help="Show where an error came from.")(command)
        command = click.option("--no-color", is_flag=True, help="No colour, as with NO_COLOR.")(command)
        made: click.Command = click.command(**settings)(command)
        return made

    return decorate


def _run(function: Callable[[], Result | None], *, as_json: bool, verbose: bool) -> int:
    """Run one verb; print its result or its error; return the exit code."""
    try:
        result = function() or Result("")
    except WaybillError as error:
        if verbose:
            click.echo(visible(traceback.format_exc()), err=True)
        result = Result("", {}, error)
    except OSError as error:
        if verbose:
            click.echo(visible(traceback.format_exc()), err=True)
        result = Result("", {}, host_error(error))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return 130
    print_result(result, as_json=as_json)
    return result.error.exit_code if result.error else 0


passphrase_option = click.option(
    "--passphrase-fd", "passphrase_fd", type=int, metavar="N", help="Read the key's passphrase from descriptor N."
)


MAX_WORDS = 1000


def in_words(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Of an option (its ``callback``): what a person says there is kept word for word, so it is one line of text.

    Raises:
        click.BadParameter: It is longer than 1,000 characters, or has one that cannot be shown.
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
