"""What the command lines share: options, results, messages, progress, passphrases.

Besides the `cli.py` files the only user of click. The result goes to stdout, everything else to stderr; ``--json``
prints the same result for programs, also when the command fails.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import update_wrapper
from pathlib import Path
from typing import Any, TypeVar

import click

from manifests.errors import DamagedError, HostError, RefusedError, UsageError, WaybillError
from manifests.units import show_duration, show_size

F = TypeVar("F", bound=Callable[..., Any])
Jsonable = str | int | bool | None | list["Jsonable"] | dict[str, "Jsonable"]
VERBOSE = "waybill.verbose"


@dataclass(frozen=True)
class Result:
    """What a command found.

    Attributes:
        text: For people: lines without a trailing line break.
        data: The same for programs.
        error: Set when the command did its work and the answer is still a failure (findings, then a verdict).
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    error: WaybillError | None = None


def utc_now() -> datetime:
    """The only clock; everything below the command line gets the time as an argument."""
    return datetime.now(UTC).replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def say(text: str) -> None:
    """A message for people, on stderr; silent with --quiet."""
    context = click.get_current_context(silent=True)
    if context is None or not context.meta.get("waybill.quiet"):
        click.echo(visible(text), err=True)


def visible(text: str) -> str:
    """Text from a document, with control and bidirectional characters shown instead of obeyed."""
    return "".join(c if c == "\n" or not _hidden(ord(c)) else _escaped(ord(c)) for c in text)


def one_line(text: str) -> str:
    """The same, and line breaks too: a value that could otherwise look like another line of ours."""
    return visible(text).replace("\n", "\\u000a")


def _escaped(code: int) -> str:
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _hidden(code: int) -> bool:
    return (
        code < 32
        or 127 <= code < 160
        or code in (0xAD, 0x61C, 0x180E, 0xFEFF)
        or 0x200B <= code <= 0x200F
        or 0x2028 <= code <= 0x202E
        or 0x2060 <= code <= 0x206F
        or 0xD800 <= code <= 0xDFFF
        or 0xFFF9 <= code <= 0xFFFB
        or 0xE0000 <= code <= 0xE007F
    )


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
    _print(result, as_json=as_json)
    return result.error.exit_code if result.error else 0


def _print(result: Result, *, as_json: bool) -> None:
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
            click.echo(visible(result.text))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; closing stdout later must not print a traceback about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error and not as_json:
        print_error(error)


def print_error(error: WaybillError) -> None:
    click.echo(click.style("error:", fg="red", bold=True) + f" {visible(str(error))}", err=True)
    if error.remedy:
        click.echo(click.style("hint:", fg="cyan") + f" {visible(error.remedy)}", err=True)


def usage_error(wrong: click.ClickException, *, as_json: bool) -> int:
    """Print click's own complaint about the command line in our form; exit code 2."""
    message = wrong.format_message()
    message = message[:1].lower() + message[1:].rstrip(".")
    context = getattr(wrong, "ctx", None)
    hint = f"{context.command_path} --help" if context is not None else "waybill --help"
    _print(Result("", {}, UsageError(message, remedy=hint)), as_json=as_json)
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


def ask_passphrase(prompt: str, *, descriptor: int | None, twice: bool = False) -> bytes:
    """A passphrase from a descriptor, else WAYBILL_PASSPHRASE_FILE, else a prompt; never from the command line.

    Raises:
        UsageError: There is no terminal to ask on.
    """
    if descriptor is not None:
        try:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return _first_line(file.read(4097), f"descriptor {descriptor}")
        except OSError:
            raise UsageError(f"descriptor {descriptor} is not open", where="--passphrase-fd") from None
    named = os.environ.get("WAYBILL_PASSPHRASE_FILE")
    if named:
        from manifests.keys import check_private_mode, read_capped

        check_private_mode(Path(named))
        return _first_line(read_capped(Path(named), 4096), named)
    if not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed and there is no terminal to ask on",
            where=prompt,
            remedy="use --passphrase-fd N or WAYBILL_PASSPHRASE_FILE",
        )
    text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return text.encode()


def _first_line(data: bytes, where: str) -> bytes:
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(line) > 4096:
        raise RefusedError(
            "the passphrase is empty or longer than 4096 bytes", where=where, remedy="give one line of 1 to 4096 bytes"
        )
    return line


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
    hidden = next(((i, ord(c)) for i, c in enumerate(value, 1) if _hidden(ord(c))), None)
    if hidden is not None:
        problem = f"character {hidden[0]} ({_escaped(hidden[1])}) cannot be shown; write one line of text"
        raise click.BadParameter(problem, context, parameter)
    return value


class Progress:
    """Told how far long work has come; the base does nothing."""

    def advance(self, count: int) -> None:
        """``count`` more bytes are done."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A bar with bytes, rate and time left on stderr when that is a terminal, else silence."""
    context = click.get_current_context(silent=True)
    if not sys.stderr.isatty() or (context is not None and context.meta.get("waybill.quiet")):
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        class Shown(Progress):
            def advance(self, count: int) -> None:
                bar.advance(task, count)

        yield Shown()


def age(moment: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, as ``3d`` or ``12m``."""
    with suppress(ValueError):
        seconds = int((now - datetime.fromisoformat(moment)).total_seconds())
        return show_duration(max(seconds, 0))
    return "?"


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Plain columns, two spaces apart; no colour, so that it can be piped."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join(lines)


__all__ = [
    "Progress",
    "Result",
    "age",
    "ask_passphrase",
    "host_error",
    "in_words",
    "one_line",
    "passphrase_option",
    "print_error",
    "progress",
    "rfc3339",
    "say",
    "show_size",
    "table",
    "usage_error",
    "utc_now",
    "verb",
    "visible",
]
