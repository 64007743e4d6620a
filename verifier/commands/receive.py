"""waybill receive"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from console.clock import utc_now
from console.options import ExistingPath, command
from console.output import VERBOSE, is_set, say
from console.progress import progress
from console.result import Result
from manifests.words.units import show_count
from verifier.approval.queue import counted_approvals, queue_text, waiting_items
from verifier.commands.change_options import runtime_here, write_report_after
from verifier.commands.site_options import hold_here, site_option
from verifier.intake.media import receive_media


@command(examples=("waybill receive /media/usb", "waybill receive inkwell-1.4.2.tar --keep"))
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ExistingPath())
@click.option("--keep", is_flag=True, help="Copy everything into the store now; the medium is not needed again.")
@site_option
def receive_command(paths: tuple[Path, ...], keep: bool, place: Path | None) -> Result:
    """Take in what each PATH holds: bundles, whose releases then wait for approval; the consignment for this site;
    newer root documents and revocation lists of the vendor, which are in force at once; answers of approvers elsewhere.

    File names are ignored. What cannot be used is named beside what was taken in, and the exit code is then 14, also
    for a single file that cannot be read. A bundle that came alone and was refused ends with the code of its verdict. A
    new report states what came, and answers the challenge of a consignment. A newer root or list makes approvals void,
    which are counted by item. After the vendor's access was ended, only answers are taken in.
    """
    report = None
    with hold_here(place, "receive") as site:
        before, approvals = site.state.reports.consignment, counted_approvals(site)
        try:
            media = receive_media(site, paths, keep=keep, watch=_watch, load=runtime_here().load, say=say)
        finally:
            # Also after a bundle was refused: the report states what came beside it, and an alarm.
            if site.state.reports.owed:
                cause = "consignment" if site.state.reports.consignment != before else "received"
                report = write_report_after(site, cause)
        waiting, counted = waiting_items(site), counted_approvals(site)
    void = {item: count - counted.get(item, 0) for item, count in approvals.items() if count > counted.get(item, 0)}
    lines = media.as_text(verbose=is_set(VERBOSE))
    lines += [
        f"void: {show_count(lost, 'approval')} of {item}; it has to be approved again" for item, lost in void.items()
    ]
    if report is not None:
        lines += [f"report: {report}", "carry the report to support; next: waybill report --out MEDIUM"]
    data = {
        **media.as_dict(),
        "void_approvals": void,
        "report": str(report) if report else None,
        "waiting": [item.item for item in waiting],
    }
    return Result("\n".join([*lines, "", queue_text(waiting, utc_now())]), data, media.error)


@contextmanager
def _watch(path: Path) -> Iterator[Callable[[int], None]]:
    with progress(path.name, path.stat().st_size) as bar:
        yield bar.advance
