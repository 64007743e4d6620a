"""The command `waybill kit`."""

from pathlib import Path

import click

from bundler.kit import default_wheelhouse, fetch_wheels, required_distributions, write_kit
from console.options import verb
from console.output import say
from console.result import Result
from manifests.words.units import show_size


@verb(short_help="Write the verifier as one file.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--wheels", type=click.Path(path_type=Path, exists=True), help="A folder of wheels, instead of the index."
)
def kit_command(folder: Path, wheels: Path | None) -> Result:
    """Write DIR/waybill.pyz, the verifier that runs at a site without a network, and README.txt for the operator."""
    distributions = required_distributions()
    wheelhouse = wheels or default_wheelhouse()
    if wheels is None:
        wheelhouse.mkdir(parents=True, exist_ok=True)
        say(f"fetching wheels of {len(distributions)} distributions for six targets into {wheelhouse}")
        fetch_wheels(wheelhouse, distributions)
    kit = write_kit(folder / "waybill.pyz", wheelhouse, distributions)
    text = "\n".join(
        (
            f"kit     {kit.path}, {show_size(kit.size)}",
            f"digest  {kit.digest}",
            f"runs on {', '.join(kit.targets)}",
            "print the digest on the paper; a digest that travels beside the kit proves nothing",
        )
    )
    data = {"kit": str(kit.path), "digest": kit.digest, "size": kit.size, "targets": list(kit.targets)}
    return Result(text, {**data, "distributions": list(distributions)})
