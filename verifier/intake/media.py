"""Everything of ours on what came: roots, lists, consignments, bundles, answers. Known by content, not by name."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from manifests.words.errors import MalformedError, RefusedError, UntrustedError, WaybillError
from verifier.approval.answers import ReceivedAnswer, is_answer, receive_answer
from verifier.change.driver_steps import LoadDriver
from verifier.intake.bundles import ReceivedBundle, files_below, looks_like_bundle, receive_bundle
from verifier.intake.consignments import (
    ParsedConsignment,
    ReceivedConsignment,
    is_consignment,
    peek_consignment_file,
    receive_consignment,
)
from verifier.intake.trust_files import ReceivedTrust, TrustFile, kind_of, receive_trust
from verifier.runtime.drivers.driver import load_driver
from verifier.site.folder import Site
from verifier.site.vendor_access import check_served
from verifier.site.vendor_trust import Notify, silent

ShowProgress = Callable[[Path], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class ReceivedMedia:
    """What was taken in.

    Attributes:
        trust: What came of root documents and revocation lists that came alone.
        answers: What approvers elsewhere said to a request of this site.
        others: How many consignments and answers were for other sites.
        unread: What claims to be a consignment and cannot be read; for whom it was, nobody can say.
        refused: Why a consignment was not taken in; the rest was, all the same.
    """

    taken: tuple[ReceivedBundle, ...]
    consignments: tuple[ReceivedConsignment, ...]
    answers: tuple[ReceivedAnswer, ...]
    trust: ReceivedTrust
    others: int
    unread: tuple[WaybillError, ...]
    refused: tuple[WaybillError, ...]


@dataclass(frozen=True)
class _ClaimedFiles:
    """Attributes: named: A person named this very file, so it is for this site or an error."""

    path: Path
    named: bool


def receive_media(
    site: Site,
    paths: tuple[Path, ...],
    *,
    keep: bool,
    watch: ShowProgress,
    say: Notify = silent,
    load: LoadDriver = load_driver,
) -> ReceivedMedia:
    """Take in what lies below ``paths``.

    Steps: 1 root documents and revocation lists, since they judge all the rest; 2 consignments for this site, oldest
    first; 3 bundles; 4 those of 1 and 2 again whose keys were not known before a bundle brought a newer root; 5 answers
    to requests, which may be about what came with them.

    Args:
        say: Told who joins and leaves, and what is revoked, before it is in force.

    Raises:
        RefusedError: Something of a vendor is there whose access was ended; what people answer is taken in any case.
        MalformedError: Nothing of ours is there.
        WaybillError: A bundle is refused; what came before it was taken in.
    """
    bundles: list[Path] = []
    notes: list[_ClaimedFiles] = []
    said: list[_ClaimedFiles] = []
    lone: list[TrustFile] = []
    for path in paths:
        found = list(_find(path))
        if not found:
            raise MalformedError(
                "no bundle, consignment, root document, revocation list or answer here",
                where=str(path),
                remedy="name the file itself, or another folder",
                finding="nothing-found",
            )
        kinds = [(one, kind_of(one.path)) for one in found]
        lone += [TrustFile(one.path, kind, one.named) for one, kind in kinds if kind]
        for one in (one for one, kind in kinds if not kind):
            if is_consignment(one.path):
                notes.append(one)
            elif is_answer(one.path):
                said.append(one)
            else:
                bundles.append(one.path)
    if lone or notes or bundles:
        check_served(site.state)
    refused: list[WaybillError] = []
    trust = receive_trust(site, lone, say)  # 1
    seen, others, unread = _sort(site, notes)
    arrived, later = _receive(site, seen, refused, say)  # 2
    taken = []
    for path in bundles:  # 3
        with watch(path) as advance:
            taken.append(receive_bundle(site, path, keep=keep, advance=advance, say=say))
    if later and (taken or trust.roots):
        more, later = _receive(site, [one for one, _ in later], refused, say)  # 4
        arrived += more
    again = receive_trust(site, [one for one, _ in trust.later], say)
    trust.roots += again.roots
    trust.lists += again.lists
    trust.known += again.known
    refused += [*trust.refused, *again.refused, *(error for _, error in again.later)]
    refused += [error for _, error in later]
    answers, strange = _answers(site, said, load, refused)  # 5
    return ReceivedMedia(
        tuple(taken), tuple(arrived), answers, trust, others + strange, (*trust.unread, *unread), tuple(refused)
    )


def _find(path: Path) -> Iterator[_ClaimedFiles]:
    if not path.is_dir():
        # Not a consignment: then it is to be a bundle, and its reader says what is wrong with it.
        yield _ClaimedFiles(path, named=True)
        return
    for one in files_below(path):
        if kind_of(one) or is_consignment(one) or is_answer(one) or looks_like_bundle(one):
            yield _ClaimedFiles(one, named=False)


def _sort(site: Site, notes: list[_ClaimedFiles]) -> tuple[list[ParsedConsignment], int, tuple[WaybillError, ...]]:
    """Those that claim to be for this site or were named, oldest first; how many others; what cannot be read."""
    seen, others, unread = [], 0, []
    for note in notes:
        try:
            one = peek_consignment_file(note.path)
        except WaybillError as error:
            if note.named:
                raise
            unread.append(error)
            continue
        if note.named or one.said.site == site.state.site:
            seen.append(one)
        else:
            others += 1
    return sorted(seen, key=lambda one: one.said.number), others, tuple(unread)


def _receive(
    site: Site, seen: list[ParsedConsignment], refused: list[WaybillError], say: Notify
) -> tuple[list[ReceivedConsignment], list[tuple[ParsedConsignment, WaybillError]]]:
    arrived: list[ReceivedConsignment] = []
    later: list[tuple[ParsedConsignment, WaybillError]] = []
    for one in seen:
        try:
            arrived.append(receive_consignment(site, one, say))
        except UntrustedError as error:
            if error.finding == "signature-unknown":
                later.append((one, error))
            else:
                refused.append(error)
        except WaybillError as error:
            refused.append(error)
    return arrived, later


def _answers(
    site: Site, files: list[_ClaimedFiles], load: LoadDriver, refused: list[WaybillError]
) -> tuple[tuple[ReceivedAnswer, ...], int]:
    """Those that are for this site; how many are for others."""
    taken, others = [], 0
    for one in files:
        try:
            answer = receive_answer(site, one.path, load)
        except WaybillError as error:
            refused.append(error)
            continue
        if answer is not None:
            taken.append(answer)
        elif one.named:
            refused.append(
                RefusedError(
                    f"an answer to another site; this is {site.state.site}",
                    where=str(one.path),
                    remedy="take it to that site",
                    finding="answer-other-site",
                )
            )
        else:
            others += 1
    return tuple(taken), others
