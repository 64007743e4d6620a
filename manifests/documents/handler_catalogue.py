"""The handlers that every verifier has: definitions of the same type as those of a release, as data.

``RESULTS`` bounds what each states. A field leaves the site only where the telemetry contract in force has a signal of
kind ``command-result`` from the handler whose field of the same name allows the value.
"""

from collections.abc import Mapping
from typing import Literal

from manifests.documents.contract import Values
from manifests.documents.release import Handler, Limits

RESTART = "restart-component"
RETRY = "retry-step"
# What a parameter of type `component` names in words, of handlers for which it is not every part of the release.
COMPONENT_WORDS = {RESTART: "a service of the running release", RETRY: "a failed step of an inconsistent site"}
# The first word of a definition that no program of a release carries out.
WAYBILL = "waybill"
Risk = Literal["read-only", "reversible", "disruptive", "changes-data"]
_COUNT = Values(integer=(0, 10**9))
_MIB = Values(integer=(0, 10**12), unit="MiB")
_STATE = Values(enum=("none", "trial", "confirmed", "inconsistent"))
_AGE = Values(duration=(0, 10**9))
JOURNAL_KINDS = (
    "again", "alarm", "approved", "confirmed", "consigned", "enrolled", "handler-asked", "handler-began",
    "handler-ended", "inconsistent", "intent", "key-renewed", "key-rotated", "note", "offboard-asked", "offboard-done",
    "offboarded", "outcome", "planned", "policy", "proposed", "received", "reported", "request-refused",
    "revocations", "root", "root-replaced", "time", "torn", "tried", "verdict",
)  # fmt: skip

RESULTS: dict[str, dict[str, Values]] = {
    "health-snapshot": {
        "state": _STATE,
        "generation": _COUNT,
        "probes_passing": _COUNT,
        "probes_failing": _COUNT,
        "probes_unknown": _COUNT,
    },
    "inventory": {
        "version": Values(type="version"),
        "release": Values(type="digest"),
        "components": _COUNT,
        "same": _COUNT,
        "differs": _COUNT,
        "missing": _COUNT,
        "unreadable": _COUNT,
    },
    "store-check": {"blobs": _COUNT, "missing": _COUNT, "damaged": _COUNT, "checked_mib": _MIB},
    "config-seal": {"seal": Values(type="digest"), "schema_version": _COUNT},
    "resource-summary": {
        "disk_free_mib": _MIB,
        "disk_total_mib": _MIB,
        "inodes_free": Values(integer=(0, 10**15)),
        "memory_available_mib": _MIB,
        "memory_total_mib": _MIB,
        "cores": _COUNT,
        "kernel": Values(type="version"),
        "clock_seconds": Values(integer=(0, 10**12), unit="seconds since 1970"),
        "clock_synchronised": Values(enum=("yes", "no", "unknown")),
    },
    "certificate-expiry": {
        "certificates": _COUNT,
        "expired": _COUNT,
        "unreadable": _COUNT,
        "days_left": Values(integer=(-100_000, 100_000), unit="days"),
    },
    "journal-excerpt": {"entries": _COUNT, "first_age": _AGE, "last_age": _AGE},
    "connectivity": dict.fromkeys(("endpoints", "reachable", "refused", "timed_out", "failed"), _COUNT),
    "restart-component": {"running": Values(type="bool")},
    "retry-step": {"state": _STATE, "generation": _COUNT},
    "push-images-again": {"images": _COUNT, "same": _COUNT},
    "rotate-site-key": {"key_epoch": _COUNT},
}  # fmt: skip

# What each states of several things, a row each, besides ``RESULTS``. None: names of the site's, of which those leave
# that the contract's enumeration lists.
ROWS: dict[str, dict[str, Values | None]] = {
    "connectivity": {"endpoint": None, "result": Values(enum=("reachable", "refused", "timed-out", "failed"))},
}


def stated_fields(name: str) -> tuple[str, ...]:
    """Return the names of all fields that a handler of the verifier states."""
    return (*RESULTS[name], *ROWS.get(name, {}))


def _built_in(
    name: str,
    does: str,
    *may: str,
    risk: Risk = "read-only",
    seconds: int = 60,
    parameters: Mapping[str, Values] | None = None,
) -> Handler:
    """Return a definition. What only reads may be repeated, and so may what ends in the same state each time."""
    return Handler(
        name=name,
        does=does,
        source=f"verifier/handlers/{name.replace('-', '_')}.py",
        run=(WAYBILL, name, *(f"{{{parameter}}}" for parameter in parameters or {})),
        parameters=dict(parameters or {}),
        may=may,
        risk=risk,
        repeatable=name != "rotate-site-key",
        limits=Limits(seconds=seconds, memory_bytes=256 << 20, output_bytes=64 << 10),
    )


BUILT_IN: dict[str, Handler] = {
    handler.name: handler
    for handler in (
        _built_in(
            "health-snapshot",
            "runs each probe of the running release once, and counts the results",
            "read the journal",
            "run the probes of the release, to the endpoints of site.yaml",
        ),
        _built_in(
            "inventory",
            "compares every component of the running release with what is there, and counts the results",
            "read the components through their drivers",
            seconds=300,
        ),
        _built_in(
            "store-check",
            "hashes every blob of the kept releases in the store",
            "read the store",
            seconds=3600,
        ),
        _built_in(
            "config-seal",
            "computes the seal of the configuration: a keyed digest, whose salt stays at the site",
            "read the configuration of the running generation",
        ),
        _built_in(
            "resource-summary",
            "reads free disk space, inodes, memory, cores, kernel and clock of this host",
            "read /proc, /sys and the file system of the site",
        ),
        _built_in(
            "certificate-expiry",
            "reads when the certificates in the site's folder tls/ expire",
            "read the certificates in tls/",
        ),
        _built_in(
            "journal-excerpt",
            "counts the journal's entries of one kind, and says how old the first and the last are",
            "read kinds and times of journal entries, never what they say",
            parameters={"kind": Values(enum=JOURNAL_KINDS)},
        ),
        _built_in(
            "connectivity",
            "opens a connection to each network endpoint of site.yaml, sends nothing, and closes it",
            "connect to the endpoints of site.yaml",
            seconds=120,
        ),
        _built_in(
            "restart-component",
            "stops a service of the running release and starts it again, through the driver that keeps it running",
            "stop and start the service",
            risk="disruptive",
            seconds=600,
            parameters={"component": Values(type="component")},
        ),
        _built_in(
            "retry-step",
            "tries a failed step of an inconsistent site once more, then goes on as `waybill recover` does",
            "do what the failed install or rollback was approved to do",
            risk="disruptive",
            seconds=3600,
            parameters={"step": Values(type="component")},
        ),
        _built_in(
            "push-images-again",
            "pushes the images of the running release to the site's registry, and sets their tags",
            "write to the repositories of the release in the site's registry",
            risk="reversible",
            seconds=3600,
        ),
        _built_in(
            "rotate-site-key",
            "makes a new key of the site, which the present key signs",
            "write the site's key",
            risk="changes-data",
            seconds=60,
        ),
    )
}
