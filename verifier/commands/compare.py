"""waybill compare"""

from pathlib import Path

import click

from console.options import verb
from console.result import Result
from manifests.words.text import one_line


@verb(short_help="Say what differs.")
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.option("--only", metavar="PARTS", help="Only these, joined by commas: images,sbom,schema,contract,handlers,...")
def compare_command(old: Path, new: Path, only: str | None) -> Result:
    """Say what differs between OLD and NEW: two bundles, or two roots, policies, contracts, reports.

    Neither is verified by this.
    """
    from verifier.documents.compare import compare_files

    found = compare_files(old, new, frozenset(only.split(",")) if only else frozenset())
    lines = ["not verified: a comparison of what the two files say"]
    lines += [f"cannot be compared: {one_line(one)}" for one in found.unread]
    lines += [one_line(one.line()) for one in found.differences] or ["no difference"]
    data = {
        "verified": False,
        "differences": [difference.fields() for difference in found.differences],
        "not_compared": list(found.unread),
    }
    return Result("\n".join(lines), data)
