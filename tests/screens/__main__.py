"""python -m tests.screens [--write]: compare what commands print with the golden files, or write these."""

import sys

from tests.screens.golden import GOLDEN, all_stories, play


def main() -> int:
    screens = {name: text for story in all_stories().values() for name, text in play(story).items()}
    there = {path.name: path.read_text() for path in GOLDEN.glob("*.txt")}
    changed = sorted(name for name in screens.keys() | there.keys() if screens.get(name) != there.get(name))
    if "--write" in sys.argv:
        for name in changed:
            path = GOLDEN / name
            path.write_text(screens[name]) if name in screens else path.unlink()
    print("\n".join(changed) or "no screen changed")
    return 0 if "--write" in sys.argv or not changed else 1


sys.exit(main())
