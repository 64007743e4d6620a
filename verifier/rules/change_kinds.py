"""Kinds of change that a policy names, and what a release must satisfy before anybody approves it."""

from dataclasses import dataclass

from manifests.authored.site_yaml import SiteFile
from manifests.documents.contract import Contract
from manifests.documents.policy import ChangeRule, Policy
from manifests.documents.release import Release
from manifests.words.errors import RefusedError
from manifests.words.version import change_kind


@dataclass(frozen=True)
class Before:
    """What runs, as far as a change is weighed against it; ``file`` is what ``settings`` is the digest of."""

    release: Release
    digest: str
    config: str | None
    settings: str
    file: SiteFile | None = None


def kinds_of(
    before: Before | None,
    release: Release,
    digest: str,
    *,
    contract: str | None,
    config: str | None,
    settings: str,
    irreversible: bool,
    channel: str,
    more_leaves: bool = False,
) -> tuple[ChangeRule, ...]:
    """What kinds of change it is to go from ``before`` to ``release``; ``contract`` is the one in force.

    A first install is ``major`` and ``contract``, whatever else it is.

    Args:
        channel: The one that the site follows.
        more_leaves: The new settings let more leave than the old ones, under one and the same contract.
    """
    found: set[ChangeRule] = set()
    if release.channel != channel:
        found.add("channel")
    if before is None:
        found |= {"major", "contract"}
        if release.handlers:
            found.add("handlers")
    else:
        if digest != before.digest:
            found.add(change_kind(before.release.version, release.version))
            found |= _schema(before.release, release)
        if (config != before.config and not _schema(before.release, release)) or settings != before.settings:
            found.add("config")
        known = {one.name: one for one in before.release.handlers}
        if any(known.get(one.name) != one for one in release.handlers):
            found.add("handlers")
        if release.contract.digest != contract or more_leaves:
            found.add("contract")
    if irreversible:
        found.add("irreversible")
    return tuple(sorted(found))


def lets_more_leave(old: SiteFile, new: SiteFile, contract: Contract) -> tuple[str, ...]:
    """What leaves by ``new`` and did not by ``old``, in words; a contract is an upper bound that a site may narrow.

    A signal that is no longer withheld, a label that support did not see, an endpoint that begins to feed a signal or
    feeds it from elsewhere.
    """
    found = [f"{name} is no longer withheld" for name in old.telemetry.withhold if name not in new.telemetry.withhold]
    found += [f"label {name} will be seen" for name in new.labels if name not in old.labels]
    feeds: dict[str, list[str]] = {}
    for signal in contract.signals:
        for name in (signal.source.prometheus, signal.source.otlp) if signal.source else ():
            if name is not None:
                feeds.setdefault(name, []).append(signal.name)
    for name, signals in sorted(feeds.items()):
        if name in new.endpoints and new.endpoints[name] != old.endpoints.get(name):
            found.append(f"endpoint {name} feeds {', '.join(signals)}")
    return tuple(found)


def _schema(before: Release, release: Release) -> set[ChangeRule]:
    return {"config-schema"} if before.config != release.config else set()


def check_release(policy: Policy, release: Release, item: str) -> None:
    """What the policy refuses whoever agrees.

    Raises:
        RefusedError: An audience of everyone, or unsigned images, where the policy says so.
    """
    if policy.refuse.everyone_audience and release.audience.everyone:
        raise RefusedError(
            "the release is addressed to everyone, which the policy refuses",
            where=item,
            remedy="ask the vendor to cut it for this customer",
            finding="everyone-audience",
        )
    unsigned = sorted(image.name for image in release.images if image.signed_by == "none")
    if policy.refuse.unsigned_images and unsigned:
        raise RefusedError(
            f"nobody signed {', '.join(unsigned)}, and the policy refuses unsigned images",
            where=item,
            remedy="ask the vendor to sign them",
            finding="unsigned-images",
        )
