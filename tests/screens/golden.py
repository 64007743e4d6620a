"""Play the stories, and compare their screens with the files in ``golden/``."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from inspect import getmembers, isfunction
from pathlib import Path

from console.screen import COMMAND, MAX_INDENT
from tests.screens import stories
from tests.screens.stage import Stage, open_stage

GOLDEN = Path(__file__).parent / "golden"
Story = Callable[[Stage], None]


def all_stories() -> dict[str, Story]:
    """Every story by its name."""
    modules = [import_module(f"{stories.__name__}.{module.name}") for module in pkgutil.iter_modules(stories.__path__)]
    return {
        name: function
        for module in modules
        for name, function in getmembers(module, isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def play(story: Story) -> dict[str, str]:
    """What a story prints, by the name of its golden file."""
    with open_stage() as stage:
        story(stage)
    return {f"{name}.{width}.txt": text for name, printed in stage.screens.items() for width, text in printed.items()}


def too_long(name: str, text: str) -> list[str]:
    """Lines longer than the terminal, but those that are one command to paste, too long itself (it is never broken)."""
    width = name.split(".")[-2]
    if width == "plain":
        return []
    lines = [line for line in text.splitlines() if len(line) > int(width)]
    return [line for line in lines if max(map(len, COMMAND.findall(line)), default=0) + MAX_INDENT < int(width)]
