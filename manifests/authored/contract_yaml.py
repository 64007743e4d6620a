"""Compile ``contract.yaml`` to a telemetry contract."""

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, field

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
from manifests.words.canonical import encode
from manifests.words.digest import Name, Positive, Text, Word
from manifests.words.document import Document
from manifests.words.errors import MalformedError
from manifests.words.units import parse_duration, parse_size

if TYPE_CHECKING:
    from manifests.authored.handwritten import Handwritten


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


def compile_contract(file: "Handwritten") -> Contract:
    """Check ``contract.yaml`` and write out what it leaves to defaults.

    Raises:
        MalformedError: With ``file:line``.
    """
    source = file.to(ContractFile)
    keep = _keep(source.keep, None, file, "$.keep")
    signals = tuple(_signal(file, f"$.signals[{i}]", one, keep) for i, one in enumerate(source.signals))
    names = [one.name for one in signals]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise MalformedError(f"signal {name!r} is given twice", where=file.at(f"$.signals[{i}]"))
    if [one.kind for one in signals].count("deployment-state") != 1:
        raise MalformedError(
            "exactly one signal must be of kind deployment-state",
            where=file.at("$.signals"),
            remedy="it lists the report's own core, so that the customer approves that too",
        )
    made = Contract(
        contract=source.contract,
        version=source.version,
        purpose=source.purpose,
        telemetry_bytes=parse_size(source.budget.telemetry, file.at("$.budget.telemetry")),
        keep=keep,
        signals=signals,
    )
    # Read back as a site will: a bound that only the compiled form has must not be met there first.
    return parse_contract(encode(made), file.name)


def _keep(given: dict[Literal["site", "vendor"], str], default: Keep | None, file: "Handwritten", path: str) -> Keep:
    seconds = {name: parse_duration(text, file.at(f"{path}.{name}")) for name, text in given.items()}
    if default is None and set(seconds) != {"site", "vendor"}:
        raise MalformedError("`keep` needs both site and vendor", where=file.at(path))
    site = seconds.get("site") or (default.site if default else 0)
    vendor = seconds.get("vendor") or (default.vendor if default else 0)
    return Keep(site=site, vendor=vendor)


def _signal(file: "Handwritten", path: str, one: SignalFile, keep: Keep) -> Signal:
    core: tuple[str, ...] = ()
    fields: dict[str, Values] = {}
    if one.kind == "deployment-state":
        core = one.fields if isinstance(one.fields, tuple) else ()
        if core != CORE_FIELDS or not set(one.optional) <= set(OPTIONAL_CORE_FIELDS) or one.source or one.labels:
            raise MalformedError(
                "deployment-state lists the report's core as it is",
                where=file.at(f"{path}.fields"),
                remedy=f"fields: [{', '.join(CORE_FIELDS)}]; optional: [{', '.join(OPTIONAL_CORE_FIELDS)}]",
            )
    else:
        if isinstance(one.fields, tuple) or not one.fields or one.optional:
            raise MalformedError("`fields` names values and their bounds", where=file.at(f"{path}.fields"))
        fields = one.fields
        wanted = SOURCE_OF_KIND[one.kind]
        if source_fields(one.source) != set(wanted):
            raise MalformedError(
                f"a signal of kind {one.kind} comes from {' and '.join(wanted)}", where=file.at(f"{path}.from")
            )
    for group, values in (("fields", fields), ("labels", one.labels)):
        for name, value in values.items():
            check_values(value, file.at(f"{path}.{group}.{name}"), name)
    return Signal(
        name=one.name,
        kind=one.kind,
        source=one.source,
        labels=one.labels,
        per_seconds=None if one.per is None else parse_duration(one.per, file.at(f"{path}.per")),
        rows=one.rows,
        core=core,
        optional=one.optional,
        fields=fields,
        keep=_keep(one.keep, keep, file, f"{path}.keep"),
        why=one.why,
    )
