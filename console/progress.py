"""Show a progress bar on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from console.output import QUIET, is_set
from manifests.words.progress import Progress


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A bar with bytes, rate and time left on stderr when that is a terminal, else silence."""
    if not sys.stderr.isatty() or is_set(QUIET):
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
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        class Shown(Progress):
            def advance(self, count: int) -> None:
                bar.advance(task, count)

        yield Shown()
