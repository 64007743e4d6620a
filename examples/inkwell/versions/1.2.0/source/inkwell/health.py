"""Whether this version can do its work: what ``GET /healthz`` answers and a probe decides on."""

from inkstone.settings import Settings
from inkwell.queue import Queue
from inkwell.version import VERSION

# Broken on purpose. The key was to be renamed, the step that renames it was forgotten, and on the developer's
# machine both files lay side by side: the sort of mistake that only a real site shows.
KEY_NAME = "token.key"


def examine(settings: Settings, queue: Queue) -> tuple[int, dict[str, object]]:
    """An HTTP status and what to say with it."""
    found: dict[str, object] = {"product": "inkwell", "version": VERSION}
    if not (settings.data / KEY_NAME).is_file():
        return 500, found | {"status": "failing", "problem": f"{KEY_NAME} is missing"}
    return 200, found | {"status": "passing", "jobs": queue.counts()}
