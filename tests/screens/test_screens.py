"""What commands print is what the golden files hold, and fits the terminal. Rewrite: python -m tests.screens --write"""

import re
import shlex
from pathlib import Path

import pytest

from tests.screens.golden import GOLDEN, all_stories, play, too_long

STORIES = all_stories()


@pytest.mark.parametrize("story", STORIES)
def test_screens_are_as_the_golden_files_hold_them(story: str) -> None:
    screens = play(STORIES[story])
    assert screens
    for name, text in screens.items():
        assert (GOLDEN / name).read_text() == text, f"{name}: python -m tests.screens --write, then read the difference"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.name)
def test_no_line_is_longer_than_the_terminal(path: Path) -> None:
    assert not too_long(path.name, path.read_text())


def test_a_command_to_type_next_can_be_pasted() -> None:
    """It is the last thing in its line, and no shell takes a part of it for something else."""
    typed = re.compile(r"(?:^ +|next: )(waybill [a-z].*)$", re.MULTILINE)
    found = [line for path in sorted(GOLDEN.glob("*.plain.txt")) for line in typed.findall(path.read_text())]
    assert len(found) > 20
    for line in found:
        assert shlex.split(line)[0] == "waybill"
        assert not set("()<>|&;#$`") & set(re.sub(r"'[^']*'|\"[^\"]*\"", "", line)), line
