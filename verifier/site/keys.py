"""The site's own key in the folder, and its rotations since the enrolment."""

from pathlib import Path

from manifests.trust.private_keys import read_signer
from manifests.trust.rotation import SignedRotation
from manifests.words.canonical import parse
from manifests.words.digest import digest_of
from manifests.words.errors import WaybillError
from verifier.site.folder import NEXT_KEY, SITE_KEY, Site

MAX_ROTATION = 4096


def enrolment_path(site: Site) -> Path:
    """Return the path of the enrolment file that people carry to support."""
    line = site.state.reports.line
    return site.outbox / ("enrolment.json" if line == 1 else f"enrolment-{line}.json")


def finish_key(site: Site) -> None:
    """Finish a change of the key that a crash interrupted. The site must be held; usually there is nothing to do."""
    following = site.path / "keys" / NEXT_KEY
    if following.exists() and _is_ours(site, following):
        site.disk.rename(following, site.path / "keys" / SITE_KEY)
        site.disk.sync_folder(following.parent)
    path = enrolment_path(site)
    if site.state.reports.line > 1 and site.state.reports.enrolment is not None:
        enrolment = site.document(site.state.reports.enrolment)
        if not path.is_file() or digest_of(path.read_bytes()) != site.state.reports.enrolment:
            site.disk.make_folder(site.outbox)
            site.disk.write(path, enrolment)


def _is_ours(site: Site, path: Path) -> bool:
    try:
        return read_signer(path, lambda: b"").public == site.state.site_key
    except WaybillError:
        return False


def succession_of(site: Site) -> tuple[SignedRotation, ...]:
    """Return the rotations since the enrolment that the reports refer to, oldest first."""
    documents = (site.document(former.rotation) for former in site.state.reports.former_keys)
    return tuple(parse(document, SignedRotation, "rotation", max_bytes=MAX_ROTATION) for document in documents)
