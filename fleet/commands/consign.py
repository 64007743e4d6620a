"""The command `waybill fleet consign`."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # click passes options by name

import click
from sqlalchemy import Engine

from console.clock import utc_now
from console.options import passphrase_option, verb
from console.result import Result
from content.commands.open_key import open_keys
from fleet.commands.options import check_keys, fleet_option, key_option, open_ledger, pin, root_option
from fleet.outgoing.consign import (
    ConsignmentOrder,
    SignedConsignment,
    carried_authorisation,
    carried_list,
    check_medium,
    check_signers,
    consign,
    parse_request,
    signing_root,
    write_medium,
)
from fleet.outgoing.views import SiteRow, find_site
from manifests.documents.authorisation import MAX_AUTHORISATION
from manifests.trust.keys import read_capped
from manifests.trust.revocations import MAX_REVOCATIONS


@dataclass(frozen=True)
class _ConsignOptions:
    """What the command line names; paths and keys are not read yet."""

    sites: tuple[str, ...]
    medium: Path
    keys: tuple[str, ...]
    revocations: Path | None
    requests: tuple[str, ...]
    authorisations: tuple[Path, ...]
    root: Path | None
    passphrase_fd: int | None


@verb(
    name="consign",
    examples=(
        "waybill fleet consign east west -o MEDIUM --key consignment-1.key",
        "waybill fleet consign east -o MEDIUM --key consignment-1.key --request 'restart-component component=api'",
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
def consign_command(place: str | None, **options: Any) -> Result:
    """Sign one numbered consignment for each SITE and write them to a medium.

    A consignment has a challenge that the site's next report echoes, the acknowledgement of its newest report, the
    newest release for it, and what the options name. All are signed or none. A bundle may lie beside them.
    """
    given = _ConsignOptions(**options)
    check_keys(given.keys)
    for number, text in enumerate(given.requests, 1):
        parse_request(text, number)

    with open_ledger(place) as engine:
        pin(engine, given.root)
        # One consignment for a site, however often and by whatever end of its id it is named.
        rows = tuple({row.site: row for row in (find_site(engine, text) for text in given.sites)}.values())
        check_medium(given.medium, rows)
        order = _order(engine, rows, given)
        signed = consign(engine, rows, order, utc_now(), challenge=lambda: secrets.token_bytes(32))
        return _result(signed, write_medium(engine, given.medium, signed, utc_now()))


def _order(engine: Engine, rows: tuple[SiteRow, ...], given: _ConsignOptions) -> ConsignmentOrder:
    """Read and check everything that is carried, then open the keys: nobody types a passphrase in vain."""
    root = signing_root(engine)
    revocations = None
    if given.revocations is not None:
        revocations = carried_list(root, read_capped(given.revocations, MAX_REVOCATIONS), str(given.revocations))
    site_ids = tuple(row.site for row in rows)
    authorisations = tuple(
        carried_authorisation(root, read_capped(path, MAX_AUTHORISATION), str(path), site_ids, revocations)
        for path in given.authorisations
    )
    requests = tuple(parse_request(text, number) for number, text in enumerate(given.requests, 1))
    signers = open_keys(given.keys, given.passphrase_fd)
    check_signers(root, signers)
    return ConsignmentOrder(root, signers, revocations, requests, authorisations)


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
