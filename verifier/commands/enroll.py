"""waybill enroll"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # click passes options by name

import click

from console.options import ExistingPath, command, text_option
from console.output import say
from console.result import Result
from manifests.authored.site_yaml import FILL_IN
from manifests.documents.enrolment import RENEW_REASONS, key_groups, verify_enrolment
from manifests.trust.keys import read_capped
from manifests.trust.root import Chain
from manifests.words.errors import RefusedError, UsageError, WaybillError
from manifests.words.fingerprint import parse_fingerprint
from manifests.words.text import visible
from verifier.change.transaction import check_idle
from verifier.commands.change_options import write_report_after
from verifier.commands.site_options import at_terminal, hold_here, site_option
from verifier.intake.enrolment import (
    MONTHLY,
    EnrollRequest,
    SiteNames,
    enroll,
    person_keys,
    read_offer,
    read_people,
    refusals_of,
)
from verifier.intake.enrolment_files import NewPerson, VendorOffer, proposed_drivers
from verifier.intake.enrolment_questions import Question, questions_of
from verifier.intake.trust_files import replace_root
from verifier.reporting.key_change import NewKey, renew_key, rotate_key
from verifier.site.disk import Disk
from verifier.site.host import this_host
from verifier.site.journal.chain import one_line
from verifier.site.proposals import read_site_yaml
from verifier.site.vendor_access import check_served


@dataclass(frozen=True)
class EnrollOptions:
    """The options of the command line; None, empty or False for those that are absent."""

    media: Path | None
    fingerprint: str | None
    customer: str | None
    product: str | None
    environment: str | None
    name: str | None
    people: tuple[str, ...]
    channel: str | None
    practice: bool
    minimum: int | None
    every: str | None
    new_root: str | None
    rotate: bool
    renew: str | None

    def only(self, *names: str) -> bool:
        """Whether no other option is given."""
        return not any(value for name, value in vars(self).items() if name not in names)


@command(
    examples=(
        "waybill enroll MEDIUM --fingerprint WORDS --customer northern-grid \\\n"
        "    --product inkwell --environment production --name east \\\n"
        "    --person ops-1=ops-1.pub",
        "waybill enroll --rotate",
        "waybill enroll --renew key-lost",
    )
)
@click.argument("media", metavar="[MEDIUM]", required=False, type=ExistingPath())
@click.option("--fingerprint", metavar="WORDS", help="Fingerprint of the vendor's root, from the paper.")
@click.option("--customer", metavar="NAME", help="Customer name, for example `northern-grid`.")
@click.option("--product", metavar="NAME", help="Product name, as the vendor writes it.")
@click.option("--environment", metavar="NAME", help="Environment name, for example `production`.")
@click.option("--name", metavar="NAME", help="Site name, for example `east`.")
@click.option("--person", "people", multiple=True, metavar="[ROLE:]NAME=FILE",
              help="Person who may approve, and the file of the public key. Role: operator. Repeatable.")  # fmt: skip
@click.option("--channel", metavar="NAME", help="Release channel. Default: the channel of MEDIUM's release.")
@click.option("--practice", is_flag=True, help="Trust a practice root, for testing only.")
@click.option("--minimum-sequence", "minimum", type=click.IntRange(min=1), metavar="N",
              help="Lowest release sequence to accept, from the paper. Refuses older media.")  # fmt: skip
@click.option("--report-every", "every", metavar="30d|never", help="Promised interval of reports. Default: 30d.")
@text_option(
    "--new-root", metavar="REASON", help="Replace the root of an existing site, by the fingerprint of the new one."
)
@click.option("--rotate", is_flag=True, help="Replace the key of an existing site; the old key signs the new one.")
@click.option("--renew", metavar="REASON", help="Replace the key of an existing site without its old key.")
@site_option
def enroll_command(place: Path | None, **options: Any) -> Result:
    """Make a folder a site: it trusts the one vendor whose root has this fingerprint, and makes its own key.

    The fingerprint comes from the vendor's paper, never from the medium. MEDIUM, all four names and at least one person
    are required. Without --site and WAYBILL_SITE the folder is NAME, in the current folder.

    With a bundle, site.yaml names what its release needs, with the placeholder FILL-IN for each value that only this
    site knows. A release is shown by `review` while placeholders are left, and neither approved nor installed. In the
    first policy each change needs one approval of every role that --person names. At a terminal each such value is
    asked for first, and more people if all have one role; an empty answer leaves the placeholder, or ends the list.
    With --json or --quiet nothing is asked.

    --rotate and --renew give an existing site another key, and take no other option. Support learns of a rotation from
    the next report. A renewal makes a new enrolment for support to accept; REASON is key-lost, key-stolen,
    backup-restored or host-replaced.

    --new-root makes an existing site trust another root of the same vendor, whose quorum was lost. MEDIUM holds the
    root, and a new paper its fingerprint. Marks, floors and the revocation list stay.
    """
    given = EnrollOptions(**options)
    if given.new_root is not None:
        return _replace_root(place, given)
    if given.rotate or given.renew is not None:
        return _change_key(place, given)
    return _new_site(place, given)


def _new_site(place: Path | None, given: EnrollOptions) -> Result:
    """Enrol a new site in ``place``, else in WAYBILL_SITE, else in a folder with the site's name in the current one.

    Raises:
        UsageError: A required option is missing.
    """
    required = {
        "MEDIUM": given.media,
        "--fingerprint": given.fingerprint,
        "--customer": given.customer,
        "--product": given.product,
        "--environment": given.environment,
        "--name": given.name,
        "--person": given.people or None,
    }
    missing = [option for option, value in required.items() if value is None]
    if given.media is None or missing:
        raise UsageError(f"missing {', '.join(missing)}", where="enroll", remedy="waybill enroll --help")
    names = SiteNames(given.customer or "", given.product or "", given.environment or "", given.name or "")
    offer = read_offer(given.media, parse_fingerprint(given.fingerprint or ""), given.channel)
    people = read_people(given.people)
    _say_refusals(offer, names, given.minimum)
    answers = _ask(questions_of(offer)) if at_terminal() else {}
    people = _ask_people(given.people, offer.chain) if at_terminal() else people
    target = place or Path(os.environ.get("WAYBILL_SITE") or names.name)
    say(f"making the site in {target.absolute()}")
    request = EnrollRequest(
        offer=offer,
        names=names,
        people=people,
        target=target.absolute(),
        practice=given.practice,
        minimum=given.minimum,
        every=given.every or MONTHLY,
        answers=answers,
    )
    enroll(request, Disk(), this_host())
    return _enrolled(request)


def _say_refusals(offer: VendorOffer, names: SiteNames, minimum: int | None) -> None:
    """Say why the new site would refuse the release on the medium; at a terminal ask whether to go on.

    Raises:
        RefusedError: The answer was no.
    """
    reasons, release = refusals_of(offer, names, minimum), offer.release
    if release is None or not reasons:
        return
    say(f"warning: {names.site} would refuse {release.product} {release.version}: {'; '.join(reasons)}")
    if at_terminal() and not click.confirm("the names of a site never change; make it all the same", err=True):
        raise RefusedError(
            "the site was not made",
            where="enroll",
            remedy="correct the names, or ask the vendor for a release for this site",
            finding="not-confirmed",
        )


def _ask(questions: tuple[Question, ...]) -> dict[str, str]:
    """Return the answers typed at the terminal, by setting; an empty answer leaves the placeholder in site.yaml."""
    answers: dict[str, str] = {}
    if questions:
        say(f"values of site.yaml that only this site knows; press Enter to leave one as {FILL_IN}")
    for question in questions:
        # The vendor wrote the description of a configuration value.
        prompt = f"{question.setting} ({visible(one_line(question.what))})"
        while text := click.prompt(prompt, default="", show_default=False, err=True):
            try:
                answers[question.setting] = question.write(text.strip())
                break
            except WaybillError as error:
                say(f"{error.problem}; {error.remedy}")
    return answers


def _ask_people(given: tuple[str, ...], chain: Chain) -> dict[str, NewPerson]:
    """Return the people of the options, with those typed at the terminal while all have one role; Enter ends it."""
    people = read_people(given)
    person_keys(people, chain)
    if len({person.role for person in people.values()}) > 1:
        return people
    say(
        f"policy.yaml: each change needs one approval of every role; so far {_roles_text(people)}; press Enter to go on"
    )
    prompt = "people (who approves besides, ROLE:NAME=FILE with the public key)"
    while text := click.prompt(prompt, default="", show_default=False, err=True).strip():
        try:
            more = read_people((*given, text))
            person_keys(more, chain)
            given, people = (*given, text), more
            say(f"each change needs one approval of every role; so far {_roles_text(people)}")
        except WaybillError as error:
            say(f"{error.problem}; {error.remedy}")
    return people


def _roles_text(people: dict[str, NewPerson]) -> str:
    return ", ".join(f"{name} ({person.role})" for name, person in people.items())


def _replace_root(place: Path | None, given: EnrollOptions) -> Result:
    """Trust another root at an existing site. Raise UsageError if an option is missing or does not belong here."""
    reason, media, fingerprint = given.new_root or "", given.media, given.fingerprint
    alone = given.only("new_root", "media", "fingerprint")
    if not alone or media is None or fingerprint is None or not reason.strip():
        raise UsageError(
            "--new-root needs a reason, MEDIUM and --fingerprint, and takes no option but --site",
            where="enroll",
            remedy='waybill enroll MEDIUM --fingerprint WORDS --new-root "reason of the replacement"',
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
        f"  before       root {former.version}, {former.digest}; no longer trusted",
        f"  report       {report}",
        "approve again what was approved before; marks, floor and revocation list stay",
    ]
    data = {
        "site": state.site,
        "root": state.trust.root.digest,
        "version": state.trust.root.version,
        "former": former.digest,
    }
    return Result("\n".join(lines), {**data, "report": str(report)})


def _change_key(place: Path | None, given: EnrollOptions) -> Result:
    """Rotate or renew the key of an existing site. Raise UsageError for another option, or an unknown reason."""
    rotate, renew = given.rotate, given.renew
    if not given.only("rotate" if rotate else "renew"):
        raise UsageError(
            f"--{'rotate' if rotate else 'renew'} takes no option but --site",
            where="enroll",
            remedy="waybill enroll --rotate, or waybill enroll --renew key-lost",
        )
    reasons = {str(reason): reason for reason in RENEW_REASONS}
    if not rotate and renew not in reasons:
        raise UsageError(
            f"{renew!r} is no reason; the reasons are {', '.join(reasons)}",
            where="--renew",
            remedy="waybill enroll --renew key-lost",
        )
    with hold_here(place, "enroll", any_key=not rotate) as site:
        check_served(site.state)
        if rotate:
            check_idle(site)
        key = renew_key(site, reasons[renew]) if renew else rotate_key(site)
        return _key_changed(site.state.site, key, write_report_after(site, "key-renewed" if renew else "key-rotated"))


def _key_changed(site: str, changed: NewKey, report: Path) -> Result:
    lines = [f"{site} signs with key {changed.key_epoch} from now on", f"  fingerprint  {key_groups(changed.key)}"]
    if changed.enrolment is not None:
        lines += [
            f"  enrolment    {changed.enrolment}  (carry it to support)",
            "read the fingerprint to support by telephone; until they accept it, both keys are valid",
        ]
    lines += [f"  report       {report}", "approve again what was approved before"]
    data = {
        "site": site,
        "key": changed.key.keyid,
        "key_epoch": changed.key_epoch,
        "fingerprint": key_groups(changed.key),
        "enrolment": str(changed.enrolment) if changed.enrolment else None,
        "report": str(report),
    }
    return Result("\n".join(lines), data)


def _left_to_do(request: EnrollRequest) -> list[str]:
    """Return what the operator still has to do before the first install, in order."""
    path, release = request.target, request.offer.release
    placeholders = read_site_yaml(path).unfilled
    proposed = [
        f"remove the # before {name.partition('.')[0]}, fill in {name}"
        for name in proposed_drivers(release)
        if name not in request.answers
    ]
    filled = [f"fill in {placeholder.path.removeprefix('$.')}" for placeholder in placeholders]
    tasks = [f"{path / 'site.yaml'}: {task}" for task in (*proposed, *filled)]
    if not tasks:
        tasks.append(f"{path / 'site.yaml'}: look through the settings")
    roles = dict.fromkeys(person.role for person in request.people.values())
    tasks.append(
        f"{path / 'policy.yaml'}: each change needs 1 {' and 1 '.join(roles)}; add people and rules before the first "
        "approval"
    )
    tasks.append("carry the enrolment to support, and read the fingerprint to them")
    receive = "waybill receive MEDIUM"
    if release is not None and (reasons := refusals_of(request.offer, request.names, request.minimum)):
        receive = (
            f"ask the vendor for a release for this site: it would refuse {release.version} ({'; '.join(reasons)}); "
            f"the names never change, so if one is wrong, remove {path} and enroll again"
        )
    elif release is not None:
        receive += f", then waybill check r-{release.version}"
    return [*tasks, receive]


def _enrolled(request: EnrollRequest) -> Result:
    path = request.target
    enrolment = path / "outbox" / "enrolment.json"
    signed = verify_enrolment(read_capped(enrolment, 64 << 10))
    about = signed.enrolment
    practice = " (practice)" if about.practice else ""
    left = _left_to_do(request)
    lines = [
        f"enrolled {about.site}{practice}",
        f"  folder       {path}",
        f"  root         version {about.root.version}, {about.root.digest}",
        f"  enrolment    {enrolment}  (carry it to support)",
        f"  fingerprint  {signed.groups}",
        f"               {signed.words}",
        "read the fingerprint to support by telephone, not by the medium that carries the file",
        "left to do:",
        *(f"  {number}. {task}" for number, task in enumerate(left, 1)),
    ]
    data = {
        "site": about.site,
        "folder": str(path),
        "enrolment": str(enrolment),
        "key": about.key.keyid,
        "fingerprint": signed.groups,
        "words": signed.words,
        "practice": about.practice,
        "left": left,
    }
    return Result("\n".join(lines), data)
