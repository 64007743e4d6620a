"""The interface of the judges of image signatures, and the judge by a public key."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from content.bundle.oci import Descriptor
from content.sigstore.rekor import REKOR_BUNDLE, ExpectedEntry, Logs, verify_entries, verify_promise
from content.sigstore.sigstore_bundle import SigstoreBundle
from manifests.documents.release import ImageSigner
from manifests.trust.image_keys import CarriedKey, load_carried
from manifests.trust.keys import decode_base64
from manifests.words.errors import MalformedError, NewerError, UntrustedError

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
ReadBlob = Callable[[str], bytes]
FindJudge = Callable[[str, ImageSigner], "ImageJudge"]


class ImageJudge(Protocol):
    """Judges the signatures of one signer. A method that returns has verified; else it raises NotBySignerError."""

    @property
    def name(self) -> str:
        """The signer in a finding."""

    @property
    def weakness(self) -> str:
        """Why the signer is accepted with a warning, or empty."""

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        """A simple-signing payload with what its layer's annotations bring."""

    def envelope(self, message: bytes, signature: bytes) -> None:
        """One signature of a DSSE envelope over ``message``, its pre-authentication encoding."""

    def bundle(self, opened: SigstoreBundle, message: bytes) -> None:
        """A Sigstore bundle over ``message``: the encoding of its envelope, or the manifest."""


class NotBySignerError(Exception):
    """Not a signature by this signer: ``wrong`` when it claims to be, ``unknown`` when it is by another."""

    def __init__(self, opinion: Literal["wrong", "unknown"], text: str) -> None:
        super().__init__(text)
        self.opinion: Literal["wrong", "unknown"] = opinion
        self.text = text


@dataclass(frozen=True)
class KeyJudge:
    """Judges by one pinned key; with ``logs`` of a pinned trusted root, log entries are verified too.

    A key id in a signature only distinguishes a signature of another key from a broken one.
    """

    signer: str
    key: CarriedKey
    logs: Logs | None = None

    @property
    def name(self) -> str:
        return f"{self.signer}, key {self.key.record.keyid[:12]}"

    @property
    def weakness(self) -> str:
        return self.key.weakness

    def simple(self, layer: Descriptor, payload: bytes) -> None:
        try:
            signature = decode_base64(layer.annotation(SIGNATURE), "signature")
        except MalformedError:
            raise NotBySignerError("wrong", "its signature is not base64") from None
        if not signature:
            raise NotBySignerError("wrong", "its signature is empty")
        by = "made with a certificate, not a key" if layer.annotation(CERTIFICATE) else "not by this key"
        hash_name = self._verify(signature, payload, "unknown", by)
        promise = layer.annotation(REKOR_BUNDLE)
        if self.logs is not None and promise:
            expected = self._entry(hash_name, payload, b"", signature)
            with _logged():
                verify_promise(promise, self.logs, expected, "image")

    def envelope(self, message: bytes, signature: bytes) -> None:
        self._verify(signature, message, "unknown", "not by this key")

    def bundle(self, opened: SigstoreBundle, message: bytes) -> None:
        ours = opened.hint == self.key.record.keyid
        by = "by a certificate" if opened.keyless else f"by key {opened.hint[:12] or '?'}"
        opinion: Literal["wrong", "unknown"] = "wrong" if ours else "unknown"
        hash_name = self._verify(opened.signature, message, opinion, "but does not match" if ours else by)
        if self.logs is not None:
            expected = self._entry(hash_name, message, opened.payload, opened.signature)
            with _logged():
                verify_entries(opened.entries, self.logs, expected, "image")

    def _entry(self, hash_name: str, message: bytes, payload: bytes, signature: bytes) -> ExpectedEntry:
        digest = hashlib.new(hash_name, message).digest()
        return ExpectedEntry(digest, payload, signature, self.key.record.spki, hash_name)

    def _verify(self, signature: bytes, message: bytes, else_: Literal["wrong", "unknown"], text: str) -> str:
        try:
            return self.key.verify(signature, message, "image")
        except UntrustedError:
            raise NotBySignerError(else_, text) from None


@contextmanager
def _logged() -> Iterator[None]:
    """A log entry that is there must be right (F-11.9)."""
    try:
        yield
    except (MalformedError, UntrustedError) as error:
        raise NotBySignerError("wrong", f"with a wrong log entry: {error.problem}") from None


def key_judge(name: str, signer: ImageSigner, logs: Logs | None = None) -> KeyJudge:
    """The judge of a signer that is a key. Raises MalformedError or, for an unknown kind of key, NewerError."""
    assert signer.key is not None
    where = f"release.json $.signers.{name}"
    try:
        return KeyJudge(signer=name, key=load_carried(signer.key, where), logs=logs)
    except NewerError as error:
        raise error.with_(finding="image-signer-algorithm") from None
