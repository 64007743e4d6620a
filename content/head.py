"""The head of a bundle: its first ``bulk_at`` bytes, on which trust is decided before one byte of the bulk is read.

The layout is docs/format.md, section "The head"; numbers such as F-12 in comments are its rules.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from content.archive import BLOCK, header, member_length, padded, parse_header
from manifests.canonical import parse
from manifests.digest import digest_of
from manifests.envelope import MAX_BUNDLE, Statement, sign_statement, statement, verify_statement
from manifests.errors import DamagedError, HostError, MalformedError, NewerError, RefusedError, UntrustedError
from manifests.keys import Signer
from manifests.quorum import Quorum, require, weigh
from manifests.release import (
    BULK_STEP,
    FORMAT,
    MAX_HEAD,
    MAX_RELEASE,
    PREDICATE_TYPE,
    Predicate,
    Release,
    parse_release,
    predicate_of,
)
from manifests.revocations import MAX_REVOCATIONS, Judged, Revocations, judge_revocations, revoke
from manifests.trust import (
    MAX_ROOT,
    MAX_ROOTS,
    Chain,
    Mark,
    Pin,
    Root,
    check_vendor_product,
    join_roots,
    parse_root,
    verify_chain,
)

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
RESERVE = 192 << 10
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
    """One signer's pair of files; of an identity the Sigstore bundle alone.

    Attributes:
        keyid: Id of the key; of an identity SHA-256 of its certificate, which is new each time.
        sig: None for an identity.
    """

    keyid: str
    sig: bytes | None
    bundle: bytes


@dataclass(frozen=True)
class Head:
    """A head as received: well-formed as a tar, and not believed in anything.

    Attributes:
        first_root: Version in the name of the first root document.
        trusted_root: Says who vouches for identities; there exactly when an identity has signed.
    """

    release: bytes
    signatures: tuple[Signature, ...]
    roots: tuple[bytes, ...]
    bulk_at: int
    first_root: int = 1
    revocations: bytes | None = None
    trusted_root: bytes | None = None


@dataclass(frozen=True)
class Known:
    """What a reader holds already, besides its pin.

    Attributes:
        roots: Root documents, oldest first; with those of a medium they make the chain.
        revocations: The list in force, which judges unless a newer one comes.
        own_keys: Key ids of the reader's own people and site; a vendor's root that names one is refused.
    """

    roots: tuple[bytes, ...] = ()
    revocations: Revocations | None = None
    own_keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VerifiedHead:
    """A head that the pinned root vouches for.

    Attributes:
        quorum: Of the role ``release``: who was counted, who signed well and was not, and why.
        lists: The revocation list that judges, and what became of the one in the head.
        practice: The root is a practice root, which vouches for nothing in earnest.
    """

    head: Head
    release: Release
    release_digest: str
    chain: Chain
    quorum: Quorum
    lists: Judged

    @property
    def signers(self) -> tuple[str, ...]:
        """Key ids whose signatures counted, sorted."""
        return self.quorum.counted

    @property
    def not_evaluated(self) -> tuple[str, ...]:
        """Signers whose algorithm this verifier lacks; they did not count."""
        return self.quorum.not_evaluated

    @property
    def revocations(self) -> Revocations | None:
        """The list that judges."""
        return self.lists.newest

    @property
    def practice(self) -> bool:
        return self.chain.newest.practice


def members_of(head: Head) -> list[tuple[str, bytes]]:
    """The head's members in order, without the reserve."""
    members = [("oci-layout", OCI_LAYOUT), ("release.json", head.release)]
    for one in sorted(head.signatures, key=lambda one: one.keyid):
        if one.sig is not None:
            members.append((f"signatures/{one.keyid}.sig", one.sig))
        members.append((f"signatures/{one.keyid}.sigstore.json", one.bundle))
    members += [(f"trust/{head.first_root + i}.root.json", root) for i, root in enumerate(head.roots)]
    if head.trusted_root is not None:
        members.append((TRUSTED_ROOT, head.trusted_root))
    if head.revocations is not None:
        members.append(("revocations.json", head.revocations))
    return members


def encode_head(head: Head) -> bytes:
    """Exactly ``head.bulk_at`` bytes.

    Raises:
        RefusedError: The reserve is full; the bundle must be built again with a longer one.
    """
    parts = []
    for name, data in members_of(head):
        parts += [header(name, len(data)), data, bytes(padded(len(data)) - len(data))]
    used = sum(map(len, parts))
    room = head.bulk_at - used - BLOCK
    if room < 0:
        raise RefusedError(
            f"the head needs {used + BLOCK} bytes and has {head.bulk_at}",
            where="reserve",
            remedy="build the release again; the new head gets a longer reserve",
            finding="reserve-full",
        )
    return b"".join([*parts, header("reserve", room), bytes(room)])


def choose_bulk_at(
    release_size: int, roots: tuple[bytes, ...], revocations: bytes | None, reserve: int = RESERVE
) -> int:
    """Where the bulk begins: room for what is known and ``reserve`` bytes more, in steps of 64 KiB.

    It must not depend on the signatures, or two signers would not make the bundle that one and then the other make.
    """
    known = [len(OCI_LAYOUT), release_size, *map(len, roots)] + ([len(revocations)] if revocations is not None else [])
    used = sum(map(member_length, known)) + BLOCK + reserve  # F-17
    bulk_at = -(-used // BULK_STEP) * BULK_STEP
    if bulk_at > MAX_HEAD:
        raise RefusedError(
            f"the head would take {bulk_at} bytes, at most {MAX_HEAD} are allowed",
            where="release.json",
            remedy="a smaller reserve, or fewer images and files in one release",
        )
    return bulk_at


def read_head(read: Callable[[int], bytes], what: str = "bundle") -> Head:
    """Read the head from the start of a bundle; ``read(n)`` returns at most n bytes, fewer only at the end.

    Reads not one byte past the head. Every length is checked against its cap before it is read.

    Raises:
        MalformedError: Anything that our writer would not have written.
        HostError: The medium cannot be read.
    """
    reader = _Reader(_named(read, what), what)
    name, data = reader.member({"oci-layout": len(OCI_LAYOUT)})
    if data != OCI_LAYOUT:  # F-06
        raise MalformedError("oci-layout is not the constant of the format", where=what)
    name, release = reader.member({"release.json": MAX_RELEASE})  # F-07
    signatures: list[Signature] = []
    roots: list[bytes] = []
    first_root = 0
    revocations: bytes | None = None
    trusted_root: bytes | None = None
    while True:
        name, size = reader.next_header()
        if name == "reserve":
            break
        if match := _SIGNATURE_NAME.fullmatch(name):
            if roots or revocations is not None or len(signatures) >= MAX_SIGNATURES:  # F-08
                raise MalformedError("signatures are pairs, before the root documents", where=f"{what} {name}")
            keyid = match[1]
            if (
                signatures and keyid == signatures[-1].keyid and signatures[-1].sig is None and match[2] == "sig"
            ):  # F-08
                raise MalformedError("of a signer's two files the .sig comes first", where=f"{what} {name}")
            if signatures and keyid == signatures[-1].keyid:  # F-08
                problem = "a key has signed twice; keys are counted, not signatures"
                raise MalformedError(problem, where=f"{what} {name}", finding="signature-twice")
            if signatures and keyid < signatures[-1].keyid:  # F-08
                raise MalformedError("signatures are not in order of key ids", where=f"{what} {name}")
            sig = None
            if match[2] == "sig":
                sig = reader.body(name, size, MAX_SIG)
                _, bundle = reader.member({f"signatures/{keyid}.sigstore.json": MAX_BUNDLE})
            else:  # F-202
                bundle = reader.body(name, size, MAX_BUNDLE)
            signatures.append(Signature(keyid=keyid, sig=sig, bundle=bundle))
        elif match := _ROOT_NAME.fullmatch(name):
            version = int(match[1])
            # F-09
            late = revocations is not None or trusted_root is not None
            if late or len(roots) >= MAX_ROOTS or (roots and version != first_root + len(roots)):
                raise MalformedError("root documents are consecutive, at most 256", where=f"{what} {name}")
            first_root = first_root or version
            roots.append(reader.body(name, size, MAX_ROOT))
        elif name == TRUSTED_ROOT and roots and revocations is None and trusted_root is None:  # F-203
            trusted_root = reader.body(name, size, MAX_TRUSTED_ROOT)
        elif name == "revocations.json" and revocations is None:  # F-11
            revocations = reader.body(name, size, MAX_REVOCATIONS)
        else:
            raise MalformedError("a name that the head does not have here", where=f"{what} {name}")  # F-13
    if not roots:  # F-09
        raise MalformedError("the head holds no root document", where=what)
    if (trusted_root is not None) != any(one.sig is None for one in signatures):  # F-203
        raise MalformedError("identities and their trusted root go together", where=f"{what} {TRUSTED_ROOT}")
    bulk_at = reader.offset + size
    if bulk_at % BULK_STEP or bulk_at > MAX_HEAD:  # F-12
        raise MalformedError(f"the head ends at {bulk_at}, expected a multiple of {BULK_STEP}", where=what)
    if reader.body("reserve", size, MAX_HEAD).strip(b"\0"):  # F-12
        raise MalformedError("the reserve holds other bytes than zeros", where=what)
    return Head(
        release=release,
        signatures=tuple(signatures),
        roots=tuple(roots),
        bulk_at=bulk_at,
        first_root=first_root,
        revocations=revocations,
        trusted_root=trusted_root,
    )


class _Reader:
    """Members one after the other, never a byte too far."""

    def __init__(self, read: Callable[[int], bytes], what: str) -> None:
        self._read = read
        self._what = what
        self.offset = 0

    def take(self, count: int) -> bytes:
        parts = []
        while count:  # F-15
            part = self._read(count)
            if not part:
                raise MalformedError(f"ends after {self.offset} bytes, inside its head", where=self._what)
            self.offset += len(part)
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def next_header(self) -> tuple[str, int]:
        at = self.offset
        block = self.take(BLOCK)
        if at == 0 and block != header("oci-layout", len(OCI_LAYOUT)):  # F-05
            raise MalformedError(
                "not a Waybill bundle",
                where=self._what,
                remedy=_look_alike(block),
                finding="not-a-bundle",
            )
        return parse_header(block, f"{self._what} at byte {at}")

    def body(self, name: str, size: int, limit: int) -> bytes:
        limit = min(limit, MAX_HEAD - self.offset)  # F-14
        if size > limit:
            raise MalformedError(f"{size} bytes, at most {limit} are allowed", where=f"{self._what} {name}")
        data = self.take(size)
        if self.take(padded(size) - size).strip(b"\0"):  # F-04
            raise MalformedError("padding holds other bytes than zeros", where=f"{self._what} {name}")
        return data

    def member(self, wanted: dict[str, int]) -> tuple[str, bytes]:
        name, size = self.next_header()
        if name not in wanted:
            raise MalformedError(f"found {name}, expected {' or '.join(wanted)}", where=self._what)
        return name, self.body(name, size, wanted[name])


def _look_alike(block: bytes) -> str:
    """What the file probably is instead."""
    if block[:2] == b"\x1f\x8b" or block[:4] == b"\x28\xb5\x2f\xfd":
        return "it is compressed; a bundle is a plain tar: unpack that layer first"
    if block[257:262] == b"ustar":
        return "it is a tar that another program wrote or packed again; ask for the original file"
    return "name a file that `waybill build` wrote"


def _named(read: Callable[[int], bytes], what: str) -> Callable[[int], bytes]:
    """``read``, whose failures say what it was that could not be read."""

    def reading(count: int) -> bytes:
        try:
            return read(count)
        except OSError as error:
            raise HostError(
                f"cannot be read: {(error.strerror or str(error)).lower()}",
                where=what,
                remedy="try another drive, or ask for the medium again",
                finding="medium-unreadable",
            ) from None

    return reading


def open_head(path: Path) -> Head:
    """The head of the bundle file at ``path``."""
    if path.is_dir():
        raise MalformedError(
            "a folder, not a bundle",
            where=str(path),
            remedy="name the .tar itself; a bundle that a browser or file manager unpacked must be copied again",
            finding="not-a-bundle",
        )
    with path.open("rb", buffering=0) as file:
        # No read-ahead: the head decides alone, and a slow drive is not asked for bulk that may never be wanted.
        with suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        return read_head(lambda count: file.read(count) or b"", str(path))


def release_statement(release: Release, release_digest: str) -> Statement[Predicate]:
    return statement(predicate_of(release), PREDICATE_TYPE, name="release.json", digest=release_digest)


def sign_release(data: bytes, signer: Signer) -> Signature:
    """Both signatures of one signer over ``release.json``; refuses bytes that are not a release."""
    release = parse_release(data)  # F-81
    bundle = sign_statement(release_statement(release, digest_of(data)), signer)
    return Signature(keyid=signer.public.keyid, sig=signer.sign(data), bundle=bundle)


def add_signature(head: Head, signature: Signature) -> Head:
    """The head with one more signer; the same signer again replaces the former pair."""
    others = tuple(one for one in head.signatures if one.keyid != signature.keyid)
    return replace(head, signatures=tuple(sorted((*others, signature), key=lambda one: one.keyid)))


def verify_head(head: Head, pin: Pin, known: Known | None = None) -> VerifiedHead:
    """Decide trust on the head alone.

    Steps: 1 root chain from the pin, of the documents here and those that are known; 2 the revocation list that judges;
    3 both signatures of every signer; 4 threshold and product; 5 the predicate's format; 6 the subject is
    ``release.json``; 7 parse it; 8 predicate and ``bulk_at`` agree with it. Nothing of a later step is looked at before
    the earlier one held. Whether the release itself is revoked is the reader's to say: one that runs may go on.

    Raises:
        MalformedError, UntrustedError, RefusedError, NewerError: As the step says.
    """
    known = known or Known()
    chain = reach_chain(head, pin, known)  # 1
    lists = judge_revocations(head.revocations, chain, known.revocations, "revocations.json")  # 2
    chain = revoke(chain, lists.newest)
    release_digest = digest_of(head.release)
    said, quorum = _verify_signers(head, chain)  # 3
    check_vendor_product(chain.newest, said.predicate.product)  # 4
    if said.predicate.format > FORMAT:  # 5, F-80
        raise NewerError(
            f"the release is of format {said.predicate.format}, this verifier reads up to {FORMAT}",
            where="release",
            remedy=f"use the vendor's newer verifier: {', '.join(said.predicate.kits) or 'ask the vendor'}",
            finding="format-newer",
        )
    if said.subject[0].digest.sha256 != release_digest.removeprefix("sha256:"):  # 6, F-78
        raise UntrustedError("what was signed is another release.json", where="release.json", finding="signature-wrong")
    release = parse_release(head.release)  # 7, F-82
    if said != release_statement(release, release_digest):  # 8, F-79
        raise MalformedError("the signed statement and release.json disagree", where="release.json")
    if release.bulk_at != head.bulk_at:  # F-16
        raise MalformedError(f"the head ends at {head.bulk_at}, release.json says {release.bulk_at}", where="reserve")
    return VerifiedHead(
        head=head, release=release, release_digest=release_digest, chain=chain, quorum=quorum, lists=lists
    )


def reach_chain(head: Head, pin: Pin, known: Known) -> Chain:
    """The chain up to the newest root that can be reached: of the head's documents and those that are known.

    Raises:
        MalformedError, UntrustedError: As ``join_roots`` and ``verify_chain``.
        RefusedError: The newest root names a key of the reader's own.
    """
    chain = verify_chain(join_roots(known.roots, head.roots), pin)
    first = chain.roots[0] if not known.roots else parse_root(head.roots[0], "the first root document")
    if first.root.version != head.first_root:  # F-10
        raise MalformedError(f"root {first.root.version} is named {head.first_root}", where="trust")
    check_own_keys(chain.newest, known.own_keys)
    return chain


def check_own_keys(root: Root, own_keys: frozenset[str]) -> None:
    """Raises RefusedError when a vendor's root names a key of the customer."""
    shared = sorted(set(root.keys) & own_keys)
    if shared:
        raise RefusedError(  # F-67
            f"root {root.version} of {root.vendor} names {', '.join(one[:12] for one in shared)}, a key of this site "
            "or of its people",
            where="trust",
            remedy="a vendor does not speak with a customer's key; tell both, by another way than this medium",
            finding="own-key-in-root",
        )


def _verify_signers(head: Head, chain: Chain) -> tuple[Statement[Predicate], Quorum]:
    """The one statement that every signer made, and that enough of them did.

    Every pair is looked at before the first wrong one is refused, so that the refusal can say who signed well.
    """
    good: list[tuple[str, Statement[Predicate]]] = []
    not_evaluated = []
    wrong: MalformedError | UntrustedError | None = None
    for one in head.signatures:
        try:
            found = (
                _verify_pair(one, one.sig, head.release, chain)
                if one.sig is not None
                else _verify_identity(one, head, chain)
            )
        except (MalformedError, UntrustedError) as error:
            wrong = wrong or error
            continue
        if found is None:
            not_evaluated.append(one.keyid)
        else:
            good.append(found)
    first = good[0][1] if good else None
    at = Mark(epoch=first.predicate.epoch, sequence=first.predicate.sequence) if first else None
    quorum = weigh(chain, "release", dict(good), at=at, not_evaluated=tuple(not_evaluated))
    if wrong is not None:
        if isinstance(wrong, UntrustedError):
            wrong.problem += f"; besides, the release is signed by {quorum.text}"
        raise wrong
    remedy = "waybill sign BUNDLE --key KEY, at the vendor"
    if not quorum.met and any(one.sig is None and one.keyid in not_evaluated for one in head.signatures):
        from content.release_identities import check_can_judge

        check_can_judge(quorum)
    if first is None:
        require(quorum, "the release", where="signatures", remedy=remedy)
        raise AssertionError("a release without a signature was not refused")
    if any(other != first for _, other in good):  # F-73
        raise UntrustedError("two signers made different statements", where="signatures", finding="signature-wrong")
    _check_root_of(first.predicate, chain)
    require(quorum, "the release", where="signatures", remedy=remedy)  # F-75
    return first, quorum


def _verify_pair(one: Signature, sig: bytes, release: bytes, chain: Chain) -> tuple[str, Statement[Predicate]] | None:
    """Who signed and what was said, or None when the algorithm is beyond this verifier."""
    name = f"signatures/{one.keyid}"
    key = chain.key(one.keyid)
    if key is None:  # F-71
        raise UntrustedError(
            f"signed by a key that the vendor's root does not know: {one.keyid}",
            where=name,
            remedy="somebody added it; ask for the medium again",
            finding="signature-unknown",
        )
    if not key.known:  # F-72
        return None
    key.verify(sig, release, f"{name}.sig")  # F-70
    payload = verify_statement(one.bundle, key, f"{name}.sigstore.json")
    return one.keyid, _parse_statement(payload, name)


def _verify_identity(one: Signature, head: Head, chain: Chain) -> tuple[str, Statement[Predicate]] | None:
    """The same for an identity: None where it cannot be judged, or under this trusted root no longer."""
    from content.release_identities import verify_identity  # a release signed by keys alone does not pay for it

    name = f"signatures/{one.keyid}"
    assert head.trusted_root is not None  # F-203
    found = verify_identity(one.bundle, one.keyid, head.trusted_root, chain, f"{name}.sigstore.json")
    return None if found is None else (found[0], _parse_statement(found[1], name))


def _parse_statement(payload: bytes, name: str) -> Statement[Predicate]:
    said = parse(payload, Statement[Predicate], f"{name}.sigstore.json", max_bytes=MAX_BUNDLE)
    if said.predicate_type != PREDICATE_TYPE:  # F-44
        raise UntrustedError(f"a statement of type {said.predicate_type}, expected {PREDICATE_TYPE}", where=name)
    return said


def _check_root_of(predicate: Predicate, chain: Chain) -> None:
    if predicate.root_version > chain.newest.version:  # F-74
        raise UntrustedError(
            f"the release asks for root {predicate.root_version}, the newest here is {chain.newest.version}",
            where="trust",
            remedy="a root document was left out of the medium; ask for it again",
            finding="root-missing",
        )
    # Otherwise one stolen release key could lift the marks of all sites beyond every later release.
    if predicate.epoch > chain.newest.epoch:  # F-77
        raise UntrustedError(
            f"the release is of epoch {predicate.epoch}, root {chain.newest.version} has begun epoch "
            f"{chain.newest.epoch}",
            where="trust",
            remedy="only a new root begins an epoch; a root document was left out, or the release is not the vendor's",
            finding="epoch-unknown",
        )


def rewrite_head(path: Path, head: Head) -> None:
    """Put a changed head into the finished bundle at ``path``: beside it, synced, then in place.

    Only the first ``bulk_at`` bytes change. A plug pulled during the write leaves ``NAME.head`` beside the bundle,
    from which the next call for this bundle, or ``--head``, takes the whole new head.

    Raises:
        DamagedError: The bundle is shorter than its head.
    """
    data = encode_head(head)
    beside = path.with_name(path.name + ".head")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)
    with path.open("r+b") as bundle:
        if os.fstat(bundle.fileno()).st_size < len(data):
            raise DamagedError("shorter than its own head", where=str(path))
        bundle.write(data)
        bundle.flush()
        os.fsync(bundle.fileno())
    beside.unlink()
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
