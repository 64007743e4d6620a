"""Decide whether the head of a bundle is trusted: root chain, revocations, signatures, threshold, predicate.

Numbers such as F-7.1 in comments are rules of docs/format.md.
"""

from dataclasses import dataclass, field

from content.bundle.head import Head, Signature
from manifests.documents.release import FORMAT, PREDICATE_TYPE, Predicate, Release, release_statement
from manifests.documents.release_reader import parse_release
from manifests.trust.envelope import MAX_BUNDLE, Statement, verify_statement
from manifests.trust.quorum import Quorum, require, weigh
from manifests.trust.revocations import RevocationCheck, Revocations, judge_revocations, revoke
from manifests.trust.root import Chain, Mark, Pin, Root, check_vendor_product, join_roots, parse_root, verify_chain
from manifests.words.canonical import parse
from manifests.words.digest import digest_of
from manifests.words.errors import OTHER_MEDIUM, MalformedError, NewerError, RefusedError, UntrustedError


@dataclass(frozen=True)
class Known:
    """What a reader already has, besides its pin.

    Attributes:
        roots: Root documents, oldest first; the chain is made of these and those of a medium.
        revocations: The list in force; a newer one replaces it.
        own_keys: Key ids of the reader's own people and site; a vendor's root that names one is refused.
    """

    roots: tuple[bytes, ...] = ()
    revocations: Revocations | None = None
    own_keys: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VerifiedHead:
    """A head that the pinned root has verified.

    Attributes:
        quorum: The signers of the role ``release``: counted, valid but not counted, and why.
        lists: The revocation list in force, and what was done with the one in the head.
    """

    head: Head
    release: Release
    release_digest: str
    chain: Chain
    quorum: Quorum
    lists: RevocationCheck

    @property
    def signers(self) -> tuple[str, ...]:
        """Key ids whose signatures counted, sorted."""
        return self.quorum.counted

    @property
    def not_evaluated(self) -> tuple[str, ...]:
        """Signers whose algorithm this verifier does not have; they are not counted."""
        return self.quorum.not_evaluated

    @property
    def revocations(self) -> Revocations | None:
        """The revocation list in force."""
        return self.lists.newest

    @property
    def practice(self) -> bool:
        """The root is a practice root: for testing only."""
        return self.chain.newest.practice


def verify_head(head: Head, pin: Pin, known: Known | None = None) -> VerifiedHead:
    """Decide trust on the head alone.

    Steps: 1 root chain from the pin, of the documents here and those that are known; 2 the revocation list in force;
    3 both signatures of every signer; 4 threshold and product; 5 the predicate's format; 6 the subject is
    ``release.json``; 7 parse it; 8 predicate and ``bulk_at`` agree with it. Each step begins after the one before has
    succeeded. The caller decides whether a revoked release is refused: one that already runs may stay.

    Raises:
        MalformedError, UntrustedError, RefusedError, NewerError: As the step says.
    """
    known = known or Known()
    chain = reach_chain(head, pin, known)  # 1
    lists = judge_revocations(head.revocations, chain, known.revocations, "revocations.json")  # 2
    chain = revoke(chain, lists.newest)
    release_digest = digest_of(head.release)
    statement, quorum = _verify_signers(head, chain)  # 3
    check_vendor_product(chain.newest, statement.predicate.product)  # 4
    if statement.predicate.format > FORMAT:  # 5, F-7.9
        problem = f"the release is of format {statement.predicate.format}, this verifier reads up to {FORMAT}"
        remedy = f"use the vendor's newer verifier: {', '.join(statement.predicate.kits) or 'ask the vendor'}"
        raise NewerError(problem, where="release", remedy=remedy, finding="format-newer")
    if statement.subject[0].digest.sha256 != release_digest.removeprefix("sha256:"):  # 6, F-7.10
        raise UntrustedError("what was signed is another release.json", where="release.json", finding="signature-wrong")
    release = parse_release(head.release)  # 7, F-7.11
    if statement != release_statement(release, release_digest):  # 8, F-7.12
        raise MalformedError("the signed statement and release.json disagree", where="release.json")
    if release.bulk_at != head.bulk_at:  # F-3.13
        raise MalformedError(f"the head ends at {head.bulk_at}, release.json says {release.bulk_at}", where="reserve")
    return VerifiedHead(
        head=head, release=release, release_digest=release_digest, chain=chain, quorum=quorum, lists=lists
    )


def reach_chain(head: Head, pin: Pin, known: Known) -> Chain:
    """The chain up to the newest root, of the head's documents and those that are known.

    Raises as ``join_roots`` and ``verify_chain``, and RefusedError if the newest root names a key of the reader.
    """
    chain = verify_chain(join_roots(known.roots, head.roots), pin)
    first = chain.roots[0] if not known.roots else parse_root(head.roots[0], "the first root document")
    if first.root.version != head.first_root:  # F-3.7
        raise MalformedError(f"root {first.root.version} is named {head.first_root}", where="trust")
    check_own_keys(chain.newest, known.own_keys)
    return chain


def check_own_keys(root: Root, own_keys: frozenset[str]) -> None:
    """Raise RefusedError when a vendor's root names a key of the customer."""
    shared = sorted(set(root.keys) & own_keys)
    if shared:
        raise RefusedError(  # F-6.21
            f"root {root.version} of {root.vendor} names {', '.join(one[:12] for one in shared)}, a key of this site "
            "or of its people",
            where="trust",
            remedy="report this to the vendor and to your own people over another channel; do not use this root",
            finding="own-key-in-root",
        )


@dataclass
class _Signed:
    """The verified signatures of a head: statements by signer, signers not evaluated, and the first wrong signature."""

    statements: list[tuple[str, Statement[Predicate]]] = field(default_factory=list)
    not_evaluated: list[str] = field(default_factory=list)
    wrong: MalformedError | UntrustedError | None = None


def _verify_signers(head: Head, chain: Chain) -> tuple[Statement[Predicate], Quorum]:
    """Return the statement that all signers made, and their quorum, which must be met."""
    signed = _verify_each(head, chain)
    first = signed.statements[0][1] if signed.statements else None
    at = Mark(epoch=first.predicate.epoch, sequence=first.predicate.sequence) if first else None
    quorum = weigh(chain, "release", dict(signed.statements), at=at, not_evaluated=tuple(signed.not_evaluated))
    if isinstance(signed.wrong, UntrustedError):
        problem, remedy = (
            f"{signed.wrong.problem}; besides, the release is signed by {quorum.text}",
            signed.wrong.remedy,
        )
        raise signed.wrong.with_(problem=problem, remedy=OTHER_MEDIUM if remedy == UntrustedError.usual else remedy)
    if signed.wrong is not None:
        raise signed.wrong
    if not quorum.met and any(pair.sig is None and pair.keyid in signed.not_evaluated for pair in head.signatures):
        # Imported only for a head with an identity: docs/audit.md lists what is loaded.
        from content.trust.identities import check_can_judge

        check_can_judge(quorum)
    if first is not None:
        if any(statement != first for _, statement in signed.statements):  # F-7.4
            raise UntrustedError("two signers made different statements", where="signatures", finding="signature-wrong")
        _check_root_of(first.predicate, chain)
    remedy = "ask the vendor to sign it: `waybill sign BUNDLE --key KEY`"
    require(quorum, "the release", where="signatures", remedy=remedy)  # F-7.7
    assert first is not None  # a threshold is at least 1, so a release without a signature was refused
    return first, quorum


def _verify_each(head: Head, chain: Chain) -> _Signed:
    """Verify every signer before the first wrong one is refused, so that the error can name the valid ones."""
    signed = _Signed()
    for pair in head.signatures:
        try:
            result = (
                _verify_pair(pair, pair.sig, head.release, chain)
                if pair.sig is not None
                else _verify_identity(pair, head, chain)
            )
        except (MalformedError, UntrustedError) as error:
            signed.wrong = signed.wrong or error
            continue
        if result is None:
            signed.not_evaluated.append(pair.keyid)
        else:
            signed.statements.append(result)
    return signed


def _verify_pair(pair: Signature, sig: bytes, release: bytes, chain: Chain) -> tuple[str, Statement[Predicate]] | None:
    """Return key id and statement; None if this verifier does not have the key's algorithm."""
    name = f"signatures/{pair.keyid}"
    key = chain.key(pair.keyid)
    if key is None:  # F-7.1
        problem = f"signature by key {pair.keyid}, which is not in root {chain.newest.version} or an earlier one"
        raise UntrustedError(problem, where=name, remedy=OTHER_MEDIUM, finding="signature-unknown")
    if not key.known:  # F-7.2
        return None
    key.verify(sig, release, f"{name}.sig")  # F-7.3
    payload = verify_statement(pair.bundle, key, f"{name}.sigstore.json")
    return pair.keyid, _parse_statement(payload, name)


def _verify_identity(pair: Signature, head: Head, chain: Chain) -> tuple[str, Statement[Predicate]] | None:
    """The same for an identity; None if it cannot be judged here, or if this trusted root is no longer pinned."""
    # Imported only for a head with an identity: docs/audit.md lists what is loaded.
    from content.trust.identities import verify_identity

    name = f"signatures/{pair.keyid}"
    assert head.trusted_root is not None  # F-3.6
    result = verify_identity(pair.bundle, pair.keyid, head.trusted_root, chain, f"{name}.sigstore.json")
    return None if result is None else (result[0], _parse_statement(result[1], name))


def _parse_statement(payload: bytes, name: str) -> Statement[Predicate]:
    statement = parse(payload, Statement[Predicate], f"{name}.sigstore.json", max_bytes=MAX_BUNDLE)
    if statement.predicate_type != PREDICATE_TYPE:  # F-5.10
        problem = f"a statement of type {statement.predicate_type}, expected {PREDICATE_TYPE}"
        raise UntrustedError(problem, where=name)
    return statement


def _check_root_of(predicate: Predicate, chain: Chain) -> None:
    if predicate.root_version > chain.newest.version:  # F-7.5
        problem = f"the release requires root {predicate.root_version}; the newest here is {chain.newest.version}"
        remedy = "request the missing root document from the vendor"
        raise UntrustedError(problem, where="trust", remedy=remedy, finding="root-missing")
    # Otherwise one stolen release key could raise the marks of all sites above every later release.
    if predicate.epoch > chain.newest.epoch:  # F-7.6
        raise UntrustedError(
            f"the release is of epoch {predicate.epoch}, root {chain.newest.version} has begun epoch "
            f"{chain.newest.epoch}",
            where="trust",
            remedy="request the newest root document from the vendor, and ask whether this release is theirs",
            finding="epoch-unknown",
        )
