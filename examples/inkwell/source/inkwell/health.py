"""Health of this version: the response to ``GET /healthz``, which a probe reads."""

from inkstone.settings import Settings

from inkwell import key
from inkwell.queue import Queue
from inkwell.version import VERSION


def examine(settings: Settings, queue: Queue) -> tuple[int, dict[str, object]]:
    """Return an HTTP status and the body for it."""
    report: dict[str, object] = {"product": "inkwell", "version": VERSION}
    if not (settings.data / key.NAME).is_file():
        return 500, report | {"status": "failing", "problem": f"{key.NAME} is missing"}
    return 200, report | {"status": "passing", "jobs": queue.counts()}
