"""Health of this version: the response to ``GET /healthz``, which a probe reads."""

from inkstone.settings import Settings
from inkwell.queue import Queue
from inkwell.version import VERSION

# Broken on purpose: no step of the release renames the key. A developer's machine with both files does not show
# this mistake; a site does.
KEY_NAME = "token.key"


def examine(settings: Settings, queue: Queue) -> tuple[int, dict[str, object]]:
    """Return an HTTP status and the body for it."""
    report: dict[str, object] = {"product": "inkwell", "version": VERSION}
    if not (settings.data / KEY_NAME).is_file():
        return 500, report | {"status": "failing", "problem": f"{KEY_NAME} is missing"}
    return 200, report | {"status": "passing", "jobs": queue.counts()}
