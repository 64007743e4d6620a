"""Make and sign the authorisation of a rollback below the floor, from ``authorisation.yaml``."""

from collections.abc import Callable
from pathlib import Path

from manifests.authored.authorisation_yaml import compile_authorisation
from manifests.documents.authorisation import (
    AUTHORISATION_TYPE,
    MAX_AUTHORISATION,
    Reached,
    encode_authorisation,
    parse_authorisation,
)
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope_writer import add_signatures, seal
from manifests.trust.keys import read_capped
from manifests.trust.private_keys import Signer
from manifests.words.digest import digest_of
from manifests.words.errors import MalformedError, RefusedError


def authorisation_envelope(file: Path) -> Path:
    """Of an ``authorisation.yaml`` the envelope beside it, made when it is not there yet; any other file is itself.

    Raises:
        MalformedError: With ``file:line``.
        RefusedError: The envelope there is of another text, which people have signed perhaps.
    """
    if file.suffix not in (".yaml", ".yml"):
        return file
    from manifests.authored.handwritten import read_handwritten

    payload = encode_authorisation(compile_authorisation(read_handwritten(file), bundle_reader(file.parent)))
    envelope = file.with_suffix(".json")
    if not envelope.exists():
        with envelope.open("xb") as made:
            made.write(seal(payload, AUTHORISATION_TYPE, ()))
        return envelope
    if parse_authorisation(read_capped(envelope, MAX_AUTHORISATION), str(envelope))[0].payload_bytes != payload:
        raise RefusedError(
            f"says something else than {file.name}",
            where=str(envelope),
            remedy="a changed text is another authorisation: give it another number and another file name",
            finding="exists",
        )
    return envelope


def bundle_reader(folder: Path) -> Callable[[str], tuple[str, Reached]]:
    """Reads the heads of bundles, by their paths from ``folder``. Nobody vouches for them: look at what is signed."""
    from content.bundle.head import open_head

    def look(text: str) -> tuple[str, Reached]:
        if not (folder / text).exists():
            raise MalformedError(f"there is no {text}", where=str(folder))
        raw = open_head(folder / text).release
        release = parse_release(raw)
        found = Reached(release=digest_of(raw), version=release.version, channel=release.channel, mark=release.mark)
        return release.product, found

    return look


def root_folder(file: Path) -> Path:
    """The folder of the vendor's root documents: beside the file, or in ``trust`` there."""
    return file.parent if (file.parent / "1.root.json").exists() else file.parent / "trust"


def sign_authorisation(file: Path, signers: tuple[Signer, ...]) -> bytes:
    """The envelope with the signatures added."""
    return add_signatures(parse_authorisation(read_capped(file, MAX_AUTHORISATION), str(file))[0], signers)
