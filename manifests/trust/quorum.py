"""Count the signatures of a role: how many are required, who signed, who is missing, which were not counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manifests.trust.envelope import Envelope, verify_signature
from manifests.trust.root import Chain, Counts, Mark
from manifests.words.errors import UntrustedError

# Reasons why signatures do not count, the most severe first: it decides the finding when too few count.
_WHY: tuple[tuple[Counts, str, str], ...] = (
    ("revoked", "signature-revoked", "revoked"),
    ("retired", "signature-retired", "retired before this"),
    ("role", "signature-role", "not of this role"),
)


@dataclass(frozen=True)
class Quorum:
    """Who signed a document, as the newest root counts it; all signers are key ids.

    Attributes:
        version: Version of the newest root.
        members: Every key of the role.
        others: Signers with a valid signature that does not count, with the reason.
        not_evaluated: Signers with an unknown algorithm.
        names: Names of identities, by id.
    """

    role: str
    version: int
    threshold: int
    members: tuple[str, ...]
    counted: tuple[str, ...]
    others: tuple[tuple[str, Counts], ...] = ()
    not_evaluated: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        return len(self.counted) >= self.threshold

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys of the role that have not signed."""
        passed = {keyid for keyid, why in self.others if why == "revoked"}
        return tuple(sorted(set(self.members) - set(self.counted) - passed))

    @property
    def text(self) -> str:
        """How many signatures are required, who signed, who is missing."""
        parts = [f"signed: {self._names(self.counted)}", f"missing: {self._names(self.missing)}"]
        parts += [
            f"{words}: {self._names(keyids)}"
            for why, _, words in _WHY
            if (keyids := [keyid for keyid, other in self.others if other == why])
        ]
        if self.not_evaluated:
            parts.append(f"not evaluated: {self._names(self.not_evaluated)}")
        return (
            f"{len(self.counted)} of the {self.threshold} {self.role} keys that root {self.version} requires "
            f"({'; '.join(parts)})"
        )

    def _names(self, keyids: Iterable[str]) -> str:
        return ", ".join(self.names.get(one, one[:12]) for one in keyids) or "none"

    @property
    def finding(self) -> str:
        """Finding id for a quorum that is not met."""
        reasons = {why for _, why in self.others}
        return next((finding for why, finding, _ in _WHY if why in reasons), "signature-missing")


def good_signers(envelope: Envelope, chain: Chain, what: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the signers whose signatures are valid, and those with an unknown algorithm.

    Raises:
        UntrustedError: A signature is wrong, or its key is in no root of the chain.
    """
    good, others = [], []
    for signature in envelope.signatures:
        key = chain.key(signature.keyid)
        if key is None:
            problem = f"signature by key {signature.keyid}, which is in no root here"
            remedy = "if the vendor has new keys, receive its newest root first; otherwise report this to the vendor"
            raise UntrustedError(problem, where=what, remedy=remedy, finding="signature-unknown")
        if key.known:
            verify_signature(envelope, signature, key, what)
            good.append(signature.keyid)
        else:
            others.append(signature.keyid)
    return tuple(good), tuple(others)


def weigh(
    chain: Chain, role: str, good: Iterable[str], *, at: Mark | None = None, not_evaluated: tuple[str, ...] = ()
) -> Quorum:
    """Count signers whose signatures are valid: each key once."""
    held = chain.newest.roles[role]
    weighed = {keyid: chain.counts(role, keyid, at) for keyid in sorted(set(good))}
    return Quorum(
        role=role,
        version=chain.newest.version,
        threshold=held.threshold,
        members=held.keys,
        counted=tuple(keyid for keyid, why in weighed.items() if why == "counted"),
        others=tuple((keyid, why) for keyid, why in weighed.items() if why != "counted"),
        not_evaluated=not_evaluated,
        names={id_: one.name for id_, one in chain.identities.items()},
    )


def require(quorum: Quorum, what: str, *, where: str, remedy: str) -> None:
    """Raise UntrustedError unless enough have signed ``what``, such as ``the release``."""
    if quorum.met:
        return
    if not quorum.counted and not quorum.others and not quorum.not_evaluated:
        keys = f"{quorum.threshold} of the {quorum.role} keys of root {quorum.version}"
        problem = f"{what} is not signed, expected signatures by {keys} (missing: {quorum._names(quorum.missing)})"
    else:
        problem = f"{what} is signed by {quorum.text}"
    raise UntrustedError(problem, where=where, remedy=remedy, finding=quorum.finding)
