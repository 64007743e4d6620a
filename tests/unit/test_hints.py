"""Each hint names commands and options that exist; each help is whole and ends with examples that run."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fleet.commands.group import COMMANDS as FLEET
from tests.docs import HELP, commands
from tests.rooms import PACKAGES
from waybill import COMMANDS as MAIN
from waybill import cli

ROOT = Path(__file__).parents[2]
FILES = [
    path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if "templates" not in str(path)
]
COMMANDS = dict(commands())
OPTIONS = {
    option
    for command in (cli, *COMMANDS.values())
    for parameter in command.params
    for option in (*parameter.opts, *parameter.secondary_opts)
} | {"--help", "--version"}
# Options of other programs that a hint names, with the program.
OTHERS = {
    "useradd": {"--system"},
    "mkdir": {"--parents"},
    "helm": set[str](),
    "kubectl": {"--raw"},
    "skopeo": set[str](),
    "docker": set[str](),
}
HINT_KEYWORDS = {"remedy", "then"}
# Words that follow the program's name in a sentence.
PROSE = {"that", "command", "and"}


def text_of(node: ast.expr) -> str | None:
    """The text of a literal; values that are filled in stand as ``X``."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "X"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{text_of(node.left) or 'X'}{text_of(node.right) or 'X'}"
    if isinstance(node, ast.IfExp):
        return f"{text_of(node.body) or ''} ; {text_of(node.orelse) or ''}"
    return None


def hints() -> Iterator[tuple[str, str]]:
    """``(place, text)`` of every literal that is given as a hint, and of every other text that names a command."""
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    text = text_of(keyword.value) if keyword.arg in HINT_KEYWORDS else None
                    if text:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in HINT_KEYWORDS:
                text = text_of(node.value)
                if text:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text
            elif isinstance(node, ast.Constant | ast.JoinedStr):
                text = text_of(node)
                if text and "waybill " in text and "\n" not in text:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text


HINTS = sorted(set(hints()))


def named_commands(text: str) -> Iterator[tuple[str, str]]:
    """Each ``waybill COMMAND`` in a text, and what follows it up to the end of its clause."""
    for match in re.finditer(r"\bwaybill ([a-z]+)((?: [^;`,()]*)?)", text):
        name, rest = match[1], match[2]
        if name == "fleet" and (below := re.match(r" ([a-z]+)", rest)):
            name, rest = f"fleet {below[1]}", rest[below.end() :]
        if name.split()[-1] not in PROSE:
            yield name, rest


def test_there_are_hints() -> None:
    assert len(HINTS) > 300


@pytest.mark.parametrize(("place", "text"), HINTS, ids=lambda value: value[:60])
def test_commands_and_options_of_a_hint_exist(place: str, text: str) -> None:
    for name, rest in named_commands(text):
        assert name in COMMANDS or name in ("X", "fleet"), f"{place}: no command {name}: {text}"
        if name in COMMANDS:
            own = {option for parameter in COMMANDS[name].params for option in parameter.opts}
            missing = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) - own - {"--help"}
            assert not missing, f"{place}: {name} has no {missing}: {text}"
    others = {option for program, options in OTHERS.items() if program in text for option in options}
    missing = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - OPTIONS - others
    assert not missing, f"{place}: no command has {missing}: {text}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_and_ends_with_examples(name: str) -> None:
    command = COMMANDS[name]
    for width in (80, 100):
        with click.Context(
            command,
            info_name=f"waybill {name}",
            terminal_width=width,
            max_content_width=width,
            help_option_names=HELP,
        ) as context:
            text = command.get_help(context)
        assert "…" not in text
        assert "..." not in re.sub(r"[A-Z\]]\.\.\.", "", text), "only arguments that repeat have three dots"
        assert max(map(len, text.splitlines())) <= width
    assert 1 <= len(examples_of(command)) <= 3
    assert text.rfind("\nOptions:\n") < text.index("\nOptions of every command:\n") < text.index("\nExamples:\n")


def test_a_list_of_commands_has_one_short_line_for_each() -> None:
    for _, line in (*MAIN.values(), *FLEET.values()):
        assert len(line) <= 70, line


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_command_lines_that_the_program_takes(name: str) -> None:
    command = COMMANDS[name]
    for example in examples_of(command):
        words = shlex.split(example.replace("\\\n", ""))
        head = ["waybill", *name.split()]
        assert words[: len(head)] == head, example
        with click.Context(command, info_name=name) as context:
            command.make_parser(context).parse_args(words[len(head) :])
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= {option for parameter in command.params for option in parameter.opts}, example


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_options_is_a_noun_phrase_or_an_imperative(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            first = parameter.help.split()[0].lower()
            assert first not in {"of", "with", "to", "for", "in", "as", "else", "where", "whom", "also"}, parameter.help
            assert parameter.help.endswith("."), parameter.help


def examples_of(command: click.Command) -> tuple[str, ...]:
    examples: tuple[str, ...] = getattr(command, "examples", ())
    return examples
