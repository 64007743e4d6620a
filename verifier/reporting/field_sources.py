"""The line of the telemetry contract that allows each field of a report."""

from manifests.documents.contract import CORE_FIELDS, OPTIONAL_CORE_FIELDS, Contract
from manifests.documents.report import Report
from manifests.documents.telemetry import Telemetry
from manifests.words.units import show_count


def explain(
    report: Report, contract: Contract | None, digest: str | None, telemetry: Telemetry | None = None
) -> tuple[str, dict[str, object]]:
    """Return the line of the contract that allows each field of the core, and each row: as text, and for programs.

    Pure. ``telemetry`` is that of the report.
    """
    places: dict[str, str] = {}
    data: dict[str, object] = {"contract": None, "signal": None, "purpose": None}
    lines = [
        "no telemetry contract is in force, because nothing is installed: the report contains the enrolment,",
        "waiting and failed items, and the site's counters; fields that need a contract are left out",
    ]
    if contract is not None:
        i, signal = next((i, one) for i, one in enumerate(contract.signals) if one.kind == "deployment-state")
        for group, names in (("core", signal.core), ("optional", signal.optional)):
            places |= {name: f"$.signals[{i}].{group}[{j}]" for j, name in enumerate(names)}
        named = {"contract": contract.contract, "version": contract.version, "digest": digest}
        data = {"contract": named, "signal": signal.name, "purpose": signal.why}
        lines = [
            f"contract {contract.contract} version {contract.version}, {digest}",
            f"signal {signal.name}: {signal.why}",
        ]
    fields = (*CORE_FIELDS, *OPTIONAL_CORE_FIELDS)
    filled = {name: getattr(report, name) not in (None, ()) for name in fields}
    width = max(map(len, fields))
    for name in fields:
        empty = "" if filled[name] else "  (nothing in this report)"
        lines.append(f"  {name.ljust(width)}  {places.get(name, '-')}{empty}")
    rows = [{"field": name, "line": places.get(name), "there": filled[name]} for name in fields]
    more, signals = _explain_signals(report, contract, telemetry)
    return "\n".join(lines + more), {**data, "fields": rows, "signals": signals}


def _explain_signals(
    report: Report, contract: Contract | None, telemetry: Telemetry | None
) -> tuple[list[str], list[dict[str, object]]]:
    """Return for each other signal of the contract its line, its rows in this report, and what was left out."""
    rows = {signal.signal: len(signal.rows) for signal in telemetry.signals} if telemetry else {}
    lines: list[str] = []
    data: list[dict[str, object]] = []
    for i, signal in enumerate(contract.signals if contract else ()):
        if signal.kind == "deployment-state":
            continue
        dropped = {drops.reason: drops.count for drops in report.dropped if drops.what == signal.name}
        count, line = rows.get(signal.name, 0), f"$.signals[{i}]"
        left_out = ", ".join(f"{reason} {number}" for reason, number in dropped.items())
        lines += [
            f"signal {signal.name}: {signal.why}",
            f"  {line}  {show_count(count, 'row')} of {signal.kind}{f'; left out: {left_out}' if left_out else ''}",
        ]
        data.append({"signal": signal.name, "line": line, "rows": count, "left_out": dropped, "why": signal.why})
    return lines, data
