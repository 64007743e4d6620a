"""What a site judges a bundle by: its trust anchor, facts and the blobs that it holds. Reads only, without a lock."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from content.bundle.oci import MAX_MANIFEST_BYTES
from manifests.words.progress import ProgressCallback
from verifier.site.blobs import blob_path
from verifier.site.folder import Site
from verifier.site.releases import facts_of, proposed_channel
from verifier.site.vendor_trust import known_trust
from verifier.trust.anchor import TrustAnchor
from verifier.trust.bundle import VerifyRequest


@dataclass(frozen=True)
class _Held(Container[str]):
    """The digests of the blobs in the store, each looked for when it is asked about: a store may have very many."""

    blobs: Path

    def __contains__(self, digest: object) -> bool:
        return blob_path(self.blobs, str(digest)).exists()


def site_anchor(site: Site) -> TrustAnchor:
    """Return the pin of ``site``, the documents that it has, and the facts by which it judges a release."""
    facts = facts_of(site.state, proposed_channel(site.path))
    return TrustAnchor(facts.pin, known_trust(site), facts=facts)


def site_request(site: Site, advance: ProgressCallback) -> VerifyRequest:
    """Return by what ``site`` judges a bundle, in `receive` and in `verify`: a blob of its store need not be on it."""
    return VerifyRequest(
        site_anchor(site),
        site.host.now(),
        advance,
        held=_Held(site.blobs),
        stored=lambda blob: site.store.get(blob, MAX_MANIFEST_BYTES),
    )
