"""The command `waybill fleet import`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from console.clock import utc_now
from console.options import verb
from console.result import Result
from fleet.commands.options import fleet_option, pin, root_option, with_ledger
from fleet.intake.result_text import claim_text, contradiction, import_attention, import_data, import_text
from manifests.words.errors import HostError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine


@verb(
    name="import",
    help="Take in what came back: reports as files, armoured text or pictures of QR symbols, and bundles for the "
    "releases that reports name.",
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--line", "spoken", multiple=True, metavar="LETTERS", help="Forty letters that a site said by telephone.")
@root_option
@fleet_option
def import_command(paths: tuple[Path, ...], spoken: tuple[str, ...], root: Path | None, place: str | None) -> Result:
    if not paths and not spoken:
        raise UsageError("nothing is named", where="PATHS", remedy="name files and folders, or --line LETTERS")

    def work(engine: "Engine") -> Result:
        from fleet.intake.intake import import_paths
        from fleet.intake.telephone import record_claim

        for path in paths:
            if not path.exists():
                raise HostError("no such file or folder", where=str(path))
        pin(engine, root)
        heard = [record_claim(engine, one, utc_now()) for one in spoken]
        done = import_paths(engine, paths, utc_now())
        lines = [claim_text(one) for one in heard]
        text = "\n".join([*lines, *([import_text(done)] if paths else [])])
        data = {**import_data(done), "lines": [asdict(one) for one in heard]}
        return Result(text, data, import_attention(done) or contradiction(heard))

    return with_ledger(place, work)
