"""The line of the telemetry contract that allows each field of a report."""

from manifests.documents.contract import CORE_FIELDS, OPTIONAL_CORE_FIELDS, Contract
from manifests.documents.report import Report


def explain(report: Report, contract: Contract | None, digest: str | None) -> tuple[str, dict[str, object]]:
    """Return the line of the contract that allows each field of the core: as text, and for programs. Pure."""
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
    return "\n".join(lines), {**data, "fields": rows}
