"""Choose the judge for each signer of images: by key, or by identity under a trusted root that the root pins."""

from collections.abc import Iterator

from content.sigstore.judge import FindJudge, ImageJudge, ReadBlob, key_judge
from content.sigstore.keyless import check_available, identity_judge
from content.sigstore.rekor import read_logs
from content.sigstore.signatures import NONE
from manifests.documents.release import ImageSigner, Release
from manifests.trust.root import Root
from manifests.words.errors import UntrustedError, WaybillError


def signer_problems(release: Release, root: Root) -> Iterator[WaybillError]:
    """The errors for signers of this release that cannot be judged here; reads no image."""
    for name in sorted({image.signed_by for image in release.images} - {NONE}):
        signer = release.signers[name]
        try:
            if release.sigstore is not None:
                check_pinned(release, root)
            if signer.key is not None:
                key_judge(name, signer)
            else:
                check_available(signer.identity or "")
        except WaybillError as error:
            yield error


def find_judge(release: Release, root: Root, read: ReadBlob) -> FindJudge:
    """The function that gives the judge of a signer; ``read`` gives the release's ``trusted_root.json``."""

    def find(name: str, signer: ImageSigner) -> ImageJudge:
        if signer.key is not None:
            trusted = None if release.sigstore is None else read(check_pinned(release, root))
            return key_judge(name, signer, None if trusted is None else read_logs(trusted, "trusted_root.json"))
        digest = check_pinned(release, root)
        return identity_judge(name, signer.identity or "", signer.issuer or "", read(digest))

    return find


def check_pinned(release: Release, root: Root) -> str:
    """The digest of the release's ``trusted_root.json``. Raises UntrustedError unless the newest root pins it."""
    assert release.sigstore is not None  # check_release
    digest = release.sigstore.digest
    if digest not in root.sigstore:  # F-8.19
        raise UntrustedError(
            f"trusted_root.json has digest {digest}, which root {root.version} does not pin",
            where="release.json $.sigstore",
            remedy="request the newest root document; the vendor must list the file under `sigstore` of trust.yaml",
            finding="image-signer-trusted-root",
        )
    return digest
