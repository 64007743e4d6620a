"""The command `waybill init`."""

import shlex
from pathlib import Path

import click

from bundler.init import init_folder, suggest_product
from bundler.trust_documents import plan_root, public_keys, read_trust, write_root
from console.clock import utc_now
from console.options import command
from console.result import Result
from content.commands.signed_by import describe_root
from content.signing.files import replace_file, write_key
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import generate_key
from manifests.trust.root import MAX_ROOT, ROLES, SignedRoot, parse_root
from manifests.words.time import rfc3339


@command(
    examples=("waybill init acme-pump", "waybill init vendor --product pump --vendor acme"),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--product", metavar="NAME", help="Name of the product. Default: the folder's name.")
@click.option("--vendor", metavar="NAME", help="Name of the vendor. Default: PRODUCT-works.")
def init_command(folder: Path, product: str | None, vendor: str | None) -> Result:
    """Write a commented vendor folder DIR that builds at once, under a practice root.

    The keys of a practice root are not encrypted. Every command marks what they sign as practice.
    """
    name = product or suggest_product(folder)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    written = init_folder(folder, product=name, vendor=vendor or f"{name}-works", issued_at=rfc3339(utc_now()))
    target, root = _practice_root(folder)
    described = describe_root(root, None)
    paths = [folder / "release.yaml", folder / "out", folder / "out" / f"{name}-0.1.0.tar", target]
    release, out, bundle, pinned = (shlex.quote(str(path)) for path in paths)
    text = [
        f"wrote        {folder} ({len(written) + 2 * len(ROLES) + 1} files)",
        described.text,
        "",
        "next:",
        f"  waybill lint {release}",
        f"  waybill build {release} -o {out}",
        f"  waybill verify {bundle} --root {pinned}",
    ]
    return Result("\n".join(text), {**described.data, "folder": str(folder), "root": str(target)})


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
