"""The interface of the judges of image signatures: what a judge gets, and what it answers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from content.bundle.oci import Descriptor
from manifests.documents.release import ImageSigner

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"


ReadBlob = Callable[[str], bytes]
FindJudge = Callable[[str, ImageSigner], "ImageJudge"]


@dataclass(frozen=True)
class SigstoreBundle:
    """A Sigstore bundle, parsed strictly and not verified.

    Attributes:
        raw: The bytes in the image; a judge verifies these.
        hint: Key id that it claims, or empty.
        certificate: DER of the certificate that it brings instead, or empty; before 0.3 there may be a chain of them.
        payload_type: Of the DSSE envelope; empty for a signature over the manifest itself.
        payload: Of the envelope, or empty.
        digest: SHA-256 that a signature over the manifest claims to be about, 32 bytes, or empty.
        entries: Of transparency logs, as they are; usually a list.
    """

    raw: bytes
    hint: str
    certificate: bytes
    payload_type: str
    payload: bytes
    digest: bytes
    signature: bytes
    entries: object = ()

    @property
    def keyless(self) -> bool:
        return bool(self.certificate)

    @property
    def is_envelope(self) -> bool:
        return bool(self.payload_type)


class ImageJudge(Protocol):
    """Judges the signatures of one signer. A method that returns has verified; else it raises NotBySignerError."""

    @property
    def name(self) -> str:
        """The signer in a finding."""
        ...

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        """A simple-signing payload with what its layer's annotations bring."""
        ...

    def envelope(self, message: bytes, signature: bytes) -> None:
        """One signature of a DSSE envelope over ``message``, its pre-authentication encoding."""
        ...

    def bundle(self, opened: SigstoreBundle, message: bytes) -> None:
        """A Sigstore bundle over ``message``: the encoding of its envelope, or the manifest."""
        ...


class NotBySignerError(Exception):
    """Not a signature by this signer.

    Attributes:
        opinion: ``wrong`` when it claims to be by this signer, ``unknown`` when it is by another.
    """

    def __init__(self, opinion: Literal["wrong", "unknown"], text: str) -> None:
        super().__init__(text)
        self.opinion: Literal["wrong", "unknown"] = opinion
        self.text = text


def plain_text(value: object) -> str:
    """Text of others in a finding: at most 160 characters, one line, no control characters."""
    if not isinstance(value, str) or not value:
        return "?"
    text = value if value.isascii() and value.isprintable() else json.dumps(value)
    return text if len(text) <= 160 else text[:157] + "..."
