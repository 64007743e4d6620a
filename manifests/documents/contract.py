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
SOURCE_OF_KIND = {
    "health": ("probe",),
    "metrics": ("prometheus", "series"),
    "logs": ("journal", "patterns"),
    "traces": ("otlp", "operation"),
    "command-result": ("handler",),
}


class SignalSource(Document, frozen=True, kw_only=True):
    """Where a signal's values come from at the site; which of these are set depends on the kind."""

    probe: Name | None = None
    prometheus: Name | None = None
    series: Annotated[str, Meta(pattern=r"\A[a-zA-Z_:][a-zA-Z0-9_:]{0,127}\Z")] | None = None
    journal: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9@:._-]{1,128}\Z")] | None = None
    patterns: Annotated[dict[Word, Text], Meta(min_length=1, max_length=256)] | None = None
    otlp: Name | None = None
    operation: Word | None = None
    handler: Name | None = None


class Values(Document, frozen=True, kw_only=True):
    """What one field or label may be: one of ``enum``, or an integer within ``integer`` (both ends included)."""

    enum: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=256)] | None = None
    integer: Annotated[tuple[Integer, ...], Meta(min_length=2, max_length=2)] | None = None
    unit: Text | None = None


class Keep(Document, frozen=True, kw_only=True):
    """How long values are kept, in seconds, at the site and by the vendor."""

    site: Positive
    vendor: Positive


class Signal(Document, frozen=True, kw_only=True):
    """One signal. ``core`` names fields of the report's own core; ``fields`` bound the values of any other kind.

    Attributes:
        per_seconds: Length of one row's interval.
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
    if source_fields(signal.source) != set(SOURCE_OF_KIND[signal.kind]):
        wanted = " and ".join(SOURCE_OF_KIND[signal.kind])
        raise MalformedError(f"a signal of kind {signal.kind} comes from {wanted}", where=where)


def source_fields(source: SignalSource | None) -> set[str]:
    return set() if source is None else {name for name in source.__struct_fields__ if getattr(source, name) is not None}


def check_values(value: Values, where: str, name: str) -> None:
    """Check that the bounds are one list of words or one range of integers. Raises MalformedError."""
    if (value.enum is None) == (value.integer is None):
        raise MalformedError(f"{name!r} needs either enum or integer", where=where)
    if value.integer is not None and value.integer[0] > value.integer[1]:
        raise MalformedError(f"{name!r} has its lower bound above its upper bound", where=where)
    if value.enum is not None and len(set(value.enum)) != len(value.enum):
        raise MalformedError(f"{name!r} lists a value twice", where=where)
