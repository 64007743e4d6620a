"""Whether this version can do its work: what ``GET /healthz`` answers and a probe decides on."""

from inkstone.settings import Settings

from inkwell import key
from inkwell.queue import Queue
from inkwell.version import VERSION


def examine(settings: Settings, queue: Queue) -> tuple[int, dict[str, object]]:
    """An HTTP status and what to say with it."""
    found: dict[str, object] = {"product": "inkwell", "version": VERSION}
    if not (settings.data / key.NAME).is_file():
        return 500, found | {"status": "failing", "problem": f"{key.NAME} is missing"}
    return 200, found | {"status": "passing", "jobs": queue.counts()}
