"""The vendor's revocation list: one document that only grows, signed by the root role."""

from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from manifests.trust.envelope import Envelope, parse_envelope
from manifests.trust.quorum import Quorum, good_signers, require, weigh
from manifests.trust.root import TWO_DOCUMENTS, Chain, is_sorted
from manifests.words.canonical import Document, parse
from manifests.words.digest import Digest, KeyId, Name, Positive
from manifests.words.errors import MalformedError, UntrustedError

REVOCATIONS_TYPE = "application/vnd.waybill.revocations.v1+json"
MAX_REVOCATIONS = 1 << 20


class Revocations(Document, frozen=True, kw_only=True, tag_field="type", tag=REVOCATIONS_TYPE):
    """What is revoked. A list with a higher version replaces every lower one.

    Attributes:
        keys: Ids of keys that count for no role.
        releases: Digests of releases that must not be installed; one that runs is *running revoked*.
        handlers: ``handler_digest`` of handlers that must not run.
    """

    vendor: Name
    version: Positive
    keys: Annotated[tuple[KeyId, ...], Meta(max_length=4096)] = ()
    releases: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()
    handlers: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()


@dataclass(frozen=True)
class RevocationCheck:
    """The list in force, chosen from the list held and the list received.

    Attributes:
        newest: List in force; None while there is none.
        came: List received, if it is newer than the list held.
        ignored: Why the list received is not in force; None when it is, or none was received.
    """

    newest: Revocations | None
    came: Revocations | None = None
    ignored: str | None = None


def check_revocations(revocations: Revocations, what: str) -> None:
    """Raise MalformedError unless every rule inside the document holds."""
    for name in ("keys", "releases", "handlers"):
        held = getattr(revocations, name)
        if not is_sorted(held):  # F-13.1
            raise MalformedError("list is not sorted, or names an entry twice", where=f"{what} $.{name}")


def parse_revocations(data: bytes, what: str) -> tuple[Envelope, Revocations]:
    """Read a list; ``verify_revocations`` judges its signatures."""
    envelope = parse_envelope(data, REVOCATIONS_TYPE, what, max_bytes=MAX_REVOCATIONS)
    revocations = parse(envelope.payload_bytes, Revocations, what, max_bytes=MAX_REVOCATIONS)
    check_revocations(revocations, what)
    return envelope, revocations


def weigh_revocations(data: bytes, chain: Chain, what: str = "revocations.json") -> tuple[Revocations, Quorum]:
    """Return the list and the quorum of the newest root's role ``root``; every signature is valid.

    Raises:
        MalformedError: Not a list in our form.
        UntrustedError: No signature, a wrong one, one by an unknown key, or a list of another vendor.
    """
    envelope = parse_envelope(data, REVOCATIONS_TYPE, what, max_bytes=MAX_REVOCATIONS)
    good, _ = good_signers(envelope, chain, what)
    if not good:
        _require(weigh(chain, "root", good), what)
    _, revocations = parse_revocations(data, what)
    if revocations.vendor != chain.newest.vendor:  # F-13.2
        problem = f"the revocation list is of vendor {revocations.vendor}, expected {chain.newest.vendor}"
        raise UntrustedError(problem, where=what, finding="vendor-differs")
    return revocations, weigh(revoke(chain, revocations), "root", good)


def _require(quorum: Quorum, what: str) -> None:
    remedy = "ask the vendor to sign the list with its root keys"
    require(quorum, "the revocation list", where=what, remedy=remedy)


def verify_revocations(data: bytes, chain: Chain, what: str = "revocations.json") -> Revocations:
    """Return the list, if a threshold of the newest root's role ``root`` signed it.

    Raises:
        MalformedError: Not a list in our form.
        UntrustedError: A signature is wrong or by an unknown key, or there are too few.
    """
    revocations, quorum = weigh_revocations(data, chain, what)
    _require(quorum, what)  # F-13.3
    return revocations


def judge_revocations(data: bytes | None, chain: Chain, held: Revocations | None, what: str) -> RevocationCheck:
    """Return the list in force: the newer of ``held`` and the list received as ``data``.

    Raises:
        MalformedError, UntrustedError: As ``verify_revocations``; or two lists have one version.
    """
    if data is None:
        return RevocationCheck(held)
    # A revoked key cannot sign the list that omits it. F-13.6
    offered, quorum = weigh_revocations(data, revoke(chain, held), what)
    if held is not None and offered.version < held.version:  # F-13.4
        return RevocationCheck(held, ignored=f"list {offered.version} is ignored: older than list {held.version}")
    if not quorum.met and _of_older_root(quorum, chain):
        return RevocationCheck(held, ignored=f"list {offered.version} is ignored: signed under an older root")
    _require(quorum, what)
    if held is not None and offered.version == held.version:
        if offered != held:  # F-13.5
            problem = f"revocation list {offered.version} differs from the list of this version that is known here"
            raise UntrustedError(problem, where=what, remedy=TWO_DOCUMENTS, finding="revocations-twice")
        return RevocationCheck(held)
    return RevocationCheck(offered, came=offered)


def _of_older_root(quorum: Quorum, chain: Chain) -> bool:
    """Return whether the signers are a quorum of an earlier root version only."""
    signed = {*quorum.counted, *(keyid for keyid, _ in quorum.others)}
    older = (one.root.roles["root"] for one in chain.roots[:-1])
    return any(len(signed & set(role.keys)) >= role.threshold for role in older)


def revoke(chain: Chain, revocations: Revocations | None) -> Chain:
    """Return the chain without the keys that the list revokes."""
    return chain if revocations is None else replace(chain, revoked=chain.revoked | set(revocations.keys))  # F-13.6
