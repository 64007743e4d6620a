"""What a site's state says about a release that comes in: the bridge from the journal to the judge."""

from verifier.state import SiteState
from verifier.verify import SiteFacts


def facts_of(state: SiteState) -> SiteFacts:
    """The facts that `judge_release` asks for, of the channel that the site follows."""
    stream = state.stream
    running = state.running
    return SiteFacts(
        customer=state.customer,
        product=state.product,
        environment=state.environment,
        name=state.name,
        channel=state.channel,
        pin=state.root,
        practice=state.practice,
        running=running.version if running else "",
        running_release=running.release if running else "",
        known=dict(stream.used) if stream else {},
        highest=stream.mark if stream else None,
        floor=state.floor,
        time_floor=state.time_floor or "",
    )
