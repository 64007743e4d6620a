"""Whom a person trusts who looks at a file: a root document, a typed fingerprint, or what a site trusts."""

from dataclasses import dataclass, field
from pathlib import Path

from content.trust.head import Known
from manifests.trust.keys import read_capped
from manifests.trust.revocations import revoke
from manifests.trust.root import MAX_ROOT, Chain, Pin, join_roots, parse_root, verify_chain
from manifests.words.errors import UsageError
from manifests.words.fingerprint import parse_fingerprint
from verifier.trust.release_rules import SiteFacts


@dataclass(frozen=True)
class TrustAnchor:
    """Where trust comes from; never from the file that is looked at.

    Attributes:
        typed: It is a fingerprint that a person typed, and nothing else is known.
        facts: Of the site that judges, if one does.
    """

    pin: Pin
    known: Known = field(default_factory=Known)
    typed: bool = False
    facts: SiteFacts | None = None

    def chain(self, offered: tuple[bytes, ...] = ()) -> Chain:
        """The vendor's chain from the pin on, as far as what is known here and ``offered`` leads.

        Raises:
            UsageError: A fingerprint alone, and no root document that it could be of.
            MalformedError, UntrustedError: They are not one chain from the pin on.
        """
        roots = join_roots(self.known.roots, offered)
        if not roots:
            raise UsageError(
                "a fingerprint alone does not say which keys the vendor has",
                where="trust",
                remedy="--root with the vendor's newest root document, whose fingerprint you compared",
            )
        return revoke(verify_chain(roots, self.pin), self.known.revocations)


def named_anchor(root: Path | None, fingerprint: str | None) -> TrustAnchor | None:
    """The anchor that --root or --fingerprint names; None when neither is given."""
    if root is not None:
        document = parse_root(read_capped(root, MAX_ROOT), str(root))
        pin = Pin(version=document.root.version, digest=document.fingerprint)
        return TrustAnchor(pin, Known(roots=(document.raw,)))
    if fingerprint is not None:
        return TrustAnchor(Pin(version=0, digest=parse_fingerprint(fingerprint)), typed=True)
    return None
