"""The facts about a site that decide whether it may take a release."""

from dataclasses import replace
from pathlib import Path

from manifests.words.errors import WaybillError
from verifier.site.journal.state import SiteState
from verifier.site.proposals import read_site_yaml
from verifier.trust.release_rules import SiteFacts


def facts_of(state: SiteState, also: str | None = None) -> SiteFacts:
    """Return the facts that `judge_release` needs, for the channel that the site follows.

    Args:
        also: Another channel that ``site.yaml`` proposes. Its releases may be received, and wait for the approval of
            the change of channel.
    """
    facts = _facts(state, state.channel)
    if also in (None, state.channel):
        return facts
    return replace(facts, others={str(also): _facts(state, str(also))})


def _facts(state: SiteState, channel: str) -> SiteFacts:
    stream = state.installs.stream_of(channel)
    running = state.installs.running
    return SiteFacts(
        customer=state.customer,
        product=state.product,
        environment=state.environment,
        name=state.name,
        channel=channel,
        pin=state.trust.root,
        practice=state.trust.practice,
        running=running.version if running else None,
        running_release=running.release if running else None,
        known=dict(stream.used) if stream else {},
        highest=stream.mark if stream else None,
        floor=state.floor_of(channel),
        time_floor=state.trust.time_floor,
    )


def proposed_channel(folder: Path) -> str | None:
    """Return the channel that ``site.yaml`` names; None while it cannot be read."""
    try:
        return read_site_yaml(folder).site.channel
    except WaybillError:
        return None
