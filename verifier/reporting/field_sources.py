"""By which line of which contract each field of a report may leave."""

from dataclasses import dataclass

from manifests.documents.contract import CORE_FIELDS, MAX_CONTRACT, OPTIONAL_CORE_FIELDS, Contract, parse_contract
from manifests.documents.report import Report
from verifier.site.folder import Site
from verifier.site.generations import read_installed


@dataclass(frozen=True)
class FieldSource:
    """Why one field of the core may leave.

    Attributes:
        line: Its place in the compiled contract; empty where no contract has been approved yet.
        there: The report has something to say in it.
    """

    field: str
    line: str
    there: bool


@dataclass(frozen=True)
class FieldSources:
    """Attributes: contract: None before the first install, when there is nothing to tell of but the enrolment."""

    contract: Contract | None
    digest: str | None
    signal: str
    purpose: str
    reasons: tuple[FieldSource, ...]


def explain(report: Report, contract: Contract | None, digest: str | None) -> FieldSources:
    """Every field of the core of ``report``, in the order in which a contract lists them. Pure."""
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
    """The telemetry contract that the site's people approved, and its digest; None, None before the first install.

    Raises:
        DamagedError: Its bytes are not in the store any more.
    """
    state = site.state
    # During a trial that of the generation before it, which may have the higher number, is in force still.
    before = (
        state.installs.generation(state.installs.transaction.planned.source) if state.installs.transaction else None
    )
    agreed = next(
        (one for one in (state.installs.running, before) if one and one.contract == state.installs.contract), None
    )
    if agreed is None:
        return None, None
    blob = read_installed(site, agreed).release.contract
    data = site.store.get(blob, MAX_CONTRACT)
    return parse_contract(data), blob.digest


def field_sources_text(why: FieldSources) -> str:
    """Return the explanation for people, one line for each field."""
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
