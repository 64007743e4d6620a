"""Print results and errors: the result to stdout, everything else to stderr."""

import json
import os
import re
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TextIO

import click
from click.core import ParameterSource

from console.result import Result
from console.screen import fit, terminal_width
from manifests.words.errors import DamagedError, HostError, UsageError, WaybillError, missing_file
from manifests.words.text import CELL, QUOTE, is_hidden, named_digests, visible

# A waybill command in a text; nothing is added to one that has the option, or that asks for the help.
_NAMED = re.compile(r"\bwaybill ((?:fleet )?[a-z]+)(?![\w-])(?! --help)(?![^`]* --(?:site|fleet) )")
# Lines about a command that someone else runs.
_ELSEWHERE = re.compile(r"\bat the site\b|\ban approver\b|\bask the (?:site|customer|vendor)\b")
QUIET = "waybill.quiet"
VERBOSE = "waybill.verbose"


def is_set(name: str) -> bool:
    """Whether the running command was given --quiet (``QUIET``) or --verbose (``VERBOSE``)."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(name))


def say(text: str) -> None:
    """Print a message for people to stderr; print nothing with --quiet."""
    if not is_set(QUIET):
        with suppress(OSError):  # nobody reads it, or its file is on a full disk: no reason to end the work
            click.echo(_fit(text, sys.stderr), err=True)


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
                    "hint": name_place(error.remedy),
                }
                if isinstance(error, DamagedError) and error.pieces:
                    shown["error"]["pieces"] = [asdict(one) for one in error.pieces]
            click.echo(escape_json(json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True)))
        elif result.text:
            click.echo(visible(result.text) if result.exact else _fit(name_place(result.text), sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; closing stdout later must not print a traceback about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error and not as_json:
        print_error(error)


def escape_json(text: str) -> str:
    """JSON ``text`` with control and bidirectional characters as JSON escapes: it is read as the same values."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c == "\n" or not is_hidden(ord(c)) else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    """``\\uXXXX``, above U+FFFF as two surrogates (RFC 8259, section 7)."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def unprinted_error(failure: OSError) -> HostError:
    """Return the error for a result that stdout does not take; later writes to stdout go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return HostError(
        f"the command has ended, but its result cannot be printed: {(failure.strerror or str(failure)).lower()}",
        where="stdout",
        remedy="make space where the output goes; what the command did is done: at a site `waybill status` shows it",
        finding="unprinted",
    )


def print_error(error: WaybillError) -> None:
    with suppress(OSError):  # the exit code still tells
        # What was found and what was expected are there to be compared, so both are whole.
        whole = is_set(VERBOSE) or len(named_digests(error.problem)) > 1
        text = fit(f"error: {error}", terminal_width(sys.stderr), verbose=whole)
        click.echo(click.style("error:", fg="red", bold=True) + text.removeprefix("error:"), err=True)
        if error.remedy:
            # Whole digests: a person pastes them.
            text = fit(f"hint: {name_place(error.remedy)}", terminal_width(sys.stderr), verbose=True)
            click.echo(click.style("hint:", fg="cyan") + text.removeprefix("hint:"), err=True)


def _fit(text: str, stream: TextIO) -> str:
    return fit(text, terminal_width(stream), verbose=is_set(VERBOSE))


def name_place(text: str) -> str:
    """``text`` with the ``--site`` or ``--fleet`` that was typed in each waybill command that takes it."""
    context = click.get_current_context(silent=True)
    option = "--fleet" if context is not None and context.parent and context.parent.info_name == "fleet" else "--site"
    given = next((one for one in context.command.params if option in one.opts), None) if context is not None else None
    if context is None or given is None or given.name is None:
        return text
    value, typed = str(context.params[given.name]), context.get_parameter_source(given.name)
    # The address of a database may have a password in it.
    if typed != ParameterSource.COMMANDLINE or "@" in value:
        return text

    def with_place(match: re.Match[str]) -> str:
        return f"{match[0]} {option} {shlex.quote(value)}" if _takes(context, match[1], option) else match[0]

    lines = text.split("\n")
    return "\n".join(
        line if CELL in line or QUOTE in line or _ELSEWHERE.search(line) else _NAMED.sub(with_place, line)
        for line in lines
    )


def _takes(context: click.Context, name: str, option: str) -> bool:
    """Whether ``waybill NAME`` takes the option in the sense of the running command."""
    table: click.Command | None = context.find_root().command
    for word in name.split():
        table = table.get_command(context, word) if isinstance(table, click.Group) else None
    # `fleet list --site` names a site of the ledger, not a folder.
    here = name.startswith("fleet ") == (option == "--fleet")
    return here and table is not None and any(option in one.opts for one in table.params)


class MissingPathError(click.ClickException):
    """A path on the command line does not exist."""

    exit_code = HostError.exit_code


def usage_error(wrong: click.ClickException, *, as_json: bool) -> int:
    """Print click's own complaint about the command line in our form; return the exit code."""
    if isinstance(wrong, MissingPathError):
        print_result(Result("", {}, missing_file(wrong.message)), as_json=as_json)
        return wrong.exit_code
    # A list of choices has a line and a tab for each.
    message = " ".join(wrong.format_message().split())
    message = message[:1].lower() + message[1:].rstrip(".")
    context = getattr(wrong, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else "waybill --help"
    print_result(Result("", {}, UsageError(message, remedy=hint)), as_json=as_json)
    return 2


def host_error(error: OSError) -> HostError:
    """An operating system's refusal in our words."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return missing_file(os.fsdecode(error.filename))
    hints = {
        28: "make space and run the same command again",
        30: "the file system is read-only",
        13: "check who owns the folder",
        1: "check who owns the folder",
    }
    problem = (error.strerror or str(error)).lower()
    return HostError(problem, where=str(error.filename or ""), remedy=hints.get(error.errno or 0, ""), finding="host")
