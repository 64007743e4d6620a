"""Make and sign the authorisation of a rollback below the floor, from ``authorisation.yaml``."""

from collections.abc import Callable
from pathlib import Path

from content.bundle.head import open_head
from manifests.authored.authorisation_yaml import compile_authorisation
from manifests.authored.handwritten import read_handwritten
from manifests.documents.authorisation import (
    AUTHORISATION_TYPE,
    MAX_AUTHORISATION,
    Reached,
    encode_authorisation,
    parse_authorisation,
)
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope_writer import seal
from manifests.trust.keys import read_capped
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError


def authorisation_envelope(file: Path) -> Path:
    """The envelope beside an ``authorisation.yaml``, written when it does not exist; any other file as it is.

    Raises:
        MalformedError: With ``file:line``.
        RefusedError: The envelope that exists has another text, which may be signed already.
    """
    if file.suffix not in (".yaml", ".yml"):
        return file
    payload = encode_authorisation(compile_authorisation(read_handwritten(file), bundle_reader(file.parent)))
    envelope = file.with_suffix(".json")
    if not envelope.exists():
        with envelope.open("xb") as stream:
            stream.write(seal(payload, AUTHORISATION_TYPE, ()))
        return envelope
    if parse_authorisation(read_capped(envelope, MAX_AUTHORISATION), str(envelope))[0].payload_bytes != payload:
        problem = f"the envelope has another text than {file.name}"
        remedy = "give the changed authorisation another number and another file name"
        raise RefusedError(problem, where=str(envelope), remedy=remedy, finding="exists")
    return envelope


def bundle_reader(folder: Path) -> Callable[[str], tuple[str, Reached]]:
    """Reads the heads of bundles, by their paths from ``folder``. Their signatures are not checked."""

    def read(text: str) -> tuple[str, Reached]:
        if not (folder / text).exists():
            raise MalformedError(f"there is no {text}", where=str(folder))
        raw = open_head(folder / text).release
        release = parse_release(raw)
        digest, version = digest_of(raw), release.version
        return release.product, Reached(release=digest, version=version, channel=release.channel, mark=release.mark)

    return read
