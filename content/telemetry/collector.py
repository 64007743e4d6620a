"""Open the collector of a signal, with what it kept at its last look."""

from typing import TypeVar

from content.telemetry.intervals import MAX_STATE, Collector, CollectorState, definition
from content.telemetry.logs import LogCollector, LogState
from content.telemetry.metrics import MetricsCollector, MetricsState
from content.telemetry.traces import TraceCollector, TraceState
from manifests.documents.contract import INTERVAL_KINDS, Signal
from manifests.words.canonical import parse
from manifests.words.errors import MalformedError

State = TypeVar("State", bound=CollectorState)


def open_collector(signal: Signal, state: bytes | None = None) -> Collector:
    """Return the collector of a signal of kind metrics, logs or traces.

    Args:
        state: What ``Collector.state`` returned after the last look; None for the first look. The state of another
            definition of the signal is left out, its rows included: they were counted under other bounds.

    Raises:
        MalformedError: The state is none of such a collector, or a pattern of the signal is not in RE2's syntax.
    """
    if signal.kind not in INTERVAL_KINDS:
        raise ValueError(f"signals of kind {signal.kind} have no collector")
    try:
        collector = _opened(signal, state)
        # What no collector ever wrote shows when it is used: a time that is none, a number that is not finite.
        collector.check()
    except (ValueError, ArithmeticError, LookupError) as error:
        problem = f"what was kept is of no collector: {error}"
        raise MalformedError(problem, where=f"state of {signal.name}") from None
    return collector


def _opened(signal: Signal, state: bytes | None) -> Collector:
    if signal.kind == "metrics":
        return MetricsCollector(signal, _state(signal, state, MetricsState))
    if signal.kind == "logs":
        return LogCollector(signal, _state(signal, state, LogState))
    return TraceCollector(signal, _state(signal, state, TraceState))


def _state(signal: Signal, data: bytes | None, type_: type[State]) -> State | None:
    if data is None:
        return None
    state = parse(data, type_, f"state of {signal.name}", max_bytes=MAX_STATE)
    return state if state.signal == definition(signal) else None
