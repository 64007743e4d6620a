"""The command `waybill fleet enroll`."""

from pathlib import Path

import click

from console.clock import utc_now
from console.options import command
from console.result import Result
from fleet.commands.options import fleet_option, named_roots, open_ledger, root_option, say_trusted
from fleet.intake.result import import_attention, import_data, import_text, with_next_step
from fleet.intake.scan import check_enrolment
from fleet.outgoing.enrol import EnrolledSite, enroll
from fleet.rules.values import FIRST_POLICY
from manifests.documents.enrolment import MAX_ENROLMENT, verify_enrolment
from manifests.trust.keys import read_capped
from manifests.words.errors import AttentionError, MalformedError, UntrustedError
from manifests.words.fingerprint import as_groups, parse_fingerprint
from manifests.words.text import short_digest


@command(name="enroll", examples=("waybill fleet enroll enrolment.json --fingerprint 'WORDS FROM THE CUSTOMER'",))
@click.argument("enrolment", type=click.Path(path_type=Path))
@click.option(
    "--fingerprint",
    metavar="WORDS",
    help="Fingerprint of the site's key, as the customer reads it out; default: not compared.",
)
@root_option
@fleet_option
def enroll_command(enrolment: Path, fingerprint: str | None, root: Path | None, place: str | None) -> Result:
    """Record the site of ENROLMENT and the key that signs its reports.

    In an empty folder this creates the ledger. Files in quarantine that name the key are judged again.
    """
    typed = None if fingerprint is None else parse_fingerprint(fingerprint)
    check_enrolment(enrolment)
    try:
        signed = verify_enrolment(read_capped(enrolment, MAX_ENROLMENT), str(enrolment))
    except (MalformedError, UntrustedError) as error:
        remedy = "ask the customer for the enrolment of the site again: outbox/enrolment.json"
        raise with_next_step(error, remedy) from None

    with open_ledger(place, create=True) as engine:
        named = named_roots(root)
        enrolled = enroll(engine, signed, utc_now(), fingerprint=typed, named=named)
    if enrolled.named_new:
        say_trusted(named[0])
    data = _as_data(enrolled, compared=typed is not None)
    text = _as_text(enrolled, compared=typed is not None)
    return Result(text, data, _renewal(enrolled) or import_attention(enrolled.retried))


def _as_text(enrolled: EnrolledSite, *, compared: bool) -> str:
    enrolment = enrolled.signed.enrolment
    if enrolled.renews is not None and enrolment.renews is not None:
        lines = [f"recorded: {enrolment.site} requests a new key; reason: {enrolment.renews.reason}"]
    else:
        action = "enrolled" if enrolled.new else "already enrolled"
        lines = [f"{action}: {enrolment.site}{' (practice)' if enrolment.practice else ''}"]
    lines += [f"site key   {enrolled.signed.groups}", f"           {enrolled.signed.words}"]
    if not compared:
        lines.append("           not compared: ask the customer to read it out through another channel")
    if enrolled.pinned:
        lines.append(f"root {enrolment.root.version}     {as_groups(enrolment.root.digest)}")
        lines.append("           taken from this enrolment: compare it with your own root document")
    if enrolled.other_policy is not None:
        lines.append(f"alarm {FIRST_POLICY}: {_other_policy(enrolled)}")
    if enrolled.retried.counts:
        lines += ["", "from quarantine: " + import_text(enrolled.retried)]
    return "\n".join(lines)


def _as_data(enrolled: EnrolledSite, *, compared: bool) -> dict[str, object]:
    signed, enrolment = enrolled.signed, enrolled.signed.enrolment
    root = {"version": enrolment.root.version, "digest": enrolment.root.digest, "pinned_here": enrolled.pinned}
    data = {
        "site": enrolment.site,
        "new": enrolled.new,
        "key": enrolment.key.keyid,
        "fingerprint": {"groups": signed.groups, "words": signed.words},
        "compared": compared,
        "practice": enrolment.practice,
        "root": root,
        "renews": enrolled.renews,
        "policy": {"first": enrolment.policy, "differs_from": enrolled.other_policy},
        "enrolment": signed.digest,
    }
    return data | ({"quarantine": import_data(enrolled.retried)} if enrolled.retried.counts else {})


def _other_policy(enrolled: EnrolledSite) -> str:
    named, expected = enrolled.signed.enrolment.policy, enrolled.other_policy or ""
    claim = f"it names first policy {short_digest(named)}" if named else "it names no first policy"
    return f"{claim}, the site's earlier enrolment {short_digest(expected)}: the site's journal was written anew"


def _renewal(enrolled: EnrolledSite) -> AttentionError | None:
    """Both keys stay until a person has asked the customer."""
    if enrolled.renews is None:
        return None
    site = enrolled.signed.enrolment.site
    warning = f"; {_other_policy(enrolled)}" if enrolled.other_policy is not None else ""
    return AttentionError(
        f"{site} requests a new key in place of {enrolled.renews[:12]}, which did not sign the request{warning}",
        remedy="compare the fingerprint with the customer through another channel, then: "
        f"waybill fleet resolve {site} --accept {enrolled.signed.digest} --reason TEXT",
        finding="renewal-waits" if enrolled.other_policy is None else FIRST_POLICY,
    )
