"""Count the signatures of a role: how many are required, who signed, who is missing, which were not counted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manifests.trust.envelope import Envelope, verify_signature
from manifests.trust.root import Chain, Counts, Mark
from manifests.words.errors import UntrustedError

# What decides the finding when too few count, the most telling first.
_WHY: tuple[tuple[Counts, str, str], ...] = (
    ("revoked", "signature-revoked", "revoked"),
    ("retired", "signature-retired", "retired before this"),
    ("role", "signature-role", "not of this role"),
)


@dataclass(frozen=True)
class Quorum:
    """Who signed something, as the newest root weighs it.

    Attributes:
        role: Of the root.
        version: Of the root that judges.
        members: Every key of the role.
        counted: Those that signed and count.
        others: Good signatures that do not count, with the reason.
        not_evaluated: Signers whose algorithm is not known here.
        names: Of those that are no keys but identities.
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
        """Keys of the role that have not signed and would count."""
        passed = {keyid for keyid, why in self.others if why == "revoked"}
        return tuple(sorted(set(self.members) - set(self.counted) - passed))

    @property
    def text(self) -> str:
        """How many must sign, who has, who has not."""
        parts = [f"signed: {self._names(self.counted)}", f"missing: {self._names(self.missing)}"]
        parts += [
            f"{words}: {self._names(found)}"
            for why, _, words in _WHY
            if (found := [keyid for keyid, other in self.others if other == why])
        ]
        if self.not_evaluated:
            parts.append(f"not evaluated: {self._names(self.not_evaluated)}")
        return (
            f"{len(self.counted)} of the {self.threshold} {self.role} keys that root {self.version} asks for "
            f"({'; '.join(parts)})"
        )

    def _names(self, found: Iterable[str]) -> str:
        return ", ".join(self.names.get(one, one[:12]) for one in found) or "none"

    @property
    def finding(self) -> str:
        """The id of what is wrong when it is not met."""
        found = {why for _, why in self.others}
        return next((finding for why, finding, _ in _WHY if why in found), "signature-missing")


def good_signers(envelope: Envelope, chain: Chain, what: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Whose signatures on the envelope hold, and who signed with an algorithm that is not known here.

    Raises:
        UntrustedError: A signature is wrong, or by a key that no document of the chain records.
    """
    good, others = [], []
    for one in envelope.signatures:
        key = chain.key(one.keyid)
        if key is None:
            raise UntrustedError(
                f"signed by unknown key {one.keyid}",
                where=what,
                remedy="receive the newest root document first, if the vendor has new keys; else this is a stranger's",
                finding="signature-unknown",
            )
        if key.known:
            verify_signature(envelope, one, key, what)
            good.append(one.keyid)
        else:
            others.append(one.keyid)
    return tuple(good), tuple(others)


def weigh(
    chain: Chain, role: str, good: Iterable[str], *, at: Mark | None = None, not_evaluated: tuple[str, ...] = ()
) -> Quorum:
    """Weigh signers whose signatures hold. Keys are counted, each once, never signatures."""
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
    """Raise UntrustedError unless enough have signed.

    Args:
        what: The thing that was to be signed, such as ``the release``.
    """
    if quorum.met:
        return
    if not quorum.counted and not quorum.others and not quorum.not_evaluated:
        problem = f"{what} is not signed; it needs {quorum.text}"
    else:
        problem = f"{what} is signed by {quorum.text}"
    raise UntrustedError(problem, where=where, remedy=remedy, finding=quorum.finding)
