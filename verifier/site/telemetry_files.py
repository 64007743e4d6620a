"""The telemetry files in the outbox: each lies beside the report that names its digest."""

from pathlib import Path

from manifests.documents.telemetry import MAX_TELEMETRY, Telemetry, parse_telemetry
from manifests.words.digest import Blob
from verifier.site.blobs import read_checked
from verifier.site.folder import Site
from verifier.site.journal.state import SiteState
from verifier.site.outbox import report_name
from verifier.site.unread import taken_in_before

_MISSING = ("the report counts without it; `waybill report --new` writes the rows again", "telemetry-gone")
_CHANGED = ("the report counts without it; `waybill report --new` writes the rows again", "telemetry-changed")


def telemetry_name(state: SiteState, seq: int) -> str:
    """Return the file name of the telemetry of a report."""
    return report_name(state, seq).replace(".report.", ".telemetry.")


def telemetry_path(site: Site, seq: int) -> Path:
    return site.outbox / telemetry_name(site.state, seq)


def read_telemetry_bytes(site: Site, seq: int, blob: Blob) -> bytes:
    """Return the telemetry file of a report. Raises DamagedError when it is missing or not the one that it names."""
    return read_checked(
        telemetry_path(site, seq), blob.digest, MAX_TELEMETRY, "the telemetry", missing=_MISSING, changed=_CHANGED
    )


def read_telemetry(site: Site, seq: int, blob: Blob) -> Telemetry:
    """Return the telemetry of a report. Raises DamagedError when it is missing or not the one that the report names."""
    raw = read_telemetry_bytes(site, seq, blob)
    with taken_in_before():
        return parse_telemetry(raw, str(telemetry_path(site, seq)))
