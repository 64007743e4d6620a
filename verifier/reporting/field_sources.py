"""The line of the telemetry contract that allows each field of a report."""

from dataclasses import dataclass

from manifests.documents.contract import CORE_FIELDS, MAX_CONTRACT, OPTIONAL_CORE_FIELDS, Contract, parse_contract
from manifests.documents.report import Report
from verifier.site.folder import Site
from verifier.site.generations import read_installed


@dataclass(frozen=True)
class FieldSource:
    """Attributes: line: place in the compiled contract, empty without a contract; there: the report fills the field."""

    field: str
    line: str
    there: bool


@dataclass(frozen=True)
class FieldSources:
    """Attributes: contract: None before the first install; signal, purpose: of the contract, empty without one."""

    contract: Contract | None
    digest: str | None
    signal: str
    purpose: str
    reasons: tuple[FieldSource, ...]


def explain(report: Report, contract: Contract | None, digest: str | None) -> FieldSources:
    """Return every field of the core of ``report``, in the order of a contract."""
    places: dict[str, str] = {}
    signal, purpose = "", ""
    for i, listed_signal in enumerate(contract.signals if contract else ()):
        if listed_signal.kind == "deployment-state":
            signal, purpose = listed_signal.name, listed_signal.why
            for group in ("core", "optional"):
                for j, name in enumerate(getattr(listed_signal, group)):
                    places[name] = f"$.signals[{i}].{group}[{j}]"
    reasons = tuple(
        FieldSource(name, places.get(name, ""), getattr(report, name) not in (None, ()))
        for name in (*CORE_FIELDS, *OPTIONAL_CORE_FIELDS)
    )
    return FieldSources(contract=contract, digest=digest, signal=signal, purpose=purpose, reasons=reasons)


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
    blob = read_installed(site, agreed).release.contract
    return parse_contract(site.store.get(blob, MAX_CONTRACT)), blob.digest


def field_sources_text(why: FieldSources) -> str:
    """Return one line for each field."""
    if why.contract is None:
        head = [
            "no telemetry contract is in force, because nothing is installed: the report contains the enrolment,",
            "waiting and failed items, and the site's counters; fields that need a contract are left out",
        ]
    else:
        head = [
            f"contract {why.contract.contract} version {why.contract.version}, {why.digest}",
            f"signal {why.signal}: {why.purpose}",
        ]
    width = max(len(reason.field) for reason in why.reasons)
    lines = [
        f"  {reason.field.ljust(width)}  {reason.line or '-'}{'' if reason.there else '  (nothing in this report)'}"
        for reason in why.reasons
    ]
    return "\n".join([*head, *lines])
