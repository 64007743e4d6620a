"""The command `waybill init`."""

import shlex
from pathlib import Path

import click

from bundler.chart_folder import decisions, files_from_chart
from bundler.from_chart import ChartFacts, read_chart
from bundler.init import init_folder, suggest_product
from bundler.trust_documents import plan_root, public_keys, read_trust, write_root
from console.clock import utc_now
from console.options import command, path_option
from console.result import Result
from content.commands.signed_by import describe_root
from content.signing.files import replace_file, write_key
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import generate_key
from manifests.trust.root import MAX_ROOT, ROLES, SignedRoot, parse_root
from manifests.words.errors import UsageError
from manifests.words.time import rfc3339
from manifests.words.units import show_count


@command(
    examples=(
        "waybill init acme-pump",
        "waybill init vendor --product pump --vendor acme",
        "waybill init acme-pump --from charts/pump",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--product", metavar="NAME", help="Name of the product. Default: the folder's name.")
@click.option("--vendor", metavar="NAME", help="Name of the vendor. Default: PRODUCT-works.")
@path_option("--from", "chart", metavar="CHART", help="A Helm chart: its folder, or the .tgz of `helm package`.")
@path_option("--values", multiple=True, metavar="FILE", help="Values without which the chart is not rendered.")
def init_command(
    folder: Path, product: str | None, vendor: str | None, chart: Path | None, values: tuple[Path, ...]
) -> Result:
    """Write a commented vendor folder DIR that builds at once, under a practice root.

    With --from it is a folder for an application that has a chart: the images that the chart names, the schema of its
    values, its install steps and probes. What no chart says is marked `decide:`, and listed.

    The keys of a practice root are not encrypted. Every command marks what they sign as practice.
    """
    if values and chart is None:
        raise UsageError("--values are those of a chart", where="--values", remedy="add --from CHART")
    name = product or suggest_product(folder)
    facts = None if chart is None else read_chart(chart, values)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    written = init_folder(
        folder,
        product=name,
        vendor=vendor or f"{name}-works",
        issued_at=rfc3339(utc_now()),
        instead=None if facts is None else files_from_chart(facts, folder),
    )
    return _result(folder, name, len(written), facts)


def _result(folder: Path, product: str, count: int, facts: ChartFacts | None) -> Result:
    target, root = _practice_root(folder)
    described = describe_root(root, None)
    version = "0.1.0" if facts is None else facts.version
    paths = [folder / "release.yaml", folder / "out", folder / "out" / f"{product}-{version}.tar", target]
    release, out, bundle, pinned = (shlex.quote(str(path)) for path in paths)
    text = [
        f"wrote        {folder} ({count + 2 * len(ROLES) + 1} files)",
        *(() if facts is None else _chart_lines(facts)),
        described.text,
        "",
        *(() if facts is None else ("decide:", *(f"  {line}" for line in decisions(facts)), "")),
        "next:",
        f"  waybill lint {release}",
        f"  waybill build {release} -o {out}",
        f"  waybill verify {bundle} --root {pinned}",
    ]
    data = {} if facts is None else {"images": [one.image.from_ for one in facts.images], "decide": decisions(facts)}
    return Result("\n".join(text), {**described.data, **data, "folder": str(folder), "root": str(target)})


def _chart_lines(facts: ChartFacts) -> tuple[str, ...]:
    return (
        f"from         chart {facts.name} {facts.version}, {show_count(len(facts.images), 'image')}",
        f"config       {facts.schema_source}",
    )


def _practice_root(folder: Path) -> tuple[Path, SignedRoot]:
    """Make a key for each role, and the root document of trust.yaml, signed."""
    keys = folder / "keys"
    keys.mkdir(exist_ok=True, mode=0o700)
    signers = {role: generate_key() for role in ROLES}
    for role, signer in signers.items():
        write_key(keys / f"{role}-1.key", signer, None)
    trust, file = read_trust(folder / "trust.yaml")
    target = write_root(folder, plan_root(trust, public_keys(trust, file, folder), None))
    data = add_signatures(parse_root(read_capped(target, MAX_ROOT), str(target)).envelope, (signers["root"],))
    replace_file(target, data)
    return target, parse_root(data, str(target))
