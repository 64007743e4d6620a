"""Write or check what the documents say about the program: help texts in docs/cli.md, the state machine.

`python -m tests.docs --write` (or `make docs`) puts them in place; a test compares.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import wrap

import click

from tests.rooms import PACKAGES, ROOMS
from waybill import COMMANDS, cli

ROOT = Path(__file__).parents[1]
WIDTH = 100
# As `waybill` itself: a command keeps the help option that it was first asked for.
HELP = cli.context_settings["help_option_names"]
MARKED = re.compile(r"(<!-- from the program: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = getattr(import_module(module), attribute)
        command.name = name
        if isinstance(command, click.Group):
            with click.Context(command) as context:
                for below in command.list_commands(context):
                    inner = command.get_command(context, below)
                    assert inner is not None
                    yield f"{name} {below}", inner
        else:
            yield name, command


def help_of(command: click.Command, name: str) -> str:
    return command.get_help(
        click.Context(command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=HELP)
    )


def helps() -> str:
    """The help of every command, without the options that every command has."""
    parts = []
    for name, command in commands():
        with click.Context(
            command,
            info_name=f"waybill {name}",
            max_content_width=WIDTH,
            terminal_width=WIDTH,
            help_option_names=HELP,
        ) as context:
            text = command.get_help(context)
        kept = re.sub(r"\n\nOptions of every command:\n(  .*\n?)+", "\n", text).rstrip()
        parts.append(f"### waybill {name}\n\n```\n{kept}\n```\n")
    return "\n".join(parts)


def table() -> str:
    return (
        "```\n"
        + cli.get_help(
            click.Context(
                cli, info_name="waybill", max_content_width=WIDTH, terminal_width=WIDTH, help_option_names=HELP
            )
        )
        + "\n```\n"
    )


def machine() -> str:
    from verifier.site.journal.transitions import TABLE

    rows = ["| in state | the act | meanwhile | when done | when it fails |", "|---|---|---|---|---|"]
    rows += [f"| {one.state} | {one.act} | {one.during} | {one.done} | {one.failed} |" for one in TABLE]
    return "\n".join(rows) + "\n"


def drawing() -> str:
    """The packages as boxes with their rooms: ``a <- b`` says that b may import a and all before it."""
    width = 98
    lines = []
    for package, below in PACKAGES.items():
        imports = ", ".join(name for name in PACKAGES if name in below) or "nothing of ours"
        lines.append(f"+-- {package} imports {imports} ".ljust(width - 1, "-") + "+")
        lines += [f"| {row:<{width - 4}} |" for row in wrap(" <- ".join(ROOMS.get(package, {})), width - 4)]
    lines.append(f"+{'-' * (width - 2)}+")
    return "```\n" + "\n".join(lines) + "\n```\n"


def rooms() -> str:
    """A table for each package: room, the question that it answers, what it may touch."""
    parts = []
    for package, inside in ROOMS.items():
        rows = [f"| `{package}/{room}/` | {question} | {may} |" for room, (question, may) in inside.items()]
        parts.append("\n".join(["| room | the question that it answers | it may touch |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


PARTS = {"helps": helps, "table": table, "machine": machine, "drawing": drawing, "rooms": rooms}
FILES = ("docs/cli.md", "docs/operations.md", "docs/architecture.md")


def current(text: str) -> str:
    """``text`` with every marked part as the program has it now."""
    return MARKED.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", text)


def main() -> None:
    stale = []
    for name in FILES:
        path = ROOT / name
        old = path.read_text()
        new = current(old)
        if old != new:
            stale.append(name)
            if "--write" in sys.argv:
                path.write_text(new)
    sys.exit(f"not as the program is: {', '.join(stale)}; run make docs" if stale and "--write" not in sys.argv else 0)


if __name__ == "__main__":
    main()
