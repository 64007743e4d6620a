"""The command `waybill trust`."""

from pathlib import Path
from shlex import quote

import click

from bundler.trust_documents import (
    NextList,
    NextRoot,
    check_list_finished,
    finished_chain,
    plan_list,
    plan_root,
    public_keys,
    read_lists,
    read_roots,
    read_trust,
    roots_up_to,
    sigstore_digests,
    write_list,
    write_root,
)
from console.options import command
from console.result import Result
from content.commands.lint import kind_of
from content.commands.signed_by import describe_root
from content.signing.vendor_keys import key_options
from manifests.authored.handwritten import read_handwritten
from manifests.authored.trust_yaml import TrustFile
from manifests.trust.keys import read_capped
from manifests.trust.root import MAX_ROOT, parse_root
from manifests.words.errors import MalformedError, RefusedError


@command(
    examples=("waybill trust trust.yaml", "waybill trust trust.yaml --after trust/3.root.json"),
)
@click.argument("file", metavar="TRUST.YAML", type=click.Path(path_type=Path))
@click.option("--after", type=click.Path(path_type=Path), metavar="ROOT",
              help="Root document to follow. Default: the newest in trust/ beside TRUST.YAML.")  # fmt: skip
def trust_command(file: Path, after: Path | None) -> Result:
    """Write the next root document from TRUST.YAML, and what it changes.

    Keys and releases under `revoked` become the next revocation list. A list is finished when enough root keys have
    signed it. A root document needs the quorum of the version before, and its own.
    """
    _check_kind(file)
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
    elif root is not None and lists and (chain is None or root.root.roles["root"] != chain.newest.roles["root"]):
        parts.append(_sign_list_again(folder, len(lists), trust))
    return Result(
        "\n\n".join(part.text for part in parts), {key: part.data[key] for part in parts for key in part.data}
    )


def _check_kind(file: Path) -> None:
    kind = kind_of(read_handwritten(file))
    if kind != "trust":
        takes = f"waybill {'build' if kind == 'release' else 'lint'} {quote(str(file))}"
        raise MalformedError(f"this is a {kind} file; expected a trust file", where=str(file), remedy=takes)


def _write_root(folder: Path, planned: NextRoot, documents: tuple[bytes, ...], trust: TrustFile) -> Result:
    target = write_root(folder, planned)
    before = parse_root(documents[-1], "the version before").root if documents else None
    described = describe_root(parse_root(read_capped(target, MAX_ROOT), str(target)), before, planned.names)
    text = [f"wrote        {target}", described.text, *planned.change.named(planned.names)]
    data = {
        **described.data,
        "joins": [list(pair) for pair in planned.named(planned.change.joins)],
        "leaves": [list(pair) for pair in planned.named(planned.change.leaves)],
        "changes": list(planned.change.others),
        "file": str(target),
    }
    role = before.roles["root"] if before is not None else None
    names = frozenset(planned.names.get(keyid, "") for keyid in role.keys) if role is not None else frozenset()
    sign = _sign_next(target, trust, (role.threshold if role is not None else 0, names))
    return Result("\n".join([*text, *sign]), data)


def _write_list(folder: Path, planned: NextList, names: dict[str, str], trust: TrustFile) -> Result:
    target = write_list(folder, planned)
    version = planned.revocations.version
    text = [f"wrote        {target}", f"list         {trust.vendor}, revocation list {version}"]
    text += [f"revokes      {kind} {id_}" + (f" ({names[id_]})" if id_ in names else "") for kind, id_ in planned.adds]
    data = {"list": str(target), "list_version": version, "revokes": [list(pair) for pair in planned.adds]}
    return Result("\n".join([*text, *_sign_next(target, trust)]), data)


def _sign_list_again(folder: Path, version: int, trust: TrustFile) -> Result:
    """A list counts under the newest root alone, so new root keys have to sign it too."""
    target = folder / "trust" / f"{version}.revocations.json"
    text = [
        "note         the root keys changed: sign the revocation list with the new ones,",
        "             or new sites will ignore it",
    ]
    return Result("\n".join([*text, *_sign_next(target, trust)]), {})


def _sign_next(target: Path, trust: TrustFile, before: tuple[int, frozenset[str]] = (0, frozenset())) -> list[str]:
    """The command that signs ``target``. Paths in trust.yaml are relative to its folder.

    Args:
        before: Threshold of the root before, which has to agree too, and the names of its root keys.
    """
    sign, keys = f"waybill sign {quote(str(target))}", ""
    for name in _root_signers(trust, before):
        placeholder = f"KEY-OF-{name}"
        keys += f" --key {quote(next(key_options(trust.keys[name], target.parent.parent), placeholder))}"
    prepare = ["or, for a key on another machine:", f"  {sign} --prepare DIR"] if "KEY-OF-" in keys else []
    return ["", "next:", f"  {sign}{keys}", *prepare]


def _root_signers(trust: TrustFile, before: tuple[int, frozenset[str]]) -> list[str]:
    """Return as many root keys as have to sign, those that count for both roots first; all where none suffice."""
    role, (needed_before, names_before) = trust.roles["root"], before
    ordered = sorted(role.keys, key=lambda name: name not in names_before)
    shared = sum(name in names_before for name in ordered)
    return ordered[: max(role.threshold, needed_before)] if shared >= needed_before else list(role.keys)
