"""Compile ``contract.yaml`` to a telemetry contract."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from manifests.authored.handwritten import Faults, Handwritten, compiled
from manifests.authored.values_yaml import ValuesFile, compile_values
from manifests.documents.contract import (
    CORE_FIELDS,
    INTERVAL_KINDS,
    OPTIONAL_CORE_FIELDS,
    Contract,
    Keep,
    Signal,
    SignalKind,
    SignalSource,
    Values,
    has_source,
    parse_contract,
    sources_text,
)
from manifests.foreign.schema_patterns import compile_pattern
from manifests.words.canonical import Document, encode
from manifests.words.digest import Name, Positive, Text, Word
from manifests.words.errors import WaybillError
from manifests.words.quantities import parse_duration, parse_size
from manifests.words.units import show_duration

# Seconds between two looks of contrib/waybill-collect@.timer.
COLLECT_SECONDS = 300
_NUMBERS = ("count", "sum", "min", "max", "mean", "last", "increase", "p50", "p90", "p95", "p99")
# The fields that a collector of each kind can fill; those of a command result are the handler's own.
FIELDS_OF_KIND = {
    "health": ("state", "failures"),
    "metrics": _NUMBERS,
    "traces": ("count", "errors", "min", "max", "mean", "p50", "p90", "p95", "p99"),
}


class SignalFile(Document, frozen=True, kw_only=True):
    name: Word
    kind: SignalKind
    source: SignalSource | None = field(default=None, name="from")
    labels: dict[Word, ValuesFile] = {}
    per: str | None = None
    rows: Annotated[int, Meta(ge=1, le=100000)] | None = None
    fields: tuple[Word, ...] | dict[Word, ValuesFile]
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
    faults = Faults()
    contract = _compile(file, faults)
    faults.require_none()
    if contract is None:
        raise AssertionError("nothing is wrong, and nothing was compiled")
    return contract


def contract_problems(file: Handwritten) -> Sequence[WaybillError]:
    """Return everything that is wrong in ``contract.yaml``."""
    faults = Faults()
    _compile(file, faults)
    return faults.problems


def contract_warnings(file: Handwritten) -> Iterator[tuple[str, str]]:
    """Yield where and what: intervals that are shorter than the time between two looks at their source.

    The file has to be without problems.
    """
    for i, signal in enumerate(compile_contract(file).signals):
        if signal.per_seconds is not None and signal.per_seconds < COLLECT_SECONDS:
            yield (
                file.at(f"$.signals[{i}].per"),
                f"signal {signal.name} counts per {show_duration(signal.per_seconds)}, and "
                f"contrib/waybill-collect@.timer looks every {show_duration(COLLECT_SECONDS)}: "
                "most of its intervals would have no row",
            )


def _compile(file: Handwritten, faults: Faults) -> Contract | None:
    source = file.to(ContractFile)
    keep = faults.attempt(lambda: _keep(source.keep, None, file, "$.keep"))
    # Signals are judged although the contract's own `keep` is wrong, which they take values from.
    default = keep or Keep(site=1, vendor=1)
    signals = tuple(_signal(file, f"$.signals[{i}]", one, default, faults) for i, one in enumerate(source.signals))
    names = [one.name for one in source.signals]
    for i, name in enumerate(names):
        if name in names[:i]:
            faults.collect([file.wrong(f"signal {name!r} is given twice", f"$.signals[{i}]")])
    if [one.kind for one in source.signals].count("deployment-state") != 1:
        problem = "exactly one signal must be of kind deployment-state"
        remedy = "it lists the report's own core, so that the customer approves that too"
        faults.collect([file.wrong(problem, "$.signals", remedy)])
    budget = faults.attempt(lambda: parse_size(source.budget.telemetry, file.at("$.budget.telemetry")))
    if faults.problems:
        return None
    made = compiled(Contract, source, telemetry_bytes=budget, keep=keep, signals=signals)
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return faults.attempt(lambda: parse_contract(encode(made), file.name))


def _keep(given: dict[Literal["site", "vendor"], str], default: Keep | None, file: Handwritten, path: str) -> Keep:
    seconds = {name: parse_duration(text, file.at(f"{path}.{name}")) for name, text in given.items()}
    if default is None and set(seconds) != {"site", "vendor"}:
        raise file.wrong("`keep` needs both site and vendor", path)
    return compiled(Keep, default, **seconds)


def _signal(file: Handwritten, path: str, signal: SignalFile, keep: Keep, faults: Faults) -> Signal | None:
    """Compile one signal. A fault is a field that its kind does not allow, or a wrong value."""
    before = len(faults.problems)
    core: tuple[str, ...] = ()
    fields: dict[str, Values] = {}
    labels = compile_values(file, f"{path}.labels", signal.labels, faults)
    if signal.kind == "deployment-state":
        core = signal.fields if isinstance(signal.fields, tuple) else ()
        optional = set(signal.optional) <= set(OPTIONAL_CORE_FIELDS)
        if core != CORE_FIELDS or not optional or signal.source or signal.labels:
            problem = "a deployment-state signal lists exactly the fields of the report's core"
            remedy = f"fields: [{', '.join(CORE_FIELDS)}]; optional: [{', '.join(OPTIONAL_CORE_FIELDS)}]"
            faults.collect([file.wrong(problem, f"{path}.fields", remedy)])
    else:
        if isinstance(signal.fields, tuple) or not signal.fields or signal.optional:
            faults.collect([file.wrong("`fields` must name values and their bounds", f"{path}.fields")])
        else:
            fields = compile_values(file, f"{path}.fields", signal.fields, faults)
        faults.collect(_source_problems(file, path, signal))
        faults.collect(_field_problems(file, path, signal, fields))
    per, per_seconds = signal.per, None
    if per is not None:
        per_seconds = faults.attempt(lambda: parse_duration(per, file.at(f"{path}.per")))
    kept = faults.attempt(lambda: _keep(signal.keep, keep, file, f"{path}.keep"))
    if len(faults.problems) > before:
        return None
    return compiled(Signal, signal, core=core, fields=fields, labels=labels, per_seconds=per_seconds, keep=kept)


def _source_problems(file: Handwritten, path: str, signal: SignalFile) -> Iterator[WaybillError]:
    if not has_source(signal.kind, signal.source):
        problem = f"a signal of kind {signal.kind} comes from {sources_text(signal.kind)}"
        yield file.wrong(problem, f"{path}.from")
    if (signal.kind in INTERVAL_KINDS) != (signal.per is not None and signal.rows is not None):
        problem = f"`per` and `rows` are for {', '.join(INTERVAL_KINDS)}, both"
        yield file.wrong(problem, path, "per: 1d is the length of an interval, rows: 90 the most that a report has")


def _field_problems(
    file: Handwritten, path: str, signal: SignalFile, fields: Mapping[str, Values]
) -> Iterator[WaybillError]:
    """Yield what no collector of that kind could ever fill."""
    if signal.kind == "logs":
        yield from _log_problems(file, path, signal, fields)
        return
    known = FIELDS_OF_KIND.get(signal.kind)
    for name, values in fields.items():
        if known is not None and name not in known:
            problem = f"a signal of kind {signal.kind} has no field {name!r}"
            yield file.wrong(problem, f"{path}.fields.{name}", f"write some of {', '.join(known)}")
        elif known is not None and signal.kind in INTERVAL_KINDS and values.integer is None:
            yield file.wrong(f"{name!r} is a number; give it `integer` bounds", f"{path}.fields.{name}")
    if signal.kind != "metrics" and signal.labels:
        yield file.wrong(f"a signal of kind {signal.kind} has no labels", f"{path}.labels")
    for name, label in signal.labels.items():
        if label.enum is None:
            yield file.wrong(f"label {name!r} needs an enum", f"{path}.labels.{name}", "list the values that may leave")


def _log_problems(
    file: Handwritten, path: str, signal: SignalFile, fields: Mapping[str, Values]
) -> Iterator[WaybillError]:
    """Yield the faults of fields that are not exactly ``count`` and an enumeration of the names of the patterns."""
    written = (signal.source.patterns if signal.source else None) or {}
    for name, pattern in written.items():
        where = f"{path}.from.patterns.{name}"
        yield from file.problems(compile_pattern, pattern, where)
        if not pattern:
            yield file.wrong(f"pattern {name!r} is empty and matches every line", where)
    patterns = set(written)
    names = [name for name, values in fields.items() if values.enum is not None]
    count = fields.get("count")
    if len(names) != 1 or count is None or count.integer is None or len(fields) != 2 or signal.labels:
        remedy = "fields: {code: {enum: [E1, E2]}, count: {integer: [0, 1000000]}}"
        problem = "a signal of kind logs has `count` and one enum, which lists names of `patterns`"
        yield file.wrong(problem, f"{path}.fields", remedy)
    elif set(fields[names[0]].enum or ()) != patterns:
        problem = f"{names[0]!r} does not list exactly the names of `patterns`"
        yield file.wrong(problem, f"{path}.fields.{names[0]}", f"enum: [{', '.join(sorted(patterns))}]")
