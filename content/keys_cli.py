"""The command line of keys: `keygen` and `sign`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from content.head import add_signature, open_head, rewrite_head, sign_release
from manifests.console import Result, ask_passphrase, passphrase_option, verb
from manifests.digest import digest_of
from manifests.envelope import add_signatures
from manifests.errors import MalformedError, RefusedError, UsageError
from manifests.fingerprint import as_groups, as_words
from manifests.keys import FileSigner, encode_private, generate_key, key_path, read_capped, read_signer
from manifests.release import parse_release
from manifests.trust import MAX_ROOT, Root, SignedRoot, parse_root


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
@click.option("--key", "keys", multiple=True, envvar="WAYBILL_KEY", metavar="URI", help="Key file; may be repeated.")
@passphrase_option
def sign_command(file: Path, keys: tuple[str, ...], passphrase_fd: int | None) -> Result:
    """Add a signature to FILE: a bundle (only its head is rewritten) or a root document."""
    if not keys:
        raise UsageError("no key is named", where="--key", remedy="waybill sign FILE --key keys/release-1.key")
    signers = tuple(open_key(uri, passphrase_fd) for uri in keys)
    with file.open("rb") as opened:
        is_root = opened.read(1) == b"{"
    return _sign_root(file, signers) if is_root else _sign_bundle(file, signers)


def open_key(uri: str, passphrase_fd: int | None, beside: Path | None = None) -> FileSigner:
    """The signer behind a key URI; asks for the passphrase only when the key is encrypted."""
    path = key_path(uri, beside or Path())
    ask: Callable[[], bytes] = lambda: ask_passphrase(f"Passphrase for {path}", descriptor=passphrase_fd)  # noqa: E731
    return read_signer(path, ask)


def _sign_bundle(file: Path, signers: tuple[FileSigner, ...]) -> Result:
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


def _sign_root(file: Path, signers: tuple[FileSigner, ...]) -> Result:
    found = parse_root(read_capped(file, MAX_ROOT), str(file))
    beside = file.with_name(f"{found.root.version - 1}.root.json")
    before = parse_root(read_capped(beside, MAX_ROOT), str(beside)).root if beside.exists() else None
    may = set(found.root.roles["root"].keys) | set(before.roles["root"].keys if before else ())
    for signer in signers:
        if signer.public.keyid not in may:
            raise RefusedError(
                f"key {signer.public.keyid[:12]} is not a root key of this version or the one before",
                where=str(file),
                finding="signature-unknown",
            )
    data = add_signatures(found.envelope, signers)
    again = parse_root(data, str(file))
    if again.root != found.root:
        raise MalformedError("the document changed while it was signed", where=str(file))
    replace_file(file, data)
    return describe_root(replace(again, raw=data), before)


def describe_root(found: SignedRoot, before: Root | None) -> Result:
    """Fingerprint and standing of a root document, for people and programs."""
    text = [
        f"root         {found.root.vendor}, version {found.root.version}" + (" (practice)" * found.root.practice),
        f"fingerprint  {as_groups(found.fingerprint)}",
        f"             {as_words(found.fingerprint)}",
    ]
    signed = {one.keyid for one in found.envelope.signatures}
    role = found.root.roles["root"]
    result = _standing(text, signed, role.keys, role.threshold)
    extra: list[str] = []
    if before is not None:
        old = before.roles["root"]
        have = len(signed & set(old.keys))
        if have < old.threshold:
            extra.append(f"missing      {old.threshold - have} more of the root keys of version {before.version}")
    data = {
        **result.data,
        "vendor": found.root.vendor,
        "version": found.root.version,
        "practice": found.root.practice,
        "fingerprint": found.fingerprint,
        "groups": as_groups(found.fingerprint),
        "words": as_words(found.fingerprint),
    }
    return Result("\n".join([result.text, *extra]), data)


def _standing(text: list[str], signed: set[str], keys: tuple[str, ...], threshold: int) -> Result:
    """Who has signed, how many must, who is missing."""
    have = sorted(signed & set(keys))
    missing = sorted(set(keys) - signed)
    text += [f"signed by    {keyid[:12]}" for keyid in have]
    if len(have) < threshold:
        text.append(f"missing      {threshold - len(have)} more of {', '.join(keyid[:12] for keyid in missing)}")
    data = {"signed_by": have, "missing": missing if len(have) < threshold else [], "threshold": threshold}
    return Result("\n".join(text), data)


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
