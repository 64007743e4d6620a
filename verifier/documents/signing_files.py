"""What the folders and files of `waybill sign --prepare` say. Nothing in them is signed yet; only reads."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from content.signing.detached import RELEASE, DetachedRequest, is_request, read_request, signers_of
from content.signing.preview import Preview, check_agreed, preview_authorisation, preview_list, preview_root
from content.signing.previews import preview_request
from content.signing.request_signers import SIGNERS, read_signers
from content.signing.surroundings import Surroundings
from manifests.documents.authorisation import AUTHORISATION_TYPE, Authorisation
from manifests.documents.described import key_text
from manifests.documents.release import MAX_RELEASE, ReleaseStatement, referenced
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import INTOTO, MAX_BUNDLE, pae
from manifests.trust.keys import read_capped
from manifests.trust.revocations import REVOCATIONS_TYPE, Revocations
from manifests.trust.root import ROOT_TYPE, Root
from manifests.words.canonical import decode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, WaybillError
from manifests.words.fingerprint import parse_fingerprint
from manifests.words.text import one_line
from verifier.documents.values import DocumentHead, StatementHead

MAX_TEXT_LINES = 400
# A release and the line that names its type.
MAX_SHOWN = MAX_RELEASE + 1024
_PAE = re.compile(rb"DSSEv1 [0-9]{1,3} ([!-~]{1,200}) [0-9]{1,10} (.*)\Z", re.DOTALL)


@dataclass(frozen=True)
class ShownFile:
    """What `show` prints of a folder or file that has no signature of its own."""

    lines: tuple[str, ...]
    data: dict[str, object]


def show_request(folder: Path, agreed: str | None) -> ShownFile:
    """Describe a request and each of its files.

    Args:
        agreed: Fingerprint of the document that was agreed by another way, as it was typed.

    Raises:
        RefusedError: The document is another one than ``agreed``.
        MalformedError: Not a request, or a file in it is not the one that follows from its document.
    """
    request = read_request(folder)
    preview = preview_request(folder, request)
    check_agreed(preview, None if agreed is None else parse_fingerprint(agreed), str(folder))
    first = "not signed: compare the fingerprint with the one that you were told by another way"
    if agreed is not None:
        first = "not signed: this is the document with the fingerprint that you typed"
    files = [f"file         {path.name}: {_file_line(path, request)}" for path in sorted(folder.iterdir())]
    signers, data = _signers_data(folder)
    return ShownFile((first, *preview.lines, *signers, *files), {"verified": False, "signs": preview.data, **data})


def _signers_data(folder: Path) -> tuple[list[str], dict[str, object]]:
    """Return who had signed and who was missing when the folder was prepared; nothing if the folder does not say it."""
    signers = read_signers(folder)
    if signers is None:
        return [], {}
    missing, since = signers.missing_after(), "as it was when the folder was prepared"
    signed = [key_text(keyid, signers.names) for keyid in signers.signed] or ["nobody"]
    lines = [f"signed by    {', '.join(signed)}, {since}"]
    lines += [f"missing      {line}, {since}" for line in missing or ("nobody",)]
    return [one_line(line) for line in lines], {"signed": list(signers.signed), "missing": list(missing)}


def show_signing_file(file: Path) -> ShownFile | None:
    """Describe one file of a request; None for a file that has its own reader, or no part in a request."""
    if file.stat().st_size > MAX_SHOWN:
        return None
    data = read_capped(file, MAX_SHOWN)
    signed = _PAE.match(data)
    if signed:
        return _shown(f"not signed: the bytes of a signature for {signed[1].decode()}", *_payload(file, data))
    if data[:1] == b"{":
        preview = _unsigned_preview(data, str(file))
        if preview is not None:
            return _shown("not signed: only the text; a signature is over it with its type before it", *preview)
    if not is_request(file.parent):
        return None
    if file.suffix == ".sig":
        line = _file_line(file, read_request(file.parent))
        return _shown("not verified: a signature of a request", (line,), {"signature": line})
    if data[:1] == b"{" and _has_reader(data, str(file)):
        return None
    line = _file_line(file, read_request(file.parent))
    text = data.decode("utf-8", "replace").splitlines()
    shown = [one_line(part) for part in text[:MAX_TEXT_LINES]]
    more = [f"and {len(text) - MAX_TEXT_LINES} more lines"] if len(text) > MAX_TEXT_LINES else []
    return _shown(f"not verified: {line}", (*shown, *more), {"text": "\n".join(text[:MAX_TEXT_LINES])})


def _shown(first: str, lines: tuple[str, ...], data: dict[str, object]) -> ShownFile:
    return ShownFile((first, *lines), {"verified": False, **data})


def _has_reader(data: bytes, where: str) -> bool:
    try:
        head = decode(data, DocumentHead, where)
    except WaybillError:
        return False
    ours = (head.type or "").startswith("application/vnd.waybill.")
    return bool(head.payload_type or ours or head.media_type)


def _payload(file: Path, data: bytes) -> tuple[tuple[str, ...], dict[str, object]]:
    """What the bytes of a signature say."""
    signed = _PAE.match(data)
    assert signed is not None
    type_, payload = signed[1].decode(), signed[2]
    if pae(type_, payload) != data:
        raise MalformedError("its lengths are not those of its content", where=str(file))
    if type_ == INTOTO:
        return _statement(payload, str(file))
    preview = _unsigned_preview(payload, str(file))
    if preview is None:
        raise MalformedError(f"bytes of a signature for {type_}, which sign --prepare does not write", where=str(file))
    return preview


def _unsigned_preview(data: bytes, where: str) -> tuple[tuple[str, ...], dict[str, object]] | None:
    """A root, list or authorisation without its envelope, or the statement of a release; None for another file."""
    try:
        kind = decode(data, DocumentHead, where)
        statement = decode(data, StatementHead, where)
    except WaybillError:
        return None
    if statement.predicate_type and not kind.type:
        return _statement(data, where)
    make = _UNSIGNED.get(kind.type or "")
    if make is None or kind.payload_type:
        return None
    preview = make(data, digest_of(data), where)
    return tuple(preview.lines), {"signs": preview.data}


_UNSIGNED: dict[str, Callable[[bytes, str, str], Preview]] = {
    ROOT_TYPE: lambda data, digest, where: preview_root(
        parse(data, Root, where, max_bytes=MAX_RELEASE), digest, Surroundings()
    ),
    REVOCATIONS_TYPE: lambda data, digest, where: preview_list(
        parse(data, Revocations, where, max_bytes=MAX_RELEASE), digest, Surroundings()
    ),
    AUTHORISATION_TYPE: lambda data, digest, where: preview_authorisation(
        parse(data, Authorisation, where, max_bytes=MAX_RELEASE), digest, Surroundings()
    ),
}


def _statement(payload: bytes, where: str) -> tuple[tuple[str, ...], dict[str, object]]:
    statement = parse(payload, ReleaseStatement, where, max_bytes=MAX_BUNDLE)
    release = statement.predicate
    digest = f"sha256:{statement.subject[0].digest.sha256}"
    lines = (
        f"statement    release {release.product} {release.version}, {release.channel} {release.sequence} of epoch "
        f"{release.epoch}",
        f"release      {digest}",
        f"judged by    root {release.root_version} or a later one",
    )
    return lines, {"statement": release.product, "version": release.version, "release": digest}


def _file_line(path: Path, request: DetachedRequest) -> str:
    """What a file of a request is, in a line."""
    name, document = request.document
    parts = dict((*request.to_sign, *request.beside))
    if path.is_dir() or path.is_symlink():
        return "not a file of a request"
    if path.name == name:
        return "the document"
    if path.name in parts:
        to_sign = path.name in dict(request.to_sign)
        return "the bytes to sign, as they follow from the document" if to_sign else "follows from the document"
    if path.suffix == ".sig" and path.stem in parts:
        signers = read_signers(path.parent)
        return signers_of(path, request, signers.names if signers is not None else {})
    if path.name == "README.txt":
        return "a text for people; it may have been changed"
    if path.name == SIGNERS:
        return "who has to sign, and names of keys, as it was when the folder was prepared; nothing vouches for it"
    return _named_by(path, document if name == RELEASE else None)


def _named_by(path: Path, release: bytes | None) -> str:
    """Which blob of the release the file is; a file that the document does not name proves nothing."""
    if path.stat().st_size <= MAX_RELEASE:
        digest = digest_of(read_capped(path, MAX_RELEASE))
        for place, blob in referenced(parse_release(release)) if release is not None else ():
            if blob.digest == digest:
                return f"{place} of the release, with the digest that it names"
    return "shown for comparison; nothing vouches for it"
