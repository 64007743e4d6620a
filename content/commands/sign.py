"""The command ``waybill sign``."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import click
import msgspec
from click.core import ParameterSource

from console.options import ExistingPath, command, passphrase_option
from console.result import Result
from content.bundle.head import MAX_TRUSTED_ROOT, open_head
from content.bundle.head_writer import add_signature, sign_release
from content.commands.open_key import open_keys
from content.commands.signed_by import describe_root, signature_status
from content.signing.allowed_keys import (
    list_keys,
    newest_root,
    release_keys,
    rollback_keys,
    root_and_before,
    root_for_authorisation,
    root_keys,
)
from content.signing.attach_identity import attach_identity
from content.signing.authorisations import authorisation_envelope
from content.signing.detached import (
    STATEMENT_SIGNED,
    DetachedRequest,
    answer_request,
    read_answer,
    request_authorisation,
    request_list,
    request_release,
    request_root,
    write_request,
)
from content.signing.files import replace_file, rewrite_head
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.documents.release import Release
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import MAX_BUNDLE, Envelope
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import PublicKey, open_regular, read_capped
from manifests.trust.private_keys import Signer
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, parse_revocations
from manifests.trust.root import MAX_ROOT, Root, parse_root, short
from manifests.words.canonical import decode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UsageError


@command(
    examples=(
        "waybill sign app-1.0.0.tar --key keys/release-1.key",
        "waybill sign trust/2.root.json --prepare request",
        "waybill sign trust/2.root.json --attach request",
    )
)
@click.argument("file", type=ExistingPath())
@click.option("--key", "keys", multiple=True, envvar="WAYBILL_KEY", metavar="URI",
              help="Key: a file, a pkcs11: or an exec: URI. Repeatable. Default: WAYBILL_KEY.")  # fmt: skip
@click.option("--prepare", type=click.Path(path_type=Path), metavar="DIR",
              help="Write what another machine has to sign into a new folder DIR.")  # fmt: skip
@click.option("--attach", type=ExistingPath(), metavar="DIR",
              help="Check the signatures that came back in DIR, and add them.")  # fmt: skip
@click.option("--trusted-root", "trusted_root", type=ExistingPath(), metavar="FILE",
              help="trusted_root.json for an identity, with --attach. Default: the one in the bundle.")  # fmt: skip
@passphrase_option
def sign_command(
    file: Path,
    keys: tuple[str, ...],
    prepare: Path | None,
    attach: Path | None,
    trusted_root: Path | None,
    passphrase_fd: int | None,
) -> Result:
    """Add a signature to FILE, or answer a signing request.

    FILE is a bundle (only its head is rewritten), a root document, a revocation list, an authorisation (its .yaml
    makes the .json beside it), or a folder from --prepare.
    """
    typed = click.get_current_context().get_parameter_source("keys") == ParameterSource.COMMANDLINE
    if (prepare is not None) + (attach is not None) + typed > 1:
        raise UsageError("--key, --prepare and --attach exclude each other", where="sign", remedy="give one of them")
    if prepare is None and attach is None and not keys:
        raise _no_key(file)
    if file.is_dir():
        return _answer(file, open_keys(keys, passphrase_fd))
    file = authorisation_envelope(file)
    kind = _KINDS[_kind_of(file)]
    if prepare is not None:
        return _prepare(file, prepare, kind.request(file))
    if attach is not None and kind.keys is release_keys and (attach / STATEMENT_SIGNED).exists():
        return _attach_identity(file, attach / STATEMENT_SIGNED, trusted_root)
    if trusted_root is not None:
        raise UsageError(
            f"belongs to --attach of a folder with {STATEMENT_SIGNED}", where="--trusted-root", remedy="leave it out"
        )
    answer = None if attach is None else read_answer(attach, kind.request(file), kind.keys(file))
    return kind.sign(file, (answer,) if answer else open_keys(keys, passphrase_fd))


class _Typed(msgspec.Struct):
    """The field of a JSON file that says what it is."""

    payload_type: str = msgspec.field(name="payloadType", default="")


def _kind_of(file: Path) -> str:
    with os.fdopen(open_regular(file), "rb") as opened:
        if opened.read(1) != b"{":
            return "bundle"
    payload_type = decode(read_capped(file, MAX_REVOCATIONS), _Typed, str(file)).payload_type
    return {REVOCATIONS_TYPE: "list", AUTHORISATION_TYPE: "authorisation"}.get(payload_type, "root")


def _no_key(file: Path) -> UsageError:
    """Raised before anything is written; the hint names a key of the role whose document it is."""
    key = "FILE"
    if not file.is_dir():
        kind = "authorisation" if file.suffix in (".yaml", ".yml") else _kind_of(file)
        role = {"authorisation": "rollback", "bundle": "release"}.get(kind, "root")
        usual = f"keys/{role}-1.key"
        key = usual if Path(usual).is_file() else key
    return UsageError("no key is named", where="--key", remedy=f"waybill sign {quote(str(file))} --key {key}")


def _prepare(file: Path, folder: Path, request: DetachedRequest) -> Result:
    write_request(request, folder)
    files = [name for name, _ in request.to_sign]
    text = [f"to sign      {request.what}", *(f"wrote        {folder / name}" for name in files)]
    text += [
        "",
        "next:",
        f"  waybill sign {quote(str(folder))} --key KEY     # where the key is, or as README.txt there says",
        f"  waybill sign {quote(str(file))} --attach {quote(str(folder))}",
    ]
    return Result("\n".join(text), {"folder": str(folder), "what": request.what, "files": files})


def _answer(folder: Path, signers: tuple[Signer, ...]) -> Result:
    if len(signers) != 1:
        raise UsageError(
            "one request holds the answer of one key", where="--key", remedy="prepare a request for each key"
        )
    request = answer_request(folder, signers[0])
    keyid = signers[0].public.keyid
    answers = [f"{name}.sig" for name, _ in request.to_sign]
    text = [
        f"signed       {request.what}",
        f"by           {keyid}",
        *(f"wrote        {folder / name}" for name in answers),
    ]
    return Result("\n".join(text), {"what": request.what, "keyid": keyid, "files": answers})


def _check_may_sign(signers: tuple[Signer, ...], keys: Collection[str], role: str, file: Path, finding: str) -> None:
    """Raise RefusedError for a signer outside ``keys``: sites refuse a file with a signature of another key."""
    for signer in signers:
        if signer.public.keyid not in keys:
            problem = f"key {signer.public.keyid} is not a {role}"
            remedy = f"sign with one of {short(sorted(keys))}"
            raise RefusedError(problem, where=str(file), remedy=remedy, finding=finding)


def _sign_bundle(file: Path, signers: tuple[Signer, ...]) -> Result:
    head = open_head(file)
    newest = parse_root(head.roots[-1], "trust").root
    role = newest.roles["release"]
    of = f"release key of root {newest.version} in this bundle"
    _check_may_sign(signers, role.keys, of, file, "signature-unknown")
    for signer in signers:
        head = add_signature(head, sign_release(head.release, signer))
    rewrite_head(file, head)
    text = [_signed_release(parse_release(head.release), head.release)]
    return signature_status(text, {signature.keyid for signature in head.signatures}, role.keys, role.threshold)


def _attach_identity(file: Path, answer: Path, trusted_root: Path | None) -> Result:
    head = open_head(file)
    trusted = head.trusted_root if trusted_root is None else read_capped(trusted_root, MAX_TRUSTED_ROOT)
    if trusted is None:
        problem = "the bundle holds no trusted_root.json yet, and an identity is checked against one"
        remedy = "add --trusted-root trusted_root.json, with a file that trust.yaml pins"
        raise UsageError(problem, where="--trusted-root", remedy=remedy)
    head, signed = attach_identity(head, read_capped(answer, MAX_BUNDLE), trusted, str(answer))
    rewrite_head(file, head)
    role = parse_root(head.roots[-1], "trust").root.roles["release"]
    text = [_signed_release(parse_release(head.release), head.release)]
    text += [f"identity     {name}" for name in signed.values()]
    keys = {signature.keyid for signature in head.signatures if signature.sig is not None}
    return signature_status(text, keys | set(signed), role.keys, role.threshold)


def _signed_release(release: Release, raw: bytes) -> str:
    return f"signed       {release.product} {release.version}, {digest_of(raw)}"


def _sign_root(file: Path, signers: tuple[Signer, ...]) -> Result:
    document = parse_root(read_capped(file, MAX_ROOT), str(file))
    _, *older = root_and_before(file)
    before = older[0] if older else None
    keys = set(document.root.roles["root"].keys) | set(before.roles["root"].keys if before else ())
    _check_may_sign(signers, keys, "root key of this version or the one before", file, "signature-unknown")
    data = add_signatures(document.envelope, signers)
    again = parse_root(data, str(file))
    if again.root != document.root:
        raise MalformedError("the document changed while it was signed", where=str(file), remedy="sign it again")
    replace_file(file, data)
    return describe_root(replace(again, raw=data), before)


def _sign_authorisation(file: Path, signers: tuple[Signer, ...]) -> Result:
    envelope, authorisation = parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))
    leaves = authorisation.leaves
    text = [
        f"signed       authorisation {authorisation.number}: rollback of {authorisation.product} {leaves.channel}, "
        f"sequence {leaves.mark.sequence}, to {authorisation.goes_to.version}",
        f"wrote        {file}",
    ]
    result = _sign_envelope(file, envelope, signers, (root_for_authorisation(file), "rollback"), text)
    return Result(result.text, {**result.data, "authorisation": authorisation.number, "path": str(file)})


def _sign_list(file: Path, signers: tuple[Signer, ...]) -> Result:
    envelope, revocations = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))
    text = [f"signed       revocation list {revocations.version} of {revocations.vendor}"]
    result = _sign_envelope(file, envelope, signers, (newest_root(file.parent), "root"), text)
    return Result(result.text, {**result.data, "vendor": revocations.vendor, "version": revocations.version})


def _sign_envelope(
    file: Path, envelope: Envelope, signers: tuple[Signer, ...], by: tuple[Root, str], text: list[str]
) -> Result:
    """Sign as the role of the root says, and show after ``text`` who has signed."""
    root, name = by
    role = root.roles[name]
    _check_may_sign(signers, role.keys, f"{name} key of root {root.version}", file, "signature-role")
    data = add_signatures(envelope, signers)
    replace_file(file, data)
    signed = {signature.keyid for signature in decode(data, Envelope, str(file)).signatures}
    return signature_status(text, signed, role.keys, role.threshold)


@dataclass(frozen=True)
class _Kind:
    """A kind of file that is signed. Attributes: request: what another machine signs; keys: those that may sign."""

    request: Callable[[Path], DetachedRequest]
    keys: Callable[[Path], tuple[PublicKey, ...]]
    sign: Callable[[Path, tuple[Signer, ...]], Result]


_KINDS = {
    "bundle": _Kind(lambda file: request_release(open_head(file).release), release_keys, _sign_bundle),
    "root": _Kind(
        lambda file: request_root(parse_root(read_capped(file, MAX_ROOT), str(file)).envelope.payload_bytes),
        root_keys,
        _sign_root,
    ),
    "list": _Kind(
        lambda file: request_list(parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))[0].payload_bytes),
        list_keys,
        _sign_list,
    ),
    "authorisation": _Kind(
        lambda file: request_authorisation(
            parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0].payload_bytes
        ),
        rollback_keys,
        _sign_authorisation,
    ),
}
