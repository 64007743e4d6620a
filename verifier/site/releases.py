"""Releases at a site: their heads, verified again at each use, and the facts that decide whether it may take one."""

from dataclasses import replace
from pathlib import Path

from content.bundle.head import open_head
from content.bundle.head_writer import encode_head
from content.trust.head import VerifiedHead, verify_head
from manifests.documents.release import Release
from manifests.foreign.config_schema import MAX_SCHEMA
from manifests.words.digest import Blob
from manifests.words.errors import (
    DamagedError,
    HostError,
    MalformedError,
    RefusedError,
    UntrustedError,
    WaybillError,
    unreadable,
)
from verifier.site.folder import Site
from verifier.site.generations import read_installed
from verifier.site.journal.installs import Generation
from verifier.site.journal.state import SiteState
from verifier.site.proposals import read_site_yaml
from verifier.site.unread import attempt
from verifier.site.vendor_trust import known_trust, last_trust, list_in_force
from verifier.trust.release_rules import SiteFacts


def keep_head(site: Site, verified: VerifiedHead) -> None:
    """Store the head of a release, durably. A head of the same release with other signatures replaces it."""
    site.disk.make_folder(site.path / "heads")
    site.disk.write(head_path(site, verified.release_digest), encode_head(verified.head))


def read_kept_head(site: Site, release: str) -> VerifiedHead:
    """Return the head of a release, verified against the root and the revocation list in force now.

    Raises:
        RefusedError: The release was never received here.
        DamagedError: The file is missing or damaged, or holds another release.
        UntrustedError: Its signatures no longer suffice.
    """
    path = head_path(site, release)
    received = next((one for one in site.state.installs.releases if one.release == release), None)
    if received is None and not path.exists():
        raise RefusedError(
            f"release {release} was never received here",
            where=str(path),
            remedy="receive it: waybill receive BUNDLE",
            finding="not-received",
        )
    name = f"release {release if received is None else received.version}"
    again = f"receive the bundle of {name} again: waybill receive BUNDLE"
    known = known_trust(site)
    try:
        verified = verify_head(open_head(path), site.state.trust.root, known)
        problem = f"it holds release {verified.release_digest}, expected {release}"
    except UntrustedError as error:
        # Its signatures were right when it was received, so a wrong one is damage too. A revoked one is not.
        raise error.with_(where=str(path), remedy=again) if error.finding == "signature-wrong" else error from None
    except (MalformedError, DamagedError, HostError) as error:
        problem = error.problem
    except OSError as error:
        problem = unreadable(error, str(path)).problem
    else:
        if verified.release_digest == release:
            return verified
    problem = (
        f"the stored head of {name} is damaged: {problem}" if path.exists() else f"the stored head of {name} is missing"
    )
    raise DamagedError(problem, where=str(path), remedy=again, finding="head-damaged")


def release_of(site: Site, generation: Generation) -> Release:
    """Return the release of a generation from its folder; when that is damaged, from the head that was received.

    Raises the error of the folder when neither can be read.
    """
    failures: list[WaybillError] = []
    installed = attempt(lambda: read_installed(site, generation), failures)
    if installed is not None:
        return installed.release
    head = attempt(lambda: read_kept_head(site, generation.release), failures)
    if head is None:
        raise failures[0]
    return head.release


def waiting_blobs(site: Site, release: str) -> frozenset[str]:
    """Return the digests of all blobs of a release that waits; none when its head is damaged or no longer suffices.

    Such a release has to be received again, with its blobs. Otherwise all of them, so that an
    install after `receive --keep` needs no medium, whatever is installed before.
    """
    try:
        return frozenset(one.digest for one in read_kept_head(site, release).release.members)
    except WaybillError:
        return frozenset()


def schema_name(release: Release) -> str:
    return f"config schema of release {release.version}"


def read_schema(site: Site, release: Release) -> bytes | None:
    """Return the release's config schema, None without one. Raises DamagedError when the store lacks it."""
    if release.config is None:
        return None
    return site.store.get(release.config.schema, MAX_SCHEMA, schema_name(release))


def small_documents(release: Release) -> tuple[Blob, ...]:
    """Return the documents of a release that `review` needs before the other blobs are here."""
    blobs = [release.contract, release.rollback]
    blobs += [release.config.schema] if release.config is not None else []
    blobs += [release.notes] if release.notes is not None else []
    blobs += [Blob(digest=one.digest, size=one.size) for image in release.images for one in image.sboms]
    # A review renders the charts that will be installed.
    installed = {step.chart for step in release.install}
    blobs += [Blob(digest=one.digest, size=one.size) for one in release.charts if one.name in installed]
    return (*blobs, *release.advisories, *release.authorisations)


def bundle_again(release: Release | Generation) -> str:
    """Return the hint for damage of blobs, which only the bundle of the release mends."""
    return f"receive the bundle of {release.product} {release.version} again: waybill receive BUNDLE --keep"


def head_path(site: Site, release: str) -> Path:
    return site.path / "heads" / (release.removeprefix("sha256:") + ".head")


def running_revoked(site: Site) -> str | None:
    """Return why the running release is revoked; None when it is not. The release keeps running."""
    running = site.state.installs.running
    return None if running is None else revoked_release(site, running.release)


def revoked_for_ever(site: Site) -> str | None:
    """Return that the running release is revoked, at a site to which no release can come any more; None if it is not.

    The statement and the review of the end of the vendor's access name it.
    """
    running, failures = site.state.installs.running, list[WaybillError]()
    why = attempt(lambda: running_revoked(site), failures)
    if running is None or (why is None and not failures):
        return None
    if why is None:
        return (
            f"whether {running.product} {running.version}, which runs, is revoked is not known: {failures[0].problem}"
        )
    return f"{running.product} {running.version} is running revoked: {why}; no release that replaces it can come"


def revoked_release(site: Site, release: str) -> str | None:
    """Return why the release with this digest is revoked; None when it is not, or its head is not kept.

    After the end of the vendor's access the last list and root still tell; nothing is accepted by them.
    """
    revocations = list_in_force(site)
    if revocations is not None and release in revocations.releases:
        return f"revocation list {revocations.version} revokes it"
    try:
        verify_head(open_head(head_path(site, release)), *last_trust(site))
    except UntrustedError as error:
        return error.problem if error.finding == "signature-revoked" else None
    except (WaybillError, OSError):
        pass
    return None


def below_floor(site: Site, item: str) -> bool:
    """Return whether the received release lies below the floor of its channel: it can never be installed here."""
    received = site.state.installs.received(item)
    floor = None if received is None else site.state.floor_of(received.channel)
    return received is not None and floor is not None and received.mark < floor


def facts_of(state: SiteState, also: str | None = None) -> SiteFacts:
    """Return the facts that `judge_release` needs, for the channel that the site follows.

    Args:
        also: Another channel that ``site.yaml`` proposes. Its releases may be received, and wait for the approval of
            the change of channel.
    """
    customer, product, environment, name = state.site.split("/")
    running = state.installs.running
    facts = SiteFacts(
        customer=customer,
        product=product,
        environment=environment,
        name=name,
        channel=state.channel,
        pin=state.trust.root,
        practice=state.trust.practice,
        running=running.version if running else None,
        running_release=running.release if running else None,
        time_floor=state.trust.time_floor,
    )
    facts = _in_channel(facts, state, state.channel)
    return facts if also in (None, state.channel) else replace(facts, others={also: _in_channel(facts, state, also)})


def _in_channel(facts: SiteFacts, state: SiteState, channel: str) -> SiteFacts:
    floor, stream = state.floor_of(channel), state.installs.stream_of(channel)
    if stream is None:
        return replace(facts, channel=channel, floor=floor)
    return replace(facts, channel=channel, floor=floor, known=dict(stream.used), highest=stream.mark)


def proposed_channel(folder: Path) -> str | None:
    """Return the channel that ``site.yaml`` names; None while it cannot be read."""
    try:
        return read_site_yaml(folder).site.channel
    except WaybillError:
        return None
