"""The command `waybill fleet consign`."""

import secrets
from pathlib import Path

import click

from console.clock import utc_now
from console.options import command, passphrase_option, text_option
from console.result import Result
from content.commands.open_key import open_keys
from fleet.commands.options import check_keys, fleet_option, key_option, named_roots, open_ledger, pin, root_option
from fleet.outgoing.consign import (
    ConsignmentOrder,
    SignedConsignment,
    carried_authorisation,
    carried_list,
    check_medium,
    consign,
    parse_request,
    signing_root,
    write_medium,
)
from fleet.outgoing.views import find_site
from manifests.documents.authorisation import MAX_AUTHORISATION
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS
from manifests.words.errors import UsageError


@command(
    name="consign",
    examples=(
        "waybill fleet consign east west -o MEDIUM --key consignment-1.key",
        "waybill fleet consign east -o MEDIUM --key consignment-1.key \\\n"
        "    --request 'restart-component component=api' --for-reports 3",
    ),
)
@click.argument("sites", nargs=-1, metavar="SITE...", required=True)
@click.option(
    "-o",
    "--out",
    "medium",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MEDIUM",
    help="Folder of the medium; for/SITE/ and back/SITE/ are added, nothing is overwritten.",
)
@key_option
@click.option("--revocations", type=click.Path(path_type=Path), metavar="FILE", help="Revocation list to carry.")
@click.option(
    "--request",
    "requests",
    multiple=True,
    metavar="'HANDLER [NAME=VALUE]...'",
    help="Named handler that the site's people are asked to allow. Repeatable.",
)
@click.option(
    "--for-reports",
    type=click.IntRange(min=1, max=1000),
    metavar="N",
    help="The requests may run before the next N reports of a site. Default: without a limit.",
)
@text_option("--why", help="Reason for the requests, which the site's people read.")
@click.option(
    "--authorisation",
    "authorisations",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Authorisation of the rollback role to carry. Repeatable.",
)
@root_option
@fleet_option
@passphrase_option
def consign_command(
    sites: tuple[str, ...],
    medium: Path,
    keys: tuple[str, ...],
    revocations: Path | None,
    requests: tuple[str, ...],
    for_reports: int | None,
    why: str | None,
    authorisations: tuple[Path, ...],
    root: Path | None,
    place: str | None,
    passphrase_fd: int | None,
) -> Result:
    """Sign one numbered consignment for each SITE and write them to a medium.

    A consignment has a challenge that the site's next report echoes, the acknowledgement of its newest report, the
    newest release for it, and what the options name. All are signed or none. A bundle may lie beside them.
    """
    check_keys(keys)
    if not requests and (for_reports is not None or why is not None):
        problem, remedy = "--for-reports and --why are about requests", "add --request 'HANDLER [NAME=VALUE]...'"
        raise UsageError(problem, where="--request", remedy=remedy)
    parsed = tuple(parse_request(text, number, why) for number, text in enumerate(requests, 1))
    with open_ledger(place) as engine:
        named = named_roots(root)
        # One consignment for a site, however often and by whatever end of its id it is named.
        rows = tuple({row.site: row for row in (find_site(engine, text) for text in sites)}.values())
        check_medium(medium, rows)
        signing = signing_root(engine, named)
        revoked = None
        if revocations is not None:
            revoked = carried_list(signing, read_capped(revocations, MAX_REVOCATIONS), str(revocations))
        site_ids = tuple(row.site for row in rows)
        carried = tuple(
            carried_authorisation(signing, read_capped(path, MAX_AUTHORISATION), str(path), site_ids, revoked)
            for path in authorisations
        )
        # Keys are opened after all checks: nobody types a passphrase in vain.
        order = ConsignmentOrder(signing, open_keys(keys, passphrase_fd), revoked, parsed, carried, for_reports)
        signed = consign(engine, rows, order, utc_now(), challenge=lambda: secrets.token_bytes(32))
        written = write_medium(engine, medium, signed, utc_now())
        pin(engine, named)
    return _result(signed, written)


def _result(signed: tuple[SignedConsignment, ...], written: tuple[Path, ...]) -> Result:
    lines, data = [], []
    for consignment, path in zip(signed, written, strict=True):
        seq = consignment.acknowledged
        lines.append(
            f"consignment {consignment.number} for {consignment.site}"
            + ("" if seq is None else f", acknowledges report {seq}")
        )
        lines += [f"  {path}", *(f"  note: {note}" for note in consignment.notes)]
        data.append(
            {
                "site": consignment.site,
                "number": consignment.number,
                "path": str(path),
                "acknowledged": seq,
                "note": "; ".join(consignment.notes),
            }
        )
    return Result("\n".join(lines), {"consignments": data})
