"""Write a signing request for another machine, and check the signatures that come back.

A request holds the bytes of each signature in a file of its own, so that openssl alone can sign them. The answer to
``NAME`` is ``NAME.sig``: DER, as openssl writes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from content.signing.files import write_file
from manifests.documents.authorisation import AUTHORISATION_TYPE, MAX_AUTHORISATION, Authorisation, check_authorisation
from manifests.documents.described import key_text
from manifests.documents.release import MAX_RELEASE, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import INTOTO, pae
from manifests.trust.keys import PublicKey, read_capped
from manifests.trust.private_keys import Signer, low_s
from manifests.trust.revocations import MAX_REVOCATIONS, REVOCATIONS_TYPE, Revocations, check_revocations
from manifests.trust.root import MAX_ROOT, ROOT_TYPE, Root, check_root
from manifests.words.canonical import encode, parse
from manifests.words.digest import digest_of
from manifests.words.errors import HostError, MalformedError, RefusedError, UntrustedError
from manifests.words.units import show_count

RELEASE, STATEMENT = "release.json", "statement.pae"
# What an identity signs, with a program that knows Fulcio; and its answer.
STATEMENT_TEXT, STATEMENT_SIGNED = "statement.json", "statement.sigstore.json"
MAX_SIGNATURE = 4096
README = """\
To be signed: {what}

This folder may have been changed on its way, and so may this text. Before you sign, look at the document on your own
machine:

  waybill show THIS-FOLDER

Its fingerprint stands below. Compare it with the one that you were told over another channel (by telephone, on
paper). With --fingerprint another document is refused:

  waybill sign THIS-FOLDER --key KEY --fingerprint "WORDS THAT YOU WERE TOLD"

Without Waybill, each of these files needs a signature of its own, all by the same key. Nothing is checked then:

{commands}
{identity}
Carry the folder back, then:       waybill sign FILE --attach THIS-FOLDER

What the document says:

{preview}
"""


IDENTITY = f"""
An identity of the role signs, instead of a key, {STATEMENT_TEXT} alone (cosign 3; 2.6 with --new-bundle-format):

  cosign attest-blob --statement {STATEMENT_TEXT} --bundle {STATEMENT_SIGNED} {RELEASE}
"""


@dataclass(frozen=True)
class DetachedRequest:
    """What another machine has to sign: files to sign, and files ``beside`` them that are only read."""

    what: str
    to_sign: tuple[tuple[str, bytes], ...]
    beside: tuple[tuple[str, bytes], ...] = ()

    @property
    def document(self) -> tuple[str, bytes]:
        """Name and bytes of the document from which the request follows."""
        return next((name, data) for name, data in (*self.to_sign, *self.beside) if name in _DOCUMENTS)


@dataclass(frozen=True)
class AnsweredSigner:
    """Returns the signatures of a checked answer, and signs nothing else."""

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
    root = parse(payload, Root, "root.json", max_bytes=MAX_ROOT)
    check_root(root, "root.json")
    return _request(
        "root", ROOT_TYPE, payload, f"root {root.version} of {root.vendor}, fingerprint {digest_of(payload)}"
    )


def request_list(payload: bytes) -> DetachedRequest:
    """The byte string of a revocation list; refuses bytes that are not one."""
    revoked = parse(payload, Revocations, "revocations.json", max_bytes=MAX_REVOCATIONS)
    check_revocations(revoked, "revocations.json")
    listed = (("key", revoked.keys), ("release", revoked.releases), ("handler", revoked.handlers))
    counts = ", ".join(show_count(len(revoked_things), noun) for noun, revoked_things in listed)
    what = f"revocation list {revoked.version} of {revoked.vendor} ({counts}), fingerprint {digest_of(payload)}"
    return _request("revocations", REVOCATIONS_TYPE, payload, what)


def request_authorisation(payload: bytes) -> DetachedRequest:
    """The byte string of an authorisation; refuses bytes that are not one."""
    permit = parse(payload, Authorisation, "authorisation.json", max_bytes=MAX_AUTHORISATION)
    check_authorisation(permit, "authorisation.json")
    what = (
        f"authorisation {permit.number} of {permit.vendor}: one rollback below the floor, from {permit.product} "
        f"{permit.leaves.channel} {permit.leaves.mark.sequence} to {permit.goes_to.version}, "
        f"at {', '.join(permit.sites) or 'every site of the release that carries it'}; reason: {permit.why}; "
        f"fingerprint {digest_of(payload)}"
    )
    return _request("authorisation", AUTHORISATION_TYPE, payload, what)


def _request(stem: str, type_: str, payload: bytes, what: str) -> DetachedRequest:
    return DetachedRequest(what, ((f"{stem}.pae", pae(type_, payload)),), ((f"{stem}.json", payload),))


# The document of a request by its file name: its limit in bytes, and the request that follows from it.
_DOCUMENTS: dict[str, tuple[int, Callable[[bytes], DetachedRequest]]] = {
    RELEASE: (MAX_RELEASE, request_release),
    "root.json": (MAX_ROOT, request_root),
    "revocations.json": (MAX_REVOCATIONS, request_list),
    "authorisation.json": (MAX_AUTHORISATION, request_authorisation),
}


def write_request(request: DetachedRequest, folder: Path, preview: Sequence[str]) -> None:
    """Make the folder with what is to be signed, and ``preview`` in its README. Raises RefusedError if it exists."""
    try:
        folder.mkdir()
    except FileExistsError:
        remedy = "name another folder, or move this one away"
        raise RefusedError("exists already", where=str(folder), finding="exists", remedy=remedy) from None
    except OSError as error:
        raise HostError((error.strerror or str(error)).lower(), where=str(folder)) from None
    commands = "\n".join(f"  openssl dgst -sha256 -sign KEY.pem -out {name}.sig {name}" for name, _ in request.to_sign)
    identity = IDENTITY if any(name == STATEMENT_TEXT for name, _ in request.beside) else ""
    readme = README.format(what=request.what, commands=commands, identity=identity, preview="\n".join(preview)).encode()
    for name, data in (*request.to_sign, *request.beside, ("README.txt", readme)):
        _write(folder / name, data)


def is_request(folder: Path) -> bool:
    """Whether the folder has the files of a signing request. Nothing is checked."""
    return any((folder / name).exists() for name in _DOCUMENTS)


def read_request(folder: Path) -> DetachedRequest:
    """Compute a request again from its document, so that a key signs only what was parsed here.

    Raises MalformedError if the folder is no request, or if a file differs from the computed one.
    """
    documents = [name for name in _DOCUMENTS if (folder / name).exists()]
    if len(documents) != 1:
        problem = f"the folder holds {' and '.join(documents)}" if documents else "the folder holds nothing to sign"
        remedy = "name a folder of waybill sign --prepare"
        raise MalformedError(problem, where=str(folder), remedy=remedy)
    document = documents[0]
    limit, request_of = _DOCUMENTS[document]
    request = request_of(read_capped(folder / document, limit))
    for name, data in request.to_sign:
        if read_capped(folder / name, MAX_RELEASE + 1024) != data:
            problem = "the file does not belong to the document in this folder"
            remedy = "prepare the request again: waybill sign FILE --prepare DIR"
            raise MalformedError(problem, where=str(folder / name), remedy=remedy)
    return request


def answer_request(
    folder: Path, request: DetachedRequest, signer: Signer, may_sign: tuple[PublicKey, ...] = ()
) -> None:
    """Sign a request that was read. Raises RefusedError when an answer lies there already.

    Args:
        may_sign: The keys that may sign, if they are known: then an answer that no single one of them made is replaced.
    """
    files = [(folder / f"{name}.sig", data) for name, data in request.to_sign]
    if may_sign and all(path.is_file() for path, _ in files) and not _answered_by(files, may_sign):
        for path, _ in files:
            path.unlink()
    for name, data in request.to_sign:
        _write(folder / f"{name}.sig", signer.sign(data))


def _answered_by(files: list[tuple[Path, bytes]], keys: tuple[PublicKey, ...]) -> bool:
    """Return whether a single one of ``keys`` made all signatures."""
    try:
        answers = [(low_s(read_capped(path, MAX_SIGNATURE)), message) for path, message in files]
    except ValueError:
        return False  # not a DER signature
    return any(all(_is_by(key, signature, message) for signature, message in answers) for key in keys)


def read_answer(folder: Path, request: DetachedRequest, keys: tuple[PublicKey, ...]) -> AnsweredSigner:
    """The answer to ``request``, which was computed here; only the signatures are read from the folder.

    Raises:
        RefusedError: A signature is missing; no single key of ``keys`` made all of them over these bytes.
        MalformedError: Not a DER signature.
    """
    answers: list[tuple[str, bytes, bytes]] = []
    for name, message in request.to_sign:
        path = folder / f"{name}.sig"
        if not path.exists():
            if not (folder / "README.txt").exists():
                remedy = "name a folder of waybill sign --prepare"
                raise RefusedError("the folder is no signing request", where=str(folder), remedy=remedy)
            raise RefusedError("there is no signature yet", where=str(path), remedy="sign as README.txt there says")
        try:
            signature = low_s(read_capped(path, MAX_SIGNATURE))
        except ValueError:
            raise MalformedError("not a DER signature", where=str(path)) from None
        answers.append((name, message, signature))
    by = {name: [key for key in keys if _is_by(key, signature, message)] for name, message, signature in answers}
    both = [key for key in keys if all(key in signers for signers in by.values())]
    if not both:
        wrong = next((name for name, signers in by.items() if not signers), answers[-1][0])
        raise RefusedError(
            "the signature is by a key that may not sign this, or over other bytes",
            where=str(folder / f"{wrong}.sig"),
            remedy=f"sign {request.what}, each file with the same key",
            finding="signature-wrong" if any(by.values()) else "signature-unknown",
        )
    return AnsweredSigner(both[0], {message: signature for _, message, signature in answers})


def signers_of(path: Path, request: DetachedRequest, names: Mapping[str, str]) -> str:
    """Who made the signature in ``path``, in words, as far as the document of the request has keys, and their names."""
    message = dict(request.to_sign)[path.stem]
    try:
        signature = low_s(read_capped(path, MAX_SIGNATURE))
    except ValueError:
        return "not a DER signature"
    name, document = request.document
    if name != "root.json":
        return f"a signature over {path.stem}; by whom, waybill sign FILE --attach says"
    keys = parse(document, Root, name, max_bytes=MAX_ROOT).keys.values()
    by = [key_text(key.keyid, names) for key in keys if key.known and _is_by(key, signature, message)]
    return (
        f"a signature over {path.stem} by key {by[0]}" if by else f"no signature over {path.stem} by a key of this root"
    )


def _is_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message, "answer")
    except UntrustedError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except FileExistsError:
        remedy = "move the file away; nothing is overwritten"
        raise RefusedError("exists already", where=str(path), finding="exists", remedy=remedy) from None
    except OSError as error:
        raise HostError((error.strerror or str(error)).lower(), where=str(path)) from None
