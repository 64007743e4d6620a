"""The command `waybill init`."""

from pathlib import Path

import click

from bundler.init import init_folder, suggest_product
from bundler.roots import plan_root, public_keys, read_trust, write_root
from console.clock import utc_now
from console.options import verb
from console.result import Result
from content.commands.signed_by import describe_root
from content.signing.files import replace_file, write_key
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import generate_key
from manifests.trust.root import MAX_ROOT, ROLES, parse_root
from manifests.words.time import rfc3339


@verb(short_help="Write a vendor folder.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--product", metavar="NAME", help="Name of the product; the folder's name if left out.")
@click.option("--vendor", metavar="NAME", help="Name of the vendor; PRODUCT-works if left out.")
def init_command(folder: Path, product: str | None, vendor: str | None) -> Result:
    """Write a commented vendor folder DIR that can be built at once, under a practice root.

    The keys of a practice root are not encrypted, and whatever they sign is called practice everywhere.
    """
    name = product or suggest_product(folder)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    written = init_folder(folder, product=name, vendor=vendor or f"{name}-works", issued_at=rfc3339(utc_now()))
    keys = folder / "keys"
    keys.mkdir(exist_ok=True, mode=0o700)
    signers = {role: generate_key() for role in ROLES}
    for role, signer in signers.items():
        write_key(keys / f"{role}-1.key", signer, None)
    trust, file = read_trust(folder / "trust.yaml")
    target = write_root(folder, plan_root(trust, public_keys(trust, file, folder), None))
    data = add_signatures(parse_root(read_capped(target, MAX_ROOT), str(target)).envelope, (signers["root"],))
    replace_file(target, data)
    described = describe_root(parse_root(data, str(target)), None)
    text = "\n".join(
        (
            f"wrote        {folder} ({len(written) + 2 * len(signers) + 1} files)",
            described.text,
            "",
            "next:",
            f"  waybill lint {folder}/release.yaml",
            f"  waybill build {folder}/release.yaml -o {folder}/out",
            f"  waybill verify {folder}/out/{name}-0.1.0.tar --root {target}",
        )
    )
    return Result(text, {**described.data, "folder": str(folder), "root": str(target)})
