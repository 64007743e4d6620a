"""The command `waybill fleet enroll`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, pin, root_option, with_ledger
from fleet.intake.result_text import import_attention, import_data, import_text
from manifests.words.errors import AttentionError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fleet.outgoing.enrol import EnrolledSite


@verb(name="enroll", help="Take in the site of ENROLMENT. In an empty folder this makes the ledger.")
@click.argument("enrolment", type=click.Path(path_type=Path))
@click.option("--fingerprint", metavar="WORDS", help="The site key's fingerprint as the customer told it.")
@root_option
@fleet_option
def enroll_command(enrolment: Path, fingerprint: str | None, root: Path | None, place: str | None) -> Result:
    from manifests.documents.enrolment import MAX_ENROLMENT, verify_enrolment
    from manifests.trust.keys import read_capped
    from manifests.words.fingerprint import parse_fingerprint

    typed = None if fingerprint is None else parse_fingerprint(fingerprint)
    signed = verify_enrolment(read_capped(enrolment, MAX_ENROLMENT), str(enrolment))

    def work(engine: "Engine") -> Result:
        from fleet.outgoing.enrol import enroll

        pin(engine, root)
        done = enroll(engine, signed, utc_now(), fingerprint=typed)
        found = signed.enrolment
        lines = [
            f"{'enrolled' if done.new else 'already enrolled'}: {found.site}{' (practice)' if found.practice else ''}"
            if done.renews is None
            else f"noted: {found.site} has a new key, and why: {found.renews.reason if found.renews else '-'}"
        ]
        lines += [f"site key   {signed.groups}", f"           {signed.words}"]
        if typed is None:
            lines.append("           nobody compared this with the customer: ask them to read it to you")
        if done.pinned:
            from manifests.words.fingerprint import as_groups

            lines.append(f"root {found.root.version}     {as_groups(found.root.digest)}")
            lines.append("           taken from this enrolment: compare it with your own root document")
        data = {
            "site": found.site,
            "new": done.new,
            "key": found.key.keyid,
            "fingerprint": {"groups": signed.groups, "words": signed.words},
            "compared": typed is not None,
            "practice": found.practice,
            "root": {"version": found.root.version, "digest": found.root.digest, "pinned_here": done.pinned},
            "renews": done.renews,
            "enrolment": signed.digest,
        }
        if done.again.counts:
            lines += ["", import_text(done.again)]
            data["quarantine"] = import_data(done.again)
        return Result("\n".join(lines), data, _renewal(done) or import_attention(done.again))

    return with_ledger(place, work, create=True)


def _renewal(done: "EnrolledSite") -> AttentionError | None:
    """Both keys stand until a person has spoken with the customer."""
    if done.renews is None:
        return None
    site = done.signed.enrolment.site
    return AttentionError(
        f"{site} asks for a new key in the place of {done.renews[:16]}, which did not sign that",
        remedy="ask the customer by another way, compare the fingerprint, then: "
        f"waybill fleet resolve {site} --accept {done.signed.digest[:19]} --reason TEXT",
        finding="renewal-waits",
    )
