"""The command line of keys: `keygen` and `sign`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import click
import msgspec
from click.core import ParameterSource

from content.authorise import made_authorisation, rollback_role, sign_authorisation
from content.detached import (
    STATEMENT_SIGNED,
    Request,
    answer_request,
    read_answer,
    request_authorisation,
    request_list,
    request_release,
    request_root_of,
    write_request,
)
from content.head import MAX_TRUSTED_ROOT, add_signature, open_head, rewrite_head, sign_release
from content.signers import open_signer
from manifests.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.canonical import decode
from manifests.console import Result, ask_passphrase, passphrase_option, verb
from manifests.digest import digest_of
from manifests.envelope import MAX_BUNDLE, Envelope, add_signatures
from manifests.errors import MalformedError, RefusedError, UsageError
from manifests.fingerprint import as_groups, as_words
from manifests.keys import FileSigner, PublicKey, Signer, encode_private, generate_key, read_capped
from manifests.release import parse_release
from manifests.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, Revocations, parse_revocations
from manifests.trust import MAX_ROOT, Root, SignedRoot, parse_root, short


@verb(short_help="Make a signing key.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--no-passphrase", is_flag=True, help="Leave it unencrypted, for a machine that signs unattended.")
@passphrase_option
def keygen_command(file: Path, no_passphrase: bool, passphrase_fd: int | None) -> Result:
    """Make a P-256 key: FILE holds the private half, FILE with the ending .pub the public one."""
    public = file.with_suffix(".pub")
    for path in (file, public):
        if path.exists():
            raise RefusedError("exists already", where=str(path), remedy="choose another name", finding="exists")
    passphrase = (
        None if no_passphrase else ask_passphrase(f"New passphrase for {file}", descriptor=passphrase_fd, twice=True)
    )
    signer = generate_key()
    write_key(file, signer, passphrase)
    keyid = signer.public.keyid
    text = "\n".join(
        (f"private key  {file}", f"public key   {public}", f"key id       {keyid}", f"             {as_groups(keyid)}",
         f"             {as_words(keyid)}")
    )  # fmt: skip
    data = {"private": str(file), "public": str(public), "keyid": keyid, "groups": as_groups(keyid)}
    return Result(text, {**data, "words": as_words(keyid)})


def write_key(file: Path, signer: FileSigner, passphrase: bytes | None) -> None:
    """Private half with mode 0600 whatever the umask, public half beside it; both durable, neither overwritten."""
    pairs = (
        (file, encode_private(signer, passphrase), 0o600),
        (file.with_suffix(".pub"), signer.public.pem.encode(), 0o644),
    )
    for path, data, mode in pairs:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())


@verb(short_help="Add a signature.")
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--key", "keys", multiple=True, envvar="WAYBILL_KEY", metavar="URI",
              help="A key file, pkcs11:… or exec:…; may be repeated.")  # fmt: skip
@click.option("--prepare", type=click.Path(path_type=Path), metavar="DIR",
              help="Write what is to be signed elsewhere into a new folder DIR.")  # fmt: skip
@click.option("--attach", type=click.Path(path_type=Path, exists=True), metavar="DIR",
              help="Add the signatures that came back in DIR, after checking them.")  # fmt: skip
@click.option("--trusted-root", "trusted_root", type=click.Path(path_type=Path, exists=True), metavar="FILE",
              help="With --attach, for an identity: the trusted_root.json that says who vouches for it.")  # fmt: skip
@passphrase_option
def sign_command(
    file: Path,
    keys: tuple[str, ...],
    prepare: Path | None,
    attach: Path | None,
    trusted_root: Path | None,
    passphrase_fd: int | None,
) -> Result:
    """Add a signature to FILE: a bundle (only its head is rewritten), a root document, a revocation list, an
    authorisation (its .yaml makes the .json beside it), or a folder from --prepare.
    """
    typed = click.get_current_context().get_parameter_source("keys") == ParameterSource.COMMANDLINE
    if (prepare is not None) + (attach is not None) + typed > 1:
        raise UsageError("--key, --prepare and --attach exclude each other", where="sign")
    if prepare is None and attach is None and not keys:
        raise _no_key(file)
    if file.is_dir():
        return _answer(file, _open_keys(keys, passphrase_fd))
    file = made_authorisation(file)
    kind = _kind_of(file)
    if prepare is not None:
        return _prepare(file, prepare, kind)
    if attach is not None and kind == "bundle" and (attach / STATEMENT_SIGNED).exists():
        return _attach_identity(file, attach / STATEMENT_SIGNED, trusted_root)
    if trusted_root is not None:
        raise UsageError(
            f"belongs to --attach of a folder with {STATEMENT_SIGNED}", where="--trusted-root", remedy="leave it out"
        )
    if attach is not None:
        keys_of = {
            "root": _root_keys, "list": _list_keys, "bundle": _release_keys, "authorisation": rollback_keys
        }[kind](file)  # fmt: skip
        signers: tuple[Signer, ...] = (read_answer(attach, _request(file, kind), keys_of),)
    else:
        signers = _open_keys(keys, passphrase_fd)
    if kind == "authorisation":
        return _sign_authorisation(file, signers)
    return {"root": _sign_root, "list": _sign_list, "bundle": _sign_bundle}[kind](file, signers)


class _Typed(msgspec.Struct):
    """Just enough of a JSON file to know what it is."""

    payload_type: str = msgspec.field(name="payloadType", default="")


def _kind_of(file: Path) -> Literal["bundle", "root", "list", "authorisation"]:
    with file.open("rb") as opened:
        if opened.read(1) != b"{":
            return "bundle"
    kind = decode(read_capped(file, MAX_REVOCATIONS), _Typed, str(file)).payload_type
    return "list" if kind == REVOCATIONS_TYPE else "authorisation" if kind == AUTHORISATION_TYPE else "root"


def _no_key(file: Path) -> UsageError:
    """Before anything is written; the hint names a key of the role whose document it is."""
    key = "KEY"
    if not file.is_dir():
        kind = "authorisation" if file.suffix in (".yaml", ".yml") else _kind_of(file)
        role = {"authorisation": "rollback", "bundle": "release"}.get(kind, "root")
        key = f"keys/{role}-1.key"
    return UsageError("no key is named", where="--key", remedy=f"waybill sign {file} --key {key}")


def _open_keys(keys: tuple[str, ...], passphrase_fd: int | None) -> tuple[Signer, ...]:
    return tuple(open_key(uri, passphrase_fd) for uri in keys)


def open_key(uri: str, passphrase_fd: int | None, beside: Path | None = None) -> Signer:
    """The signer behind a key URI; asks for passphrase or PIN only when the key needs one."""
    return open_signer(uri, lambda prompt: ask_passphrase(prompt, descriptor=passphrase_fd), beside or Path())


def _request(file: Path, kind: str) -> Request:
    if kind == "list":
        return request_list(_read_list(file)[0].payload_bytes)
    if kind == "authorisation":
        return request_authorisation(
            parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0].payload_bytes
        )
    if kind == "root":
        return request_root_of(parse_root(read_capped(file, MAX_ROOT), str(file)).envelope)
    return request_release(open_head(file).release)


def _prepare(file: Path, folder: Path, kind: str) -> Result:
    request = _request(file, kind)
    write_request(request, folder)
    files = [name for name, _ in request.to_sign]
    text = [f"to sign      {request.what}", *(f"wrote        {folder / name}" for name in files)]
    text += [
        "",
        "next:",
        f"  waybill sign {folder} --key KEY        # where the key is; or as {folder}/README.txt says",
    ]
    text += [f"  waybill sign {file} --attach {folder}"]
    return Result("\n".join(text), {"folder": str(folder), "what": request.what, "files": files})


def _answer(folder: Path, signers: tuple[Signer, ...]) -> Result:
    if len(signers) != 1:
        raise UsageError("one request holds the answer of one key", where="--key", remedy="prepare one for each key")
    request = answer_request(folder, signers[0])
    keyid = signers[0].public.keyid
    text = [f"signed       {request.what}", f"by           {keyid[:12]}"]
    text += [f"wrote        {folder / name}.sig" for name, _ in request.to_sign]
    data = {"what": request.what, "keyid": keyid, "files": [f"{name}.sig" for name, _ in request.to_sign]}
    return Result("\n".join(text), data)


def _release_keys(file: Path) -> tuple[PublicKey, ...]:
    root = parse_root(open_head(file).roots[-1], "trust").root
    held = root.roles["release"].keys
    return tuple(key for keyid in held if (key := root.keys.get(keyid)) is not None and key.known)


def _root_keys(file: Path) -> tuple[PublicKey, ...]:
    found: dict[str, PublicKey] = {}
    for root in _root_and_before(file):
        found |= {keyid: root.keys[keyid] for keyid in root.roles["root"].keys}
    return tuple(key for key in found.values() if key.known)


def _root_and_before(file: Path) -> tuple[Root, ...]:
    """A root document and, when it lies beside it, the version before."""
    found = parse_root(read_capped(file, MAX_ROOT), str(file)).root
    beside = file.with_name(f"{found.version - 1}.root.json")
    return (found, parse_root(read_capped(beside, MAX_ROOT), str(beside)).root) if beside.exists() else (found,)


def _sign_bundle(file: Path, signers: tuple[Signer, ...]) -> Result:
    head = open_head(file)
    newest = parse_root(head.roots[-1], "trust").root
    role = newest.roles["release"]
    for signer in signers:
        if signer.public.keyid not in role.keys:
            raise RefusedError(
                f"key {signer.public.keyid[:12]} is not a release key of root {newest.version} in this bundle",
                where=str(file),
                remedy="a signature by a stranger makes every site refuse the bundle; use a release key",
                finding="signature-unknown",
            )
        head = add_signature(head, sign_release(head.release, signer))
    release = parse_release(head.release)
    rewrite_head(file, head)
    signed = {one.keyid for one in head.signatures}
    text = [f"signed       {release.product} {release.version}, {digest_of(head.release)}"]
    return _standing(text, signed, role.keys, role.threshold)


def _attach_identity(file: Path, answer: Path, trusted_root: Path | None) -> Result:
    from content.release_identities import attach_identity

    head = open_head(file)
    trusted = head.trusted_root if trusted_root is None else read_capped(trusted_root, MAX_TRUSTED_ROOT)
    if trusted is None:
        raise UsageError(
            "an identity needs the file that says who vouches for it", where="--trusted-root",
            remedy="--trusted-root trusted_root.json, one that trust.yaml pins",
        )  # fmt: skip
    head, signed = attach_identity(head, read_capped(answer, MAX_BUNDLE), trusted, str(answer))
    rewrite_head(file, head)
    release = parse_release(head.release)
    role = parse_root(head.roots[-1], "trust").root.roles["release"]
    text = [f"signed       {release.product} {release.version}, {digest_of(head.release)}"]
    text += [f"identity     {name}" for name in signed.values()]
    keys = {one.keyid for one in head.signatures if one.sig is not None}
    return _standing(text, keys | set(signed), role.keys, role.threshold)


def _sign_root(file: Path, signers: tuple[Signer, ...]) -> Result:
    found = parse_root(read_capped(file, MAX_ROOT), str(file))
    _, *older = _root_and_before(file)
    before = older[0] if older else None
    may = set(found.root.roles["root"].keys) | set(before.roles["root"].keys if before else ())
    for signer in signers:
        if signer.public.keyid not in may:
            raise RefusedError(
                f"key {signer.public.keyid[:12]} is not a root key of this version or the one before",
                where=str(file),
                finding="signature-unknown",
                remedy="waybill show of the document lists its root keys",
            )
    data = add_signatures(found.envelope, signers)
    again = parse_root(data, str(file))
    if again.root != found.root:
        raise MalformedError("the document changed while it was signed", where=str(file))
    replace_file(file, data)
    return describe_root(replace(again, raw=data), before)


def _read_list(file: Path) -> tuple[Envelope, Revocations]:
    return parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))


def _list_judge(file: Path) -> Root:
    """The newest root document that lies beside a revocation list: its root keys sign the list."""
    return newest_root(file.parent)


def newest_root(folder: Path) -> Root:
    """The newest root document in a folder of a vendor. Raises RefusedError when there is none."""
    found: Root | None = None
    while (path := folder / f"{found.version + 1 if found else 1}.root.json").exists():
        found = parse_root(read_capped(path, MAX_ROOT), str(path)).root
    if found is None:
        raise RefusedError(
            "no root document lies here, so nobody knows who may sign",
            where=str(folder),
            remedy="put 1.root.json and its successors there",
            finding="root-missing",
        )
    return found


def rollback_keys(file: Path) -> tuple[PublicKey, ...]:
    root = newest_root(rollback_role(file))
    return tuple(key for keyid in root.roles["rollback"].keys if (key := root.keys[keyid]).known)


def _sign_authorisation(file: Path, signers: tuple[Signer, ...]) -> Result:
    judge = newest_root(rollback_role(file))
    role = judge.roles["rollback"]
    for signer in signers:
        if signer.public.keyid not in role.keys:
            raise RefusedError(
                f"key {signer.public.keyid[:12]} is not a rollback key of root {judge.version}",
                where=str(file),
                remedy=f"the rollback keys are {short(role.keys)}",
                finding="signature-role",
            )
    data = sign_authorisation(file, signers)
    replace_file(file, data)
    envelope, found = parse_authorisation(data, str(file))
    text = [
        f"signed       authorisation {found.number}: {found.product} {found.leaves.channel} "
        f"{found.leaves.mark.sequence} back to {found.goes_to.version}",
        f"wrote        {file}",
    ]
    result = _standing(text, {one.keyid for one in envelope.signatures}, role.keys, role.threshold)
    return Result(result.text, {**result.data, "authorisation": found.number, "path": str(file)})


def _list_keys(file: Path) -> tuple[PublicKey, ...]:
    judge = _list_judge(file)
    return tuple(key for keyid in judge.roles["root"].keys if (key := judge.keys[keyid]).known)


def _sign_list(file: Path, signers: tuple[Signer, ...]) -> Result:
    envelope, found = _read_list(file)
    judge = _list_judge(file)
    role = judge.roles["root"]
    for signer in signers:
        if signer.public.keyid not in role.keys:
            raise RefusedError(
                f"key {signer.public.keyid[:12]} is not a root key of root {judge.version}",
                where=str(file),
                remedy=f"the root keys are {short(role.keys)}",
                finding="signature-role",
            )
    data = add_signatures(envelope, signers)
    replace_file(file, data)
    signed = {one.keyid for one in parse_revocations(data, str(file))[0].signatures}
    text = [f"signed       revocation list {found.version} of {found.vendor}"]
    result = _standing(text, signed, role.keys, role.threshold)
    return Result(result.text, {**result.data, "vendor": found.vendor, "version": found.version})


def describe_root(found: SignedRoot, before: Root | None, names: Mapping[str, str] | None = None) -> Result:
    """Fingerprint and standing of a root document, for people and programs.

    Args:
        names: The vendor's own names of keys, where they are known.
    """
    text = [
        f"root         {found.root.vendor}, version {found.root.version}" + (" (practice)" * found.root.practice),
        f"fingerprint  {as_groups(found.fingerprint)}",
        f"             {as_words(found.fingerprint)}",
    ]
    signed = {one.keyid for one in found.envelope.signatures}
    role = found.root.roles["root"]
    result = _standing(text, signed, role.keys, role.threshold, names or {})
    extra: list[str] = []
    missing_before: list[str] = []
    if before is not None:
        old = before.roles["root"]
        have = len(signed & set(old.keys))
        if have < old.threshold:
            missing_before = sorted(set(old.keys) - signed)
            of = _names(missing_before, names or {})
            extra.append(f"missing      {old.threshold - have} more of the root keys of version {before.version}: {of}")
    data = {
        **result.data,
        "missing_before": missing_before,
        "finished": not result.data["missing"] and not missing_before,
        "vendor": found.root.vendor,
        "version": found.root.version,
        "practice": found.root.practice,
        "fingerprint": found.fingerprint,
        "groups": as_groups(found.fingerprint),
        "words": as_words(found.fingerprint),
    }
    return Result("\n".join([result.text, *extra]), data)


def _standing(
    text: list[str],
    signed: set[str],
    keys: tuple[str, ...],
    threshold: int,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """Who has signed, how many must, who is missing."""
    have = sorted(signed & set(keys))
    missing = sorted(set(keys) - signed)
    text += [f"signed by    {_names([keyid], names)}" for keyid in have]
    if len(have) < threshold:
        text.append(f"missing      {threshold - len(have)} more of {_names(missing, names)}")
    data = {"signed_by": have, "missing": missing if len(have) < threshold else [], "threshold": threshold}
    return Result("\n".join(text), data)


def _names(keyids: Sequence[str], names: Mapping[str, str]) -> str:
    return ", ".join(f"{one[:12]} ({names[one]})" if one in names else one[:12] for one in keyids)


def replace_file(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: the file is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
