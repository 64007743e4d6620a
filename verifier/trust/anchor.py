"""The trust anchor of a check: a root document, a typed fingerprint, or the root of a site."""

from dataclasses import dataclass, field
from pathlib import Path

from content.trust.head import Known
from manifests.trust.revocations import revoke
from manifests.trust.root import Chain, Pin, join_roots, read_root, verify_chain
from manifests.words.errors import UsageError
from manifests.words.fingerprint import parse_fingerprint
from verifier.trust.release_rules import SiteFacts


@dataclass(frozen=True)
class TrustAnchor:
    """Where trust comes from; never from the file that is checked.

    Attributes:
        typed: Only a fingerprint is known, which a person typed.
        facts: Of the site that judges, if any.
    """

    pin: Pin
    known: Known = field(default_factory=Known)
    typed: bool = False
    facts: SiteFacts | None = None

    def chain(self, offered: tuple[bytes, ...] = ()) -> Chain:
        """Return the vendor's chain from the pin on, made of the known and the ``offered`` root documents.

        Raises:
            UsageError: There is no root document.
            MalformedError, UntrustedError: They are not one chain from the pin on.
        """
        roots = join_roots(self.known.roots, offered)
        if not roots:
            raise UsageError(
                "a fingerprint alone does not say which keys the vendor has",
                where="trust",
                remedy="waybill verify FILE --root ROOT.json, with the vendor's newest root document",
            )
        return revoke(verify_chain(roots, self.pin), self.known.revocations)


def named_anchor(root: Path | None, fingerprint: str | None) -> TrustAnchor | None:
    """Return the anchor that --root or --fingerprint names; None when neither is given."""
    if root is not None:
        document = read_root(root)
        pin = Pin(version=document.root.version, digest=document.fingerprint)
        return TrustAnchor(pin, Known(roots=(document.raw,)))
    if fingerprint is not None:
        return TrustAnchor(Pin(version=0, digest=parse_fingerprint(fingerprint)), typed=True)
    return None
