"""The line of the telemetry contract that allows each field of a report."""

from manifests.documents.contract import CORE_FIELDS, OPTIONAL_CORE_FIELDS, Contract
from manifests.documents.report import Report
from verifier.change.data_return import read_contract
from verifier.site.folder import Site
from verifier.site.generations import read_installed


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


def contract_in_force(site: Site) -> tuple[Contract | None, str | None]:
    """Return the telemetry contract that the site's people approved, and its digest; None before the first install.

    Raises:
        DamagedError: The contract is missing from the store.
    """
    installs = site.state.installs
    # During a trial the contract of the generation before it is still in force.
    before = installs.generation(installs.transaction.planned.source) if installs.transaction else None
    agreed = next((one for one in (installs.running, before) if one and one.contract == installs.contract), None)
    if agreed is None:
        return None, None
    release = read_installed(site, agreed).release
    return read_contract(site, release), release.contract.digest
