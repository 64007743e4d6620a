"""The command line of a vendor's beginnings: `init` and `trust`."""

from pathlib import Path

import click

from bundler.init import init_folder, suggest_product
from bundler.lists import NextList, plan_list, read_lists, write_list
from bundler.roots import (
    NextRoot,
    plan_root,
    public_keys,
    read_roots,
    read_trust,
    roots_up_to,
    sigstore_digests,
    write_root,
)
from content.keys_cli import describe_root, replace_file, write_key
from manifests.authored import TrustFile
from manifests.console import Result, rfc3339, utc_now, verb
from manifests.envelope import add_signatures
from manifests.errors import RefusedError, UntrustedError
from manifests.keys import generate_key, read_capped
from manifests.revocations import verify_revocations
from manifests.trust import MAX_ROOT, ROLES, Chain, Pin, parse_root, verify_chain


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
@click.option("--after", type=click.Path(path_type=Path), metavar="ROOT",
              help="The root document to follow; else the newest in trust/ beside TRUST.YAML.")  # fmt: skip
def trust_command(file: Path, after: Path | None) -> Result:
    """Write the next version of the root document from TRUST.YAML, and say who joins and who leaves.

    What is under `revoked` becomes the next revocation list. Either is finished when enough root keys have signed it:
    a root document by the quorum of the version before and by its own.
    """
    trust, written = read_trust(file)
    folder = file.absolute().parent
    documents = roots_up_to(after.absolute()) if after is not None else read_roots(folder)
    chain = _finished_chain(documents, file)
    lists = read_lists(folder)
    keys, sigstore = public_keys(trust, written, folder), sigstore_digests(trust, folder)
    next_list = plan_list(trust, keys, lists[-1] if lists else None)
    try:
        root: NextRoot | None = plan_root(trust, keys, documents[-1] if documents else None, sigstore)
    except RefusedError as error:
        if next_list is None or error.finding != "nothing-changed":
            raise
        root = None
    parts = []
    if root is not None:
        parts.append(_write_root(folder, root, documents, trust))
    if next_list is not None:
        _check_list_finished(lists, chain, folder)
        parts.append(_write_list(folder, next_list, root.names if root else {}, trust))
    elif root is not None and lists and root.root.roles["root"] != (chain and chain.newest.roles["root"]):
        name = f"trust/{len(lists)}.revocations.json"
        text = f"note         the role root changed: {name} must be signed anew, or new sites will ignore it"
        parts.append(Result(text, {}))
    data = {key: value for part in parts for key, value in part.data.items()}
    return Result("\n\n".join(part.text for part in parts), data)


def _finished_chain(documents: tuple[bytes, ...], file: Path) -> Chain | None:
    """The chain to go on from; None before the first version.

    Raises:
        RefusedError: Its newest version is not signed by enough.
    """
    if not documents:
        return None
    first = parse_root(documents[0], "trust/1.root.json")
    try:
        return verify_chain(documents, Pin(version=1, digest=first.fingerprint))
    except UntrustedError as error:
        raise RefusedError(
            f"version {len(documents)} is not finished ({error.problem})",
            where=str(file),
            remedy=f"waybill sign {file.parent}/trust/{len(documents)}.root.json --key KEY, "
            "or delete it if nobody has it",
            finding="root-unfinished",
        ) from None


def _check_list_finished(lists: tuple[bytes, ...], chain: Chain | None, folder: Path) -> None:
    if not lists or chain is None:
        return
    path = folder / "trust" / f"{len(lists)}.revocations.json"
    try:
        verify_revocations(lists[-1], chain, path.name)
    except UntrustedError as error:
        raise RefusedError(
            f"list {len(lists)} is not finished ({error.problem})",
            where=str(path),
            remedy=f"waybill sign {path} --key KEY, or delete it if nobody has it",
            finding="revocations-unfinished",
        ) from None


def _write_root(folder: Path, planned: NextRoot, documents: tuple[bytes, ...], trust: TrustFile) -> Result:
    target = write_root(folder, planned)
    before = parse_root(documents[-1], "the version before").root if documents else None
    described = describe_root(parse_root(read_capped(target, MAX_ROOT), str(target)), before, planned.names)
    text = [f"wrote        {target}", described.text, *planned.change.named(planned.names)]
    text += ["", "next:", f"  waybill sign {target} " + _key_options(trust)]
    data = {
        **described.data,
        "joins": [list(pair) for pair in planned.named(planned.change.joins)],
        "leaves": [list(pair) for pair in planned.named(planned.change.leaves)],
        "changes": list(planned.change.others),
        "file": str(target),
    }
    return Result("\n".join(text), data)


def _write_list(folder: Path, planned: NextList, names: dict[str, str], trust: TrustFile) -> Result:
    target = write_list(folder, planned)
    text = [f"wrote        {target}", f"list         {trust.vendor}, revocation list {planned.found.version}"]
    text += [f"revokes      {kind} {one}{_called(names, one)}" for kind, one in planned.adds]
    text += ["", "next:", f"  waybill sign {target} " + _key_options(trust)]
    data = {"list": str(target), "list_version": planned.found.version, "revokes": [list(one) for one in planned.adds]}
    return Result("\n".join(text), data)


def _called(names: dict[str, str], one: str) -> str:
    return f" ({names[one]})" if one in names else ""


def _key_options(trust: TrustFile) -> str:
    return " ".join(f"--key {trust.keys[name].use or 'KEY'}" for name in trust.roles["root"].keys)
