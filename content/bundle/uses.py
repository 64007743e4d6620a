"""Describe what each blob of a release is used for, also where some documents are damaged."""

from collections.abc import Callable, Iterator

from content.bundle.oci import REF_NAME, ImageIndex, ImageManifest, parse_oci
from manifests.documents.release import Image, Release
from manifests.words.errors import WaybillError

MAX_DEPTH = 2


def uses_of(release: Release, read: Callable[[str], bytes]) -> dict[str, str]:
    """The use of each blob by digest; a blob with several uses gets the first.

    ``read`` gives hashed bytes of a member. If it fails (WaybillError, KeyError, OSError), what is below has no use.
    """
    return dict(reversed(list(_uses(release, read))))  # reversed: the first use wins


def _uses(release: Release, read: Callable[[str], bytes]) -> Iterator[tuple[str, str]]:
    yield release.members[0].digest, "the index of images"
    yield release.contract.digest, "the telemetry contract"
    yield release.rollback.digest, "the rollback document"
    if release.notes is not None:
        yield release.notes.digest, "the release notes"
    if release.sigstore is not None:
        yield release.sigstore.digest, "the trusted root of image signers"
    if release.config is not None:
        yield release.config.schema.digest, "the config schema"
    for blob in release.advisories:
        yield blob.digest, "an advisory"
    for blob in release.authorisations:
        yield blob.digest, "an authorisation to go below the floor"
    for files in release.files:
        yield from ((one.digest, f"file {one.path} of {files.name}") for one in files.entries)
    for chart in release.charts:
        yield chart.digest, f"chart {chart.name}"
    for program in release.programs:
        yield from ((one.digest, f"program {program.name} for {platform}") for platform, one in program.files.items())
    for name, extension in release.extensions.items():
        yield extension.digest, f"extension {name}"
    for image in release.images:
        yield from _image(release, image, read)
    yield from _attached(release, read)


def _image(release: Release, image: Image, read: Callable[[str], bytes]) -> Iterator[tuple[str, str]]:
    name = f"image {image.at(release.version)}"
    for sbom in image.sboms:
        yield sbom.digest, f"SBOM of {name}"
    yield from _below(image.manifest.digest, name, read)


def _below(digest: str, name: str, read: Callable[[str], bytes], depth: int = 0) -> Iterator[tuple[str, str]]:
    """A manifest or index called ``name``, and everything that it refers to."""
    document = _document(digest, read)
    kind = "index" if isinstance(document, ImageIndex) else "manifest"
    yield digest, f"{kind} of {name}"
    if isinstance(document, ImageManifest):
        yield document.config.digest, f"config of {name}"
        for i, layer in enumerate(document.layers):
            yield layer.digest, f"layer {i + 1} of {len(document.layers)} of {name}"
    elif document is not None and depth < MAX_DEPTH:
        for child in document.manifests:
            yield from _below(child.digest, f"{name} {child.platform or ''}".rstrip(), read, depth + 1)


def _attached(release: Release, read: Callable[[str], bytes]) -> Iterator[tuple[str, str]]:
    """The manifests that refer to images: signatures, SBOMs, statements."""
    index = _document(release.members[0].digest, read)
    names = {image.manifest.digest: f"image {image.at(release.version)}" for image in release.images}
    for descriptor in index.manifests if isinstance(index, ImageIndex) else ():
        document = _document(descriptor.digest, read)
        subject = document.subject if document else None
        name = names.get(subject.digest if subject else "") or dict(descriptor.annotations).get(REF_NAME, "an image")
        yield descriptor.digest, f"attached to {name}: {descriptor.artifact_type or descriptor.media_type}"
        if isinstance(document, ImageManifest):
            for part in (document.config, *document.layers):
                yield part.digest, f"attached to {name}"


def _document(digest: str, read: Callable[[str], bytes]) -> ImageManifest | ImageIndex | None:
    try:
        return parse_oci(read(digest))
    except (WaybillError, KeyError, OSError):
        return None
