"""The command line of a vendor's beginnings: `init` and `trust`."""

from pathlib import Path

import click

from bundler.init import init_folder, suggest_product
from bundler.roots import plan_root, public_keys, read_roots, read_trust, sigstore_digests, write_root
from content.keys_cli import describe_root, replace_file, write_key
from manifests.console import Result, rfc3339, utc_now, verb
from manifests.envelope import add_signatures
from manifests.errors import RefusedError, UntrustedError
from manifests.keys import generate_key, read_capped
from manifests.trust import MAX_ROOT, ROLES, Pin, parse_root, verify_chain


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


@verb(short_help="Write the next root document.")
@click.argument("file", metavar="TRUST.YAML", type=click.Path(path_type=Path))
def trust_command(file: Path) -> Result:
    """Write the next version of the root document from TRUST.YAML, and say who joins and who leaves."""
    trust, written = read_trust(file)
    folder = file.absolute().parent
    documents = read_roots(folder)
    if documents:
        newest = parse_root(documents[-1], f"trust/{len(documents)}.root.json")
        first = parse_root(documents[0], "trust/1.root.json")
        try:
            verify_chain(documents, Pin(version=1, digest=first.fingerprint))
        except UntrustedError as error:
            raise RefusedError(
                f"version {newest.root.version} is not signed yet ({error.problem})",
                where=str(file),
                remedy=f"waybill sign {file.parent}/trust/{newest.root.version}.root.json --key KEY, "
                "or delete it if nobody has it",
            ) from None
    keys, sigstore = public_keys(trust, written, folder), sigstore_digests(trust, folder)
    planned = plan_root(trust, keys, documents[-1] if documents else None, sigstore)
    target = write_root(folder, planned)
    before = parse_root(documents[-1], "the version before").root if documents else None
    described = describe_root(parse_root(read_capped(target, MAX_ROOT), str(target)), before)
    text = [f"wrote        {target}", described.text]
    text += [f"joins        {role}: {name}" for role, name in planned.joins]
    text += [f"leaves       {role}: {name}" for role, name in planned.leaves]
    uses = [trust.keys[name].use or "KEY" for name in trust.roles["root"].keys]
    text += ["", "next:", f"  waybill sign {target} " + " ".join(f"--key {use}" for use in uses)]
    data = {
        **described.data,
        "joins": [list(pair) for pair in planned.joins],
        "leaves": [list(pair) for pair in planned.leaves],
        "file": str(target),
    }
    return Result("\n".join(text), data)
