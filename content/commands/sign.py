"""The command ``waybill sign``."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import click
import msgspec
from click.core import ParameterSource

from console.options import ExistingPath, command, passphrase_option
from console.output import say
from console.result import Result
from content.bundle.head import MAX_TRUSTED_ROOT, open_head
from content.bundle.head_writer import add_signature, sign_release
from content.commands.open_key import open_keys
from content.commands.signed_by import describe_root, key_list, signature_status, with_next
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
    read_request,
    request_authorisation,
    request_list,
    request_release,
    request_root,
    write_request,
)
from content.signing.files import replace_file, rewrite_head
from content.signing.preview import Preview, check_agreed
from content.signing.previews import context_files, preview_file, preview_request
from content.signing.request_signers import RequestSigners, read_signers, signers_file
from content.signing.surroundings import Surroundings
from content.signing.vendor_keys import TRUST_YAML
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, parse_authorisation
from manifests.documents.release import Release
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import MAX_BUNDLE, Envelope
from manifests.trust.envelope_writer import add_signatures
from manifests.trust.keys import PublicKey, open_regular, read_capped
from manifests.trust.private_keys import Signer, key_path
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, parse_revocations
from manifests.trust.root import MAX_ROOT, Role, Root, parse_root
from manifests.words.canonical import decode
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError, UsageError
from manifests.words.fingerprint import as_words, parse_fingerprint


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
@click.option("--fingerprint", metavar="WORDS",
              help="Fingerprint that was agreed by another way, whole; any other document is refused.")  # fmt: skip
@click.option("--trust", "trust_yaml", type=ExistingPath(), metavar="FILE",
              help="trust.yaml, for the names of keys. Default: near FILE, near the key, or here.")  # fmt: skip
@passphrase_option
def sign_command(
    file: Path,
    keys: tuple[str, ...],
    prepare: Path | None,
    attach: Path | None,
    trusted_root: Path | None,
    fingerprint: str | None,
    trust_yaml: Path | None,
    passphrase_fd: int | None,
) -> Result:
    """Add a signature to FILE, or answer a signing request.

    FILE is a bundle (only its head is rewritten), a root document, a revocation list, an authorisation (its .yaml
    makes the .json beside it), or a folder from --prepare. Shows what it says before a passphrase is asked for.
    """
    typed = click.get_current_context().get_parameter_source("keys") == ParameterSource.COMMANDLINE
    if (prepare is not None) + (attach is not None) + typed > 1:
        raise UsageError("--key, --prepare and --attach exclude each other", where="sign", remedy="give one of them")
    if prepare is None and attach is None and not keys:
        raise _no_key(file)
    agreed = None if fingerprint is None else parse_fingerprint(fingerprint)
    if file.is_dir():
        return _answer(file, keys, agreed, passphrase_fd)
    task = _look_at(authorisation_envelope(file), agreed, _near(file, trust_yaml, keys))
    if prepare is not None:
        return _prepare(task, prepare)
    if attach is not None:
        return _attach(task, attach, trusted_root)
    _check_no_trusted_root(trusted_root)
    say("\n".join(task.preview.lines))
    return _sign(task, open_keys(keys, passphrase_fd))


@dataclass(frozen=True)
class _Task:
    """A file that is to be signed, and what was shown of it. Attributes: name: its kind, a key of ``_KINDS``."""

    file: Path
    name: str
    preview: Preview
    around: Surroundings

    @property
    def kind(self) -> "_Kind":
        return _KINDS[self.name]


def _near(file: Path, trust_yaml: Path | None, keys: tuple[str, ...]) -> tuple[Path, ...]:
    """Return files by which the folder of the vendor is known: the named one; else FILE, those of keys, this folder."""
    if trust_yaml is None:
        files = [key_path(key, Path()) for key in keys if not key.startswith(("pkcs11:", "exec:"))]
        return (file, *files, Path(TRUST_YAML))
    if trust_yaml.name != TRUST_YAML:
        raise UsageError(f"expected a file called {TRUST_YAML}", where=f"--trust {trust_yaml}", remedy="name it so")
    return (trust_yaml,)


def _look_at(file: Path, agreed: str | None, near: tuple[Path, ...]) -> _Task:
    name = _kind_of(file)
    preview, around = preview_file(file, name, near)
    check_agreed(preview, agreed, str(file))
    return _Task(file, name, preview, around)


def _sign(task: _Task, signers: tuple[Signer, ...]) -> Result:
    """Sign what was shown; say who is missing, and what comes next."""
    result = task.kind.sign(task.file, signers, _Shown(task.preview.fingerprint, task.around.key_names))
    signed = Result(result.text, {**result.data, "signs": task.preview.data})
    return with_next(signed, task.file, task.name, task.around)


def _attach(task: _Task, answer: Path, trusted_root: Path | None) -> Result:
    kind, file = task.kind, task.file
    if kind.keys is release_keys and (answer / STATEMENT_SIGNED).exists():
        result = _attach_identity(file, answer / STATEMENT_SIGNED, trusted_root)
        return with_next(result, file, task.name, task.around)
    _check_no_trusted_root(trusted_root)
    named = read_signers(answer)
    if named is not None:
        task = replace(task, around=replace(task.around, key_names={**named.names, **task.around.key_names}))
    return _sign(task, (read_answer(answer, kind.request(file), kind.keys(file)),))


def _check_no_trusted_root(trusted_root: Path | None) -> None:
    if trusted_root is not None:
        raise UsageError(
            f"belongs to --attach of a folder with {STATEMENT_SIGNED}", where="--trusted-root", remedy="leave it out"
        )


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


@dataclass(frozen=True)
class _Shown:
    """What was shown before the key was opened: its fingerprint, and the names of keys, by id."""

    fingerprint: str
    names: Mapping[str, str]

    def check(self, data: bytes, file: Path) -> None:
        """Raise RefusedError unless ``data``, which is about to be signed, is what was shown."""
        if digest_of(data) != self.fingerprint:
            problem = "the file changed after it was shown"
            raise RefusedError(problem, where=str(file), remedy="look at it and sign it again", finding="changed")


def _prepare(task: _Task, folder: Path) -> Result:
    file, preview = task.file, task.preview
    beside = (*context_files(file, task.name, task.around), *signers_file(file, task.name, folder, task.around))
    request = task.kind.request(file, beside)
    if digest_of(request.document[1]) != preview.fingerprint:
        raise RefusedError("the file changed while it was read", where=str(file), remedy="prepare it again")
    write_request(request, folder, preview.lines)
    files = [name for name, _ in request.to_sign]
    text = [*preview.lines, *(f"wrote        {folder / name}" for name in files)]
    text += [
        "",
        "next, on the machine that has the key; README.txt in the folder says how without Waybill:",
        f"  waybill show {quote(str(folder))}",
        f"  waybill sign {quote(str(folder))} --key KEY --fingerprint {quote(as_words(preview.fingerprint))}",
        "then, here again:",
        f"  waybill sign {quote(str(file))} --attach {quote(str(folder))}",
    ]
    data = {"folder": str(folder), "what": request.what, "files": files, "signs": preview.data}
    return Result("\n".join(text), data)


def _answer(folder: Path, keys: tuple[str, ...], agreed: str | None, passphrase_fd: int | None) -> Result:
    if len(keys) != 1:
        raise UsageError(
            "one request holds the answer of one key", where="--key", remedy="prepare a request for each key"
        )
    request = read_request(folder)
    preview = preview_request(folder, request)
    check_agreed(preview, agreed, str(folder))
    say("\n".join(preview.lines))
    signer = open_keys(keys, passphrase_fd)[0]
    keyid, signers = signer.public.keyid, read_signers(folder)
    if signers is not None:
        signers.check_may_sign(keyid, folder)
    answer_request(folder, request, signer, signers.keys if signers is not None else ())
    answers = [f"{name}.sig" for name, _ in request.to_sign]
    missing = signers.missing_after(keyid) if signers is not None else ()
    text = [
        f"signed       {request.what}",
        f"by           {key_list([keyid], signers.names if signers is not None else {})}",
        *(f"wrote        {folder / name}" for name in answers),
        *(_who_is_missing(signers, keyid) if signers is not None else ()),
        "",
        "next: carry the folder back to where it was prepared, then, there:",
        f"  waybill sign {quote(signers.file if signers is not None else 'FILE')} --attach "
        + quote(signers.folder if signers is not None else str(folder)),
    ]
    data = {"what": request.what, "keyid": keyid, "files": answers, "signs": preview.data, "missing": list(missing)}
    return Result("\n".join(text), data)


def _who_is_missing(signers: RequestSigners, keyid: str) -> list[str]:
    """Return who has to sign besides, as the folder says; others may have signed since it was prepared."""
    missing = signers.missing_after(keyid)
    since = "as it was when the folder was prepared"
    return [f"missing      {line}, {since}" for line in missing or ("nobody else",)]


def _check_may_sign(
    signers: tuple[Signer, ...], keys: Collection[str], role: str, file: Path, finding: str, names: Mapping[str, str]
) -> None:
    """Raise RefusedError for a signer outside ``keys``: sites refuse a file with a signature of another key."""
    for signer in signers:
        if signer.public.keyid not in keys:
            problem = f"key {key_list([signer.public.keyid], names)} is not a {role}"
            remedy = f"sign with one of {key_list(sorted(keys), names)}"
            raise RefusedError(problem, where=str(file), remedy=remedy, finding=finding)


def _sign_bundle(file: Path, signers: tuple[Signer, ...], shown: _Shown) -> Result:
    head = open_head(file)
    shown.check(head.release, file)
    newest = parse_root(head.roots[-1], "trust").root
    role = newest.roles["release"]
    of = f"release key of root {newest.version} in this bundle"
    _check_may_sign(signers, role.keys, of, file, "signature-unknown", shown.names)
    for signer in signers:
        head = add_signature(head, sign_release(head.release, signer))
    rewrite_head(file, head)
    text = [_signed_release(parse_release(head.release), head.release)]
    signed = {signature.keyid for signature in head.signatures}
    return signature_status(text, signed, role.keys, role.threshold, shown.names)


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


def _sign_root(file: Path, signers: tuple[Signer, ...], shown: _Shown) -> Result:
    document = parse_root(read_capped(file, MAX_ROOT), str(file))
    shown.check(document.envelope.payload_bytes, file)
    _, *older = root_and_before(file)
    before = older[0] if older else None
    keys = set(document.root.roles["root"].keys) | set(before.roles["root"].keys if before else ())
    of = "root key of this version or the one before"
    _check_may_sign(signers, keys, of, file, "signature-unknown", shown.names)
    data = add_signatures(document.envelope, signers)
    again = parse_root(data, str(file))
    if again.root != document.root:
        raise MalformedError("the document changed while it was signed", where=str(file), remedy="sign it again")
    replace_file(file, data)
    return describe_root(replace(again, raw=data), before, shown.names)


def _sign_authorisation(file: Path, signers: tuple[Signer, ...], shown: _Shown) -> Result:
    envelope, authorisation = parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))
    leaves = authorisation.leaves
    text = [
        f"signed       authorisation {authorisation.number}: rollback of {authorisation.product} {leaves.channel}, "
        f"sequence {leaves.mark.sequence}, to {authorisation.goes_to.version}",
        f"wrote        {file}",
    ]
    shown.check(envelope.payload_bytes, file)
    role = _role_of_signers(root_for_authorisation(file), "rollback", signers, file, shown.names)
    result = signature_status(text, _sign_envelope(file, envelope, signers), role.keys, role.threshold, shown.names)
    return Result(result.text, {**result.data, "authorisation": authorisation.number, "path": str(file)})


def _sign_list(file: Path, signers: tuple[Signer, ...], shown: _Shown) -> Result:
    envelope, revocations = parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))
    text = [f"signed       revocation list {revocations.version} of {revocations.vendor}"]
    shown.check(envelope.payload_bytes, file)
    role = _role_of_signers(newest_root(file.parent), "root", signers, file, shown.names)
    result = signature_status(text, _sign_envelope(file, envelope, signers), role.keys, role.threshold, shown.names)
    return Result(result.text, {**result.data, "vendor": revocations.vendor, "version": revocations.version})


def _role_of_signers(root: Root, name: str, signers: tuple[Signer, ...], file: Path, names: Mapping[str, str]) -> Role:
    """The role ``name`` of the root. Raises RefusedError when a signer is not in it."""
    role = root.roles[name]
    _check_may_sign(signers, role.keys, f"{name} key of root {root.version}", file, "signature-role", names)
    return role


def _sign_envelope(file: Path, envelope: Envelope, signers: tuple[Signer, ...]) -> set[str]:
    """Sign and write; return the ids of all keys that have signed."""
    data = add_signatures(envelope, signers)
    replace_file(file, data)
    return {signature.keyid for signature in decode(data, Envelope, str(file)).signatures}


@dataclass(frozen=True)
class _Kind:
    """A kind of file that is signed.

    Attributes:
        document: The bytes that are signed, or of a bundle ``release.json``.
        request_of: What another machine signs.
        keys: Keys that may sign.
    """

    document: Callable[[Path], bytes]
    request_of: Callable[[bytes], DetachedRequest]
    keys: Callable[[Path], tuple[PublicKey, ...]]
    sign: Callable[[Path, tuple[Signer, ...], _Shown], Result]

    def request(self, file: Path, context: tuple[tuple[str, bytes], ...] = ()) -> DetachedRequest:
        request = self.request_of(self.document(file))
        return replace(request, beside=(*request.beside, *context))


_KINDS = {
    "bundle": _Kind(lambda file: open_head(file).release, request_release, release_keys, _sign_bundle),
    "root": _Kind(
        lambda file: parse_root(read_capped(file, MAX_ROOT), str(file)).envelope.payload_bytes,
        request_root,
        root_keys,
        _sign_root,
    ),
    "list": _Kind(
        lambda file: parse_revocations(read_capped(file, MAX_REVOCATIONS), str(file))[0].payload_bytes,
        request_list,
        list_keys,
        _sign_list,
    ),
    "authorisation": _Kind(
        lambda file: parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0].payload_bytes,
        request_authorisation,
        rollback_keys,
        _sign_authorisation,
    ),
}
