"""The root documents that count for one import before the ledger trusts them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from content.trust.head import VerifiedHead
from manifests.trust.root import SignedRoot


@dataclass
class ImportTrust:
    """Root documents that count for one import before the ledger has them.

    The command records them as its last step: an import that fails, or is killed, leaves no root trusted.

    Attributes:
        named: Those that a person named, newest first.
        heads: Of bundles that no root of the ledger, but one of these vouches for.
    """

    named: tuple[SignedRoot, ...] = ()
    heads: list[VerifiedHead] = field(default_factory=list)

    def known(self) -> Iterator[tuple[int, str]]:
        """Yield version and digest of each."""
        for signed in (*self.named, *(signed for head in self.heads for signed in head.chain.roots)):
            yield signed.root.version, signed.fingerprint
