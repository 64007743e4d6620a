"""Show a progress bar on stderr."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from manifests.words.progress import Progress


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """A bar with bytes, rate and time left on stderr when that is a terminal, else silence."""
    context = click.get_current_context(silent=True)
    if not sys.stderr.isatty() or (context is not None and context.meta.get("waybill.quiet")):
        yield Progress()
        return
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
