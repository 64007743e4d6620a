"""Kinds of change that a policy names, and what a release must satisfy before anybody approves it."""

from dataclasses import dataclass

from manifests.authored.site_yaml import SiteFile
from manifests.documents.contract import Contract
from manifests.documents.contract_endpoints import contract_endpoints
from manifests.documents.policy import ChangeRule, Policy
from manifests.documents.release import Release
from manifests.words.errors import RefusedError
from manifests.words.version import change_kind


@dataclass(frozen=True)
class ConfiguredRelease:
    """A release before or after a change, with the digests of it, of its config and of ``file``, its settings."""

    release: Release
    digest: str
    config: str | None
    settings: str
    file: SiteFile | None = None


def kinds_of(
    before: ConfiguredRelease | None,
    after: ConfiguredRelease,
    *,
    contract: str | None,
    irreversible: bool,
    channel: str,
    more_leaves: bool = False,
) -> tuple[ChangeRule, ...]:
    """Return the kinds of change from ``before`` to ``after``, sorted.

    A first install is ``major`` and ``contract``, whatever else it is.

    Args:
        contract: Digest of the contract in force.
        channel: The channel that the site follows.
        more_leaves: The new settings let more data leave than the old ones, under the same contract.
    """
    release, kinds = after.release, set[ChangeRule]()
    if release.channel != channel:
        kinds.add("channel")
    if before is None:
        kinds |= {"major", "contract"}
        if release.handlers:
            kinds.add("handlers")
    else:
        new_schema = before.release.config != release.config
        if after.digest != before.digest:
            kinds.add(change_kind(before.release.version, release.version))
            if new_schema:
                kinds.add("config-schema")
        # A new schema changes the config document by itself, so only a change under one schema is a config change.
        if (after.config != before.config and not new_schema) or after.settings != before.settings:
            kinds.add("config")
        known = {one.name: one for one in before.release.handlers}
        if any(known.get(one.name) != one for one in release.handlers):
            kinds.add("handlers")
        if release.contract.digest != contract or more_leaves:
            kinds.add("contract")
    if irreversible:
        kinds.add("irreversible")
    return tuple(sorted(kinds))


def lets_more_leave(old: SiteFile, new: SiteFile, contract: Contract) -> tuple[str, ...]:
    """Return the telemetry that leaves under ``new`` and did not under ``old``: signals, labels, endpoints."""
    more = [f"{name} is no longer withheld" for name in old.telemetry.withhold if name not in new.telemetry.withhold]
    more += [f"support will see label {name}" for name in new.labels if name not in old.labels]
    feeds: dict[str, list[str]] = {}
    for signal, name in contract_endpoints(contract):
        feeds.setdefault(name, []).append(signal.name)
    for name, signals in sorted(feeds.items()):
        if name in new.endpoints and new.endpoints[name] != old.endpoints.get(name):
            more.append(f"endpoint {name} feeds {', '.join(signals)}")
    return tuple(more)


def check_release(policy: Policy, release: Release, item: str) -> None:
    """Raise RefusedError for a release that the policy refuses even with every approval."""
    if policy.refuse.everyone_audience and release.audience.everyone:
        raise RefusedError(
            "the release is for every customer, which the policy refuses",
            where=item,
            remedy="ask the vendor for a release whose audience is this customer",
            finding="everyone-audience",
        )
    unsigned = sorted(image.name for image in release.images if image.signed_by == "none")
    if policy.refuse.unsigned_images and unsigned:
        raise RefusedError(
            f"images without a signature, which the policy refuses: {', '.join(unsigned)}",
            where=item,
            remedy="ask the vendor to sign these images",
            finding="unsigned-images",
        )
