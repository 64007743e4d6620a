"""Show a progress bar on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from console.output import QUIET, is_set
from manifests.words.progress import Progress


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A bar with bytes, rate and time left on stderr, from the first byte on; silence if that is no terminal."""
    if not total or not sys.stderr.isatty() or is_set(QUIET):
        yield Progress()
        return
    # rich takes 50 ms to load, and most calls have no terminal on stderr or nothing to wait for.
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
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)

    class Shown(Progress):
        def advance(self, count: int) -> None:
            bar.start()
            bar.advance(task, count)

    try:
        yield Shown()
    finally:
        bar.stop()
