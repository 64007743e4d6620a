"""The command `waybill trust`."""

from pathlib import Path

import click

from bundler.lists import NextList, check_list_finished, plan_list, read_lists, write_list
from bundler.roots import (
    NextRoot,
    finished_chain,
    plan_root,
    public_keys,
    read_roots,
    read_trust,
    roots_up_to,
    sigstore_digests,
    write_root,
)
from console.options import verb
from console.result import Result
from content.commands.signed_by import describe_root
from manifests.authored.trust_yaml import TrustFile
from manifests.trust.keys import read_capped
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.errors import RefusedError


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
    chain = finished_chain(documents, file)
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
        check_list_finished(lists, chain, folder)
        parts.append(_write_list(folder, next_list, root.names if root else {}, trust))
    elif root is not None and lists and root.root.roles["root"] != (chain and chain.newest.roles["root"]):
        name = f"trust/{len(lists)}.revocations.json"
        text = f"note         the role root changed: {name} must be signed anew, or new sites will ignore it"
        parts.append(Result(text, {}))
    data = {key: value for part in parts for key, value in part.data.items()}
    return Result("\n\n".join(part.text for part in parts), data)


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
