"""Read the head of a bundle: its first ``bulk_at`` bytes, on which trust is decided.

The layout is docs/format.md, section "The head"; numbers such as F-3.9 in comments are its rules.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from content.bundle.archive import BLOCK, header, padded, parse_header
from manifests.documents.release import BULK_STEP, MAX_HEAD, MAX_RELEASE
from manifests.trust.envelope import MAX_BUNDLE
from manifests.trust.keys import open_regular
from manifests.trust.revocations import MAX_REVOCATIONS
from manifests.trust.root import MAX_ROOT, MAX_ROOTS
from manifests.words.errors import MalformedError, unreadable_medium

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

MAX_SIGNATURES = 128
MAX_SIG = 1 << 20
TRUSTED_ROOT = "trust/trusted_root.json"
MAX_TRUSTED_ROOT = 1 << 20

VERIFY_TXT = b"""\
This is a Waybill bundle: a release of software for a site without a network.

Nothing in this file was checked yet, and neither was this text. A key or a
program that lies beside a bundle proves nothing: whoever could change the
bundle could change them too. The key comes from the vendor by another way,
on the paper or from a root document whose fingerprint was compared:

    waybill show trust/1.root.json --pem release > vendor.pub

With Waybill (its program has a digest on the paper too):

    waybill verify BUNDLE.tar --fingerprint WORDS

Without Waybill, unpack the head and look at the release with openssl:

    tar -xf BUNDLE.tar release.json signatures
    for s in signatures/*.sig; do
      openssl dgst -sha256 -verify vendor.pub -signature "$s" release.json
    done

or with cosign 3.0.4 or newer:

    for s in signatures/*.sigstore.json; do
      cosign verify-blob-attestation --key vendor.pub --bundle "$s" \\
        --insecure-ignore-tlog --type urn:waybill:release:1 release.json
    done

One "Verified OK" for each key that must have signed is what you want; a key
that is not the vendor's says so. release.json lists every other file of the
bundle with its SHA-256 under "members", in the order in which they follow:
index.json, VERIFY.txt, then blobs/sha256/*.
"""

_SIGNATURE_NAME = re.compile(r"signatures/([0-9a-f]{64})\.(sig|sigstore\.json)")
_ROOT_NAME = re.compile(r"trust/([1-9][0-9]{0,4})\.root\.json")


@dataclass(frozen=True)
class Signature:
    """The files of one signer: a signature and a Sigstore bundle for a key, the bundle alone for an identity.

    Attributes:
        keyid: Id of the key; for an identity SHA-256 of its certificate, which differs for each signature.
        sig: None for an identity.
    """

    keyid: str
    sig: bytes | None
    bundle: bytes


@dataclass(frozen=True)
class Head:
    """A head as received: its tar is well-formed, and nothing in it is verified.

    Attributes:
        first_root: Version in the name of the first root document.
        trusted_root: Sigstore's trusted root; present exactly when an identity has signed.
    """

    release: bytes
    signatures: tuple[Signature, ...]
    roots: tuple[bytes, ...]
    bulk_at: int
    first_root: int = 1
    revocations: bytes | None = None
    trusted_root: bytes | None = None


def read_head(read: Callable[[int], bytes], what: str = "bundle") -> Head:
    """Read the head from the start of a bundle; ``read(n)`` returns at most n bytes, fewer only at the end.

    Reads no byte past the head. Each length is checked against its limit before the member is read.

    Raises:
        MalformedError: Not exactly what our writer writes.
        HostError: The medium cannot be read.
    """
    reader = _HeadReader(_named(read, what), what)
    if reader.member("oci-layout", len(OCI_LAYOUT)) != OCI_LAYOUT:  # F-3.1
        raise MalformedError("oci-layout is not the constant of the format", where=what)
    release = reader.member("release.json", MAX_RELEASE)  # F-3.2
    name, size = reader.next_header()
    while name != "reserve":
        reader.add(name, size)
        name, size = reader.next_header()
    return reader.end(release, size)


class _HeadReader:
    """Reads members one after the other, no byte past the current one, and collects those after ``release.json``."""

    def __init__(self, read: Callable[[int], bytes], what: str) -> None:
        self._read = read
        self._what = what
        self._offset = 0
        self._signatures: list[Signature] = []
        self._roots: list[bytes] = []
        self._first_root = 0
        self._trusted_root: bytes | None = None
        self._revocations: bytes | None = None

    def take(self, count: int) -> bytes:
        data = self._take_at_most(count)
        if len(data) < count:
            problem = f"ends after {self._offset} bytes, inside its head"
            raise MalformedError(problem, where=self._what, remedy="copy it again, from another medium if there is one")
        return data

    def _take_at_most(self, count: int) -> bytes:
        parts = []
        while count and (part := self._read(count)):  # F-3.12
            self._offset += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def next_header(self) -> tuple[str, int]:
        at = self._offset
        block = self.take(BLOCK) if at else self._take_at_most(BLOCK)
        begin = header("oci-layout", len(OCI_LAYOUT))
        if at == 0 and block != begin:  # F-2.1
            from content.bundle.look_alike import what_instead  # a bundle that is one never needs it

            problem, remedy = "the file is not a Waybill bundle", what_instead(block, self._take_at_most, begin)
            raise MalformedError(problem, where=self._what, remedy=remedy, finding="not-a-bundle")
        return parse_header(block, f"{self._what} at byte {at}")

    def body(self, name: str, size: int, limit: int) -> bytes:
        limit = min(limit, MAX_HEAD - self._offset)  # F-3.11
        if size > limit:
            raise MalformedError(f"{size} bytes, at most {limit} are allowed", where=f"{self._what} {name}")
        data = self.take(size)
        if self.take(padded(size) - size).strip(b"\0"):  # F-2.4
            raise MalformedError("padding holds other bytes than zeros", where=f"{self._what} {name}")
        return data

    def member(self, wanted: str, limit: int) -> bytes:
        name, size = self.next_header()
        if name != wanted:
            raise MalformedError(f"found {name}, expected {wanted}", where=self._what)
        return self.body(name, size, limit)

    def add(self, name: str, size: int) -> None:
        """Read the member whose header was just read; refuse a name that is not allowed at this position."""
        if match := _SIGNATURE_NAME.fullmatch(name):
            self._add_signature(name, size, match[1], match[2])
        elif match := _ROOT_NAME.fullmatch(name):
            self._add_root(name, size, int(match[1]))
        elif name == TRUSTED_ROOT and self._roots and not self._after_roots:  # F-3.6
            self._trusted_root = self.body(name, size, MAX_TRUSTED_ROOT)
        elif name == "revocations.json" and self._revocations is None:  # F-3.8
            self._revocations = self.body(name, size, MAX_REVOCATIONS)
        else:
            raise self._wrong("a name that the head does not have here", name)  # F-3.10

    def _add_signature(self, name: str, size: int, keyid: str, kind: str) -> None:
        """Read a key's two files or an identity's one file; ids are in order, each once (F-3.3)."""
        if self._roots or self._revocations is not None or len(self._signatures) >= MAX_SIGNATURES:
            raise self._wrong("signatures are pairs, before the root documents", name)
        before = self._signatures[-1] if self._signatures else None
        if before is not None and keyid == before.keyid:
            if before.sig is None and kind == "sig":
                raise self._wrong("of a signer's two files the .sig comes first", name)
            problem = "a key has signed twice; each key may sign once"
            raise MalformedError(problem, where=f"{self._what} {name}", finding="signature-twice")
        if before is not None and keyid < before.keyid:
            raise self._wrong("signatures are not in order of key ids", name)
        if kind == "sig":
            sig = self.body(name, size, MAX_SIG)
            bundle = self.member(f"signatures/{keyid}.sigstore.json", MAX_BUNDLE)
            self._signatures.append(Signature(keyid, sig, bundle))
        else:  # F-3.4
            self._signatures.append(Signature(keyid, None, self.body(name, size, MAX_BUNDLE)))

    def _add_root(self, name: str, size: int, version: int) -> None:
        """Read the next version of the root; it precedes the trusted root and the revocation list (F-3.5)."""
        roots = self._roots
        if self._after_roots or len(roots) >= MAX_ROOTS or (roots and version != self._first_root + len(roots)):
            raise self._wrong("root documents are consecutive, at most 256", name)
        self._first_root = self._first_root or version
        roots.append(self.body(name, size, MAX_ROOT))

    @property
    def _after_roots(self) -> bool:
        return self._revocations is not None or self._trusted_root is not None

    def end(self, release: bytes, size: int) -> Head:
        """Read the reserve of ``size`` bytes and return the complete head."""
        if not self._roots:  # F-3.5
            raise MalformedError("the head holds no root document", where=self._what)
        if (self._trusted_root is not None) != any(pair.sig is None for pair in self._signatures):  # F-3.6
            raise self._wrong("identities and their trusted root go together", TRUSTED_ROOT)
        bulk_at = self._offset + size
        if bulk_at % BULK_STEP or bulk_at > MAX_HEAD:  # F-3.9
            raise MalformedError(f"the head ends at {bulk_at}, expected a multiple of {BULK_STEP}", where=self._what)
        if self.body("reserve", size, MAX_HEAD).strip(b"\0"):  # F-3.9
            raise MalformedError("the reserve holds other bytes than zeros", where=self._what)
        return Head(
            release=release,
            signatures=tuple(self._signatures),
            roots=tuple(self._roots),
            bulk_at=bulk_at,
            first_root=self._first_root,
            revocations=self._revocations,
            trusted_root=self._trusted_root,
        )

    def _wrong(self, problem: str, name: str) -> MalformedError:
        return MalformedError(problem, where=f"{self._what} {name}")


def _named(read: Callable[[int], bytes], what: str) -> Callable[[int], bytes]:
    """``read``, with an ``OSError`` turned into a HostError that names ``what``."""

    def reading(count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise unreadable_medium(error, what) from None

    return reading


def open_head(path: Path) -> Head:
    """The head of the bundle file at ``path``."""
    if path.is_dir():
        remedy = "name the .tar itself; a bundle that a browser or file manager unpacked must be copied again"
        raise MalformedError("a folder, not a bundle", where=str(path), remedy=remedy, finding="not-a-bundle")
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        # No read-ahead: trust is decided on the head alone, and the bulk may never be read from a slow drive.
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return read_head(lambda count: file.read(count) or b"", str(path))
