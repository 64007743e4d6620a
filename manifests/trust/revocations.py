"""The vendor's revocation list: one document that only grows, signed by the root role."""

from dataclasses import dataclass, replace
from typing import Annotated

from msgspec import Meta

from manifests.trust.envelope import Envelope, parse_envelope
from manifests.trust.quorum import Quorum, good_signers, require, weigh
from manifests.trust.root import Chain, is_sorted
from manifests.words.canonical import parse
from manifests.words.digest import Digest, KeyId, Name, Positive
from manifests.words.document import Document
from manifests.words.errors import MalformedError, UntrustedError

REVOCATIONS_TYPE = "application/vnd.waybill.revocations.v1+json"
MAX_REVOCATIONS = 1 << 20


class Revocations(Document, frozen=True, kw_only=True, tag_field="type", tag=REVOCATIONS_TYPE):
    """What is no longer good. A list with a higher version replaces every lower one.

    Attributes:
        keys: Count for no role any more.
        releases: Must not be installed; one that runs is called *running revoked*.
        handlers: Must not be run; by ``handler_digest``.
    """

    vendor: Name
    version: Positive
    keys: Annotated[tuple[KeyId, ...], Meta(max_length=4096)] = ()
    releases: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()
    handlers: Annotated[tuple[Digest, ...], Meta(max_length=4096)] = ()


@dataclass(frozen=True)
class RevocationCheck:
    """The list that judges, out of the one that a reader holds and the one that came.

    Attributes:
        newest: None while there is none.
        came: The one that came, where it is newer than the one held.
        ignored: Why the one that came does not judge; empty when it does, or none came.
    """

    newest: Revocations | None
    came: Revocations | None = None
    ignored: str = ""


def check_revocations(found: Revocations, what: str) -> None:
    """Raise MalformedError unless every rule inside the document holds."""
    for name in ("keys", "releases", "handlers"):
        held = getattr(found, name)
        if not is_sorted(held):  # F-13.1
            raise MalformedError("not sorted, each once", where=f"{what} $.{name}")


def parse_revocations(data: bytes, what: str) -> tuple[Envelope, Revocations]:
    """Read a list; its signatures are judged by ``verify_revocations``."""
    envelope = parse_envelope(data, REVOCATIONS_TYPE, what, max_bytes=MAX_REVOCATIONS)
    found = parse(envelope.payload_bytes, Revocations, what, max_bytes=MAX_REVOCATIONS)
    check_revocations(found, what)
    return envelope, found


def weigh_revocations(data: bytes, chain: Chain, what: str = "revocations.json") -> tuple[Revocations, Quorum]:
    """The list and who of the newest root's role root signed it; every signature in it holds.

    Raises:
        MalformedError: Not a list in our form.
        UntrustedError: Nobody signed it, a signature is wrong or by a stranger, or it is another vendor's.
    """
    envelope = parse_envelope(data, REVOCATIONS_TYPE, what, max_bytes=MAX_REVOCATIONS)
    good, _ = good_signers(envelope, chain, what)
    if not good:
        _require(weigh(chain, "root", good), what)
    _, found = parse_revocations(data, what)
    if found.vendor != chain.newest.vendor:  # F-13.2
        problem = f"a list of {found.vendor}, expected {chain.newest.vendor}"
        raise UntrustedError(problem, where=what, finding="vendor-differs")
    return found, weigh(revoke(chain, found), "root", good)


def _require(quorum: Quorum, what: str) -> None:
    remedy = "the vendor's root keys must sign it: waybill sign trust/N.revocations.json --key KEY"
    require(quorum, "the revocation list", where=what, remedy=remedy)


def verify_revocations(data: bytes, chain: Chain, what: str = "revocations.json") -> Revocations:
    """The list, when a threshold of the newest root's root role signed it.

    Raises:
        MalformedError: Not a list in our form.
        UntrustedError: A signature is wrong or by a stranger, or there are too few.
    """
    found, quorum = weigh_revocations(data, chain, what)
    _require(quorum, what)  # F-13.3
    return found


def judge_revocations(data: bytes | None, chain: Chain, held: Revocations | None, what: str) -> RevocationCheck:
    """Which list judges: the newer of the one ``held`` and the one that came as ``data``.

    Raises:
        MalformedError, UntrustedError: As ``verify_revocations``; or there are two lists of one version.
    """
    if data is None:
        return RevocationCheck(held)
    # A key on the list in force cannot take itself off that list. F-13.6
    found, quorum = weigh_revocations(data, revoke(chain, held), what)
    if held is not None and found.version < held.version:  # F-13.4
        return RevocationCheck(held, ignored=f"list {found.version} is older than list {held.version} and is ignored")
    if not quorum.met and _of_older_root(quorum, chain):
        return RevocationCheck(held, ignored=f"list {found.version} was signed under an older root and is ignored")
    _require(quorum, what)
    if held is not None and found.version == held.version:
        if found != held:  # F-13.5
            raise UntrustedError(
                f"there are two revocation lists of version {found.version}; another one is known here",
                where=what,
                remedy="receive nothing more of this vendor before its people have explained it, by another way",
                finding="revocations-twice",
            )
        return RevocationCheck(held)
    return RevocationCheck(found, came=found)


def _of_older_root(quorum: Quorum, chain: Chain) -> bool:
    """Whether those who signed were the quorum of an earlier version, whose lists the newest root no longer backs."""
    signed = {*quorum.counted, *(keyid for keyid, _ in quorum.others)}
    older = (one.root.roles["root"] for one in chain.roots[:-1])
    return any(len(signed & set(role.keys)) >= role.threshold for role in older)


def revoke(chain: Chain, found: Revocations | None) -> Chain:
    """The chain as the list leaves it: its keys count nowhere."""
    return chain if found is None else replace(chain, revoked=chain.revoked | set(found.keys))  # F-13.6
