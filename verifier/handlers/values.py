"""Which values of a handler may leave: those that the contract's signal bounds, and all of them or none."""

from collections.abc import Mapping, Sequence

from content.telemetry.counted import fits
from manifests.documents.contract import Signal
from manifests.documents.telemetry import MAX_HANDLER_ROWS, HandlerResult, Value
from manifests.words.canonical import encode
from verifier.handlers.output import HandlerOutput
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


def leaving_rows(signal: Signal | None, output: HandlerOutput) -> tuple[dict[str, Value], ...]:
    """Return the rows that leave, each of the values that the signal has fields for.

    A row leaves only if every field of the signal has a value within its bounds. A signal with no field of the rows
    gets one row, of the values.
    """
    if signal is None:
        return ()
    rows = [{**output.values, **row} for row in output.rows if not signal.fields.keys().isdisjoint(row)]
    wanted = [_fields_of(signal, row) for row in rows[:MAX_HANDLER_ROWS] or (output.values,)]
    return tuple(row for row in wanted if row and unfit_value(signal, row) is None)


def _fields_of(signal: Signal, values: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if name in signal.fields}


def write_result(site: Site, seq: int, signal: Signal, rows: Sequence[Mapping[str, Value]], start: str) -> bytes:
    """Write the rows for the next report, durable, and return the file. ``seq`` names it: the entry of the begin."""
    running = site.state.installs.running
    values, *more = (dict(row) for row in rows)
    result = HandlerResult(
        signal=signal.name,
        start=start,
        release=running.release if running else None,
        values=values,
        more=tuple(more),
    )
    data, folder = encode(result), site.path.joinpath(*RESULTS)
    site.disk.make_folder(folder)
    site.disk.write(folder / f"{seq}.json", data)
    return data
