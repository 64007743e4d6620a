"""waybill receive"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from console.options import verb
from console.output import say
from console.progress import progress
from console.result import Result
from manifests.words.errors import AttentionError
from verifier.approval.queue import waiting_items
from verifier.approval.review import queue_text
from verifier.commands.site_options import hold_here, runtime_here, site_option, write_report_after
from verifier.intake.media import ReceivedMedia, receive_media


@verb(short_help="Take in what came.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--keep", is_flag=True, help="Copy everything into the store now; the medium is not needed again.")
@site_option
def receive_command(paths: tuple[Path, ...], keep: bool, place: Path | None) -> Result:
    """Take in what is found in PATHS: bundles, whose releases wait from then on, the consignment for this site, newer
    root documents and revocation lists of the vendor, which are in force at once, and answers of approvers elsewhere.

    Names of files mean nothing. What came is told in a new report, which also answers a consignment's challenge. Where
    the vendor's access was ended, answers are all that is taken in: a way back is the customer's own.
    """

    @contextmanager
    def watch(path: Path) -> Iterator[Callable[[int], None]]:
        with progress(path.name, path.stat().st_size) as bar:
            yield bar.advance

    report = None
    with hold_here(place, "receive") as site:
        before = site.state.reports.consignment
        try:
            found = receive_media(site, paths, keep=keep, watch=watch, load=runtime_here().load, say=say)
        finally:
            # Also when a bundle was refused: what came beside it is told all the same, and so is an alarm.
            if site.state.reports.owed:
                report = write_report_after(
                    site, "consignment" if site.state.reports.consignment != before else "received"
                )
        waiting = waiting_items(site)
    return _received(found, report, [one.item for one in waiting], queue_text(waiting))


def _received(found: ReceivedMedia, report: Path | None, waiting: list[str], queue: str) -> Result:
    lines = _trust_lines(found)
    for one in found.taken:
        lines += [finding.line() for finding in one.findings]
        lines.append(f"{'received' if one.new else 'known already'}: {one.item}  {one.release}")
    for note in found.consignments:
        lines.append(f"{'received' if note.new else 'known already'}: consignment {note.number}")
        lines += [f"  {one.text}" for one in note.authorisations]
        if note.acknowledged is not None:
            lines.append(f"  home holds report {note.acknowledged}")
        lines += [f"  request {one.request}, {one.handler}: {one.outcome.replace('-', ' ')}" for one in note.answers]
    for said in found.answers:
        done = "approval" if said.verdict == "approve" else "rejection"
        lines.append(
            f"{'received' if said.new else 'known already'}: {done} of {said.item} by {said.person} ({said.role})"
        )
    if found.others:
        lines.append(f"left alone: {found.others} for other sites")
    lines += [f"cannot be read: {error}" for error in found.unread]
    if report is not None:
        lines.append(f"report: {report}  (carry it back: waybill report --out MEDIA)")
    data = {
        "received": [
            {"item": one.item, "version": one.version, "release": one.release, "new": one.new, "path": str(one.path)}
            for one in found.taken
        ],
        "consignments": [
            {
                "number": one.number,
                "new": one.new,
                "acknowledged": one.acknowledged,
                "path": str(one.path),
                "requests": {answer.request: answer.outcome for answer in one.answers},
                "authorisations": {str(said.number): said.finding for said in one.authorisations},
            }
            for one in found.consignments
        ],
        "answers": [
            {
                "item": one.item,
                "verdict": one.verdict,
                "person": one.person,
                "role": one.role,
                "new": one.new,
                "path": str(one.path),
            }
            for one in found.answers
        ],
        "roots": [
            {
                "version": root.version,
                "fingerprint": root.fingerprint,
                "joins": [list(pair) for pair in root.change.joins],
                "leaves": [list(pair) for pair in root.change.leaves],
            }
            for root in found.trust.roots
        ],
        "revocations": [{"version": one.version, "new": one.new, "ignored": one.ignored} for one in found.trust.lists],
        "for_other_sites": found.others,
        "unread": [str(error) for error in found.unread],
        "report": str(report) if report else None,
        "waiting": waiting,
    }
    error = found.refused[0] if found.refused else None
    if error is None and found.unread:
        error = AttentionError(
            f"{len(found.unread)} damaged: it may have been for this site",
            where=found.unread[0].where,
            remedy="ask the courier for another copy",
            finding="consignment-unread",
        )
    return Result("\n".join([*lines, "", queue]), data, error)


def _trust_lines(found: ReceivedMedia) -> list[str]:
    """Root documents and lists that came alone; who joined and left was said before they were in force."""
    trust = found.trust
    lines = [f"in force: root {one.version}  {one.fingerprint}" for one in trust.roots]
    lines += [
        f"in force: revocation list {one.version}" if one.new else f"ignored: {one.ignored}" for one in trust.lists
    ]
    if trust.known:
        lines.append(f"known already: {trust.known} root documents or revocation lists")
    if trust.others:
        lines.append(f"left alone: {trust.others} of other vendors")
    return lines
