"""Sign on another machine: write a signing request to a folder, and check the signatures that come back.

A request holds the very bytes that each signature is over, one file for each, so that openssl can sign them on a
machine that has nothing else. The answer to ``NAME`` is ``NAME.sig``: DER, as openssl writes it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, Authorisation, check_authorisation
from manifests.documents.release import MAX_RELEASE, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import INTOTO, Envelope, pae
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.private_keys import Signer, low_s
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, Revocations, check_revocations
from manifests.trust.root import MAX_ROOT, ROOT_TYPE, Root, check_root
from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, UntrustedError

RELEASE, STATEMENT, ROOT, ROOT_TEXT = "release.json", "statement.pae", "root.pae", "root.json"
# What an identity signs, with a program that knows Fulcio; and its answer.
STATEMENT_TEXT, STATEMENT_SIGNED = "statement.json", "statement.sigstore.json"
LIST, LIST_TEXT = "revocations.pae", "revocations.json"
PERMIT, PERMIT_TEXT = "authorisation.pae", "authorisation.json"
MAX_SIGNATURE = 4096
README = """\
To be signed: {what}

Nothing in this folder was checked where it now lies. Compare that line with what
you were asked to sign, by another way than this folder came.

Each of these files needs a signature of its own, by one and the same key:

{commands}

Or, which also looks at what is signed:   waybill sign THIS-FOLDER --key KEY
{identity}
Carry the folder back, then:              waybill sign FILE --attach THIS-FOLDER
"""


IDENTITY = f"""
An identity of the role, instead of a key, signs {STATEMENT_TEXT} alone (cosign 3; 2.6 with --new-bundle-format):

  cosign attest-blob --statement {STATEMENT_TEXT} --bundle {STATEMENT_SIGNED} {RELEASE}
"""


@dataclass(frozen=True)
class DetachedRequest:
    """What somebody elsewhere has to sign.

    Attributes:
        what: In words.
        to_sign: Bytes by file name; each gets a signature.
        beside: More files, to be read and not signed.
    """

    what: str
    to_sign: tuple[tuple[str, bytes], ...]
    beside: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class AnsweredSigner:
    """Signs what was signed elsewhere already, and nothing else."""

    key: PublicKey
    signatures: dict[bytes, bytes]

    @property
    def public(self) -> PublicKey:
        return self.key

    def sign(self, message: bytes) -> bytes:
        return self.signatures[message]


def request_release(data: bytes) -> DetachedRequest:
    """Both byte strings of a release; refuses bytes that are not one."""
    release = parse_release(data)
    digest = digest_of(data)
    payload = encode(release_statement(release, digest))
    to_sign = ((RELEASE, data), (STATEMENT, pae(INTOTO, payload)))
    return DetachedRequest(f"{release.product} {release.version}, {digest}", to_sign, ((STATEMENT_TEXT, payload),))


def request_root(payload: bytes) -> DetachedRequest:
    """The byte string of a root document; refuses bytes that are not one."""
    root = parse(payload, Root, ROOT_TEXT, max_bytes=MAX_ROOT)
    check_root(root, ROOT_TEXT)
    what = f"root {root.version} of {root.vendor}, fingerprint {digest_of(payload)}"
    return DetachedRequest(what, ((ROOT, pae(ROOT_TYPE, payload)),), ((ROOT_TEXT, payload),))


def request_root_of(envelope: Envelope) -> DetachedRequest:
    return request_root(envelope.payload_bytes)


def request_list(payload: bytes) -> DetachedRequest:
    """The byte string of a revocation list; refuses bytes that are not one."""
    found = parse(payload, Revocations, LIST_TEXT, max_bytes=MAX_REVOCATIONS)
    check_revocations(found, LIST_TEXT)
    counts = f"{len(found.keys)} keys, {len(found.releases)} releases, {len(found.handlers)} handlers"
    what = f"revocation list {found.version} of {found.vendor} ({counts}), fingerprint {digest_of(payload)}"
    return DetachedRequest(what, ((LIST, pae(REVOCATIONS_TYPE, payload)),), ((LIST_TEXT, payload),))


def request_authorisation(payload: bytes) -> DetachedRequest:
    """The byte string of an authorisation; refuses bytes that are not one."""
    found = parse(payload, Authorisation, PERMIT_TEXT, max_bytes=MAX_AUTHORISATION)
    check_authorisation(found, PERMIT_TEXT)
    what = (
        f"authorisation {found.number} of {found.vendor}: from {found.product} {found.leaves.channel} "
        f"{found.leaves.mark.sequence} back to {found.goes_to.version}, below the floor, once, "
        f"at {', '.join(found.sites) or 'every site of the release that carries it'}; because: {found.why}; "
        f"fingerprint {digest_of(payload)}"
    )
    return DetachedRequest(what, ((PERMIT, pae(AUTHORISATION_TYPE, payload)),), ((PERMIT_TEXT, payload),))


def write_request(request: DetachedRequest, folder: Path) -> None:
    """Make the folder with what is to be signed.

    Raises:
        RefusedError: It exists.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        raise RefusedError(
            "exists already",
            where=str(folder),
            finding="exists",
            remedy="nothing is overwritten: name another folder, or take it away first",
        ) from None
    except OSError as error:
        raise HostError((error.strerror or str(error)).lower(), where=str(folder)) from None
    commands = "\n".join(f"  openssl dgst -sha256 -sign KEY.pem -out {name}.sig {name}" for name, _ in request.to_sign)
    identity = IDENTITY if any(name == STATEMENT_TEXT for name, _ in request.beside) else ""
    readme = README.format(what=request.what, commands=commands, identity=identity).encode()
    for name, data in (*request.to_sign, *request.beside, ("README.txt", readme)):
        _write(folder / name, data)


def read_request(folder: Path) -> DetachedRequest:
    """What a request asks to sign, made anew from its document: a key of ours signs nothing that it did not read.

    Raises:
        MalformedError: Not a request, or its files are not what its document needs signed.
    """
    if (folder / RELEASE).exists():
        request = request_release(read_capped(folder / RELEASE, MAX_RELEASE))
    elif (folder / ROOT_TEXT).exists():
        request = request_root(read_capped(folder / ROOT_TEXT, MAX_ROOT))
    elif (folder / LIST_TEXT).exists():
        request = request_list(read_capped(folder / LIST_TEXT, MAX_REVOCATIONS))
    elif (folder / PERMIT_TEXT).exists():
        request = request_authorisation(read_capped(folder / PERMIT_TEXT, MAX_AUTHORISATION))
    else:
        raise MalformedError(
            "holds nothing to sign", where=str(folder), remedy="name a folder that `waybill sign --prepare` wrote"
        )
    for name, data in request.to_sign:
        if read_capped(folder / name, MAX_RELEASE + 1024) != data:
            raise MalformedError("not what the document in this folder needs signed", where=str(folder / name))
    return request


def answer_request(folder: Path, signer: Signer) -> DetachedRequest:
    """Sign a request, on the machine that has the key. Raises RefusedError when an answer lies there already."""
    request = read_request(folder)
    for name, data in request.to_sign:
        _write(folder / f"{name}.sig", signer.sign(data))
    return request


def read_answer(folder: Path, request: DetachedRequest, keys: tuple[PublicKey, ...]) -> AnsweredSigner:
    """The answer to ``request``, which was made here; nothing of the folder but the signatures is used.

    Args:
        keys: Whoever may have signed.

    Raises:
        RefusedError: A signature is missing; they are by nobody who may, or by two, or over something else.
        MalformedError: Not a DER signature.
    """
    found: list[tuple[str, bytes, bytes]] = []
    for name, message in request.to_sign:
        path = folder / f"{name}.sig"
        if not path.exists():
            raise RefusedError("not signed yet", where=str(path), remedy="sign it as README.txt says")
        try:
            signature = low_s(read_capped(path, MAX_SIGNATURE))
        except ValueError:
            raise MalformedError("not a DER signature", where=str(path)) from None
        found.append((name, message, signature))
    by = {name: [key for key in keys if _is_by(key, signature, message)] for name, message, signature in found}
    both = [key for key in keys if all(key in signers for signers in by.values())]
    if not both:
        wrong = next((name for name, signers in by.items() if not signers), found[-1][0])
        raise RefusedError(
            "not signed by a key that may, or over other bytes than these",
            where=str(folder / f"{wrong}.sig"),
            remedy=f"it must be over {request.what}, each file by the same key",
            finding="signature-wrong" if any(by.values()) else "signature-unknown",
        )
    return AnsweredSigner(both[0], {message: signature for _, message, signature in found})


def _is_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message, "answer")
    except UntrustedError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except FileExistsError:
        raise RefusedError(
            "exists already",
            where=str(path),
            finding="exists",
            remedy="nothing is overwritten: name another file, or take it away first",
        ) from None
    except OSError as error:
        raise HostError((error.strerror or str(error)).lower(), where=str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
