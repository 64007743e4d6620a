"""The compiled telemetry contract: the upper bound of everything that a report may say.

The customer approves its digest. There is no text type: every field is an enumeration or a bounded integer.
"""

from typing import Annotated, Literal

from msgspec import Meta

from manifests.words.canonical import Document, parse
from manifests.words.digest import Integer, Name, Positive, Text, Word
from manifests.words.errors import MalformedError

CONTRACT_TYPE = "application/vnd.waybill.contract.v1+json"
MAX_CONTRACT = 1 << 20
CORE_FIELDS = (
    "identity",
    "chain",
    "trust",
    "policy",
    "install",
    "components",
    "config",
    "waiting",
    "approvals",
    "health",
    "rollbacks",
    "requests",
    "dropped",
    "verifier",
)
OPTIONAL_CORE_FIELDS = ("store",)
_ONLY_FIELDS = "`fields` bounds the values of every signal but deployment-state"

SignalKind = Literal["deployment-state", "health", "metrics", "logs", "traces", "command-result"]
# Which fields of a source a kind takes together; of several lines exactly one.
SOURCES_OF_KIND: dict[str, tuple[tuple[str, ...], ...]] = {
    "health": (("probe",), ("step",)),
    "metrics": (("prometheus", "series"),),
    "logs": (("journal", "patterns"), ("log", "patterns")),
    "traces": (("otlp", "operation"),),
    "command-result": (("handler",),),
}
# These kinds are counted over intervals.
INTERVAL_KINDS = ("metrics", "logs", "traces")
ValueType = Literal["bool", "version", "digest", "component"]
Range = Annotated[tuple[Integer, ...], Meta(min_length=2, max_length=2)]


class SignalSource(Document, frozen=True, kw_only=True):
    """Where a signal's values come from; which of these are set depends on the kind (``SOURCES_OF_KIND``).

    ``prometheus``, ``journal``, ``log`` and ``otlp`` are names under ``endpoints`` of the site's ``site.yaml``: a
    contract contains no address and no path. ``probe``, ``step`` and ``handler`` are names of the release.
    """

    probe: Name | None = None
    step: Name | None = None
    prometheus: Name | None = None
    series: Annotated[str, Meta(pattern=r"\A[a-zA-Z_:][a-zA-Z0-9_:]{0,127}\Z")] | None = None
    journal: Name | None = None
    log: Name | None = None
    patterns: Annotated[dict[Word, Text], Meta(min_length=1, max_length=256)] | None = None
    otlp: Name | None = None
    operation: Word | None = None
    handler: Name | None = None


class Values(Document, frozen=True, kw_only=True):
    """What one field, label or parameter may be, by exactly one of the first four attributes. There is no text type.

    Attributes:
        enum: One of these words.
        integer: An integer from the first to the second, both included, in ``unit``.
        duration: Whole seconds from the first to the second, both included.
        type: Any value of that form. ``component`` names a part of the running release; only a parameter may.
    """

    enum: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=256)] | None = None
    integer: Range | None = None
    duration: Range | None = None
    type: ValueType | None = None
    unit: Text | None = None


class Keep(Document, frozen=True, kw_only=True):
    """How long values are kept, in seconds, at the site and by the vendor."""

    site: Positive
    vendor: Positive


class Signal(Document, frozen=True, kw_only=True):
    """One signal. ``core`` names fields of the report's own core; ``fields`` bound the values of any other kind.

    Attributes:
        labels: Bounds of labels; a sample with a value outside of them is dropped and counted.
        per_seconds: Length of one row's interval; of metrics, logs and traces, as is ``rows``.
        rows: At most so many rows in one report.
    """

    name: Word
    kind: SignalKind
    source: SignalSource | None = None
    labels: Annotated[dict[Word, Values], Meta(max_length=64)] = {}
    per_seconds: Positive | None = None
    rows: Positive | None = None
    core: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()
    optional: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()
    fields: Annotated[dict[Word, Values], Meta(max_length=64)] = {}
    keep: Keep
    why: Text


class Contract(Document, frozen=True, kw_only=True, tag_field="type", tag=CONTRACT_TYPE):
    """The compiled contract: canonical, carried as a blob, approved by its digest."""

    contract: Name
    version: Positive
    purpose: Text
    telemetry_bytes: Positive
    keep: Keep
    signals: Annotated[tuple[Signal, ...], Meta(min_length=1, max_length=256)]


def parse_contract(data: bytes, what: str = "contract") -> Contract:
    """Read a compiled contract. Raises MalformedError unless it is one that does not contradict itself."""
    contract = parse(data, Contract, what, max_bytes=MAX_CONTRACT)  # F-12.1
    names = [signal.name for signal in contract.signals]
    if len(set(names)) != len(names):
        raise MalformedError("two signals have one name", where=f"{what} $.signals")
    if [signal.kind for signal in contract.signals].count("deployment-state") != 1:
        raise MalformedError("exactly one signal must be of kind deployment-state", where=f"{what} $.signals")
    for i, signal in enumerate(contract.signals):
        place = f"{what} $.signals[{i}]"
        if signal.kind == "deployment-state":
            _check_state_signal(signal, place)
        else:
            _check_value_signal(signal, place)
        for name, value in (*signal.fields.items(), *signal.labels.items()):
            check_values(value, f"{place} {name}", name)
            if value.type == "component":
                raise MalformedError("`type: component` is for parameters of handlers", where=f"{place} {name}")
    return contract


def _check_state_signal(signal: Signal, where: str) -> None:
    if signal.core != CORE_FIELDS or not set(signal.optional) <= set(OPTIONAL_CORE_FIELDS):
        raise MalformedError("a deployment-state signal lists exactly the fields of the report's core", where=where)
    if signal.fields:
        raise MalformedError(_ONLY_FIELDS, where=where)
    if signal.source or signal.labels:
        raise MalformedError("a deployment-state signal has neither `from` nor `labels`", where=where)


def _check_value_signal(signal: Signal, where: str) -> None:
    if not signal.fields or signal.core or signal.optional:
        raise MalformedError(_ONLY_FIELDS, where=where)
    if not has_source(signal.kind, signal.source):
        raise MalformedError(f"a signal of kind {signal.kind} comes from {sources_text(signal.kind)}", where=where)
    if (signal.kind in INTERVAL_KINDS) != (signal.per_seconds is not None and signal.rows is not None):
        raise MalformedError(f"`per_seconds` and `rows` are for {', '.join(INTERVAL_KINDS)}", where=where)


def has_source(kind: str, source: SignalSource | None) -> bool:
    """Whether exactly the fields are set that the kind takes together."""
    names = () if source is None else source.__struct_fields__
    given = {name for name in names if getattr(source, name) is not None}
    return any(given == set(wanted) for wanted in SOURCES_OF_KIND[kind])


def sources_text(kind: str) -> str:
    return ", or from ".join(" and ".join(names) for names in SOURCES_OF_KIND[kind])


def check_values(value: Values, where: str, name: str) -> None:
    """Check that the bounds are of one kind, and possible. Raises MalformedError."""
    kinds = (value.enum, value.integer, value.duration, value.type)
    if sum(kind is not None for kind in kinds) != 1:
        raise MalformedError(f"{name!r} needs exactly one of enum, integer, duration, type", where=where)
    for bounds in (value.integer, value.duration):
        if bounds is not None and bounds[0] > bounds[1]:
            raise MalformedError(f"{name!r} has its lower bound above its upper bound", where=where)
    if value.duration is not None and value.duration[0] < 0:
        raise MalformedError(f"{name!r} has a duration below 0", where=where)
    if value.unit is not None and value.integer is None:
        raise MalformedError(f"{name!r} has a unit, which only an integer has", where=where)
    if value.enum is not None and len(set(value.enum)) != len(value.enum):
        raise MalformedError(f"{name!r} lists a value twice", where=where)
