"""The handler store-check: every blob of the kept releases, hashed."""

from manifests.words.digest import Blob
from manifests.words.errors import WaybillError
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.site.blobs import blob_path, hash_file
from verifier.site.generations import read_installed


def perform(context: HandlerContext) -> HandlerOutput:
    """Hash what the store holds; blobs of a release that never came whole are not expected to be there."""
    site = context.site
    wanted: dict[str, Blob] = {}
    for generation in site.state.installs.generations:
        if not site.generation_folder(generation.number).is_dir():
            continue
        release = read_installed(site, generation).release
        wanted |= {blob.digest: blob for blob in release.members[2:]}
    missing: list[str] = []
    damaged: list[str] = []
    size = 0
    for digest, blob in sorted(wanted.items()):
        path = blob_path(site.blobs, digest)
        try:
            if not path.is_file():
                missing.append(digest)
            elif path.stat().st_size != blob.size or hash_file(path) != digest:
                damaged.append(digest)
            else:
                size += blob.size
        except (OSError, WaybillError):
            damaged.append(digest)
    lines = (*(f"missing {digest}" for digest in missing), *(f"damaged {digest}" for digest in damaged))
    return HandlerOutput(
        values={
            "blobs": len(wanted),
            "missing": len(missing),
            "damaged": len(damaged),
            "checked_mib": size >> 20,
        },
        lines=lines or ("every blob is whole",),
    )
