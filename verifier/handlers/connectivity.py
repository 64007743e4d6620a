"""The handler connectivity: which network endpoints of ``site.yaml`` accept a connection."""

from collections import Counter

from manifests.documents.telemetry import MAX_HANDLER_ROWS
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.runtime.probes.network import reach

TIMEOUT_SECONDS = 5.0


def perform(context: HandlerContext) -> HandlerOutput:
    """Look at each in turn; endpoints that are files or journals are left out. No address is stated."""
    results: dict[str, str] = {}
    for name, address in sorted(context.running().settings.endpoints.items()):
        reached = reach(address, TIMEOUT_SECONDS)
        if reached is not None:
            results[name] = reached
    counts = Counter(results.values())
    return HandlerOutput(
        values={
            "endpoints": len(results),
            "reachable": counts["reachable"],
            "refused": counts["refused"],
            "timed_out": counts["timed-out"],
            "failed": counts["failed"],
        },
        rows=tuple({"endpoint": name, "result": result} for name, result in [*results.items()][:MAX_HANDLER_ROWS]),
        lines=tuple(f"{name}: {result}" for name, result in results.items()),
    )
