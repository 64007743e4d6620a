"""The handler resource-summary: what this host has."""

from manifests.documents.telemetry import Value
from verifier.handlers.output import HandlerContext, HandlerOutput
from verifier.runtime.preflight.host_summary import host_summary


def perform(context: HandlerContext) -> HandlerOutput:
    host = host_summary(context.site.path, context.site.host.now())
    values: dict[str, Value] = {
        "disk_free_mib": host.disk_free_bytes >> 20,
        "disk_total_mib": host.disk_total_bytes >> 20,
        "memory_available_mib": host.memory_available_bytes >> 20,
        "memory_total_mib": host.memory_total_bytes >> 20,
        "cores": host.cores,
        "kernel": host.kernel.lower(),
        "clock_seconds": host.clock_seconds,
        "clock_synchronised": host.clock_synchronised,
    }
    if host.inodes_free is not None:
        values["inodes_free"] = host.inodes_free
    return HandlerOutput(values=values)
