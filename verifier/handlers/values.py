"""Which values of a handler may leave: those that the contract's signal bounds, and all of them or none."""

from collections.abc import Mapping

from content.telemetry.counted import fits
from manifests.documents.contract import Signal
from manifests.documents.telemetry import HandlerResult, Value
from manifests.words.canonical import encode
from verifier.site.folder import Site

RESULTS = ("telemetry", "results")


def unfit_value(signal: Signal, values: Mapping[str, Value]) -> str | None:
    """Return why the values are not exactly those of the signal; None if they are."""
    if missing := sorted(set(signal.fields) - set(values)):
        return f"the signal {signal.name} has the field {', '.join(missing)}, which is not stated"
    if unknown := sorted(set(values) - set(signal.fields)):
        return f"the signal {signal.name} has no field {', '.join(unknown)}"[:200]
    outside = sorted(name for name, value in values.items() if not fits(signal, name, value))
    return f"the signal {signal.name} does not allow the value of {', '.join(outside)}" if outside else None


def leaving_values(signal: Signal | None, values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values that the signal has fields for; none unless every field of it has a value within its bounds."""
    if signal is None:
        return {}
    wanted = {name: value for name, value in values.items() if name in signal.fields}
    return {} if unfit_value(signal, wanted) is not None else wanted


def write_result(site: Site, seq: int, signal: Signal, values: Mapping[str, Value], start: str) -> bytes:
    """Write the values for the next report, durable, and return the file. ``seq`` names it: the entry of the begin."""
    running = site.state.installs.running
    result = HandlerResult(
        signal=signal.name, start=start, release=running.release if running else None, values=dict(values)
    )
    data, folder = encode(result), site.path.joinpath(*RESULTS)
    site.disk.make_folder(folder)
    site.disk.write(folder / f"{seq}.json", data)
    return data
