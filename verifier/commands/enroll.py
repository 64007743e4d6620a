"""waybill enroll"""

import os
from pathlib import Path

import click

from console.options import in_words, verb
from console.result import Result
from manifests.documents.enrolment import RENEW_REASONS, key_groups, verify_enrolment
from manifests.trust.keys import read_capped
from manifests.words.errors import UsageError
from manifests.words.fingerprint import parse_fingerprint
from verifier.commands.site_options import hold_here, site_option, write_report_after
from verifier.install.result import check_idle
from verifier.intake.enrolment import MONTHLY, SiteNames, enroll, read_offer, read_people
from verifier.intake.root_replacement import replace_root
from verifier.reporting.key_change import renew_key, rotate_key
from verifier.site.disk import Disk
from verifier.site.folder import state_folders
from verifier.site.host import this_host
from verifier.site.journal.chain import one_line
from verifier.site.vendor_access import check_served


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
    names = SiteNames(customer or "", product or "", environment or "", name or "")
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
    if not alone or media is None or fingerprint is None or not reason.strip():
        raise UsageError(
            "--new-root takes a reason, MEDIA and --fingerprint, with --site at most",
            where="enroll",
            remedy='waybill enroll MEDIA --fingerprint WORDS --new-root "why the old root is given up"',
        )
    chain = read_offer(media, parse_fingerprint(fingerprint), None).chain
    with hold_here(place, "enroll") as site:
        former = site.state.trust.root
        replace_root(site, chain, one_line(reason))
        report = write_report_after(site, "root-replaced")
        state = site.state
    lines = [
        f"{state.site} trusts root {state.trust.root.version} of {state.trust.vendor} from now on",
        f"  fingerprint  {state.trust.root.digest}",
        f"  before       root {former.version}, {former.digest}; nothing follows from it any more",
        f"  report       {report}",
        "what was approved before has to be approved again; marks, floor and revocations stay",
    ]
    data = {
        "site": state.site,
        "root": state.trust.root.digest,
        "version": state.trust.root.version,
        "former": former.digest,
    }
    return Result("\n".join(lines), {**data, "report": str(report)})


def _another_key(place: Path | None, reason: str | None, *, alone: bool) -> Result:
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
        report = write_report_after(site, "key-rotated" if reason is None else "key-renewed")
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
