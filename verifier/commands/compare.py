"""waybill compare"""

from pathlib import Path

import click

from console.options import ExistingPath, command
from console.result import Result
from manifests.words.text import one_line
from verifier.documents.compare import compare_files


@command(
    examples=(
        "waybill compare old.tar new.tar",
        "waybill compare policy-1.json policy-2.json",
        "waybill compare old.tar new.tar --only images,sbom",
    )
)
@click.argument("old", type=ExistingPath())
@click.argument("new", type=ExistingPath())
@click.option(
    "--only",
    metavar="PARTS",
    help="Parts to compare, joined by commas, for example `images,sbom,schema`. Default: all.",
)
def compare_command(old: Path, new: Path, only: str | None) -> Result:
    """Compare OLD with NEW: two bundles, or two roots, policies, contracts or reports.

    Neither file is verified. What a delta leaves out is read from the other bundle, or is the same by its digest.
    """
    compared = compare_files(old, new, frozenset(only.split(",")) if only else frozenset())
    lines = ["not verified: a comparison of what the two files say"]
    lines += [one_line(f"{note.part:<10} {note.sentence}") for note in compared.unread]
    lines += [one_line(difference.line()) for difference in compared.differences]
    if not compared.differences:
        lines.append("no other difference" if compared.unread else "no difference")
    data = {
        "verified": False,
        "differences": [difference.fields() for difference in compared.differences],
        "not_compared": [note.line for note in compared.unread],
        "sboms": [note.line for note in compared.notes if note.kind == "read"],
    }
    return Result("\n".join(lines), data)
