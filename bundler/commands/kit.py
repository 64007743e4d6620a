"""The command `waybill kit`."""

from pathlib import Path

import click

from bundler.kit import check_new, default_wheelhouse, fetch_wheels, required_distributions, write_kit
from console.options import ExistingPath, command
from console.output import say
from console.result import Result
from manifests.words.units import show_size


@command(examples=("waybill kit out", "waybill kit out --wheels wheels"))
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--wheels", type=ExistingPath(), metavar="DIR",
              help="Folder of wheels. Default: download them from the package index.")  # fmt: skip
def kit_command(folder: Path, wheels: Path | None) -> Result:
    """Write the verifier as one file that runs without a network.

    DIR gets waybill.pyz and README.txt for the operator.
    """
    target = folder / "waybill.pyz"
    check_new(target)
    distributions = required_distributions()
    wheelhouse = wheels or default_wheelhouse()
    if wheels is None:
        wheelhouse.mkdir(parents=True, exist_ok=True)
        say(f"downloading wheels of {len(distributions)} distributions for six targets into {wheelhouse}")
        fetch_wheels(wheelhouse, distributions)
    kit = write_kit(target, wheelhouse, distributions)
    text = "\n".join(
        (
            f"wrote    {kit.path} ({show_size(kit.size)})",
            f"runs on  {', '.join(kit.targets)}",
            "",
            "Print this digest on paper for the site; a copy beside the kit proves nothing:",
            f"  {kit.digest.removeprefix('sha256:')[:32]}",
            f"  {kit.digest.removeprefix('sha256:')[32:]}",
        )
    )
    data = {"kit": str(kit.path), "digest": kit.digest, "size": kit.size, "targets": list(kit.targets)}
    return Result(text, {**data, "distributions": list(distributions)})
