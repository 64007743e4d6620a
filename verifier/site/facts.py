"""What a site's state says about a release that comes in: the bridge from the journal to the judge."""

from dataclasses import replace
from pathlib import Path

from manifests.words.errors import WaybillError
from verifier.site.journal.state import SiteState
from verifier.site.proposals import read_site_yaml
from verifier.trust.release_rules import SiteFacts


def facts_of(state: SiteState, also: str | None = None) -> SiteFacts:
    """The facts that `judge_release` asks for, of the channel that the site follows.

    Args:
        also: Another channel that ``site.yaml`` proposes: its releases may come in, and wait for the people who are
            asked about a change of channel.
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
    """The channel that ``site.yaml`` names; None while it cannot be read."""
    try:
        return read_site_yaml(folder).site.channel
    except WaybillError:
        return None
