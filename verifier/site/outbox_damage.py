"""What is damaged in the outbox: reports and the enrolment that are not the files which the journal names."""

from pathlib import Path

from manifests.documents.signed_report import verify_report
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import read_capped
from manifests.words.errors import AttentionError, WaybillError
from verifier.site.blobs import read_checked
from verifier.site.folder import Site
from verifier.site.journal.events import KeyRenewed, Reported
from verifier.site.outbox import enrolment_path, report_numbers, report_path

FINDING = "outbox-damaged"
_NEW = "`waybill report --new`"


def outbox_damage(site: Site) -> tuple[AttentionError, ...]:
    """Return an error for each damaged file of the outbox: the enrolment, then reports by number. Reads only.

    Each error names the file, what is lost, and how the file is written again where that is possible. A file that is
    missing is no damage: people move files away, and old reports are removed.
    """
    files = [_enrolment_damage(site)]
    digests = _report_digests(site)
    files += [_report_damage(site, number, digests.get(number)) for number in report_numbers(site)]
    return tuple(error for error in files if error is not None)


def outbox_lines(damage: tuple[AttentionError, ...]) -> list[str]:
    """Return two lines for each damaged file, for a result."""
    return [line for error in damage for line in (f"outbox     {error}", f"           {error.remedy}")]


def outbox_data(damage: tuple[AttentionError, ...]) -> list[dict[str, str]]:
    """Return the damaged files for programs."""
    return [{"where": error.where, "problem": error.problem, "hint": error.remedy} for error in damage]


def outbox_attention(damage: tuple[AttentionError, ...]) -> AttentionError | None:
    """Return the one error of a command whose result is complete beside damaged files of the outbox."""
    if len(damage) < 2:
        return damage[0] if damage else None
    names = ", ".join(Path(error.where).name for error in damage)
    remedy = "do for each file what `waybill status` says in its lines `outbox`"
    problem = f"{len(damage)} files are damaged: {names}"
    return AttentionError(problem, where=str(Path(damage[0].where).parent), remedy=remedy, finding=FINDING)


def _report_digests(site: Site) -> dict[int, str]:
    """Return the digest of each report that is in the outbox, by number; the newest entries of the journal first."""
    reports = site.state.reports
    digests = {} if reports.head is None else {reports.seq: reports.head}
    missing = set(report_numbers(site)) - set(digests)
    for entry in reversed(site.entries):
        if not missing or isinstance(entry.record.event, KeyRenewed):
            break
        if isinstance(entry.record.event, Reported) and entry.record.event.seq in missing:
            digests[entry.record.event.seq] = entry.record.event.digest
            missing.discard(entry.record.event.seq)
    return digests


def _difference(path: Path, digest: str, what: str) -> str | None:
    """Return how a file is not the one with ``digest``, or why that cannot be read; None for the very file."""
    try:
        read_checked(path, digest, MAX_BUNDLE, what, missing=("", ""), changed=("", ""))
    except WaybillError as error:
        return error.problem
    return None


def _enrolment_damage(site: Site) -> AttentionError | None:
    path, digest = enrolment_path(site), site.state.reports.enrolment
    if digest is None or not path.exists():
        return None
    why = _difference(path, digest, "the enrolment")
    if why is None:
        return None
    problem = f"damaged: {why}; support cannot record the site from this file"
    try:
        site.document(digest)
        remedy = f"{_NEW} writes the same enrolment again"
        if _has_ended(site):
            copy = str(site.document_path(digest))
            remedy = f"copy the same enrolment over it: cp {copy} {path}"
    except WaybillError:
        remedy = "restore the file from a backup of the site, or from the medium that carried it to support"
    return AttentionError(problem, where=str(path), remedy=remedy, finding=FINDING)


def _report_damage(site: Site, number: int, digest: str | None) -> AttentionError | None:
    path, reports = report_path(site, number), site.state.reports
    why = _difference(path, digest, f"report {number}") if digest is not None else _unreadable(site, path, number)
    if why is None:
        return None
    problem = f"damaged: {why}"
    copied = f"copy it back from a medium that carried it, {site.state.site.replace('/', '.')}.{path.name}"
    ended = _has_ended(site)
    if number > reports.seq:
        lost = "the journal does not name it yet, so nothing is lost"
        remedy = "remove the file" if ended else f"{_NEW} replaces it"
    elif number <= (reports.acknowledged or (0, ""))[0]:
        lost = "support holds it, so nothing is lost"
        remedy = "remove the file" if ended or number < reports.seq else f"{_NEW} writes the next one"
    elif ended:
        lost = "without a copy its content is lost, because no report is signed after the end of the vendor's access"
        remedy = copied
    else:
        lost = "without a copy its content is lost, and the next report proves that it existed"
        remedy = f"{copied}; {_NEW} states what is so now"
    return AttentionError(f"{problem}; {lost}", where=str(path), remedy=remedy, finding=FINDING)


def _unreadable(site: Site, path: Path, number: int) -> str | None:
    """Return why a file that the journal does not name is no report of this site; None for one."""
    try:
        verify_report(read_capped(path, MAX_BUNDLE), site.state.key_of_report(number), str(path))
    except WaybillError as error:
        return error.problem
    return None


def _has_ended(site: Site) -> bool:
    """Whether the final report was signed: after it, the site signs nothing any more."""
    return site.state.offboarding is not None and site.state.offboarding.final is not None
