"""The command ``waybill sign``."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import msgspec
from click.core import ParameterSource

from console.options import passphrase_option, verb
from console.result import Result
from content.bundle.head import MAX_TRUSTED_ROOT, open_head
from content.bundle.head_writer import add_signature, rewrite_head, sign_release
from content.commands.open_key import open_keys
from content.commands.signed_by import describe_root, signature_status
from content.signing.allowed_keys import (
    list_judge,
    list_keys,
    newest_root,
    release_keys,
    rollback_keys,
    root_and_before,
    root_keys,
)
from content.signing.authorisations import authorisation_envelope, root_folder, sign_authorisation
from content.signing.detached import (
    STATEMENT_SIGNED,
    DetachedRequest,
    answer_request,
    read_answer,
    request_authorisation,
    request_list,
    request_release,
    request_root_of,
    write_request,
)
from content.signing.files import replace_file
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import MAX_BUNDLE, Envelope
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, Revocations, parse_revocations
from manifests.trust.root import MAX_ROOT, parse_root, short
from manifests.words.canonical import decode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UsageError


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
        return _answer(file, open_keys(keys, passphrase_fd))
    file = authorisation_envelope(file)
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
            "root": root_keys, "list": list_keys, "bundle": release_keys, "authorisation": rollback_keys
        }[kind](file)  # fmt: skip
        signers: tuple[Signer, ...] = (read_answer(attach, _request(file, kind), keys_of),)
    else:
        signers = open_keys(keys, passphrase_fd)
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


def _request(file: Path, kind: str) -> DetachedRequest:
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
    return signature_status(text, signed, role.keys, role.threshold)


def _attach_identity(file: Path, answer: Path, trusted_root: Path | None) -> Result:
    from content.signing.attach_identity import attach_identity

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
    return signature_status(text, keys | set(signed), role.keys, role.threshold)


def _sign_root(file: Path, signers: tuple[Signer, ...]) -> Result:
    found = parse_root(read_capped(file, MAX_ROOT), str(file))
    _, *older = root_and_before(file)
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


def _sign_authorisation(file: Path, signers: tuple[Signer, ...]) -> Result:
    judge = newest_root(root_folder(file))
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
    result = signature_status(text, {one.keyid for one in envelope.signatures}, role.keys, role.threshold)
    return Result(result.text, {**result.data, "authorisation": found.number, "path": str(file)})


def _sign_list(file: Path, signers: tuple[Signer, ...]) -> Result:
    envelope, found = _read_list(file)
    judge = list_judge(file)
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
    result = signature_status(text, signed, role.keys, role.threshold)
    return Result(result.text, {**result.data, "vendor": found.vendor, "version": found.version})
