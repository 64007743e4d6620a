"""Open the source of a signal: which endpoint it names, and how an address of that form is read."""

from pathlib import Path

from content.telemetry.counted import UNREADABLE
from manifests.documents.contract import Signal
from manifests.words.digest import digest_of
from manifests.words.time import rfc3339
from verifier.collecting.journal import read_journal
from verifier.collecting.kept import Progress
from verifier.collecting.log_files import read_log
from verifier.collecting.look import Look
from verifier.collecting.opened_files import SourceError
from verifier.collecting.scrape import SCRAPE_SECONDS, read_file, read_http
from verifier.collecting.trace_folder import read_traces

# By field of a signal's source: how addresses begin that can be read for it.
FORMS = {
    "prometheus": ("http://", "https://", "file:/"),
    "log": ("file:/", "container:/"),
    "journal": ("journal:",),
    "otlp": ("file:/",),
}


def endpoint_of(signal: Signal) -> str:
    """Return the name of the endpoint that the signal is read from; empty for a signal that names none."""
    source = signal.source
    return next((name for name in _named(signal) if name), "") if source else ""


def _named(signal: Signal) -> tuple[str | None, ...]:
    source = signal.source
    return (source.prometheus, source.log, source.journal, source.otlp) if source else ()


def forms_of(signal: Signal) -> tuple[str, ...]:
    """Return how an address begins that the signal can be read from."""
    return next((FORMS[form] for form in FORMS if signal.source and getattr(signal.source, form)), ())


def check_form(signal: Signal, address: str) -> None:
    """Raise SourceError unless an address of this form can be read for the signal."""
    if not address.startswith(forms_of(signal)):
        forms = " or ".join(f"{form}…" for form in forms_of(signal))
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
