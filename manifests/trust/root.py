"""The vendor's root document: its roles and keys, and the chain of its versions.

The design follows TUF's root role (TUF specification 1.0.33, section 5.3): version N+1 is signed by thresholds of N
and of N+1. Different from TUF: no expiry (media may take weeks), the file of N is fixed by its digest in N+1, and
algorithms and roles that this verifier does not know are kept and never counted.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from manifests.trust.envelope import Envelope, parse_envelope, verify_signature
from manifests.trust.keys import PublicKey, read_capped
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Count, Digest, KeyId, Name, Positive, Text, Word, digest_of
from manifests.words.errors import MalformedError, UntrustedError

ROOT_TYPE = "application/vnd.waybill.root.v1+json"
MAX_ROOT = 256 << 10
MAX_ROOTS = 256
ROLES = ("root", "release", "consignment", "rollback")

# What is named in place of a root document: kind, and a part of its content.
_OFTEN_NAMED = (
    ("a key", re.compile(rb"\A-----BEGIN")),
    ("YAML that a person writes", re.compile(rb"(?m)\A[^{\0]*^waybill:")),
    ("a signature", re.compile(rb'\A\{[^\0]*"dsseEnvelope":')),
)
_COMPARE = "compare the fingerprint with the vendor's paper; the medium may be of another vendor"
TWO_DOCUMENTS = "report this to the vendor over a separate channel; receive nothing from the vendor until then"

# Why a valid signature counts or does not.
Counts = Literal["counted", "revoked", "retired", "role"]


class Mark(Document, frozen=True, kw_only=True, order=True):
    """Position of a release in its stream; a later epoch is above every sequence of an earlier one."""

    epoch: Positive
    sequence: Positive


class Identity(Document, frozen=True, kw_only=True):
    """Subject and issuer of a certificate, both compared exactly."""

    identity: Annotated[Text, Meta(min_length=1)]
    issuer: Annotated[Text, Meta(min_length=1)]

    @property
    def id(self) -> str:
        """Its id, used like a key id: SHA-256 over its canonical bytes."""
        return digest_of(encode(self)).removeprefix("sha256:")  # F-6.4

    @property
    def name(self) -> str:
        return f"{self.identity} ({self.issuer})"


class Role(Document, frozen=True, kw_only=True):
    """Sorted ids of the keys of a role, and its threshold; ``release`` also has identities and products."""

    keys: Annotated[tuple[KeyId, ...], Meta(min_length=1, max_length=64)]
    threshold: Annotated[int, Meta(ge=1, le=64)]
    products: Annotated[tuple[Name, ...], Meta(max_length=256)] = ()


class Leaver(Document, frozen=True, kw_only=True):
    """A key that left: its signatures count up to ``last`` if retired, and never if revoked."""

    how: Literal["retired", "revoked"]
    last: Mark | None = None


class Root(Document, frozen=True, kw_only=True, tag_field="type", tag=ROOT_TYPE):
    """One version of the vendor's root document.

    Attributes:
        epoch: A higher epoch restarts the release sequences.
        practice: Made by ``init``, for testing only.
        previous: Digest of the whole file of version - 1; absent in version 1.
        keys: From key id (SHA-256 of the SPKI) to the key.
        identities: Signers without a key of their own, by id; they sign only releases.
        leave: Keys and identities that left, by id.
        sigstore: Digests of the accepted ``trusted_root.json`` files, sorted.
    """

    vendor: Name
    version: Annotated[int, Meta(ge=1, le=99999)]
    epoch: Positive
    practice: bool = False
    previous: Digest | None = None
    keys: Annotated[dict[KeyId, PublicKey], Meta(min_length=1, max_length=256)]
    identities: Annotated[dict[KeyId, Identity], Meta(max_length=64)] = {}
    roles: Annotated[dict[Word, Role], Meta(min_length=1, max_length=64)]
    leave: Annotated[dict[KeyId, Leaver], Meta(max_length=1024)] = {}
    sigstore: Annotated[tuple[Digest, ...], Meta(max_length=16)] = ()


class Pin(Document, frozen=True, kw_only=True):
    """The pinned root: digest of its payload; version 0 while only the digest is known."""

    version: Count
    digest: Digest


@dataclass(frozen=True)
class SignedRoot:
    """A root document as received."""

    raw: bytes
    envelope: Envelope
    root: Root

    @property
    def fingerprint(self) -> str:
        """Digest of the payload; late signatures do not change it."""
        return digest_of(self.envelope.payload_bytes)


@dataclass(frozen=True)
class Chain:
    """Root documents with consecutive versions, verified from a pin on.

    Attributes:
        roots: Oldest first; the last one is in force.
        revoked: Keys on the newest revocation list; they count for no role.
    """

    roots: tuple[SignedRoot, ...]
    revoked: frozenset[str] = frozenset()

    @property
    def newest(self) -> Root:
        return self.roots[-1].root

    @property
    def pin(self) -> Pin:
        return Pin(version=self.newest.version, digest=self.roots[-1].fingerprint)

    def key(self, keyid: str) -> PublicKey | None:
        """Return the key from any root of the chain; None when no root has it."""
        return next((one.root.keys[keyid] for one in self.roots if keyid in one.root.keys), None)

    @property
    def identities(self) -> dict[str, Identity]:
        """Every identity of every root of the chain, by id."""
        return {id_: one for signed in self.roots for id_, one in signed.root.identities.items()}

    def who(self, keyid: str) -> str:
        """Return the name of a signer: the start of a key id, or an identity."""
        identity = self.identities.get(keyid)
        return keyid[:12] if identity is None else identity.name

    def counts(self, role: str, keyid: str, at: Mark | None) -> Counts:
        """Return whether a valid signature by ``keyid`` counts for ``role`` at release ``at``, or why not."""
        leaver = self.newest.leave.get(keyid)  # F-6.17
        if keyid in self.revoked or (leaver is not None and leaver.how == "revoked"):  # F-13.6
            return "revoked"
        if leaver is None:
            return "counted" if keyid in self.newest.roles[role].keys else "role"
        was_in = any(role in one.root.roles and keyid in one.root.roles[role].keys for one in self.roots)
        if not was_in:
            return "role"
        # F-6.18
        return "counted" if leaver.last is not None and at is not None and at <= leaver.last else "retired"


def parse_root(data: bytes, what: str) -> SignedRoot:
    """Read one root document, signatures unjudged. Raises MalformedError where it contradicts itself."""
    envelope = parse_envelope(data, ROOT_TYPE, what, max_bytes=MAX_ROOT)
    root = parse(envelope.payload_bytes, Root, what, max_bytes=MAX_ROOT)
    check_root(root, what)
    return SignedRoot(raw=data, envelope=envelope, root=root)


def read_root(path: Path) -> SignedRoot:
    """Read the root document that a person named; a file of another kind that is often named is called by its name."""
    data = read_capped(path, MAX_ROOT)
    try:
        return parse_root(data, str(path))
    except MalformedError as error:
        kind = next((kind for kind, begin in _OFTEN_NAMED if begin.search(data)), None)
        problem = error.problem if kind is None else f"this is {kind}; expected a root document"
        remedy = "name a root document that `waybill trust` wrote, such as trust/1.root.json"
        raise error.with_(problem=problem, remedy=remedy) from None


def check_root(root: Root, what: str) -> None:
    """Raise MalformedError unless every rule inside one document holds."""
    for keyid, key in root.keys.items():
        if key.keyid != keyid:  # F-6.3
            raise MalformedError(f"key is listed as {keyid}, its id is {key.keyid}", where=what)
    for id_, identity in root.identities.items():
        if identity.id != id_ or id_ in root.keys:  # F-6.4
            raise MalformedError(f"identity is listed as {id_}, its id is {identity.id}", where=what)
    for name in ROLES:
        if name not in root.roles:  # F-6.1
            raise MalformedError(f"role {name!r} is missing", where=what)
    for name, role in root.roles.items():
        _check_role(root, name, role, what)
    if (root.version == 1) != (root.previous is None):  # F-6.8
        raise MalformedError("`previous` is absent in version 1 and present in every other", where=what)
    if not is_sorted(root.sigstore):  # F-6.9
        raise MalformedError("`sigstore` is not sorted, or names a digest twice", where=what)
    for leaver in root.leave.values():
        if (leaver.how == "retired") != (leaver.last is not None):  # F-6.7
            raise MalformedError("`last` is required for a retired key and not allowed for a revoked one", where=what)


def _check_role(root: Root, name: str, role: Role, what: str) -> None:
    # F-6.5: only role release may hold identities.
    listed = set(root.keys) | (set(root.identities) if name not in ROLES or name == "release" else set())
    if not is_sorted(role.keys) or not set(role.keys) <= listed:  # F-6.2
        raise MalformedError(f"keys of role {name!r} are not sorted, named twice, or not listed", where=what)
    if name in ROLES and role.threshold > len(role.keys):  # F-6.2, F-6.16
        raise MalformedError(f"role {name!r} requires {role.threshold} of {len(role.keys)} keys", where=what)
    if set(role.keys) & set(root.leave):  # F-6.7
        raise MalformedError(f"role {name!r} has a key that left", where=what)
    if not is_sorted(role.products) or bool(role.products) != (name == "release"):  # F-6.6
        raise MalformedError(f"role {name!r}: `products` is for role release only, sorted, each once", where=what)


def is_sorted(values: tuple[str, ...]) -> bool:
    """Whether the values are in order, each once."""
    return list(values) == sorted(set(values))


def verify_chain(documents: tuple[bytes, ...], pin: Pin) -> Chain:
    """Verify a chain of root documents, oldest first, from the pinned one on.

    Steps: 1 consecutive versions; 2 the pinned payload is among them; 3 every older file is the one that its
    successor names; 4 every version from the pin on is signed by its own threshold, every one above the pin also by
    its predecessor's; 5 no signature by a key that neither it nor its predecessor records.

    Raises:
        MalformedError: A document is not a root document, or versions are not consecutive.
        UntrustedError: The pin is not in the chain, or signatures do not suffice.
    """
    roots = tuple(parse_root(data, f"root document {i + 1}") for i, data in enumerate(documents))
    for before, after in pairwise(roots):
        if after.root.version != before.root.version + 1:  # F-6.10
            raise MalformedError(f"root {after.root.version} follows root {before.root.version}", where="trust")
    at = next((i for i, document in enumerate(roots) if document.fingerprint == pin.digest), None)
    if at is None:  # F-6.11
        problem = "the pinned root is not among the root documents here"
        raise UntrustedError(problem, where="trust", remedy=_COMPARE, finding="root-unknown")
    if pin.version not in (0, roots[at].root.version):
        problem = f"pinned root {pin.version} states version {roots[at].root.version}"
        raise UntrustedError(problem, where="trust", finding="root-chain")
    for before, after in pairwise(roots):
        _follow(before, after)
    for i in range(len(roots)):
        _check_signatures(roots[i], roots[i - 1] if i else None, must_count_own=i >= at, must_count_previous=i > at)
    return Chain(roots=roots)


def join_roots(known: tuple[bytes, ...], offered: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Join the documents that a reader has and those on a medium, oldest first; verifies no chain.

    If two documents of one version differ only in late signatures, the next version decides which one is taken.

    Raises:
        MalformedError: A document is not a root document.
        UntrustedError: ``root-fork`` when the vendor's own quorum signed two documents of one version, ``root-gap``
            when a version is missing between them, ``root-unknown`` when they are two vendors' chains.
    """
    if not known or not offered:
        return known or offered
    ours = _by_version(parse_root(data, "a root document known here") for data in known)
    theirs = _by_version(parse_root(data, f"root document {i}") for i, data in enumerate(offered, 1))
    for version in sorted(set(ours) & set(theirs)):
        if ours[version].fingerprint != theirs[version].fingerprint:
            raise _two_documents(version, ours, theirs)
    versions = range(min(*ours, *theirs), max(*ours, *theirs) + 1)
    missing = next((version for version in versions if version not in ours and version not in theirs), None)
    if missing is not None:  # F-6.10
        problem = f"root {missing} is missing between root {max(ours)} here and root {max(theirs)} on the medium"
        remedy = f"ask the vendor for trust/{missing}.root.json and receive it with the others"
        raise UntrustedError(problem, where="trust", remedy=remedy, finding="root-gap")
    return _join(versions, ours, theirs)


def _join(versions: range, ours: dict[int, SignedRoot], theirs: dict[int, SignedRoot]) -> tuple[bytes, ...]:
    """Return for each version the document that the next one names, oldest first."""
    joined: list[SignedRoot] = []
    for version in reversed(versions):
        choices = [roots[version] for roots in (theirs, ours) if version in roots]
        before = theirs.get(version - 1) or ours.get(version - 1)
        for document in choices:
            # The signatures of the document that is not taken must be valid too.
            _check_signatures(document, before, must_count_own=False, must_count_previous=False)  # F-6.19
        named = joined[-1].root.previous if joined else None
        joined.append(next((document for document in choices if digest_of(document.raw) == named), choices[0]))
    return tuple(document.raw for document in reversed(joined))


def _by_version(documents: Iterable[SignedRoot]) -> dict[int, SignedRoot]:
    return {document.root.version: document for document in documents}


def _two_documents(version: int, ours: dict[int, SignedRoot], theirs: dict[int, SignedRoot]) -> UntrustedError:
    """Return why there are two documents of one version: a fork by the vendor's own quorum, or another vendor."""
    before, other = ours.get(version - 1), theirs[version]
    if before is not None:
        try:
            verify_chain((before.raw, other.raw), Pin(version=version - 1, digest=before.fingerprint))
        except UntrustedError as error:
            return error
        except MalformedError:
            pass  # it does not follow this chain, so it is no proof of a fork by the vendor's quorum
        else:
            return UntrustedError(  # F-6.20
                f"the vendor's root keys signed two documents of root {version}: {ours[version].fingerprint} here, "
                f"{other.fingerprint} on the medium",
                where="trust",
                remedy=TWO_DOCUMENTS,
                finding="root-fork",
            )
    return UntrustedError(  # F-6.11
        f"root {version} on the medium is {other.fingerprint}, expected {ours[version].fingerprint}",
        where="trust",
        remedy=_COMPARE,
        finding="root-unknown",
    )


def _follow(before: SignedRoot, after: SignedRoot) -> None:
    what = f"root {after.root.version}"
    if after.root.previous != digest_of(before.raw):  # F-6.12
        problem = f"`previous` is {after.root.previous}, the file here is another"
        raise UntrustedError(problem, where=what, finding="root-chain")
    if after.root.vendor != before.root.vendor:  # F-6.13
        problem = f"vendor is {after.root.vendor}, expected {before.root.vendor}"
        raise UntrustedError(problem, where=what, finding="root-chain")
    if after.root.epoch < before.root.epoch:
        problem = f"epoch is {after.root.epoch}, expected at least {before.root.epoch}"
        raise UntrustedError(problem, where=what, finding="root-chain")


def _check_signatures(
    document: SignedRoot, before: SignedRoot | None, *, must_count_own: bool, must_count_previous: bool
) -> None:
    what = f"root {document.root.version}"
    valid = set()
    for signature in document.envelope.signatures:
        key = document.root.keys.get(signature.keyid) or (before.root.keys.get(signature.keyid) if before else None)
        if key is None:  # F-6.14
            raise UntrustedError(f"signature by unknown key {signature.keyid}", where=what, finding="signature-unknown")
        if key.known:  # F-6.16
            verify_signature(document.envelope, signature, key, what)
            valid.add(signature.keyid)
    if must_count_own:
        _count(document.root, valid, what)
    if must_count_previous and before is not None:
        _count(before.root, valid, what)


def _count(judge: Root, good: set[str], what: str) -> None:
    role = judge.roles["root"]
    have = sorted(good & set(role.keys))
    if len(have) < role.threshold:  # F-6.15
        missing = sorted(set(role.keys) - set(have))
        raise UntrustedError(
            f"signed by {len(have)} of the {role.threshold} root keys that root {judge.version} requires "
            f"(signed: {short(have)}; missing: {short(missing)})",
            where=what,
            remedy="ask the vendor for a root document that enough keys have signed",
            finding="root-signatures-missing",
        )


def short(keyids: Iterable[str]) -> str:
    """Return the first twelve characters of each key id."""
    return ", ".join(one[:12] for one in keyids) or "none"


def check_vendor_product(root: Root, product: str) -> None:
    """Raise UntrustedError unless role ``release`` covers ``product``."""
    products = root.roles["release"].products
    if product not in products:  # F-7.8
        problem = f"the release is of product {product}, the release keys are for {', '.join(products)}"
        remedy = "ask the vendor for a root that allows these keys for this product"
        raise UntrustedError(problem, where="product", finding="product-not-covered", remedy=remedy)
