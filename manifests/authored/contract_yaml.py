"""Compile ``contract.yaml`` to a telemetry contract."""

from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.authored.handwritten import Handwritten, compiled
from manifests.documents.contract import (
    CORE_FIELDS,
    OPTIONAL_CORE_FIELDS,
    SOURCE_OF_KIND,
    Contract,
    Keep,
    Signal,
    SignalKind,
    SignalSource,
    Values,
    check_values,
    parse_contract,
    source_fields,
)
from manifests.words.canonical import Document, encode
from manifests.words.digest import Name, Positive, Text, Word
from manifests.words.units import parse_duration, parse_size


class SignalFile(Document, frozen=True, kw_only=True):
    name: Word
    kind: SignalKind
    source: SignalSource | None = field(default=None, name="from")
    labels: dict[Word, Values] = {}
    per: str | None = None
    rows: Annotated[int, Meta(ge=1, le=100000)] | None = None
    fields: tuple[Word, ...] | dict[Word, Values]
    optional: tuple[Word, ...] = ()
    keep: dict[Literal["site", "vendor"], str] = {}
    why: Text


class BudgetFile(Document, frozen=True, kw_only=True):
    telemetry: str
    when_full: Literal["drop and count"]


class ContractFile(Document, frozen=True, kw_only=True):
    """``contract.yaml``."""

    waybill: Literal[1]
    contract: Name
    version: Positive
    purpose: Text
    budget: BudgetFile
    keep: dict[Literal["site", "vendor"], str]
    signals: Annotated[tuple[SignalFile, ...], Meta(min_length=1, max_length=256)]


def compile_contract(file: Handwritten) -> Contract:
    """Check ``contract.yaml`` and write out what it leaves to defaults. Raises MalformedError with ``file:line``."""
    source = file.to(ContractFile)
    keep = _keep(source.keep, None, file, "$.keep")
    signals = tuple(_signal(file, f"$.signals[{i}]", one, keep) for i, one in enumerate(source.signals))
    names = [one.name for one in signals]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise file.wrong(f"signal {name!r} is given twice", f"$.signals[{i}]")
    if [one.kind for one in signals].count("deployment-state") != 1:
        problem = "exactly one signal must be of kind deployment-state"
        raise file.wrong(problem, "$.signals", "it lists the report's own core, so that the customer approves that too")
    budget = parse_size(source.budget.telemetry, file.at("$.budget.telemetry"))
    made = compiled(Contract, source, telemetry_bytes=budget, keep=keep, signals=signals)
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_contract(encode(made), file.name)


def _keep(given: dict[Literal["site", "vendor"], str], default: Keep | None, file: Handwritten, path: str) -> Keep:
    seconds = {name: parse_duration(text, file.at(f"{path}.{name}")) for name, text in given.items()}
    if default is None and set(seconds) != {"site", "vendor"}:
        raise file.wrong("`keep` needs both site and vendor", path)
    return compiled(Keep, default, **seconds)


def _signal(file: Handwritten, path: str, signal: SignalFile, keep: Keep) -> Signal:
    """Compile one signal. Raises MalformedError where its kind does not allow one of its fields."""
    core: tuple[str, ...] = ()
    fields: dict[str, Values] = {}
    if signal.kind == "deployment-state":
        core = signal.fields if isinstance(signal.fields, tuple) else ()
        optional = set(signal.optional) <= set(OPTIONAL_CORE_FIELDS)
        if core != CORE_FIELDS or not optional or signal.source or signal.labels:
            problem = "a deployment-state signal lists exactly the fields of the report's core"
            remedy = f"fields: [{', '.join(CORE_FIELDS)}]; optional: [{', '.join(OPTIONAL_CORE_FIELDS)}]"
            raise file.wrong(problem, f"{path}.fields", remedy)
    else:
        if isinstance(signal.fields, tuple) or not signal.fields or signal.optional:
            raise file.wrong("`fields` must name values and their bounds", f"{path}.fields")
        fields = signal.fields
        wanted = SOURCE_OF_KIND[signal.kind]
        if source_fields(signal.source) != set(wanted):
            raise file.wrong(f"a signal of kind {signal.kind} comes from {' and '.join(wanted)}", f"{path}.from")
    for group, values in (("fields", fields), ("labels", signal.labels)):
        for name, value in values.items():
            check_values(value, file.at(f"{path}.{group}.{name}"), name)
    per_seconds = None if signal.per is None else parse_duration(signal.per, file.at(f"{path}.per"))
    keep = _keep(signal.keep, keep, file, f"{path}.keep")
    return compiled(Signal, signal, core=core, fields=fields, per_seconds=per_seconds, keep=keep)
