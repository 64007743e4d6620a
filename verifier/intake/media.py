"""Receive a medium: root documents, revocation lists, consignments, bundles and answers."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

from manifests.documents.report_condition import MediumProblem
from manifests.words.errors import AttentionError, DamagedError, HostError, RefusedError, WaybillError
from manifests.words.text import for_files
from manifests.words.units import show_count
from verifier.approval.approve import ReceivedAnswer, receive_answer
from verifier.change.driver_steps import LoadDriver
from verifier.intake.bundles import ReceivedBundle, receive_bundle
from verifier.intake.consignments import (
    ParsedConsignment,
    ReceivedConsignment,
    peek_consignment_file,
    receive_consignment,
)
from verifier.intake.scan import BROKEN, MediaFile, file_error, is_disk, nothing_found, scan, scan_folder
from verifier.intake.trust_files import ReceivedTrust, receive_trust
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import Site
from verifier.site.journal.chain import one_line
from verifier.site.journal.events import Note
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import Notify, silent

# So many packed files the text names.
MAX_SHOWN = 10
ShowProgress = Callable[[Path], AbstractContextManager[Callable[[int], None]]]


@dataclass
class ReceivedMedia:
    """What was received.

    Attributes:
        trust: Root documents and revocation lists outside of bundles.
        answers: Answers to requests of this site.
        others: Number of consignments and answers for other sites.
        packed: Archives, compressed files and disk images, which stay closed.
        broken: Whether a file claims to be of the vendor and cannot be read as what it claims to be.
        unread: Errors of files that claim to be a document and cannot be read.
        refused: Errors of files that were refused; the rest was received.
        stopped: What this machine failed at; the files after it were not read.
    """

    bundles: list[ReceivedBundle] = field(default_factory=list)
    consignments: list[ReceivedConsignment] = field(default_factory=list)
    answers: list[ReceivedAnswer] = field(default_factory=list)
    trust: ReceivedTrust = field(default_factory=ReceivedTrust)
    others: int = 0
    packed: list[Path] = field(default_factory=list)
    broken: bool = False
    unread: list[WaybillError] = field(default_factory=list)
    refused: list[WaybillError] = field(default_factory=list)
    stopped: WaybillError | None = None

    @property
    def failed(self) -> list[WaybillError]:
        """The errors of all files that could not be used."""
        return [*self.refused, *self.unread]

    @property
    def used(self) -> bool:
        """Whether anything of the medium was received or is known already."""
        trust = self.trust.roots or self.trust.lists or self.trust.known
        return bool(self.bundles or self.consignments or self.answers or trust)

    @property
    def error(self) -> WaybillError | None:
        """What stopped the command; else the error of the only file; else that some files need a person.

        A file that claims to be of the vendor and is not what it claims to be has the code of `AttentionError` too; a
        file that this machine could not read keeps that of `HostError`.
        """
        failed = self.failed
        if self.stopped is not None or not failed:
            return self.stopped
        if self.only_failure:
            only = failed[0]
            if not self.broken or isinstance(only, HostError):
                return only
            return AttentionError(only.problem, where=only.where, remedy=only.remedy, finding=only.finding)
        remedies = list(dict.fromkeys(error.remedy for error in failed))
        return AttentionError(
            f"{show_count(len(failed), 'file')} could not be used",
            where=failed[0].where if len(failed) == 1 else "",
            remedy=for_files(remedies[0], [Path(error.where.split(": ")[0]).name for error in failed])
            if len(remedies) == 1
            else "see the lines `not taken in`, each with what to do",
            finding="medium-attention",
        )

    @property
    def only_failure(self) -> bool:
        """Whether the command had one file of ours, which could not be used: its error is then the result."""
        return len(self.failed) == 1 and not self.used

    def as_text(self, *, verbose: bool) -> list[str]:
        """Return a line for each file that was received, with its findings; those of level ok only if ``verbose``."""
        lines = _trust_lines(self.trust)
        for bundle in self.bundles:
            lines.append(f"{_received(bundle.new)}: {bundle.item}  {bundle.release}")
            lines += [f"  {finding.line()}" for finding in bundle.findings if verbose or finding.level != "ok"]
        for consignment in self.consignments:
            lines.append(f"{_received(consignment.new)}: consignment {consignment.number}")
            lines += [f"  {authorisation.text}" for authorisation in consignment.authorisations]
            if consignment.acknowledged is not None:
                lines.append(f"  support holds report {consignment.acknowledged}")
            for answer in consignment.answers:
                lines.append(f"  request {answer.request}, {answer.handler}: {answer.words}")
        for verdict in self.answers:
            kind = "approval" if verdict.verdict == "approve" else "rejection"
            lines.append(f"{_received(verdict.new)}: {kind} of {verdict.item} by {verdict.person} ({verdict.role})")
        if self.others:
            lines.append(f"not taken in: {self.others} for other sites")
        for error in () if self.only_failure else self.failed:
            lines.append(f"not taken in: {error}")
            lines += [f"  {error.remedy}"] if error.remedy else []
        for path in self.packed[:MAX_SHOWN]:
            what = "a disk image; mount it first" if is_disk(path) else "packed; unpack it first"
            lines.append(f"not read: {path}: it is {what}")
        more = len(self.packed) - MAX_SHOWN
        return [*lines, f"not read: {more} more packed files"] if more > 0 else lines

    def as_dict(self) -> dict[str, object]:
        return {
            "received": [
                {
                    "item": bundle.item,
                    "version": bundle.version,
                    "release": bundle.release,
                    "new": bundle.new,
                    "path": str(bundle.path),
                }
                for bundle in self.bundles
            ],
            "consignments": [_consignment_dict(consignment) for consignment in self.consignments],
            "answers": [{**vars(answer), "path": str(answer.path)} for answer in self.answers],
            "roots": [
                {
                    "version": root.version,
                    "fingerprint": root.fingerprint,
                    "joins": [list(pair) for pair in root.change.joins],
                    "leaves": [list(pair) for pair in root.change.leaves],
                }
                for root in self.trust.roots
            ],
            "revocations": [
                {"version": changed.version, "new": changed.new, "ignored": changed.ignored}
                for changed in self.trust.lists
            ],
            "for_other_sites": self.others,
            "packed": [str(path) for path in self.packed],
            "unread": [str(error) for error in self.unread],
            "not_taken_in": [
                {"where": error.where, "problem": error.problem, "finding": error.finding, "hint": error.remedy}
                for error in self.failed
            ],
        }


def _received(new: bool) -> str:
    return "received" if new else "known already"


def _consignment_dict(consignment: ReceivedConsignment) -> dict[str, object]:
    return {
        "number": consignment.number,
        "new": consignment.new,
        "acknowledged": consignment.acknowledged,
        "path": str(consignment.path),
        "requests": {answer.request: answer.outcome for answer in consignment.answers},
        "authorisations": {str(status.number): status.finding for status in consignment.authorisations},
    }


def _trust_lines(trust: ReceivedTrust) -> list[str]:
    lines = [f"in force: root {root.version}  {root.fingerprint}" for root in trust.roots]
    for changed in trust.lists:
        lines.append(f"in force: revocation list {changed.version}" if changed.new else f"ignored: {changed.ignored}")
    if trust.known:
        lines.append(f"known already: {show_count(trust.known, 'document')} of trust (roots, revocation lists)")
    if trust.others:
        lines.append(f"not taken in: {trust.others} of other vendors")
    return lines


def receive_media(
    site: Site,
    paths: tuple[Path, ...],
    *,
    keep: bool,
    watch: ShowProgress,
    say: Notify = silent,
    load: LoadDriver = load_driver,
) -> ReceivedMedia:
    """Receive the files below ``paths``.

    Steps: 1 root documents and revocation lists, by which the rest is judged; 2 consignments for this site, oldest
    first; 3 bundles; 4 again those of 1 and 2 whose keys were unknown before a bundle brought a newer root; 5 answers
    to requests, which may be about items of 3.

    Args:
        say: Called before a newer root or list is in force, with its changes.

    Raises:
        RefusedError: The vendor's access was ended, and there is more than answers.
        MalformedError: There is no file of a known kind.
    """
    scanned = [file for path in paths for file in _scan_path(path)]
    # A named file is read, and its reader says that it is packed.
    files = [file for file in scanned if file.kind != "packed" or file.named]
    # A named file of no known kind is read as a bundle, whose reader reports what is wrong with it.
    unknown = [file for file in files if file.named and file.kind in ("damaged", "unreadable", "packed", "other")]
    broken = [file_error(file) for file in files if file.kind in BROKEN and file not in unknown]
    trust = [file for file in files if file.kind in ("root", "revocations")]
    bundles = [file.path for file in files if file.kind == "bundle" or file in unknown]
    answers = [file for file in files if file.kind == "answer"]
    if len(answers) < len(files):
        check_served(site.state)
    alone = [file for file in files if file.kind == "authorisation" and (file.named or len(files) == 1)]
    packed = [file.path for file in scanned if file not in files]
    media = ReceivedMedia(trust=receive_trust(site, trust, say), unread=broken, packed=packed)  # 1
    media.refused += [_authorisation_alone(file.path) for file in alone]
    consignments = _parse_consignments(site, [file for file in files if file.kind == "consignment"], media)
    later = _receive_consignments(site, consignments, media, say)  # 2
    receive = partial(_receive_bundle, site, media, watch=watch, keep=keep, say=say)
    if all(receive(path) for path in bundles):  # 3
        if later and (media.bundles or media.trust.roots):
            later = _receive_consignments(site, [consignment for consignment, _ in later], media, say)  # 4
        _retry_trust(site, media, say)
        _receive_answers(site, answers, media, load)  # 5
    media.refused += [*media.trust.refused, *(error for _, error in [*media.trust.later, *later])]
    media.unread[:0] = media.trust.unread
    media.broken = bool(media.unread) or any(file.kind in BROKEN for file in files)
    _note_damage(site, media)
    return media


def _note_damage(site: Site, media: ReceivedMedia) -> None:
    """Record that a bundle is damaged or cannot be read, once until a release is received; reports say so."""
    for error in media.failed:
        problem = "medium-damaged" if isinstance(error, DamagedError) else error.finding
        known = site.state.reports.medium
        if problem in get_args(MediumProblem) and (known is None or known[0] != problem):
            site.record(Note(code=problem, detail=one_line(str(error))))
            return


def _authorisation_alone(path: Path) -> RefusedError:
    return RefusedError(
        "this is the vendor's authorisation of a rollback below the floor, alone; a site takes it in a consignment or "
        "in a release",
        where=str(path),
        remedy="ask support for a consignment that carries it: "
        f"`waybill fleet consign SITE -o MEDIUM --key KEY --authorisation {shlex.quote(path.name)}`",
        finding="authorisation-alone",
    )


def _scan_path(path: Path) -> list[MediaFile]:
    if not path.is_dir():
        return [MediaFile(path, scan(path, named=True), named=True)]
    files = list(scan_folder(path))
    if all(file.kind == "packed" for file in files):
        raise nothing_found(path, "bundle, consignment, root document, revocation list or answer", files)
    return files


def _receive_bundle(
    site: Site, media: ReceivedMedia, path: Path, *, watch: ShowProgress, keep: bool, say: Notify
) -> bool:
    """Receive a bundle or add its error to ``media``; False when this machine fails, so that others would fail too."""
    try:
        with watch(path) as advance:
            media.bundles.append(receive_bundle(site, path, keep=keep, advance=advance, say=say))
    except WaybillError as error:
        about_file = not isinstance(error, HostError) or error.finding in ("medium-unreadable", "not-a-file")
        if not about_file:
            media.stopped = error
            return False
        named = str(path) in error.where
        media.refused.append(error if named else error.with_(where=f"{path}: {error.where}".removesuffix(": ")))
    return True


def _parse_consignments(site: Site, files: list[MediaFile], media: ReceivedMedia) -> list[ParsedConsignment]:
    """Return the consignments that claim to be for this site or were named, oldest first."""
    consignments = []
    for file in files:
        try:
            consignment = peek_consignment_file(file.path)
        except WaybillError as error:
            if file.named:
                raise
            media.unread.append(error)
            continue
        if file.named or consignment.claims.site == site.state.site:
            consignments.append(consignment)
        else:
            media.others += 1
    return sorted(consignments, key=lambda consignment: consignment.claims.number)


def _receive_consignments(
    site: Site, consignments: list[ParsedConsignment], media: ReceivedMedia, say: Notify
) -> list[tuple[ParsedConsignment, WaybillError]]:
    """Receive consignments; return those with an unknown key, and those that wait for a damaged root of this site.

    A newer root may bring the key, and a bundle may bring the damaged document.
    """
    later: list[tuple[ParsedConsignment, WaybillError]] = []
    for consignment in consignments:
        try:
            media.consignments.append(receive_consignment(site, consignment, say))
        except WaybillError as error:
            if error.finding in ("signature-unknown", "root-changed"):
                later.append((consignment, error))
            else:
                media.refused.append(error)
    return later


def _retry_trust(site: Site, media: ReceivedMedia, say: Notify) -> None:
    retried = receive_trust(site, [file for file, _ in media.trust.later], say)
    media.trust.later = retried.later
    media.trust.roots += retried.roots
    media.trust.lists += retried.lists
    media.trust.known += retried.known
    media.trust.refused += retried.refused


def _receive_answers(site: Site, files: list[MediaFile], media: ReceivedMedia, load: LoadDriver) -> None:
    for file in files:
        try:
            answer = receive_answer(site, file.path, load)
        except WaybillError as error:
            media.refused.append(error)
            continue
        if answer is not None:
            media.answers.append(answer)
        elif file.named:
            media.refused.append(
                RefusedError(
                    f"the answer is for another site; this is {site.state.site}",
                    where=str(file.path),
                    remedy="take it to that site",
                    finding="answer-other-site",
                )
            )
        else:
            media.others += 1
