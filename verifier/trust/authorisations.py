"""Findings about the authorisations that a release carries; loaded only for a release that carries one."""

from collections.abc import Callable

from content.trust.head import VerifiedHead
from manifests.documents.authorisation import MAX_AUTHORISATION, verify_authorisation
from manifests.words.digest import Blob
from manifests.words.errors import MalformedError, RefusedError, UntrustedError
from verifier.trust.findings import Finding, ok, refused


def judge_authorisations(verified: VerifiedHead, read: Callable[[str], bytes] | None) -> list[Finding]:
    """Return one finding for each authorisation; without ``read`` one warning for all.

    Raises:
        MalformedError: One is not an authorisation.
    """
    authorisations = verified.release.authorisations
    if read is None:
        text = f"{len(authorisations)} not judged: in a store that was not opened; judged when it is used"
        return [Finding("authorisation", "warning", text)]
    return [_judge(verified, blob, f"authorisations[{i}]", read) for i, blob in enumerate(authorisations)]


def _judge(verified: VerifiedHead, blob: Blob, what: str, read: Callable[[str], bytes]) -> Finding:
    if blob.size > MAX_AUTHORISATION:
        raise MalformedError(f"{blob.size} bytes, an authorisation has at most {MAX_AUTHORISATION}", where=what)
    remedy = "ask the vendor for a corrected release"
    try:
        signed = verify_authorisation(read(blob.digest), verified.chain, what)  # D-6.4
    except UntrustedError as error:
        return refused(error.finding, error.with_(remedy=remedy))
    release, authorisation = verified.release, signed.authorisation
    leaves, goes_to = authorisation.leaves, authorisation.goes_to
    if (authorisation.product, leaves.channel, leaves.mark) != (
        release.product,
        release.channel,
        release.mark,
    ):  # D-6.7
        problem = (
            f"authorisation {authorisation.number} is for a rollback from {authorisation.product} {leaves.channel} "
            f"{leaves.mark.sequence} of epoch {leaves.mark.epoch}, this release is {release.product} "
            f"{release.channel} {release.sequence} of epoch {release.epoch}"
        )
        return refused("authorisation-other-release", RefusedError(problem, where=what, remedy=remedy))
    sites = ", ".join(authorisation.sites) or "every site that runs this release"
    signers = ", ".join(verified.chain.who(keyid) for keyid in signed.signers)
    text = f"{authorisation.number}: rollback to {goes_to.version}, at {sites}, signed by {signers}"
    return ok("authorisation", text)
