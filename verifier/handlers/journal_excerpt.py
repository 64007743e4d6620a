"""The handler journal-excerpt: how many entries of one kind the journal has, and how old they are."""

from manifests.words.time import parse_time
from verifier.handlers.output import HandlerContext, HandlerOutput


def perform(context: HandlerContext) -> HandlerOutput:
    """Count entries by their kind alone; what they say is not looked at. Without an entry, no age is stated."""
    kind, now = context.parameters["kind"], context.site.host.now()
    times = [
        parse_time(entry.record.at)
        for entry in context.site.entries
        if entry.record.event.__struct_config__.tag == kind
    ]
    values = {"entries": len(times)}
    if times:
        # The clock may have been set back since.
        values["first_age"] = max(0, int((now - times[0]).total_seconds()))
        values["last_age"] = max(0, int((now - times[-1]).total_seconds()))
    return HandlerOutput(values=values)
