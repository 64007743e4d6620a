"""Findings about the signatures of images; loaded only for a release that asks for signers of its images."""

from collections.abc import Callable

from content.bundle.graph import Graph
from content.sigstore.image_signers import find_judge, signer_problems
from content.sigstore.signatures import judge_images
from content.trust.head import VerifiedHead
from manifests.words.errors import RefusedError
from verifier.trust.findings import Finding, refused


def judge_signers(verified: VerifiedHead) -> list[Finding]:
    """Return a refusal for each signer that cannot be judged here; needs only the head."""
    problems = signer_problems(verified.release, verified.chain.newest)
    return [refused(error.finding, error) for error in problems]


def judge_signatures(
    verified: VerifiedHead, graph: Graph | None, read: Callable[[str], bytes] | None
) -> tuple[Finding, ...]:
    """Return one finding for each image; without ``graph`` or ``read`` one refusal for all."""
    if graph is None or read is None:
        error = RefusedError(
            "images must be signed, and the documents of their signatures are in a store that was not opened",
            where="images",
            remedy="run `waybill receive` at the site that holds the rest of this bundle",
        )
        return (refused("image-signers", error),)  # F-11.10
    release = verified.release
    results = judge_images(release, graph, read, find_judge(release, verified.chain.newest, read))
    return tuple(Finding(result.id, result.level, result.text, result.error) for result in results)
