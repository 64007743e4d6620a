"""The verbs of a site. Each parses its options, calls one function, prints one result."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from manifests.console import (
    Result,
    ask_passphrase,
    in_words,
    one_line,
    passphrase_option,
    progress,
    say,
    utc_now,
    verb,
)
from manifests.errors import AttentionError, UsageError, WaybillError

if TYPE_CHECKING:
    from manifests.keys import Signer
    from verifier.arrivals import Arrivals
    from verifier.change import Change
    from verifier.install import Ended
    from verifier.machine import Tools
    from verifier.paper import Paper, Row
    from verifier.policy_change import PolicyChange
    from verifier.site import Site

_Command = TypeVar("_Command", bound=Callable[..., Any])

site_option = click.option("--site", "place", type=click.Path(path_type=Path), metavar="DIR", help="The site's folder.")
key_option = click.option("--key", metavar="URI", help="Your key; else WAYBILL_KEY.")


def items_argument(*, required: bool) -> "Callable[[_Command], _Command]":
    return click.argument("items", metavar="ITEM...", nargs=-1, required=required)


media_option = click.option(
    "--media", type=click.Path(path_type=Path), metavar="PATH", help="Where the bundle is now, if it was moved."
)


def _find(place: Path | None) -> Path:
    from verifier.site import find_site

    return find_site(place, os.environ, Path.cwd())


def open_here(place: Path | None) -> "Site":
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import open_site

    return open_site(_find(place), Disk(), this_host())


def look_here(place: Path | None) -> "Site":
    """As ``open_here``, for what only shows: also a site whose journal is broken, up to the break."""
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import look_at_site

    return look_at_site(_find(place), Disk(), this_host())


def hold_here(place: Path | None, command: str, *, any_key: bool = False) -> Any:
    """The context manager of ``hold_site``."""
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import hold_site

    return hold_site(_find(place), Disk(), this_host(), command, any_key=any_key)


def tools_here() -> "Tools":
    from verifier.tools import site_tools

    return site_tools(say)


def _tell(site: "Site", cause: str) -> Path:
    from verifier.report import write_report

    return write_report(site, site.disk, utc_now(), cause=cause)


def signer_of(uri: str | None, passphrase_fd: int | None) -> "Signer":
    from content.signers import open_signer

    named = uri or os.environ.get("WAYBILL_KEY")
    if not named:
        raise UsageError("no key is named", where="--key", remedy="--key file:PATH, or WAYBILL_KEY")
    return open_signer(named, lambda prompt: ask_passphrase(prompt, descriptor=passphrase_fd), Path.cwd())


@verb(short_help="Make a site.")
@click.argument("media", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--fingerprint", metavar="WORDS", help="Of the vendor's root, as printed on the paper.")
@click.option("--customer", metavar="NAME")
@click.option("--product", metavar="NAME")
@click.option("--environment", metavar="NAME")
@click.option("--name", metavar="NAME", help="Of this place, as in east.")
@click.option("--person", "people", multiple=True, metavar="NAME=FILE", help="Who may approve, and their public key.")
@click.option("--channel", metavar="NAME", help="The maintenance line; else the one of MEDIA's release.")
@click.option("--practice", is_flag=True, help="Trust a practice root.")
@click.option("--minimum-sequence", "minimum", type=click.IntRange(min=1), metavar="N",
              help="Lowest sequence to accept, as the paper says; keeps old media from a new site.")  # fmt: skip
@click.option("--report-every", "every", metavar="30d|never", help="How often it promises to report; else 30d.")
@click.option(
    "--new-root",
    callback=in_words,
    metavar="REASON",
    help="Of a site: trust another chain of the vendor, by its fingerprint.",
)
@click.option("--rotate", is_flag=True, help="Of a site: give it another key, which its old one vouches for.")
@click.option("--renew", metavar="REASON", help="Of a site: give it another key without the old one's word.")
@site_option
def enroll_command(
    media: Path | None,
    fingerprint: str | None,
    customer: str | None,
    product: str | None,
    environment: str | None,
    name: str | None,
    people: tuple[str, ...],
    channel: str | None,
    practice: bool,
    minimum: int | None,
    every: str | None,
    new_root: str | None,
    rotate: bool,
    renew: str | None,
    place: Path | None,
) -> Result:
    """Make a folder a site: it trusts the one vendor whose root has this fingerprint, and makes its own key.

    The fingerprint comes from the vendor's paper, never from the medium. MEDIA and all four names are needed.

    With --rotate or --renew nothing else is: a site that is there gets another key. Support hears of a rotation by the
    next report. A renewal makes a new enrolment for support to accept; REASON is key-lost, key-stolen, backup-restored
    or host-replaced.

    With --new-root a site that is there trusts another root of the same vendor, whose quorum was lost: MEDIA holds it,
    and --fingerprint is on a new paper. Marks, floors and the revocation list stay.
    """
    if new_root is not None:
        alone = not any(
            (customer, product, environment, name, people, channel, practice, minimum, every, rotate, renew)
        )
        return _another_root(place, media, fingerprint, new_root, alone=alone)
    if rotate or renew:
        others = (media, fingerprint, customer, product, environment, name, people, channel, practice, minimum, every)
        return _another_key(place, renew, alone=not any(others) and not (rotate and renew))
    given = {
        "MEDIA": media,
        "--fingerprint": fingerprint,
        "--customer": customer,
        "--product": product,
        "--environment": environment,
        "--name": name,
    }
    missing = [option for option, value in given.items() if value is None]
    if media is None or missing:
        raise UsageError(f"missing {', '.join(missing)}", where="enroll", remedy="waybill enroll --help")
    from manifests.fingerprint import parse_fingerprint
    from verifier.enroll import MONTHLY, Names, enroll, read_offer, read_people
    from verifier.fsops import Disk
    from verifier.host import this_host
    from verifier.site import state_folders

    names = Names(customer or "", product or "", environment or "", name or "")
    offer = read_offer(media, parse_fingerprint(fingerprint or ""), channel)
    target = place or state_folders(os.environ)[0 if os.geteuid() == 0 else -1] / names.site.replace("/", ".")
    made = enroll(
        offer,
        names,
        read_people(people),
        target.absolute(),
        practice=practice,
        disk=Disk(),
        host=this_host(),
        minimum=minimum,
        every=every or MONTHLY,
    )
    return _enrolled(made.path, made.enrolment)


def _another_root(
    place: Path | None, media: Path | None, fingerprint: str | None, reason: str, *, alone: bool
) -> Result:
    from manifests.fingerprint import parse_fingerprint
    from verifier.enroll import read_offer
    from verifier.machine import one_line
    from verifier.newroot import replace_root

    if not alone or media is None or fingerprint is None or not reason.strip():
        raise UsageError(
            "--new-root takes a reason, MEDIA and --fingerprint, with --site at most",
            where="enroll",
            remedy='waybill enroll MEDIA --fingerprint WORDS --new-root "why the old root is given up"',
        )
    chain = read_offer(media, parse_fingerprint(fingerprint), None).chain
    with hold_here(place, "enroll") as site:
        former = site.state.root
        replace_root(site, chain, one_line(reason))
        report = _tell(site, "root-replaced")
        state = site.state
    lines = [
        f"{state.site} trusts root {state.root.version} of {state.vendor} from now on",
        f"  fingerprint  {state.root.digest}",
        f"  before       root {former.version}, {former.digest}; nothing follows from it any more",
        f"  report       {report}",
        "what was approved before has to be approved again; marks, floor and revocations stay",
    ]
    data = {"site": state.site, "root": state.root.digest, "version": state.root.version, "former": former.digest}
    return Result("\n".join(lines), {**data, "report": str(report)})


def _another_key(place: Path | None, reason: str | None, *, alone: bool) -> Result:
    from manifests.enrolment import RENEW_REASONS, key_groups
    from verifier.install import check_idle
    from verifier.newkey import renew_key, rotate_key
    from verifier.offboarding import check_served

    if not alone:
        raise UsageError(
            "--rotate and --renew stand alone, with --site at most",
            where="enroll",
            remedy="one of them, and --site where it is not the only one",
        )
    known = {str(one): one for one in RENEW_REASONS}
    if reason is not None and reason not in known:
        raise UsageError(
            f"{reason!r} is none of {', '.join(known)}",
            where="--renew",
            remedy="the reasons are listed in enroll --help",
        )
    with hold_here(place, "enroll", any_key=reason is not None) as site:
        check_served(site.state)
        if reason is None:
            check_idle(site)
            made = rotate_key(site)
        else:
            made = renew_key(site, known[reason])
        report = _tell(site, "key-rotated" if reason is None else "key-renewed")
        state = site.state
    lines = [f"{state.site} speaks by key {made.key_epoch} from now on", f"  fingerprint  {key_groups(made.key)}"]
    if made.enrolment is not None:
        lines += [
            f"  enrolment    {made.enrolment}  (carry it to support)",
            "read the fingerprint to support on another way than the file's; until they accept it, both keys stand",
        ]
    lines += [f"  report       {report}", "what was approved before has to be approved again"]
    data = {
        "site": state.site,
        "key": made.key.keyid,
        "key_epoch": made.key_epoch,
        "fingerprint": key_groups(made.key),
        "enrolment": str(made.enrolment) if made.enrolment else None,
        "report": str(report),
    }
    return Result("\n".join(lines), data)


def _enrolled(path: Path, enrolment: Path) -> Result:
    from manifests.enrolment import verify_enrolment
    from manifests.keys import read_capped

    signed = verify_enrolment(read_capped(enrolment, 64 << 10))
    about = signed.enrolment
    practice = " (practice)" if about.practice else ""
    lines = [
        f"enrolled {about.site}{practice}",
        f"  folder       {path}",
        f"  root         version {about.root.version}, {about.root.digest}",
        f"  enrolment    {enrolment}  (carry it to support)",
        f"  fingerprint  {signed.groups}",
        f"               {signed.words}",
        "read the fingerprint to support on another way than the file's",
        f"next: edit {path / 'site.yaml'}, then waybill receive MEDIA",
    ]
    data = {
        "site": about.site,
        "folder": str(path),
        "enrolment": str(enrolment),
        "key": about.key.keyid,
        "fingerprint": signed.groups,
        "words": signed.words,
        "practice": about.practice,
    }
    return Result("\n".join(lines), data)


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
    from verifier.arrivals import receive_paths
    from verifier.queue import waiting_items
    from verifier.review import queue_text

    @contextmanager
    def watch(path: Path) -> Iterator[Callable[[int], None]]:
        with progress(path.name, path.stat().st_size) as bar:
            yield bar.advance

    report = None
    with hold_here(place, "receive") as site:
        before = site.state.consignment
        try:
            found = receive_paths(site, paths, keep=keep, watch=watch, load=tools_here().load, say=say)
        finally:
            # Also when a bundle was refused: what came beside it is told all the same, and so is an alarm.
            if site.state.owes_report:
                report = _tell(site, "consignment" if site.state.consignment != before else "received")
        waiting = waiting_items(site)
    return _received(found, report, [one.item for one in waiting], queue_text(waiting))


def _received(found: "Arrivals", report: Path | None, waiting: list[str], queue: str) -> Result:
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


def _trust_lines(found: "Arrivals") -> list[str]:
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


@verb(short_help="Install what was approved.")
@items_argument(required=True)
@media_option
@click.option("--contract", metavar="DIGEST", help="Of the telemetry contract; a first install asks for it.")
@click.option(
    "--outside-window", callback=in_words, metavar="REASON", help="Why it is done now, outside of the policy's windows."
)
@click.option(
    "--emergency",
    metavar="RULE",
    help="By this emergency rule of the policy instead; a use of it.",
)
@click.option("--gone", multiple=True, metavar="NAME", help="Of `policy` alone: whose word cannot be had any more.")
@click.option(
    "--reason",
    callback=in_words,
    metavar="TEXT",
    help="With --gone: why; it is kept, and support is told of it.",
)
@click.option("--fingerprint", metavar="WORDS", help="With --gone: of the new policy, from the customer's paper.")
@click.option("--dry-run", is_flag=True, help="Check everything and count the space; change nothing.")
@site_option
def install_command(
    items: tuple[str, ...],
    media: Path | None,
    contract: str | None,
    outside_window: str | None,
    emergency: str | None,
    gone: tuple[str, ...],
    reason: str | None,
    fingerprint: str | None,
    dry_run: bool,
    place: Path | None,
) -> Result:
    """Install ITEM, watch it through its trial, and go back by itself if it fails.

    ITEM is an item of the queue, or the path of a bundle, which is received first. Several releases are installed one
    after the other. The item `policy` comes into force. When so many of its people are gone that they can no longer
    agree to another one, those who are left found it anew: --gone, --reason and --fingerprint.
    """
    from verifier.install import install

    if "policy" in items and emergency is not None:
        raise UsageError("is about releases", where="--emergency", remedy="waybill install policy, without it")
    if "policy" in items:
        return _install_policy(place, items, gone, reason, fingerprint, dry_run=dry_run)
    if gone or reason is not None or fingerprint is not None:
        raise UsageError(
            "--gone, --reason and --fingerprint are for the item `policy`",
            where="install",
            remedy="leave them out for any other item",
        )
    with hold_here(place, "install") as site:
        media, items = _receive_first(site, media, items)
        with progress(items[-1], 0) as bar:
            ended = install(
                site,
                items,
                tools_here(),
                media=media,
                contract=_ask_contract(contract),
                tell=_tell,
                told=bar.advance,
                outside_window=outside_window,
                emergency=emergency or "",
                dry_run=dry_run,
            )
    return _ended(ended, "would fit" if dry_run else "runs")


def _receive_first(site: "Site", media: Path | None, items: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """A single item may be the path of a bundle."""
    from verifier.receive import receive_bundle

    bundle = Path(items[0])
    if len(items) > 1 and media is not None:
        raise UsageError(
            "--media names one bundle, and several releases are asked for",
            where="--media",
            remedy="waybill receive MEDIA first, which remembers where each of them is",
        )
    if len(items) > 1 or not ("/" in items[0] or bundle.is_file()):
        return media, items
    with progress(bundle.name, bundle.stat().st_size) as bar:
        item = receive_bundle(site, bundle, keep=False, advance=bar.advance, say=say).item
    return media or bundle, (item,)


def _install_policy(
    place: Path | None,
    items: tuple[str, ...],
    gone: tuple[str, ...],
    reason: str | None,
    fingerprint: str | None,
    *,
    dry_run: bool,
) -> Result:
    from manifests.fingerprint import parse_fingerprint
    from verifier.policy_change import Founding, found_anew, policy_change, put_in_force

    if items != ("policy",):
        raise UsageError("a policy comes into force alone", where="policy", remedy="waybill install policy")
    given = [bool(gone), reason is not None, fingerprint is not None]
    if any(given) and not all(given):
        raise UsageError(
            "--gone, --reason and --fingerprint go together",
            where="policy",
            remedy="without them, the people of the policy in force agree to it",
        )
    if dry_run:
        site = open_here(place)
        change = policy_change(site)
        return Result("\n".join(_policy_lines(change)), {"policy": change.digest})
    with hold_here(place, "install") as site:
        if reason is not None and fingerprint is not None:
            paper = parse_fingerprint(fingerprint)
            change = found_anew(site, Founding(gone=gone, reason=reason, paper=paper))
        else:
            change = put_in_force(site)
        report = _tell(site, "policy")
    lines = [f"policy {change.proposed.number} is in force", *_policy_lines(change)]
    error = None
    if gone:
        error = AttentionError(
            f"it was founded anew, without {', '.join(gone)}; the report says so, and so does `waybill status`",
            where="policy",
            remedy="tell support, and keep the signed paper",
            finding="policy-refounded",
        )
    data = {"policy": change.digest, "number": change.proposed.number, "gone": list(gone), "report": str(report)}
    return Result("\n".join([*lines, f"report: {report}"]), data, error)


def _policy_lines(change: "PolicyChange") -> list[str]:
    from verifier.differences import policy_differences

    return [one_line(one.line()) for one in policy_differences(change.in_force, change.proposed)]


def _ask_contract(given: str | None) -> "Callable[[Change], str]":
    """The digest that was named, else typed on a terminal; never shown first."""
    from manifests.fingerprint import parse_fingerprint

    def ask(change: "Change") -> str:
        text = given
        if text is None and sys.stdin.isatty():
            say(f"telemetry contract {change.contract.contract} version {change.contract.version} will be in force")
            text = click.prompt("its digest, as agreed", default="", show_default=False, err=True)
        return parse_fingerprint(text) if text else ""

    return ask


def _ended(ended: "Ended", verb_: str) -> Result:
    now = ended.generation
    what = f"generation {now.number}, {now.product} {now.version}" if now else "nothing is installed"
    lines = [f"{verb_}: {what}"]
    if ended.need is not None:
        lines.append(
            f"new blobs: {len(ended.need.missing)}; at most {ended.need.bytes} bytes and {ended.need.inodes} files"
        )
    lines += ended.lines
    if ended.report is not None:
        lines.append(f"report: {ended.report}")
    data: dict[str, Any] = {
        "generation": now.number if now else 0,
        "version": now.version if now else None,
        "release": now.release if now else None,
        "report": str(ended.report) if ended.report else None,
        "way": list(ended.lines),
    }
    return Result("\n".join(lines), data, ended.error)


@verb(short_help="End a trial.")
@key_option
@passphrase_option
@click.option("--time", "claimed", metavar="TIME", help="The time that `waybill status` calls claimed.")
@site_option
def confirm_command(key: str | None, passphrase_fd: int | None, claimed: str | None, place: Path | None) -> Result:
    """Say that a trial which waits for a person has gone well. The floor rises here.

    With --time say instead that a time is right which a release claims and which is too far ahead to be believed.
    """
    from verifier.install import confirm

    signer = signer_of(key, passphrase_fd) if key or os.environ.get("WAYBILL_KEY") else None
    if claimed is not None:
        from verifier.confirmation import acknowledge_time

        with hold_here(place, "confirm") as site:
            acknowledge_time(site, claimed, signer)
            return Result(f"time has passed until {claimed}", {"time_floor": site.state.time_floor})
    with hold_here(place, "confirm") as site:
        return _ended(confirm(site, tools_here(), signer=signer, tell=_tell), "confirmed")


@verb(short_help="Go back.")
@click.option("--to", "number", type=click.IntRange(min=1), metavar="N", help="To this one; else to what ran before.")
@click.option("--reason", callback=in_words, metavar="TEXT", help="Kept in the journal.")
@click.option("--key", metavar="URI", help="Approve it with this key at once.")
@passphrase_option
@click.option("--dry-run", is_flag=True, help="Check whether it could be done; change nothing.")
@site_option
def rollback_command(
    number: int | None,
    reason: str | None,
    key: str | None,
    passphrase_fd: int | None,
    dry_run: bool,
    place: Path | None,
) -> Result:
    """Go back to an earlier generation, with the config that it had. Out of a trial that needs nobody's word."""
    from verifier.install import rollback

    signer = signer_of(key, passphrase_fd) if key else None
    with hold_here(place, "rollback") as site:
        means = _going_back(site, number)
        ended = rollback(site, number, tools_here(), signer=signer, reason=reason, tell=_tell, dry_run=dry_run)
    result = _ended(ended, "runs")
    return Result("\n".join((result.text, *means)), {**result.data, "means": means}, result.error)


def _going_back(site: "Site", number: int | None) -> list[str]:
    """What it means: by whose word, what is lost, which advisories open again. Out of a trial nothing was promised."""
    from verifier.change import rollback_change
    from verifier.matter import matter_of
    from verifier.paper import section_text
    from verifier.review import make_review
    from verifier.review_paper import back_section
    from verifier.table import State

    now = site.state.transaction
    if now is not None and now.state not in (State.SETTLED, State.ROLLED_BACK):
        return []
    target = number or site.former()
    try:
        asked = rollback_change(site, target)
        return section_text(back_section(make_review(matter_of(site, asked, tools_here().load))))
    except WaybillError:
        return []  # `rollback` itself says what is wrong


@verb(short_help="Finish what a crash interrupted.")
@click.option("--due", is_flag=True, help="For timers and the boot: also end a trial whose time is up.")
@site_option
def recover_command(due: bool, place: Path | None) -> Result:
    """Finish or undo what was cut off; the site is old or new afterwards. Safe to run at any time.

    Out of INCONSISTENT it tries once more, on your word; with --due it leaves that alone, because nobody is there.
    """
    from verifier.install import recover

    with hold_here(place, "recover") as site:
        what, ended = recover(site, tools_here(), tell=_tell, due=due)
    result = _ended(ended, "runs")
    return Result(f"{what}\n{result.text}", {"action": what, **result.data}, result.error)


@verb(short_help="Say what runs.")
@click.option("--fast", is_flag=True, help="Do not look at what the drivers placed.")
@site_option
def status_command(fast: bool, place: Path | None) -> Result:
    """What is unfinished, what runs, what waits. Changes nothing."""
    from verifier.crew import observe
    from verifier.queue import waiting_items
    from verifier.status import broken_status, status_of

    site = look_here(place)
    if site.broken is not None:
        found = broken_status(site, site.broken)
        return Result(found.text, found.data, found.error)
    components, unseen = None, ""
    if not fast:
        try:
            components = observe(site, tools_here().load)
        except WaybillError as error:
            unseen = str(error)
    waiting = waiting_items(site)
    found = status_of(site, waiting, components, utc_now(), unseen=unseen)
    return Result(found.text, found.data, found.error)


@verb(short_help="End the vendor's access.")
@click.option(
    "--reason", callback=in_words, metavar="TEXT", help="Why; `retired` when the site itself goes. It stays here."
)
@click.option("--key", "keys", multiple=True, metavar="URI", help="Agree to it with this key.")
@click.option("--page", type=click.Path(path_type=Path), metavar="FILE", help="Write the statement as one HTML page.")
@passphrase_option
@site_option
def offboard_command(
    reason: str | None, keys: tuple[str, ...], page: Path | None, passphrase_fd: int | None, place: Path | None
) -> Result:
    """Ask that the vendor's access ends; do it once the people whom the policy names have agreed; prove it.

    Data, images, running software and local rollback stay. The vendor's former bundles, consignments, requests and
    signatures are tried once more, and each has to be refused. The last report says so. Cut off in the middle, the
    same verb goes on; afterwards it prints the statement of what stays where again.
    """
    from manifests.console import rfc3339
    from verifier.farewell_paper import farewell_paper
    from verifier.offboard import agree, ask, end, finish
    from verifier.paper import as_page, as_text, write_new
    from verifier.verify import VERIFIER_VERSION

    signers = [signer_of(uri, passphrase_fd) for uri in keys]
    with hold_here(place, "offboard") as site:
        if not site.state.offboarded:
            if reason is not None and ask(site, reason):
                _tell(site, "offboard-asked")
            for signer in signers:
                agree(site, signer)
            end(site)
        done = finish(site, utc_now())
        state = site.state
        now = state.offboarding
        tried = now.tried if now else ()
    # Anew: the held site knows no entries of its own making.
    paper = farewell_paper(open_here(place), f"written by waybill {VERIFIER_VERSION}, {rfc3339(utc_now())}")
    lines = [as_text(paper), "", f"report: {done.report}  (the last one; carry it: waybill report --out MEDIUM)"]
    if page is not None:
        lines.append(f"written: {write_new(page, as_page(paper).encode())}")
    data = {
        "site": state.site,
        "reason": now.asked.reason if now else None,
        "tried": [
            {"kind": one.kind, "artefact": one.artefact, "outcome": one.outcome, "finding": one.finding}
            for one in tried
        ],
        "report": str(done.report),
        "stays": [{"what": row.cells[0], "where": row.cells[2]} for row in _rows_of(paper, "what stays, and where")],
    }
    return Result("\n".join(lines), data, done.error)


def _rows_of(paper: "Paper", title: str) -> tuple["Row", ...]:
    table = next(one.table for one in paper.sections if one.title == title)
    return table.rows if table else ()
