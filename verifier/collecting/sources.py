"""Open the source of a signal: which endpoint it names, and how an address of that form is read."""

from pathlib import Path

from content.telemetry.counted import UNREADABLE
from manifests.documents.contract import Signal
from manifests.documents.contract_endpoints import address_forms, endpoint_of
from manifests.words.digest import digest_of
from manifests.words.time import rfc3339
from verifier.collecting.journal import read_journal
from verifier.collecting.kept import Progress
from verifier.collecting.log_files import read_log
from verifier.collecting.look import Look
from verifier.collecting.opened_files import SourceError
from verifier.collecting.scrape import SCRAPE_SECONDS, read_file, read_http
from verifier.collecting.trace_folder import read_traces


def check_form(signal: Signal, address: str) -> None:
    """Raise SourceError unless an address of this form can be read for the signal."""
    if not address.startswith(tuple(address_forms(signal))):
        forms = " or ".join(address_forms(signal).values())
        raise SourceError(UNREADABLE, f"endpoint {endpoint_of(signal)!r} is {address}, expected {forms}")


def read_metrics(address: str, looks: list[Look], authorities: tuple[Path, ...], seconds: float) -> None:
    """Feed one scrape to all looks. Raises SourceError; what was fed then is no whole scrape."""
    if address.startswith("file:"):
        chunks = read_file(Path(address.removeprefix("file:")))
    else:
        chunks = read_http(address, authorities, seconds=min(seconds, SCRAPE_SECONDS))
    begun = False
    for chunk in chunks:
        for look in looks:
            if not begun:
                look.begin()
            look.feed(chunk)
        begun = True
    for look in looks:
        if not begun:
            look.begin()
        look.collector.end()


def read_source(signal: Signal, address: str, before: Progress | None, look: Look) -> Progress:
    """Feed what is new in a log, a journal or a folder of traces; return how far it was read.

    Raises:
        SourceError: Nothing was read.
    """
    scheme, _, rest = address.partition(":")
    begun = before if before is not None and before.begun else None
    made = Progress(address=digest_of(address.encode()), begun=True, looked_at=rfc3339(look.at))
    if scheme == "journal":
        cursor, since = read_journal(rest, begun.journal if begun else None, begun.since if begun else None, look)
        return Progress(address=made.address, begun=True, looked_at=made.looked_at, journal=cursor, since=since)
    if signal.kind == "traces":
        files = read_traces(Path(rest), begun.files if begun else None, look)
    else:
        first = begun.files[0] if begun and begun.files else None
        files = (read_log(Path(rest), first, look, container=scheme == "container"),)
    return Progress(address=made.address, begun=True, looked_at=made.looked_at, files=files)
