"""The command `waybill fleet import`."""

from pathlib import Path

import click
import msgspec

from console.clock import utc_now
from console.options import command
from console.result import Result
from fleet.commands.options import fleet_option, named_roots, open_ledger, pin, root_option
from fleet.intake.import_trust import ImportTrust
from fleet.intake.intake import import_paths
from fleet.intake.result import claim_text, contradiction, import_attention, import_data, import_text
from fleet.intake.telephone import record_claim
from manifests.words.errors import UsageError, missing_file


@command(name="import", examples=("waybill fleet import MEDIUM", "waybill fleet import --line 'FORTY LETTERS'"))
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--line", "lines", multiple=True, metavar="LETTERS", help="Forty letters read out by telephone. Repeatable."
)
@root_option
@fleet_option
def import_command(paths: tuple[Path, ...], lines: tuple[str, ...], root: Path | None, place: str | None) -> Result:
    """Import what came back from sites.

    Reports are read from files, armoured text and pictures of QR symbols; releases from the heads of bundles. Files
    are recognised by their content. Refused files are kept in quarantine.
    """
    if not paths and not lines:
        raise UsageError("no path is named", where="PATHS", remedy="name files or folders, or --line LETTERS")

    with open_ledger(place) as engine:
        for path in paths:
            if not path.exists():
                raise missing_file(str(path))
        trust = ImportTrust(named_roots(root))
        claims = [record_claim(engine, line, utc_now()) for line in lines]
        result = import_paths(engine, paths, utc_now(), trust)
        if result.stopped is None:
            pin(engine, trust.named, tuple(trust.heads))
    text = "\n".join([*map(claim_text, claims), *([import_text(result)] if paths else [])])
    data = {**import_data(result), "lines": msgspec.to_builtins(claims)}
    return Result(text, data, result.stopped or import_attention(result) or contradiction(claims))
