"""Print results and errors: the result to stdout, everything else to stderr."""

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import click

from console.result import Result
from console.screen import fit, terminal_width
from manifests.words.errors import DamagedError, HostError, UsageError, WaybillError
from manifests.words.text import visible

QUIET = "waybill.quiet"
VERBOSE = "waybill.verbose"


def is_set(name: str) -> bool:
    """Whether the running command was given --quiet (``QUIET``) or --verbose (``VERBOSE``)."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(name))


def say(text: str) -> None:
    """Print a message for people to stderr; print nothing with --quiet."""
    if not is_set(QUIET):
        click.echo(visible(text), err=True)


def print_result(result: Result, *, as_json: bool) -> None:
    error = result.error
    try:
        if as_json:
            shown: dict[str, Any] = {"ok": error is None, "exit_code": error.exit_code if error else 0, **result.data}
            if error:
                shown["error"] = {
                    "finding": error.finding,
                    "problem": error.problem,
                    "where": error.where,
                    "hint": error.remedy,
                }
                if isinstance(error, DamagedError) and error.pieces:
                    shown["error"]["pieces"] = [asdict(one) for one in error.pieces]
            click.echo(json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True))
        elif result.text:
            click.echo(visible(result.text) if result.exact else _fit(result.text))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; closing stdout later must not print a traceback about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error and not as_json:
        print_error(error)


def print_error(error: WaybillError) -> None:
    text = _fit(f"error: {error}")
    click.echo(click.style("error:", fg="red", bold=True) + text.removeprefix("error:"), err=True)
    if error.remedy:
        # Whole digests: a person pastes them.
        text = fit(f"hint: {error.remedy}", terminal_width(), verbose=True)
        click.echo(click.style("hint:", fg="cyan") + text.removeprefix("hint:"), err=True)


def _fit(text: str) -> str:
    return fit(text, terminal_width(), verbose=is_set(VERBOSE))


def usage_error(wrong: click.ClickException, *, as_json: bool) -> int:
    """Print click's own complaint about the command line in our form; exit code 2."""
    message = wrong.format_message()
    message = message[:1].lower() + message[1:].rstrip(".")
    context = getattr(wrong, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else "waybill --help"
    print_result(Result("", {}, UsageError(message, remedy=hint)), as_json=as_json)
    return 2


def host_error(error: OSError) -> HostError:
    """An operating system's refusal in our words."""
    hints = {
        28: "make space and run the same command again",
        30: "the file system is read-only",
        13: "check who owns the folder",
        1: "check who owns the folder",
    }
    problem = (error.strerror or str(error)).lower()
    return HostError(problem, where=str(error.filename or ""), remedy=hints.get(error.errno or 0, ""), finding="host")
