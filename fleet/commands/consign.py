"""The command `waybill fleet consign`."""

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import passphrase_option, verb
from console.result import Result
from fleet.commands.options import fleet_option, key_option, pin, root_option, with_ledger
from manifests.words.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fleet.outgoing.consign import WrittenConsignments


@verb(
    name="consign",
    short_help="Sign a note for each SITE and lay them out on a medium.",
)
@click.argument("sites", nargs=-1, metavar="SITE...", required=True)
@click.option("-o", "--out", "medium", type=click.Path(path_type=Path), required=True, metavar="MEDIA",
              help="The medium's folder; gets for/SITE/ and back/SITE/. Nothing there is overwritten.")  # fmt: skip
@key_option
@click.option("--revocations", type=click.Path(path_type=Path), metavar="FILE", help="The revocation list to carry.")
@click.option("--request", "requests", multiple=True, metavar="'HANDLER NAME=VALUE ...'",
              help="Ask the site's people to allow a named handler; may be repeated.")  # fmt: skip
@click.option("--authorisation", "authorisations", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A document of the rollback role to carry; may be repeated.")  # fmt: skip
@root_option
@fleet_option
@passphrase_option
def consign_command(
    sites: tuple[str, ...],
    medium: Path,
    keys: tuple[str, ...],
    revocations: Path | None,
    requests: tuple[str, ...],
    authorisations: tuple[Path, ...],
    root: Path | None,
    place: str | None,
    passphrase_fd: int | None,
) -> Result:
    """Sign one numbered note for each SITE: a challenge that its next report echoes, which report came home, the newest
    release, and what is named below. All or none are signed; the medium may hold a bundle beside them."""
    from fleet.outgoing.consign import parse_request

    if not keys:
        raise UsageError("no key is named", where="--key", remedy="--key keys/consignment-1.key, once for each")
    asked = tuple(parse_request(text, i) for i, text in enumerate(requests, 1))

    def work(engine: "Engine") -> Result:
        from content.commands.open_key import open_key
        from fleet.outgoing.consign import (
            carried_authorisation,
            carried_list,
            check_medium,
            check_signers,
            consign,
            signing_root,
            write_medium,
        )
        from fleet.outgoing.views import find_site
        from manifests.documents.authorisation import MAX_AUTHORISATION
        from manifests.trust.keys import read_capped
        from manifests.trust.revocations import MAX_REVOCATIONS

        pin(engine, root)
        judge = signing_root(engine)
        rows = tuple({row.site: row for row in (find_site(engine, text) for text in sites)}.values())
        check_medium(medium, rows)
        carried = None if revocations is None else read_capped(revocations, MAX_REVOCATIONS)
        listed = None if carried is None else carried_list(judge, carried, str(revocations))
        named = tuple(row.site for row in rows)
        papers = tuple(
            carried_authorisation(judge, read_capped(one, MAX_AUTHORISATION), str(one), named, listed)
            for one in authorisations
        )
        signers = tuple(open_key(uri, passphrase_fd) for uri in keys)
        check_signers(judge, signers)
        made = consign(
            engine,
            rows,
            judge,
            signers,
            utc_now(),
            challenge=lambda: secrets.token_bytes(32),
            revocations=listed,
            requests=asked,
            authorisations=papers,
        )
        written = write_medium(engine, medium, made, utc_now())
        return _told(made, written)

    return with_ledger(place, work)


def _told(made: "tuple[WrittenConsignments, ...]", written: tuple[Path, ...]) -> Result:
    lines = []
    for one, path in zip(made, written, strict=True):
        said = "" if one.acknowledged is None else f", acknowledges report {one.acknowledged}"
        lines.append(f"consignment {one.number} for {one.site}{said}")
        lines.append(f"  {path}")
        if one.note:
            lines.append(f"  note: {one.note}")
    data = {
        "consignments": [
            {
                "site": one.site,
                "number": one.number,
                "path": str(path),
                "acknowledged": one.acknowledged,
                "note": one.note,
            }
            for one, path in zip(made, written, strict=True)
        ]
    }
    return Result("\n".join(lines), data)
